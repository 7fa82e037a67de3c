import Model
import Secrets
import Testing

@Suite("secret files")
struct SecretStoreTests {
    @Test("printing them shows nothing of their contents")
    func printing() {
        let files = SecretFiles(secrets: ["key": Array("hunter2".utf8)], defaultKey: Array("hunter2".utf8))
        #expect(!"\(files)".contains("hunter2"))
        #expect(!String(reflecting: files).contains("hunter2"))
        var dumped = ""
        dump(files, to: &dumped)
        #expect(!dumped.contains("hunter2") && !dumped.contains("104"))
    }
}
