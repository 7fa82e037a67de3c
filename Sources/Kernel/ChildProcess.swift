// Programs that are run for their effect and their word: with bytes on standard input, what they print kept up to a
// limit, and a deadline after which they and all that they started are killed. No shell is between: arguments are
// handed on as they are. The child is waited for by its own descriptor (pidfd), so that no number is mistaken.

internal import CLinux
internal import Glibc

public enum ChildProcess {
    public enum Ending: Hashable, Sendable {
        case exited(Int32)
        case signalled(Int32)
        /// It was killed at the deadline.
        case timedOut
        /// It was killed since nobody wants it any more.
        case cancelled
    }

    public struct Report: Hashable, Sendable {
        public var ending: Ending
        /// Standard output and error as they came, the last bytes up to the limit.
        public var output: [UInt8]
        /// More was printed before it.
        public var isCut: Bool

        public var isSuccess: Bool { ending == .exited(0) }
    }

    /// Runs a program to its end. On the calling thread, which waits.
    /// - Parameters:
    ///   - arguments: the program (looked for in PATH if it has no slash) and its arguments.
    ///   - input: what it may read; a program that does not read it is no failure.
    ///   - isCancelled: asked ten times a second.
    /// - Throws: when it cannot be started.
    public static func run(
        _ arguments: [String], input: [UInt8] = [], timeoutMs: Int, outputLimit: Int = 16_384,
        isCancelled: () -> Bool = { false }
    ) throws(SystemError) -> Report {
        precondition(!arguments.isEmpty && outputLimit > 0)
        // Who does not read what it is given must not end us.
        signal(SIGPIPE, SIG_IGN)
        var child = try Child(arguments)
        defer { child.closeAll() }
        var output = TailBuffer(limit: outputLimit)
        var rest = input[...]
        if rest.isEmpty { child.closeInput() }
        let deadlineNs = Clock.monotonicNs() &+ UInt64(max(0, timeoutMs)) * 1_000_000
        var early: Ending?
        while early == nil {
            let nowNs = Clock.monotonicNs()
            if nowNs >= deadlineNs {
                early = .timedOut
            } else if isCancelled() {
                early = .cancelled
            } else {
                child.wait(forMs: Int32(clamping: min(100, (deadlineNs - nowNs) / 1_000_000 + 1)))
                child.write(&rest)
                child.read(into: &output)
                if child.hasEnded { break }
            }
        }
        let status = early == nil ? child.reap() : child.kill()
        // What it printed last; who inherited the pipe from it is not waited for.
        child.read(into: &output)
        return Report(ending: early ?? ending(of: status), output: output.bytes, isCut: output.isCut)
    }

    private static func ending(of status: Int32) -> Ending {
        status & 0x7F == 0 ? .exited(status >> 8 & 0xFF) : .signalled(status & 0x7F)
    }
}

/// The last bytes of what is printed.
private struct TailBuffer {
    let limit: Int
    private(set) var bytes: [UInt8] = []
    private(set) var isCut = false

    init(limit: Int) { self.limit = limit }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        bytes += more
        guard bytes.count > limit else { return }
        bytes.removeFirst(bytes.count - limit)
        isCut = true
    }
}

/// A started program, and our ends of its pipes.
private struct Child: ~Copyable {
    private let process: pid_t
    /// Readable when it has ended; negative on kernels without such descriptors, where it is asked again and again.
    private let processDescriptor: Int32
    private var input: Int32
    private var output: Int32

    init(_ arguments: [String]) throws(SystemError) {
        let toChild = try Self.pipe(isToChild: true)
        let fromChild: (child: Int32, own: Int32)
        do throws(SystemError) { fromChild = try Self.pipe(isToChild: false) } catch {
            il_close(toChild.child)
            il_close(toChild.own)
            throw error
        }
        let (status, process) = Self.spawn(arguments, input: toChild.child, output: fromChild.child)
        il_close(toChild.child)
        il_close(fromChild.child)
        guard status == 0 else {
            il_close(toChild.own)
            il_close(fromChild.own)
            throw SystemError(code: status, operation: arguments[0])
        }
        self.process = process
        input = toChild.own
        output = fromChild.own
        processDescriptor = il_pidfd_open(process)
    }

    /// Our end does not block, the child's does.
    private static func pipe(isToChild: Bool) throws(SystemError) -> (child: Int32, own: Int32) {
        var ends: [Int32] = [-1, -1]
        try SystemError.check(il_pipe(&ends), "pipe2")
        let (child, own) = isToChild ? (ends[0], ends[1]) : (ends[1], ends[0])
        _ = fcntl(own, F_SETFL, O_NONBLOCK)
        return (child, own)
    }

    /// A process group of its own, no signal blocked or ignored, nothing open but the three.
    private static func spawn(_ arguments: [String], input: Int32, output: Int32) -> (status: Int32, pid_t) {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        il_spawn_close_from(&actions, 3)
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        posix_spawnattr_setflags(&attributes, Int16(flags))
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        defer { for word in words { free(word) } }
        words.append(nil)
        var process: pid_t = 0
        let status = posix_spawnp(&process, arguments[0], &actions, &attributes, words, environ)
        return (status, process)
    }

    // MARK: Meanwhile

    /// Until something happens, or the time is over.
    func wait(forMs milliseconds: Int32) {
        var states = [
            pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: output, events: Int16(POLLIN), revents: 0),
            pollfd(fd: input, events: Int16(POLLOUT), revents: 0),
        ]
        // Negative descriptors are passed over.
        _ = poll(&states, nfds_t(states.count), processDescriptor < 0 ? min(milliseconds, 20) : milliseconds)
    }

    mutating func write(_ rest: inout ArraySlice<UInt8>) {
        while input >= 0, !rest.isEmpty {
            let count = rest.withUnsafeBytes { il_write(input, $0.baseAddress, $0.count) }
            if count == -Int(EAGAIN) { return }
            guard count > 0 else { return closeInput() }
            rest = rest.dropFirst(count)
        }
        closeInput()
    }

    mutating func read(into buffer: inout TailBuffer) {
        withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 1) { memory in
            while output >= 0 {
                let count = il_read(output, memory.baseAddress, memory.count)
                if count > 0 {
                    buffer.append(UnsafeRawBufferPointer(rebasing: memory[..<count]))
                } else {
                    if count != -Int(EAGAIN) { closeOutput() }
                    return
                }
            }
        }
    }

    /// It is not reaped by this, so its number stays its own.
    var hasEnded: Bool {
        var information = siginfo_t()
        let result = waitid(P_PID, id_t(process), &information, WEXITED | WNOHANG | WNOWAIT)
        return result == 0 && information.si_signo == SIGCHLD
    }

    // MARK: The end

    func reap() -> Int32 {
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        return status
    }

    /// With all that it started and that did not leave its group.
    func kill() -> Int32 {
        _ = Glibc.kill(-process, SIGKILL)
        return reap()
    }

    mutating func closeInput() {
        if input >= 0 { il_close(input) }
        input = -1
    }

    private mutating func closeOutput() {
        if output >= 0 { il_close(output) }
        output = -1
    }

    mutating func closeAll() {
        closeInput()
        closeOutput()
        if processDescriptor >= 0 { il_close(processDescriptor) }
    }
}
