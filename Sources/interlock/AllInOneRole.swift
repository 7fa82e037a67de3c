// The default role: watch Docker and the services file, and proxy to what they say, in one process.

import Admin
import Controller
import Docker
import Feed
import Kernel
import Proxy
import Telemetry

enum AllInOneRole {
    static func run(_ settings: Settings) throws(Interlock.Failure) -> Int32 {
        let startup = try Startup(settings)
        let log = startup.log
        let control = try ControlPlane.settings(settings, clusters: .only(settings.serviceCluster), log: log)
        let plane = try DataPlane(startup)
        let (proxy, publisher) = (plane.proxy, plane.publisher)
        let keeper = try StateKeeper(settings, cluster: settings.serviceCluster, sealingKey: nil, log: log)
        let controller = Controller(settings: control, log: log) { changes in
            keeper?.sourceSpeaks()
            for change in changes {
                publisher.publish(change.snapshot)
                keeper?.keep(FeedContent(snapshot: change.snapshot))
            }
        }
        var source = AdminStart.source(plane) { ControlPlane.reading(controller.status, proxy: proxy) }
        ControlPlane.addHistory(of: controller, to: &source)
        let admin = try AdminStart.start(settings, source, log: log)
        if let admin { plane.life.whenReady { admin.open() } }
        do throws(ControllerError) {
            try controller.start()
        } catch {
            throw Interlock.Failure(error)
        }
        let isSeen: @Sendable () -> Bool = { controller.status.docker?.isConnected ?? true }
        keeper?.serveLastGood(unlessReady: plane.life, isConfirmed: isSeen) { publisher.publish($0.snapshot) }
        plane.run(admin: admin)
        controller.stop()
        keeper?.stop()
        plane.stop(admin: admin)
        return 0
    }
}
