// Binding. A port that somebody else holds is an error: with SO_REUSEPORT alone, a second copy would silently take half
// of the connections. So each address is bound once without it first.

internal import Kernel

/// What a listener's connections speak.
enum Entry: Equatable, BitwiseCopyable, Sendable {
    case http
    /// TLS, with HTTP inside or passed on as it is: the ClientHello decides.
    case https
    /// An entry port of services, by the number that the table knows; whatever a PROXY header says about it.
    case stream(port: UInt16)
}

/// One worker's share of an address that is listened on.
struct Listener: BitwiseCopyable, Sendable {
    /// -1: closed; its position in the worker's list stays, and may be taken again.
    var descriptor: Int32
    let port: UInt16
    let entry: Entry
    /// It is not in the poller for a moment.
    var isPaused = false

    init(descriptor: Int32, port: UInt16, entry: Entry) {
        self.descriptor = descriptor
        self.port = port
        self.entry = entry
    }
}

enum Listeners {
    struct Bound {
        /// By worker.
        var listeners: [[Listener]]
        /// In the order of the settings.
        var httpPorts: [UInt16] = []
        var httpsPorts: [UInt16] = []
    }

    static func bind(_ settings: ProxySettings, workerCount: Int) throws(ProxyStartError) -> Bound {
        var bound = Bound(listeners: Array(repeating: [], count: workerCount))
        do throws(ProxyStartError) {
            for listen in settings.httpListen {
                bound.httpPorts.append(try add(listen, .http, settings, to: &bound))
            }
            for listen in settings.httpsListen {
                bound.httpsPorts.append(try add(listen, .https, settings, to: &bound))
            }
        } catch {
            for listener in bound.listeners.joined() { Socket.close(listener.descriptor) }
            throw error
        }
        return bound
    }

    /// Binds one address for every worker.
    /// - Returns: its port.
    private static func add(
        _ listen: ListenAddress, _ entry: Entry, _ settings: ProxySettings, to bound: inout Bound
    ) throws(ProxyStartError) -> UInt16 {
        let descriptors: [Int32]
        let port: UInt16
        do throws(SystemError) {
            // Who takes over listens when it can serve: until then all connections are the other process's.
            (descriptors, port) = try bind(
                listen, takesOver: settings.takesOver, workerCount: bound.listeners.count,
                listens: !settings.takesOver)
        } catch {
            let setting = entry == .https ? "INTERLOCK_HTTPS_LISTEN" : "INTERLOCK_HTTP_LISTEN"
            throw ProxyStartError(description: explain(listen, setting: setting, error))
        }
        for (worker, descriptor) in descriptors.enumerated() {
            bound.listeners[worker].append(Listener(descriptor: descriptor, port: port, entry: entry))
        }
        return port
    }

    /// A descriptor for every worker; all of one address. Without success, none stays open.
    static func bind(
        _ listen: ListenAddress, takesOver: Bool, workerCount: Int, listens: Bool = true
    ) throws(SystemError) -> (descriptors: [Int32], port: UInt16) {
        let listen = try probe(listen, takesOver: takesOver)
        var address = listen.address
        var descriptors: [Int32] = []
        do throws(SystemError) {
            for worker in 0..<workerCount {
                descriptors.append(try Socket.bind(address, sharesPort: true, isDualStack: listen.isDualStack))
                if listens { try Socket.startListening(descriptors[worker]) }
                guard worker == 0 else { continue }
                // Port 0: the first worker's choice is everybody's.
                let port = try Socket.localAddress(descriptors[0]).port
                address =
                    address.family == .v6
                    ? SocketAddress(v6High: address.high, low: address.low, port: port)
                    : SocketAddress(v4: UInt32(truncatingIfNeeded: address.low), port: port)
            }
        } catch {
            for descriptor in descriptors { Socket.close(descriptor) }
            throw error
        }
        return (descriptors, address.port)
    }

    /// Whether nobody else holds the address, unless we take over.
    /// - Returns: what to bind: IPv4 alone where every address is meant and IPv6 is off.
    private static func probe(_ listen: ListenAddress, takesOver: Bool) throws(SystemError) -> ListenAddress {
        guard !takesOver || listen.isDualStack else { return listen }
        do throws(SystemError) {
            try Socket.probeBind(listen.address, isDualStack: listen.isDualStack)
        } catch {
            // IPv6 is off here: IPv4 alone is all that "every address" can mean.
            let hasNoIPv6 = error.code == SystemError.noFamilyCode || error.code == SystemError.noAddressCode
            if listen.isDualStack, hasNoIPv6 {
                let only = ListenAddress(address: SocketAddress(v4: 0, port: listen.address.port))
                if !takesOver { try Socket.probeBind(only.address) }
                return only
            }
            if !takesOver || error.code != SystemError.addressInUseCode { throw error }
        }
        return listen
    }

    /// Why an address cannot be had, without the address.
    static func reason(_ error: SystemError) -> String {
        switch error.code {
        case SystemError.addressInUseCode: "another process holds the port"
        case SystemError.notPermittedCode: "ports below 1024 need CAP_NET_BIND_SERVICE"
        default: error.reason
        }
    }

    private static func explain(_ listen: ListenAddress, setting: String, _ error: SystemError) -> String {
        switch error.code {
        case SystemError.addressInUseCode:
            "cannot listen on \(listen): \(reason(error))"
                + " (stop it, choose another \(setting), or set INTERLOCK_TAKEOVER=true)"
        case SystemError.notPermittedCode:
            "cannot listen on \(listen): \(reason(error))"
                + " (run with that capability, or choose another \(setting))"
        default:
            "cannot listen on \(listen): \(reason(error))"
        }
    }
}
