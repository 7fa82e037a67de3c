// The default role: watch Docker and the services file, and proxy to what they say, in one process.

import Admin
import Controller
import Glibc
import Kernel
import Model
import Proxy
import Routing
import Telemetry

enum AllInOneRole {
    static func run(_ settings: Settings) throws(Interlock.Failure) -> Int32 {
        let log = Log(level: settings.logLevel)
        for warning in settings.warnings { log.warning(warning) }
        let signals: Signals
        do throws(SystemError) {
            // Before any thread, so that all of them inherit the mask.
            signals = try Signals([.terminate, .quit, .interrupt, .hangUp])
        } catch {
            throw Interlock.Failure(error)
        }
        let control = try ControlPlane.settings(settings, log: log)
        let proxySettings = try ProxySettings(settings, descriptorLimit: Machine.raiseDescriptorLimit())
        let life = Life()
        let proxy: ProxyServer
        do throws(ProxyStartError) {
            proxy = try ProxyServer(settings: proxySettings, proxyID: hostName(), log: log)
        } catch {
            throw Interlock.Failure(error)
        }
        let publisher = try Publisher(settings, proxy: proxy, life: life, log: log)
        let controller = Controller(settings: control, log: log) { publisher.publish($0) }
        let admin = try startAdmin(
            settings, life: life, proxy: proxy, controller: controller, publisher: publisher, log: log)
        if let admin { life.whenReady { admin.open() } }
        let accessLog = try startAccessLog(settings, proxy: proxy)
        do throws(ControllerError) {
            try controller.start()
        } catch {
            throw Interlock.Failure(error)
        }
        log.info(
            "started",
            [
                "version": .string(Interlock.version), "http_ports": .string("\(proxy.ports)"),
                "https_ports": .string("\(proxy.httpsPorts)"),
                "admin_ports": .string("\(admin?.ports ?? [])"), "workers": .integer(proxySettings.workerCount),
                "max_connections": .integer(proxySettings.maximumConnections),
            ])
        if settings.sharesListeners { log.info("ports may be shared with another process", ["how": .string(takeover)]) }
        waitForStop(signals) {
            accessLog?.writer.reopen()
            publisher.reread()
        }
        if settings.sharesListeners { admin?.stepAside() }
        drain(settings, signals, life: life, proxy: proxy, log: log)
        controller.stop()
        publisher.stop()
        admin?.stop()
        accessLog?.writer.stop()
        accessLog?.thread.join()
        return 0
    }

    // MARK: Parts

    private static func startAdmin(
        _ settings: Settings, life: Life, proxy: ProxyServer, controller: Controller, publisher: Publisher, log: Log
    ) throws(Interlock.Failure) -> AdminServer? {
        guard !settings.adminListen.isEmpty else { return nil }
        var addresses: [(address: SocketAddress, isDualStack: Bool)] = []
        for listen in settings.adminListen {
            for address in try resolve(listen, setting: "INTERLOCK_ADMIN_LISTEN") {
                addresses.append((address.address, address.isDualStack))
            }
        }
        let source = AdminSource(
            build: BuildInformation(version: Interlock.version), counters: proxy.counters, services: proxy.registry,
            rejectionNames: RejectionReasons.all, handshakeFailureNames: HandshakeFailures.all,
            health: { life.reading },
            table: { proxy.table.version == 0 ? nil : proxy.table },
            control: { ControlPlane.reading(controller.status, proxy: proxy) },
            tls: { publisher.certificates },
            entryPorts: { proxy.entryPorts.map { PortReading(port: $0.port, problem: $0.problem) } },
            tasks: { TasksReading(proxy) },
            processNamespace: Machine.processNamespace, takeover: settings.sharesListeners ? takeover : "")
        let server: AdminServer
        do throws(AdminListenError) {
            server = try AdminServer(
                settings: AdminSettings(
                    addresses: addresses, token: settings.adminToken, isOpen: settings.adminIsOpen,
                    takesOver: settings.sharesListeners),
                source: source, log: log)
        } catch {
            throw Interlock.Failure(error)
        }
        do throws(SystemError) { try server.start() } catch { throw Interlock.Failure(error) }
        return server
    }

    private static func startAccessLog(
        _ settings: Settings, proxy: ProxyServer
    ) throws(Interlock.Failure) -> (writer: AccessLogWriter, thread: Thread)? {
        guard !proxy.logRings.isEmpty else { return nil }
        let writer: AccessLogWriter
        do throws(AccessLogError) {
            writer = try AccessLogWriter(rings: proxy.logRings, path: settings.accessLogPath)
        } catch {
            throw Interlock.Failure(error)
        }
        do throws(SystemError) {
            return (writer, try Thread.start(name: "access log") { writer.run() })
        } catch {
            throw Interlock.Failure(error)
        }
    }

    static func resolve(_ listen: ListenSetting, setting: String) throws(Interlock.Failure) -> [ListenAddress] {
        if listen.host.isEmpty { return [ListenAddress(anyHostPort: listen.port)] }
        do throws(Resolver.Failure) {
            return try listen.resolved().map { ListenAddress(address: $0) }
        } catch {
            throw Interlock.Failure("\(setting): \(error)")
        }
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "interlock" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    // MARK: The end

    private static func waitForStop(_ signals: Signals, onHangUp: () -> Void) {
        while true {
            switch signals.wait() {
            case .hangUp: onHangUp()
            case .terminate, .quit, .interrupt: return
            case nil: continue
            }
        }
    }

    /// What becomes of connections whose handshake takes longer than the old process waits.
    private static var takeover: String {
        switch Machine.migratesRequests {
        case true?: "handshakes under way move to the younger process (net.ipv4.tcp_migrate_req is 1)"
        case false?: "handshakes under way at the end of the drain delay are lost (net.ipv4.tcp_migrate_req is 0)"
        case nil: "handshakes under way at the end of the drain delay are lost (no net.ipv4.tcp_migrate_req here)"
        }
    }

    /// With a shared port: how long handshakes may take that began before new connections went elsewhere.
    private static let handshakeMs = 500

    /// Says "not ready" first, then stops accepting and lets requests finish. A second signal ends at once.
    private static func drain(_ settings: Settings, _ signals: Signals, life: Life, proxy: ProxyServer, log: Log) {
        life.isDraining()
        log.info("draining", ["timeout_ms": .integer(settings.drainTimeoutMs)])
        var delayMs = settings.drainDelayMs
        if settings.sharesListeners {
            proxy.stepAside()
            delayMs = max(delayMs, handshakeMs)
        }
        let delayEndsNs = Clock.monotonicNs() + UInt64(delayMs) * 1_000_000
        while Clock.monotonicNs() < delayEndsNs {
            let leftMs = Int((delayEndsNs - Clock.monotonicNs()) / 1_000_000) + 1
            endIfImpatient(signals.wait(timeoutMs: leftMs), log)
        }
        proxy.drain(timeoutMs: settings.drainTimeoutMs)
        let waiter = try? Thread.start(name: "drain") {
            proxy.waitUntilStopped()
            life.isStopped()
        }
        guard let waiter else {
            proxy.waitUntilStopped()
            return
        }
        while !life.hasStopped { endIfImpatient(signals.wait(timeoutMs: 20), log) }
        waiter.join()
        log.info("stopped")
    }

    private static func endIfImpatient(_ signal: Signal?, _ log: Log) {
        guard let signal, signal != .hangUp else { return }
        log.warning("second signal: ending at once")
        exitImmediately(1)
    }
}
