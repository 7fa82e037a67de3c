// The role `proxy`: proxies to what a controller tells. It knows no Docker and needs none; without a controller it
// serves what it was told last.

import Admin
import Feed
import Kernel
import Model
import Proxy
import Routing
import TLS
import Telemetry

enum ProxyRole {
    static func run(_ settings: Settings) throws(Interlock.Failure) -> Int32 {
        let startup = try Startup(settings)
        let log = startup.log
        let credential = try FeedCredentialFile(settings, role: .proxy, log: log)
        let plane = try DataPlane(startup)
        let (proxy, publisher) = (plane.proxy, plane.publisher)
        let feed = try FeedSubscription(settings, credential: credential, log: log) { content in
            publisher.publish(content.snapshot, received: content.secrets)
        }
        var source = AdminStart.source(plane) {
            ControlReading(
                diagnostics: proxy.table.snapshot.diagnostics, publishedCount: feed.client.status.appliedCount,
                publishedAtNs: proxy.lastPublishNs == 0 ? nil : proxy.lastPublishNs)
        }
        source.feed = { FeedReading(source: FeedOrigin(feed.client.status)) }
        let admin = try AdminStart.start(settings, source, log: log)
        if let admin { plane.life.whenReady { admin.open() } }
        try feed.start()
        plane.run(admin: admin) { feed.rereadCredential() }
        feed.stop()
        plane.stop(admin: admin)
        return 0
    }
}
