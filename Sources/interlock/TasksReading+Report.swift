// From the proxy's report about the health of tasks to what the admin pages show.

import Admin
import Proxy

extension TasksReading {
    init(_ proxy: ProxyServer) {
        let report = proxy.healthReport
        self.init(
            tasks: report.tasks.mapValues {
                TaskHealth(
                    health: $0.health, lastFailure: $0.lastFailure, failedAtNs: $0.failedAtNs,
                    avoidingWorkers: $0.avoidingWorkers)
            },
            panickingServices: report.panickingServices, probes: proxy.probes)
    }
}
