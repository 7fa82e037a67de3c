// From the operator's settings to the data plane's.

import Kernel
import Model
import Proxy

extension ProxySettings {
    /// Descriptors that are not for connections: listeners, pollers, logs, Docker, the admin server.
    private static let reservedDescriptors: UInt64 = 256

    init(_ settings: Settings, descriptorLimit: UInt64) throws(Interlock.Failure) {
        self.init()
        for listen in settings.httpListen {
            httpListen += try Startup.resolve(listen, setting: "INTERLOCK_HTTP_LISTEN")
        }
        for listen in settings.httpsListen {
            httpsListen += try Startup.resolve(listen, setting: "INTERLOCK_HTTPS_LISTEN")
        }
        tcpPorts = settings.tcpPorts
        httpsPublicPort = UInt16(clamping: settings.httpsPublicPort)
        sslOnly = settings.sslOnly
        tls = settings.tls
        if let (list, reason) = tls.problem() {
            let (name, text) =
                switch list {
                case .ciphers: ("INTERLOCK_TLS_CIPHERS", tls.ciphers)
                case .cipherSuites: ("INTERLOCK_TLS_CIPHERSUITES", tls.cipherSuites)
                case .groups: ("INTERLOCK_TLS_GROUPS", tls.groups)
                }
            throw Interlock.Failure("\(name)=\(SettingsLoader.quoted(text)): OpenSSL cannot use it: \(reason)")
        }
        helloTimeoutMs = settings.helloTimeoutMs
        handshakeTimeoutMs = settings.handshakeTimeoutMs
        maximumHandshakes = settings.maximumHandshakes
        workerCount = settings.workerCount ?? Machine.processorCount
        takesOver = settings.sharesListeners
        requestLineSize = settings.requestLineSize
        headSize = settings.headSize
        fieldCount = settings.fieldCount
        maximumBodySize = settings.maxBodySize == 0 ? .max : settings.maxBodySize
        // Each client's connection may need one to a task.
        let room = descriptorLimit > Self.reservedDescriptors ? (descriptorLimit - Self.reservedDescriptors) / 2 : 0
        maximumConnections = settings.maxConnections ?? Int(clamping: max(64, room))
        maximumConnectionsPerClient = settings.maxConnectionsPerClient
        maximumRequestsPerConnection =
            settings.maxRequestsPerConnection == 0 ? .max : settings.maxRequestsPerConnection
        headerTimeoutMs = settings.headerTimeoutMs
        keepAliveTimeoutMs = settings.keepAliveTimeoutMs
        prefaceTimeoutMs = settings.prefaceTimeoutMs
        connectTimeoutMs = settings.connectTimeoutMs
        responseTimeoutMs = settings.responseTimeoutMs
        idleTimeoutMs = settings.idleTimeoutMs
        tunnelTimeoutMs = settings.tunnelTimeoutMs
        upstreamIdleTimeoutMs = settings.upstreamIdleTimeoutMs
        upstreamIdleLimit = settings.upstreamIdleConnections
        holdMs = settings.holdMs
        queueTimeoutMs = settings.queueTimeoutMs
        retries = settings.retryCount
        retryBufferSize = settings.retryBufferSize
        trustedProxies = settings.trustedProxies
        proxyProtocolPeers = settings.proxyProtocolPeers
        viaName = settings.viaName ?? ""
        addsForwarded = settings.addsForwarded
        showsRequestID = settings.showsRequestID
        showsInfoHeaders = settings.showsInfoHeaders
        dropsUnderscoreNames = settings.dropsUnderscoreNames
        accessLog = settings.accessLog
    }
}
