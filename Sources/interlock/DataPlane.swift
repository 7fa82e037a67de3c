// The proxy with what every role that carries traffic has around it: secrets, the access log, and the way it ends.

import Admin
import Glibc
import Kernel
import Proxy
import Telemetry

struct DataPlane {
    let startup: Startup
    let proxySettings: ProxySettings
    let life: Life
    let proxy: ProxyServer
    let publisher: Publisher
    private let accessLog: (writer: AccessLogWriter, thread: Thread)?

    init(_ startup: Startup) throws(Interlock.Failure) {
        let (settings, log) = (startup.settings, startup.log)
        self.startup = startup
        proxySettings = try ProxySettings(settings, descriptorLimit: Machine.raiseDescriptorLimit())
        life = Life()
        do throws(ProxyStartError) {
            proxy = try ProxyServer(settings: proxySettings, proxyID: Startup.hostName(), log: log)
        } catch {
            throw Interlock.Failure(error)
        }
        publisher = try Publisher(settings, proxy: proxy, life: life, log: log)
        accessLog = try Self.startAccessLog(settings, proxy: proxy)
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

    /// Says that it runs, waits until it is to end, and lets requests under way finish.
    /// - Parameter onHangUp: beside reading secrets and opening the access log again.
    func run(admin: AdminServer?, onHangUp: () -> Void = {}) {
        let (settings, log) = (startup.settings, startup.log)
        log.info(
            "started",
            [
                "version": .string(Interlock.version), "http_ports": .string("\(proxy.ports)"),
                "https_ports": .string("\(proxy.httpsPorts)"),
                "admin_ports": .string("\(admin?.ports ?? [])"), "workers": .integer(proxySettings.workerCount),
                "max_connections": .integer(proxySettings.maximumConnections),
            ])
        if settings.sharesListeners {
            log.info("ports may be shared with another process", ["how": .string(Self.takeover)])
        }
        startup.waitForStop {
            accessLog?.writer.reopen()
            publisher.reread()
            onHangUp()
        }
        if settings.sharesListeners { admin?.stepAside() }
        drain()
    }

    /// After the sources of tables have ended.
    func stop(admin: AdminServer?) {
        publisher.stop()
        admin?.stop()
        accessLog?.writer.stop()
        accessLog?.thread.join()
    }

    // MARK: The end

    /// What becomes of connections whose handshake takes longer than the old process waits.
    static var takeover: String {
        switch Machine.migratesRequests {
        case true?: "handshakes under way move to the younger process (net.ipv4.tcp_migrate_req is 1)"
        case false?: "handshakes under way at the end of the drain delay are lost (net.ipv4.tcp_migrate_req is 0)"
        case nil: "handshakes under way at the end of the drain delay are lost (no net.ipv4.tcp_migrate_req here)"
        }
    }

    /// With a shared port: how long handshakes may take that began before new connections went elsewhere.
    private static let handshakeMs = 500

    /// Says "not ready" first, then stops accepting and lets requests finish. A second signal ends at once.
    private func drain() {
        let (settings, log) = (startup.settings, startup.log)
        life.isDraining()
        log.info("draining", ["timeout_ms": .integer(settings.drainTimeoutMs)])
        var delayMs = settings.drainDelayMs
        if settings.sharesListeners {
            proxy.stepAside()
            delayMs = max(delayMs, Self.handshakeMs)
        }
        let delayEndsNs = Clock.monotonicNs() + UInt64(delayMs) * 1_000_000
        while Clock.monotonicNs() < delayEndsNs {
            let leftMs = Int((delayEndsNs - Clock.monotonicNs()) / 1_000_000) + 1
            endIfImpatient(startup.signals.wait(timeoutMs: leftMs))
        }
        proxy.drain(timeoutMs: settings.drainTimeoutMs)
        let (proxy, life) = (proxy, life)
        let waiter = try? Thread.start(name: "drain") {
            proxy.waitUntilStopped()
            life.isStopped()
        }
        guard let waiter else {
            proxy.waitUntilStopped()
            return
        }
        while !life.hasStopped { endIfImpatient(startup.signals.wait(timeoutMs: 20)) }
        waiter.join()
        log.info("stopped")
    }

    private func endIfImpatient(_ signal: Signal?) {
        guard let signal, signal != .hangUp else { return }
        startup.log.warning("second signal: ending at once")
        exitImmediately(1)
    }
}
