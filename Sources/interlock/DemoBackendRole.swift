// `interlock demo-backend`: a backend that answers with what it received, until it is told to stop.

import Demo
import Glibc
import Kernel
import Proxy
import Telemetry

enum DemoBackendRole {
    /// Below Docker's ten seconds.
    private static let stopTimeoutMs = 5000

    static func run(_ settings: Settings, _ arguments: Arguments) throws(Interlock.Failure) -> Int32 {
        let log = Log(level: settings.logLevel)
        let wanted = arguments.demoListen ?? settings.demoListen
        guard !wanted.isEmpty else { throw Interlock.Failure("demo-backend: there is nothing to listen on") }
        let addresses = try Startup.resolve(wanted, setting: "INTERLOCK_DEMO_LISTEN")
        let server: DemoServer
        let signals: Signals
        do throws(SystemError) {
            // Before any thread, so that all of them inherit the mask.
            signals = try Signals([.terminate, .quit, .interrupt])
            _ = Machine.raiseDescriptorLimit()
            server = try DemoServer(
                name: arguments.demoName ?? settings.demoName ?? Startup.hostName(), addresses: addresses)
            try server.start()
        } catch {
            let places = wanted.map(\.description).joined(separator: ", ")
            throw Interlock.Failure("demo-backend: cannot listen on \(places): \(error)")
        }
        log.info("demo backend started", ["name": .string(server.name), "ports": .string("\(server.ports)")])
        while signals.wait() == nil {}
        server.stop(timeoutMs: stopTimeoutMs)
        return 0
    }
}
