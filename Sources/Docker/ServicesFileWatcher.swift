// Follows a services file on disk: reads it at the start, and again whenever its directory stirs. A file that turns
// bad or vanishes keeps its last good content, with a diagnostic, until it is good again.
// Watches the directory and not the file, since editors and orchestrators replace files by renaming, and the directory
// that a symbolic link leads to; looks every two seconds besides, for mounts whose changes nobody announces.

public import Discovery
import Glibc
public import Kernel
public import Model
import Synchronization

/// A services file as it is in force.
public struct ServicesFileObservation: Hashable, Sendable {
    public var file: ServicesFile
    /// What was wrong with it since; the last good content is in force for what is wrong.
    public var problems: [Diagnostic]

    public init(file: ServicesFile, problems: [Diagnostic] = []) {
        self.file = file
        self.problems = problems
    }
}

public final class ServicesFileWatcher: Sendable {
    public let path: String
    private let deliver: @Sendable (ServicesFileObservation) -> Void
    private let wakeup: Wakeup
    private let isStopping = Atomic(false)
    private let thread = Mutex<Thread?>(nil)

    private static let lookIntervalMs: Int32 = 2_000
    /// A file that is bad right after a change may be half written: it is read again after this.
    private static let secondLookMs = 100
    /// Bytes of a services file.
    static let sizeLimit = 64 << 20

    /// - Parameter deliver: called in `start`, then on the watcher's thread.
    public init(path: String, deliver: @escaping @Sendable (ServicesFileObservation) -> Void) throws(SystemError) {
        self.path = path
        self.deliver = deliver
        wakeup = try Wakeup()
    }

    /// Reads the file and begins to follow it.
    /// - Throws: when the file cannot be read or is no services file: there is no last good content yet.
    public func start() throws(ServicesFileError) {
        let bytes: [UInt8]
        do throws(SystemError) { bytes = try FileBytes.read(path, limit: Self.sizeLimit) } catch {
            throw ServicesFileError(description: "cannot read the services file \(path): \(error.reason)")
        }
        var memory = ServicesFileMemory(path: path)
        if let problem = memory.take(bytes) { throw problem }
        deliver(memory.observation)
        do throws(SystemError) {
            let started = try Thread.start(name: "services-file") { [memory] in self.run(memory) }
            thread.withLock { $0 = started }
        } catch {
            throw ServicesFileError(description: "cannot follow the services file \(path): \(error)")
        }
    }

    public func stop() {
        isStopping.store(true, ordering: .releasing)
        wakeup.ring()
        thread.withLock { $0 }?.join()
    }

    private func run(_ initial: ServicesFileMemory) {
        var memory = initial
        // Without inotify (its instances are limited) the looks every two seconds remain.
        let inotify = try? Inotify()
        guard let poller = try? Poller(capacity: 4) else { return }
        try? poller.add(wakeup.descriptor, .readable, token: Token(raw: 0))
        if let inotify { try? poller.add(inotify.descriptor, .readable, token: Token(raw: 1)) }
        while true {
            for directory in Self.directories(of: path) { try? inotify?.watch(directory: directory) }
            // Also once before the first wait: the file may have changed since it was read.
            look(&memory)
            _ = poller.wait(timeoutMs: Self.lookIntervalMs)
            if isStopping.load(ordering: .acquiring) { return }
            _ = inotify?.wait(timeoutMs: 0)
        }
    }

    private func look(_ memory: inout ServicesFileMemory) {
        var next = memory
        if !read(into: &next) {
            _ = wakeup.wait(timeoutMs: Self.secondLookMs)
            if isStopping.load(ordering: .acquiring) { return }
            next = memory
            _ = read(into: &next)
        }
        let hasChanged = next.observation != memory.observation
        memory = next
        if hasChanged { deliver(memory.observation) }
    }

    /// - Returns: whether the file is good.
    private func read(into memory: inout ServicesFileMemory) -> Bool {
        do throws(SystemError) {
            return memory.take(try FileBytes.read(path, limit: Self.sizeLimit)) == nil
        } catch {
            memory.keep("cannot read the services file: \(error.reason)")
            return false
        }
    }

    /// The directory of the file, and of what it leads to if it is a symbolic link.
    static func directories(of path: String) -> [String] {
        var directories = [directory(of: path)]
        if let real = realpath(path, nil) {
            let target = directory(of: String(cString: real))
            free(real)
            if !directories.contains(target) { directories.append(target) }
        }
        return directories
    }

    private static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

/// The last good content of a services file, and what is wrong with the present one. Pure.
struct ServicesFileMemory: Sendable {
    private(set) var observation: ServicesFileObservation
    private var lastBytes: [UInt8]?

    init(path: String) {
        observation = ServicesFileObservation(file: ServicesFile(name: path), problems: [])
    }

    /// Takes what the file holds now.
    /// - Returns: why it is no services file; then the last good content stays.
    mutating func take(_ bytes: [UInt8]) -> ServicesFileError? {
        if bytes == lastBytes, observation.problems.isEmpty { return nil }
        let content: ServicesFileContent
        do throws(ServicesFileError) {
            content = try ServicesFileReader.read(bytes, name: observation.file.name)
        } catch {
            keep(error.description)
            lastBytes = nil
            return error
        }
        // A service that is wrong keeps its last good form.
        let kept = observation.file.services.filter { old in
            content.refusedNames.contains(old.name) && !content.services.contains { $0.name == old.name }
        }
        observation.file.services = content.services + kept
        observation.problems = content.problems
        lastBytes = bytes
        return nil
    }

    /// The file is bad as a whole: its last good content stays.
    mutating func keep(_ problem: String) {
        observation.problems = [
            Diagnostic(
                severity: .error, service: observation.file.name,
                message: "\(problem); keeping its last good content")
        ]
        lastBytes = nil
    }
}
