// The table, the help text and the document say the same.

import Glibc
import Testing

@testable import interlock

@Suite struct HelpTests {
    @Test func helpNamesEverySettingAndRole() {
        let text = Help.text()
        for setting in SettingsTable.all {
            #expect(text.contains("  \(setting.name)  ("))
            if !setting.defaultText.isEmpty { #expect(text.contains("default: \(setting.defaultText))")) }
        }
        for role in Role.allCases {
            #expect(text.contains("interlock \(role.rawValue)") || role == .allInOne)
        }
        #expect(!text.contains("`"))
    }

    @Test func everySettingIsDocumentedInSentences() {
        for setting in SettingsTable.all {
            #expect(setting.documentation.hasSuffix("."), "\(setting.name)")
            #expect(!setting.documentation.contains("  "), "\(setting.name)")
            #expect(!setting.documentation.contains("\n"), "\(setting.name)")
            #expect(SettingsTable.all.filter { $0.section == setting.section }.count > 1)
        }
    }

    @Test func theDocumentIsTheTable() throws {
        let path =
            #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
            + "/docs/CONFIGURATION.md"
        let made = HelpDocument.markdown()
        if getenv("UPDATE_DOCUMENTS") != nil {
            let file = try #require(fopen(path, "w"))
            fputs(made, file)
            fclose(file)
        }
        #expect(
            try SettingsLoader.readFile(path).get() == made,
            "run with UPDATE_DOCUMENTS=1 to write the document anew")
    }
}
