// `interlock check [FILE]`: reads a services file as the proxy would and says what it makes of it. Exit status 0: all
// services are routed; 1: some are left out or doubtful; 2: the file cannot be used at all.

import Discovery
import Docker
import Model

enum CheckRole {
    static func run(_ settings: Settings, file: String?) throws(Interlock.Failure) -> Int32 {
        guard let path = file ?? settings.servicesFile else {
            throw Interlock.Failure("check: name a services file, or set INTERLOCK_SERVICES_FILE")
        }
        let text: [UInt8]
        switch SettingsLoader.readFile(path) {
        case .success(let content): text = Array(content.utf8)
        case .failure(let error): throw Interlock.Failure("\(path): \(error)")
        }
        let content: ServicesFileContent
        do throws(ServicesFileError) {
            content = try ServicesFileReader.read(text, name: path)
        } catch {
            throw Interlock.Failure(error)
        }
        let inventory = Inventory(files: [ServicesFile(name: path, services: content.services)])
        var snapshot = ServiceMapping.snapshot(of: inventory, settings: ControlPlane.mapping(settings))
        snapshot.diagnostics += content.problems
        Interlock.write(report(snapshot), to: 1)
        return snapshot.diagnostics.isEmpty ? 0 : 1
    }

    static func report(_ snapshot: Snapshot) -> String {
        SnapshotReport.lines(snapshot).map { $0 + "\n" }.joined()
    }
}
