// From settings to a controller, and from its status to what the admin pages show.

import Admin
import Controller
import Discovery
import Docker
import Glibc
import Proxy
import Telemetry

enum ControlPlane {
    /// - Throws: when nothing could ever provide a service.
    static func settings(
        _ settings: Settings, clusters: ClusterScope, log: Log
    ) throws(Interlock.Failure) -> ControllerSettings {
        let mapping = mapping(settings)
        let endpoint = try endpoint(settings, log: log)
        if endpoint == nil, settings.servicesFile == nil {
            throw Interlock.Failure(
                "nothing provides services: INTERLOCK_DOCKER=off and no INTERLOCK_SERVICES_FILE (set one of them)")
        }
        return ControllerSettings(
            docker: endpoint.map {
                DockerSettings(
                    endpoint: $0, labelPrefix: settings.labelPrefix, pollIntervalMs: settings.pollIntervalMs,
                    busyPollIntervalMs: settings.pollIntervalBusyMs)
            },
            servicesFile: settings.servicesFile, mapping: mapping, clusters: clusters,
            proxyServices: settings.proxyServices, management: settings.manageServices.management,
            controllerService: settings.controllerService, reservedSecrets: settings.reservedSecrets,
            stateDirectory: settings.stateDirectory, mayPin: settings.allowsRollback)
    }

    static func mapping(_ settings: Settings) -> MappingSettings {
        let listeners = settings.httpListen + settings.httpsListen + settings.adminListen + settings.feedListen
        let own = listeners.map(\.port).filter { $0 != 0 }
        return MappingSettings(
            labelPrefix: settings.labelPrefix, serviceCluster: settings.serviceCluster,
            proxyNetworks: settings.networks, hostOwnership: settings.hostOwnership == .stack ? .stack : .shared,
            tcpPorts: settings.tcpPorts, ownPorts: Set(own), isSSLOnly: settings.sslOnly,
            hasSharedCertificates: settings.certificatesDirectory != nil || settings.defaultCertificate != nil)
    }

    private static func endpoint(_ settings: Settings, log: Log) throws(Interlock.Failure) -> DockerEndpoint? {
        var text = "auto"
        switch settings.docker {
        case .off: return nil
        case .address(let address): text = address
        case .automatic:
            let isNamed = settings.dockerEnvironment.host != nil
            if !isNamed, settings.servicesFile != nil, access(DockerEndpoint.defaultSocketPath, F_OK) != 0 {
                log.info("no Docker socket here: services come from the services file alone")
                return nil
            }
        }
        let environment = settings.dockerEnvironment
        do throws(DockerEndpoint.Invalid) {
            return try DockerEndpoint(setting: text) { name in
                switch name {
                case "DOCKER_HOST": environment.host
                case "DOCKER_TLS_VERIFY": environment.verifiesTLS ? "1" : nil
                case "DOCKER_CERT_PATH": environment.certificatePath
                default: getenv(name).map { String(cString: $0) }
                }
            }
        } catch {
            throw Interlock.Failure(error)
        }
    }

    static func reading(_ status: ControllerStatus, proxy: ProxyServer) -> ControlReading {
        reading(status, publishedAtNs: proxy.lastPublishNs == 0 ? nil : proxy.lastPublishNs)
    }

    static func reading(_ status: ControllerStatus, publishedAtNs: UInt64?) -> ControlReading {
        ControlReading(
            docker: status.docker.map(reading), diagnostics: status.diagnostics, publishedCount: status.publishedCount,
            unchangedCount: status.unchangedCount, publishedAtNs: publishedAtNs, pin: status.pin.map { PinReading($0) })
    }

    /// Shows earlier configurations, and lets who may go back to one.
    static func addHistory(of controller: Controller, to source: inout AdminSource) {
        source.history = { HistoryReading(controller.history) }
        source.actions = AdminActions(
            rollback: { number in
                outcome("configuration \(number) is pinned") { () throws(RollbackError) in
                    try controller.rollback(to: number)
                }
            },
            resume: {
                outcome("the pin is gone: services are routed by what they say") { () throws(RollbackError) in
                    try controller.resume()
                }
            })
    }

    private static func outcome(
        _ success: String, _ act: () throws(RollbackError) -> Void
    ) -> AdminActions.Outcome {
        do throws(RollbackError) {
            try act()
            return .done(success)
        } catch {
            return error.isRefusal ? .refused(error.description) : .failed(error.description)
        }
    }

    private static func reading(_ status: DockerStatus) -> DockerReading {
        var reading = DockerReading()
        reading.isConnected = status.isConnected
        reading.isEventStreamOpen = status.isEventStreamOpen
        reading.isManager = status.isManager
        reading.apiVersion = status.apiVersion
        reading.serverVersion = status.serverVersion
        reading.eventLagMs = status.eventLagMs
        reading.lastListAgeMs = status.lastListAgeMs
        reading.lastListDurationMs = status.lastListDurationMs
        reading.fullListCount = status.fullListCount
        reading.taskListCount = status.taskListCount
        reading.failedListCount = status.failedListCount
        reading.staleListCount = status.staleListCount
        reading.eventCount = status.eventCount
        reading.unannouncedChangeCount = status.unannouncedChangeCount
        reading.taskCounts = status.taskCounts.map { (state: String(describing: $0.key), count: $0.value) }
            .sorted { $0.state < $1.state }
        reading.lastFailure = status.lastFailure
        return reading
    }
}

extension ManageServices {
    fileprivate var management: ServiceManagement {
        switch self {
        case .off: .off
        case .secrets: .secrets
        case .secretsAndNetworks: .secretsAndNetworks
        }
    }
}
