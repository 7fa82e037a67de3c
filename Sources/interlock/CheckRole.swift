// `interlock check [FILE]`: reads a services file as the proxy would, or without one looks once at Docker, and says
// what it makes of it. Exit status 0: all services are routed; 1: some are left out or doubtful, or a command is to be
// run; 2: there is nothing that can be checked.

import Controller
import Discovery
import Docker
import Model
import Telemetry

enum CheckRole {
    static func run(_ settings: Settings, file: String?) throws(Interlock.Failure) -> Int32 {
        if file == nil, settings.docker != .off {
            // What is worth a line while nothing runs yet is in the report.
            let log = Log(level: .error)
            let control = try ControlPlane.settings(settings, clusters: scope(settings), log: log)
            if let docker = control.docker { return try run(control, docker) }
        }
        let snapshot = try snapshot(settings, file: file, role: "check")
        Interlock.write(report(snapshot), to: 1)
        return snapshot.diagnostics.isEmpty ? 0 : 1
    }

    /// What a services file asks for: the one that is named, or that of the settings.
    static func snapshot(_ settings: Settings, file: String?, role: String) throws(Interlock.Failure) -> Snapshot {
        guard let path = file ?? settings.servicesFile else {
            throw Interlock.Failure("\(role): name a services file, or set INTERLOCK_SERVICES_FILE")
        }
        let file = try read(path)
        let inventory = Inventory(files: [file.file])
        var snapshot = ServiceMapping.snapshot(of: inventory, settings: ControlPlane.mapping(settings))
        snapshot.diagnostics += file.problems
        return snapshot
    }

    private static func read(_ path: String) throws(Interlock.Failure) -> ServicesFileObservation {
        let text: [UInt8]
        switch SettingsLoader.readFile(path) {
        case .success(let content): text = Array(content.utf8)
        case .failure(let error): throw Interlock.Failure("\(path): \(error)")
        }
        do throws(ServicesFileError) {
            let content = try ServicesFileReader.read(text, name: path)
            return ServicesFileObservation(
                file: ServicesFile(name: path, services: content.services), problems: content.problems)
        } catch {
            throw Interlock.Failure(error)
        }
    }

    static func report(_ snapshot: Snapshot) -> String {
        SnapshotReport.lines(snapshot).map { $0 + "\n" }.joined()
    }

    // MARK: Docker

    /// Settings of a controller ask for all groups, those of a process that proxies itself for its own.
    private static func scope(_ settings: Settings) -> ClusterScope {
        settings.role == .controller || !settings.proxyServices.isEmpty ? .all : .only(settings.serviceCluster)
    }

    private static func run(_ control: ControllerSettings, _ docker: DockerSettings) throws(Interlock.Failure) -> Int32
    {
        let tell: @Sendable (DockerNote) -> Void = { note in
            guard note.level == .warning else { return }
            let detail = note.detail.isEmpty ? "" : " (\(note.detail))"
            Interlock.write("interlock: docker: \(note.message)\(detail)\n", to: 2)
        }
        if let reason = docker.endpoint.whyHopeless() { throw Interlock.Failure("check: \(reason)") }
        let file: ServicesFileObservation?
        if let path = control.servicesFile { file = try read(path) } else { file = nil }
        let observation: DockerObservation
        do throws(DockerError) {
            observation = try DockerLook.once(docker, note: tell)
        } catch {
            throw Interlock.Failure("check: \(error)")
        }
        let calls = ServiceCalls(settings: docker, mayUpdate: false)
        defer { calls.disconnect() }
        let isSwarm = !observation.inventory.order.clusterID.isEmpty
        let report = DockerReport(
            observation, file: file, settings: control,
            secrets: isSwarm ? attempt(tell) { () throws(DockerError) in try calls.secrets() } : nil
        ) { name in
            guard let service = observation.inventory.services.first(where: { $0.name == name }) else { return nil }
            let object = attempt(tell) { () throws(DockerError) in try calls.service(id: service.id) }
            return object.map { Set($0.secrets.map(\.file)) }
        }
        Interlock.write(text(of: report), to: 1)
        return report.commands.isEmpty && report.snapshots.allSatisfy(\.snapshot.diagnostics.isEmpty) ? 0 : 1
    }

    private static func attempt<Value>(
        _ tell: (DockerNote) -> Void, _ body: () throws(DockerError) -> Value
    ) -> Value? {
        do throws(DockerError) { return try body() } catch {
            tell(DockerNote(.warning, "the commands may say too much", error.description))
            return nil
        }
    }

    /// Group by group, then what is to be done by hand.
    static func text(of report: DockerReport) -> String {
        var text = ""
        for pin in report.pins {
            let who = pin.controller.isEmpty ? "" : ", by \(pin.controller)"
            let what = "configuration \(pin.number)\(who): what follows holds from `interlock resume` on"
            text += "pinned   \(what)".harmless + "\n"
        }
        for group in report.snapshots {
            if report.snapshots.count > 1 { text += "group    \"\(group.cluster)\"\n" }
            text += self.report(group.snapshot)
        }
        for command in report.commands { text += "run      \(command)\n" }
        return text
    }
}
