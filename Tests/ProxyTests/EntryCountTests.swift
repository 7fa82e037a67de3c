// Connections are counted by what they came in as, whatever becomes of them.

import Kernel
import Proxy
import Support
import Telemetry
import Testing

@Suite("connections by entry")
struct EntryCountTests {
    @Test("HTTP and HTTPS are told apart")
    func httpAndHTTPS() throws {
        let proxy = try startProxy(workerCount: 1) { $0.httpsListen = [ListenAddress(address: .loopback)] }
        defer {
            proxy.drain(timeoutMs: 0)
            proxy.waitUntilStopped()
        }
        for port in [proxy.ports[0], proxy.httpsPorts[0], proxy.httpsPorts[0]] {
            try Stream.connect(to: .loopback(port: port), timeoutMs: 5000).close()
        }
        #expect(eventually { proxy.counters.total(.connectionsAccepted) == 3 })
        #expect(ConnectionEntry.allCases.map { proxy.counters.total($0) } == [1, 2, 0])
    }
}
