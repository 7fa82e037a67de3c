// Owns the tasks that the live tests proxy to: one thread and one poller for any number of listeners, each of which
// answers with its own name. What begins with an upgrade becomes an echo.

import Kernel
import Synchronization

/// Listeners on loopback that answer every request with the number of the listener.
final class Backend: Sendable {
    let ports: [UInt16]
    private let requests: Mutex<[Int]>
    private let open: Mutex<[Int]>
    private let heads = Mutex<[String]>([])
    private let tails = Mutex<[String]>([])
    private let stopping = Atomic<Bool>(false)
    private let wakeup: Wakeup
    private let thread: Mutex<Thread?>

    init(listenerCount: Int) throws {
        var listeners: [Int32] = []
        var ports: [UInt16] = []
        for _ in 0..<listenerCount {
            let listener = try Socket.listen(.loopback, sharesPort: false)
            listeners.append(listener)
            ports.append(try Socket.localAddress(listener).port)
        }
        self.ports = ports
        requests = Mutex(Array(repeating: 0, count: listenerCount))
        open = Mutex(Array(repeating: 0, count: listenerCount))
        wakeup = try Wakeup()
        thread = Mutex(nil)
        let descriptors = listeners
        let started = try Thread.start(name: "backend") { [self] in serve(descriptors) }
        thread.withLock { $0 = started }
    }

    /// Requests that a listener has answered so far.
    func requestCount(_ listener: Int) -> Int { requests.withLock { $0[listener] } }
    /// The last request's head, as it came.
    var lastHead: String { heads.withLock { $0.last ?? "" } }
    /// What came behind the last head of the connection that was closed last.
    var lastTail: String { tails.withLock { $0.last ?? "" } }
    /// Connections that a listener has open.
    func openCount(_ listener: Int) -> Int { open.withLock { $0[listener] } }

    func stop() {
        stopping.store(true, ordering: .releasing)
        wakeup.ring()
        let running = thread.withLock { thread in
            let running = thread
            thread = nil
            return running
        }
        running?.join()
    }

    private struct Connection {
        let listener: Int
        var input: [UInt8] = []
        var isTunnel = false
    }

    private func serve(_ listeners: [Int32]) {
        guard let poller = try? Poller() else { return }
        var connections: [Int32: Connection] = [:]
        for (number, listener) in listeners.enumerated() {
            try? poller.add(
                listener, .readable, token: Token(kind: 1, generation: UInt32(number), slot: UInt32(listener)))
        }
        try? poller.add(wakeup.descriptor, .readable, token: Token(kind: 0, generation: 0, slot: 0))
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 65536, alignment: 1)
        defer { memory.deallocate() }
        while !stopping.load(ordering: .acquiring) {
            for index in 0..<poller.wait(timeoutMs: -1) {
                let token = poller.token(at: index)
                let descriptor = Int32(bitPattern: token.slot)
                switch token.kind {
                case 1:
                    var peer = SocketAddress(v4: 0, port: 0)
                    while case let result = Socket.accept(descriptor, peer: &peer), !result.isFailure {
                        let accepted = Int32(result.raw)
                        Socket.setNoDelay(accepted)
                        connections[accepted] = Connection(listener: Int(token.generation))
                        open.withLock { $0[Int(token.generation)] += 1 }
                        let token = Token(kind: 2, generation: 0, slot: UInt32(bitPattern: accepted))
                        try? poller.add(accepted, .readable, token: token)
                    }
                case 2: read(descriptor, memory, &connections)
                default: break
                }
            }
        }
        for descriptor in listeners + connections.keys { Socket.close(descriptor) }
    }

    private func read(
        _ descriptor: Int32, _ memory: UnsafeMutableRawPointer, _ connections: inout [Int32: Connection]
    ) {
        guard var connection = connections.removeValue(forKey: descriptor) else { return }
        let result = Socket.read(descriptor, memory, capacity: 65536)
        if result.isWouldBlock {
            connections[descriptor] = connection
            return
        }
        guard result.count > 0 else {
            tails.withLock { $0 = [String(decoding: connection.input, as: UTF8.self)] }
            open.withLock { $0[connection.listener] -= 1 }
            Socket.close(descriptor)
            return
        }
        if connection.isTunnel {
            _ = Socket.write(descriptor, memory, count: result.count)
        } else {
            connection.input += UnsafeRawBufferPointer(start: memory, count: result.count)
            answer(descriptor, &connection)
        }
        connections[descriptor] = connection
    }

    private func answer(_ descriptor: Int32, _ connection: inout Connection) {
        let end: [UInt8] = [13, 10, 13, 10]
        while let last = connection.input.indices.first(where: { connection.input[$0...].starts(with: end) }) {
            let plain = String(decoding: connection.input[..<last], as: UTF8.self)
            heads.withLock { $0 = [plain] }
            let head = plain.lowercased()
            connection.input.removeFirst(last + 4)
            var text = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
            if head.contains("upgrade: websocket") {
                connection.isTunnel = true
                text = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
            } else {
                let name = String(connection.listener)
                text += "task " + String(repeating: " ", count: 3 - name.utf8.count) + name
            }
            requests.withLock { $0[connection.listener] += 1 }
            // A task that takes its time.
            if head.contains("x-silent:") { continue }
            let bytes = Array(text.utf8)
            _ = bytes.withUnsafeBytes { Socket.write(descriptor, $0.baseAddress.unsafelyUnwrapped, count: $0.count) }
        }
    }
}
