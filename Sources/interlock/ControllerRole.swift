// The role `controller`: watches Docker and the services file, and tells proxies and extensions what they say. It
// carries no traffic.

import Admin
import Controller
import Docker
import Feed
import Kernel
import Model
import Routing
import TLS
import Telemetry

enum ControllerRole {
    static func run(_ settings: Settings) throws(Interlock.Failure) -> Int32 {
        let startup = try Startup(settings)
        let log = startup.log
        _ = Machine.raiseDescriptorLimit()
        let credential = try FeedCredentialFile(settings, role: .controller, log: log)
        let control = try ControlPlane.settings(settings, clusters: .all, log: log)
        let life = Life()
        let relay = try FeedRelay(settings, credential: credential, life: life, log: log)
        // Proxies keep their own; the controller's is that of the default group, for a start without Docker.
        let keeper = try StateKeeper(settings, cluster: "", sealingKey: credential.current.stateKey, log: log)
        if let keeper { credential.whenRenewed { keeper.reseal(with: $0.stateKey, cluster: "") } }
        let controller = Controller(settings: control, log: log) { changes in
            keeper?.sourceSpeaks()
            relay.publish(changes)
            if let content = relay.content(of: "") { keeper?.keep(content) }
        }
        relay.whenWanted { controller.want(cluster: $0) }
        var source = adminSource(settings, life: life, relay: relay, controller: controller)
        ControlPlane.addHistory(of: controller, to: &source)
        let admin = try AdminStart.start(settings, source, log: log)
        try relay.start()
        do throws(ControllerError) {
            try controller.start()
        } catch {
            throw Interlock.Failure(error)
        }
        // Proxies turn away from a controller that does not see the cluster, if another one does.
        let sight = try Ticker(name: "sight", everyMs: 1_000) {
            relay.server.isCurrent = controller.status.docker?.isConnected ?? true
        }
        keeper?.serveLastGood(unlessReady: life, isConfirmed: { relay.server.isCurrent }) { content in
            relay.publish([ClusterSnapshot(cluster: "", snapshot: content.snapshot)])
        }
        log.info(
            "started",
            [
                "version": .string(Interlock.version), "role": "controller",
                "feed_ports": .string("\(relay.server.ports)"), "admin_ports": .string("\(admin?.ports ?? [])"),
            ])
        startup.waitForStop { relay.reread() }
        life.isDraining()
        log.info("stopping: proxies go on with what they have, and turn to another controller")
        sight.stop()
        controller.stop()
        keeper?.stop()
        relay.stop()
        admin?.stop()
        return 0
    }

    private static func adminSource(
        _ settings: Settings, life: Life, relay: FeedRelay, controller: Controller
    ) -> AdminSource {
        @Sendable func table(of cluster: String) -> RouteTable? {
            guard let content = relay.content(of: cluster) else { return nil }
            var numbering = Numbering()
            return RouteTable(
                compiling: content.snapshot, version: content.snapshot.order.version, numbering: &numbering)
        }
        return AdminSource(
            build: BuildInformation(version: Interlock.version),
            health: { life.reading },
            table: { table(of: "") },
            control: { ControlPlane.reading(controller.status, publishedAtNs: nil) },
            tls: { TLSReading(problems: relay.problems) },
            feed: { FeedReading(clients: relay.server.clients.map { FeedPeer($0) }) },
            snapshot: { cluster in
                relay.content(of: cluster ?? "").map { SnapshotDocument.json(snapshot: $0.snapshot) }
            },
            clusterTable: { table(of: $0) }, explain: ExplainTerms(settings, isProxy: false),
            processNamespace: Machine.processNamespace)
    }
}
