// Threads with a name and a join. The entry is a file-scope function: a closure handed to pthread_create
// inside an actor-isolated context would carry an isolation check that traps on a foreign thread.

internal import CLinux
internal import Glibc

public final class Thread: @unchecked Sendable {
    private let handle: pthread_t
    // Written under no lock: join is called by the one owner.
    private var joined = false

    private init(handle: pthread_t) { self.handle = handle }

    /// Starts a thread.
    /// - Parameter name: at most 15 bytes are shown by the system.
    public static func start(name: String, body: @escaping @Sendable () -> Void) throws(SystemError) -> Thread {
        let seed = Unmanaged.passRetained(ThreadSeed(name: name, body: body))
        var handle = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, 1 << 20)
        let status = pthread_create(&handle, &attributes, threadEntry, seed.toOpaque())
        pthread_attr_destroy(&attributes)
        guard status == 0 else {
            seed.release()
            throw SystemError(code: status, operation: "pthread_create")
        }
        return Thread(handle: handle)
    }

    /// Waits until the thread's body returned. Later calls return at once.
    public func join() {
        guard !joined else { return }
        joined = true
        pthread_join(handle, nil)
    }

    deinit { if !joined { pthread_detach(handle) } }

    /// Keeps the calling thread on one processor.
    public static func pinCurrent(processor: Int) { _ = il_pin_thread(Int32(processor)) }

    /// Lets the calling thread sleep. For tests and demos; the proxy waits in its poller.
    public static func sleep(milliseconds: Int) { _ = usleep(UInt32(milliseconds) * 1000) }
}

private final class ThreadSeed: Sendable {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

private func threadEntry(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let seed = Unmanaged<ThreadSeed>.fromOpaque(argument).takeRetainedValue()
    il_name_thread(seed.name)
    seed.body()
    return nil
}
