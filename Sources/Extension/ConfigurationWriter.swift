// From a snapshot to a load balancer that runs by it:
//
//   render     -> nothing changed: done
//   write      -> all files, into a directory of their own that is named after what is in them
//   check      -> refused: the files in force stay as they are, and so does what runs
//   switch     -> the main file gets its name, in one step; it names the others in their directory
//   reload     -> failed: what runs goes on as it was; it is tried again
//   remove     -> what nobody wants any more, and the old configuration may have needed until now
//
// So whatever ends when, the main file and what it names belong together.

internal import Kernel
import Model
import Render
internal import Telemetry

/// What went wrong, and where.
struct ExtensionFailure: Error {
    var step: ExtensionStatus.Failure.Step
    var text: String
}

/// Runs a command; says what it printed if it fails.
typealias CommandRunner = (_ command: [String], _ step: ExtensionStatus.Failure.Step) throws(ExtensionFailure) -> Void

struct ConfigurationWriter {
    private static let prefix = "made-"
    let target: ExtensionTarget
    let settings: RenderSettings
    let reading: CertificateReading
    private let directory: ConfigurationDirectory
    /// What is loaded; nil: not known.
    private(set) var inForce: [RenderedFile]?
    /// Of the files in force, below the directory.
    private var place: String?
    private(set) var names: [String] = []
    private(set) var diagnostics: [Diagnostic] = []
    /// Files of a configuration that the check has refused: they go with the next one.
    private var refused: Set<String> = []

    init(_ target: ExtensionTarget, _ settings: RenderSettings, _ reading: CertificateReading) {
        self.target = target
        self.settings = settings
        self.reading = reading
        directory = ConfigurationDirectory(path: settings.directory)
    }

    /// - Returns: whether something was reloaded.
    mutating func apply(
        _ snapshot: Snapshot, _ secrets: SecretFiles, _ run: CommandRunner
    ) throws(ExtensionFailure) -> Bool {
        let plain = target.render(input(snapshot, secrets, settings))
        diagnostics = plain.diagnostics
        guard !plain.files.isEmpty, plain.files != inForce else { return false }
        let content = Self.name(of: plain.files)
        let place = Self.prefix + content.prefix(16)
        let files = target.render(input(snapshot, secrets, settings(below: place))).files
        guard let main = files.first else { return false }
        if inForce == nil, directory.loadedContent == content, directory.read(main.path) == main.bytes,
            files.allSatisfy({ directory.read("\(place)/\($0.path)") == $0.bytes })
        {
            // Another process of ours got that far before it ended.
            note(files, place, plain.files)
            return false
        }
        let wanted = Set(files.map { "\(place)/\($0.path)" } + [main.path])
        let obsolete = refused.subtracting(wanted)
        let own = directory.ownFiles.subtracting(obsolete)
        try written { directory throws(SystemError) in
            for name in obsolete { directory.remove(name) }
            try directory.writeOwnFiles(own.union(wanted))
            for file in files { try write(file, into: place) }
        }
        refused.subtract(obsolete)
        do throws(ExtensionFailure) {
            try run(words(target.checkCommand, "\(place)/\(main.path)"), .check)
        } catch {
            // What was there before may be in force.
            refused.formUnion(wanted.subtracting(own))
            throw error
        }
        refused.subtract(wanted)
        try written { directory throws(SystemError) in try directory.write(main) }
        // From here on what is loaded is not known until a reload has worked.
        inForce = nil
        try run(words(target.reloadCommand, main.path), .reload)
        note(files, place, plain.files)
        try written { directory throws(SystemError) in
            for name in directory.ownFiles.subtracting(wanted) { directory.remove(name) }
            try directory.writeOwnFiles(wanted)
            try directory.writeLoadedContent(content)
        }
        return true
    }

    private mutating func note(_ files: [RenderedFile], _ place: String, _ plain: [RenderedFile]) {
        inForce = plain
        self.place = place
        names = files.prefix(1).map(\.path) + files.map { "\(place)/\($0.path)" }
    }

    private func written(
        _ body: (ConfigurationDirectory) throws(SystemError) -> Void
    ) throws(ExtensionFailure) {
        do throws(SystemError) { try body(directory) } catch {
            throw ExtensionFailure(step: .write, text: error.description)
        }
    }

    /// What is in the directory of the files in force has its second name here: thousands of certificates stay.
    private func write(_ file: RenderedFile, into place: String) throws(SystemError) {
        let path = "\(place)/\(file.path)"
        guard directory.read(path) != file.bytes else { return }
        if let old = self.place, directory.read("\(old)/\(file.path)") == file.bytes {
            directory.remove(path)
            if directory.link("\(old)/\(file.path)", as: path) { return }
        }
        try directory.write(
            RenderedFile(path: path, bytes: file.bytes, isSecret: file.isSecret), isLasting: false)
    }

    private func input(_ snapshot: Snapshot, _ secrets: SecretFiles, _ settings: RenderSettings) -> RenderInput {
        RenderInput(snapshot: snapshot, secrets: secrets, settings: settings, reading: reading)
    }

    private func settings(below place: String) -> RenderSettings {
        var settings = settings
        // Sockets stay where they are.
        settings.nginx.socketDirectory = settings.nginx.socketDirectory ?? directory.path
        settings.directory = "\(directory.path)/\(place)"
        return settings
    }

    private static func name(of files: [RenderedFile]) -> String {
        ContentName.of(files.flatMap { Array("\($0.path) \(ContentName.of($0.bytes))\n".utf8) })
    }

    private func words(_ command: [String], _ file: String) -> [String] {
        command.map { word in
            word == "{file}" ? "\(directory.path)/\(file)" : word == "{directory}" ? directory.path : word
        }
    }
}
