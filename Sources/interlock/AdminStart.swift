// The admin listener of any role, and what of its pages is the same for all roles that carry traffic.

import Admin
import Kernel
import Model
import Proxy
import Routing
import Telemetry

enum AdminStart {
    /// nil: the settings want none.
    static func start(
        _ settings: Settings, _ source: AdminSource, log: Log
    ) throws(Interlock.Failure) -> AdminServer? {
        guard !settings.adminListen.isEmpty else { return nil }
        let addresses = try Startup.resolve(settings.adminListen, setting: "INTERLOCK_ADMIN_LISTEN")
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

    /// What the data plane shows.
    static func source(_ plane: DataPlane, control: @escaping @Sendable () -> ControlReading) -> AdminSource {
        let (proxy, life, publisher) = (plane.proxy, plane.life, plane.publisher)
        return AdminSource(
            build: BuildInformation(version: Interlock.version),
            traffic: TrafficSource(
                counters: proxy.counters, services: proxy.registry, rejectionNames: RejectionReasons.all,
                handshakeFailureNames: HandshakeFailures.all),
            health: { life.reading },
            table: { proxy.table.version == 0 ? nil : proxy.table },
            control: control,
            tls: { publisher.certificates },
            entryPorts: { proxy.entryPorts.map { PortReading(port: $0.port, problem: $0.problem) } },
            tasks: { TasksReading(proxy) },
            snapshot: { _ in proxy.table.version == 0 ? nil : SnapshotDocument.json(snapshot: proxy.table.snapshot) },
            explain: ExplainTerms(plane.startup.settings, isProxy: true),
            refusal: { proxy.refusal(serverName: $0) },
            processNamespace: Machine.processNamespace,
            takeover: plane.startup.settings.sharesListeners ? DataPlane.takeover : "")
    }
}
