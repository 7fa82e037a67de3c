// Asks the admin listener of an instance on this machine: what `interlock status`, `explain`, `rollback` and
// `resume` do.

import Kernel
import Model
import Wire

struct AdminClient {
    struct Answer: Equatable {
        var status: Int
        var body: String
        /// Of an explanation: a task gets the request, or its client is sent elsewhere.
        var isServed: Bool?
    }

    private let addresses: [SocketAddress]
    private let token: String?
    /// A rollback waits until the engine has taken it.
    private static let timeoutMs = 30_000

    init(_ settings: Settings) throws(Interlock.Failure) {
        guard let listen = settings.adminListen.first else {
            throw Interlock.Failure("INTERLOCK_ADMIN_LISTEN is off: there is nothing to ask")
        }
        do throws(Resolver.Failure) {
            addresses = try Self.addresses(of: listen)
        } catch {
            throw Interlock.Failure("INTERLOCK_ADMIN_LISTEN: \(error)")
        }
        token = settings.adminToken
    }

    /// Where an instance of this machine that listens so is asked.
    static func addresses(of listen: ListenSetting) throws(Resolver.Failure) -> [SocketAddress] {
        let loopback = [SocketAddress.loopback(port: listen.port), SocketAddress(v6High: 0, low: 1, port: listen.port)]
        switch listen.host {
        case "": return loopback
        case "0.0.0.0": return [loopback[0]]
        case "::": return [loopback[1]]
        default: return try listen.resolved()
        }
    }

    /// - Parameter method: `GET` or `POST`.
    func ask(_ method: String, _ path: String) throws(Interlock.Failure) -> Answer {
        var reason = "no address to ask"
        for address in addresses {
            let stream: Stream
            do throws(SystemError) {
                stream = try Stream.connect(to: address, timeoutMs: Self.timeoutMs)
            } catch {
                reason = "\(address): \(error)"
                continue
            }
            defer { stream.close() }
            // What was asked once is not asked of the next address: it may have been done.
            do throws(SystemError) { return try ask(method, path, on: stream) } catch {
                throw Interlock.Failure("no answer from the admin listener at \(address): \(error)", status: 1)
            }
        }
        throw Interlock.Failure("no answer from the admin listener (INTERLOCK_ADMIN_LISTEN): \(reason)", status: 1)
    }

    private func ask(_ method: String, _ path: String, on stream: Stream) throws(SystemError) -> Answer {
        var request = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if method == "POST" { request += "Content-Length: 0\r\n" }
        if let token { request += "Authorization: Bearer \(token)\r\n" }
        try stream.writeAll(Array((request + "\r\n").utf8), timeoutMs: Self.timeoutMs)
        var answer: [UInt8] = []
        while answer.count < 1 << 28 {
            let bytes = try stream.readSome(maximum: 65_536, timeoutMs: Self.timeoutMs)
            if bytes.isEmpty { break }
            answer += bytes
        }
        return Self.read(answer) ?? Answer(status: 0, body: "this is no admin listener of an Interlock")
    }

    /// nil: no answer in HTTP.
    static func read(_ bytes: [UInt8]) -> Answer? {
        var head = ResponseHead()
        return bytes.withUnsafeBytes { buffer in
            guard case .complete(let count) = head.parse(Bytes(buffer), scanned: 0, requestMethod: .post) else {
                return nil
            }
            let body = String(decoding: buffer[count...], as: UTF8.self)
            var answer = Answer(status: Int(head.status), body: body)
            let bytes = Bytes(buffer)
            for index in 0..<head.fieldCount {
                let field = head.field(index)
                guard bytes.slice(field.name).equalsIgnoringCase("interlock-served") else { continue }
                answer.isServed = bytes.slice(field.value).equals("true")
            }
            return answer
        }
    }
}

/// `interlock rollback N`, `interlock resume` and `interlock status [PAGE]`: what the running instance says to it.
enum RemoteRole {
    static func rollback(_ settings: Settings, number: Int) throws(Interlock.Failure) -> Int32 {
        try run(settings, "rollback", "POST", "/api/rollback/\(number)")
    }

    static func resume(_ settings: Settings) throws(Interlock.Failure) -> Int32 {
        try run(settings, "resume", "POST", "/api/resume")
    }

    /// - Parameter page: a path of the admin listener, such as `/api/feed`; nil: the index.
    static func status(_ settings: Settings, page: String?) throws(Interlock.Failure) -> Int32 {
        let page = page ?? "/"
        let isPath = page.hasPrefix("/") && page.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard isPath else {
            throw Interlock.Failure("status: \(SettingsLoader.quoted(page)) is no path, such as /api/feed")
        }
        return try run(settings, "status", "GET", page)
    }

    private static func run(
        _ settings: Settings, _ name: String, _ method: String, _ path: String
    ) throws(Interlock.Failure) -> Int32 {
        let answer = try AdminClient(settings).ask(method, path)
        let text = answer.body.hasSuffix("\n") ? answer.body : answer.body + "\n"
        guard answer.status == 200 else {
            Interlock.write("interlock: \(name): \(text)", to: 2)
            return 1
        }
        Interlock.write(text, to: 1)
        return 0
    }
}
