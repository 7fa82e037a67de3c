// `interlock healthcheck`, for HEALTHCHECK lines: asks the admin listener of the running instance. It fails until the
// instance was ready for the first time and follows /healthz from then on, so that it neither lets an update go on too
// early nor kills an instance that drains. It keeps no state: /healthz says whether the instance was ever ready.

import Kernel
import Wire

enum Healthcheck {
    /// For the whole check; Docker gives up after 30 s by default.
    static let timeoutMs = 3000

    /// What /healthz said, or why it could not be asked.
    enum Finding: Equatable {
        case healthy
        /// It answers, but has not been ready yet.
        case starting
        /// Another process answered, which this one is to take over from.
        case foreign
        case unhealthy(String)

        /// What the check says on standard error, if it fails.
        var complaint: String? {
            switch self {
            case .healthy: nil
            case .starting: "not ready yet"
            case .foreign: "not ready yet: the process before it answers"
            case .unhealthy(let reason): reason
            }
        }
    }

    /// Exit status: 0 healthy, 1 not.
    static func run(_ settings: Settings) -> Int32 {
        guard let listen = settings.adminListen.first else {
            return report(.unhealthy("INTERLOCK_ADMIN_LISTEN is off: there is nothing to ask"))
        }
        var finding = Finding.unhealthy("no address to ask")
        do throws(Resolver.Failure) {
            // An instance that listens on every address may have IPv6, IPv4 or both.
            for address in try AdminClient.addresses(of: listen) {
                finding = settings.sharesListeners ? askOwn(address) : ask(address)
                if finding == .healthy { break }
            }
        } catch {
            finding = .unhealthy(error.description)
        }
        return report(finding)
    }

    private static func report(_ finding: Finding) -> Int32 {
        guard let complaint = finding.complaint else { return 0 }
        Interlock.write("interlock: healthcheck: \(complaint)\n", to: 2)
        return 1
    }

    /// During a takeover two processes answer at the address, each connection by either: asks until it is our own.
    private static func askOwn(_ address: SocketAddress) -> Finding {
        let own = Machine.processNamespace
        for _ in 0..<40 {
            let finding = ask(address, process: own)
            if finding != .foreign { return finding }
        }
        return .foreign
    }

    /// One GET /healthz.
    /// - Parameter process: the namespace of the process that is meant; "" for any.
    static func ask(_ address: SocketAddress, process: String = "") -> Finding {
        let deadlineNs = Clock.monotonicNs() + UInt64(timeoutMs) * 1_000_000
        do throws(SystemError) {
            let stream = try Stream.connect(to: address, timeoutMs: timeoutMs)
            defer { stream.close() }
            let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            try stream.writeAll(Array(request.utf8), timeoutMs: timeoutMs)
            var answer: [UInt8] = []
            while Clock.monotonicNs() < deadlineNs, answer.count < 65_536 {
                let leftMs = Int((deadlineNs - min(deadlineNs, Clock.monotonicNs())) / 1_000_000)
                let bytes = try stream.readSome(maximum: 4096, timeoutMs: leftMs)
                if bytes.isEmpty { break }
                answer += bytes
                if let finding = judge(answer, process: process) { return finding }
            }
            return .unhealthy("\(address) did not answer in HTTP")
        } catch {
            return .unhealthy("\(address): \(error)")
        }
    }

    /// nil while the head is not whole.
    static func judge(_ answer: [UInt8], process: String = "") -> Finding? {
        var head = ResponseHead()
        return answer.withUnsafeBytes { buffer in
            let bytes = Bytes(buffer)
            switch head.parse(bytes, scanned: 0, requestMethod: .get) {
            case .incomplete: return nil
            case .refused(let refusal): return .unhealthy("not the admin listener (\(refusal.reason.code))")
            case .complete: break
            }
            guard head.status == 200 else { return .unhealthy("/healthz says \(head.status)") }
            var wasReady: Bool?
            var answering = ""
            for index in 0..<head.fieldCount {
                let field = head.field(index)
                if bytes.slice(field.name).equalsIgnoringCase("interlock-was-ready") {
                    wasReady = bytes.slice(field.value).equals("true")
                } else if bytes.slice(field.name).equalsIgnoringCase("interlock-process") {
                    answering = bytes.slice(field.value).string()
                }
            }
            guard let wasReady else { return .unhealthy("not the admin listener of an Interlock") }
            if !process.isEmpty, !answering.isEmpty, process != answering { return .foreign }
            return wasReady ? .healthy : .starting
        }
    }
}
