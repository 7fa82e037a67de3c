// Binding. A port that somebody else holds is an error: with SO_REUSEPORT alone, a second copy would silently take half
// of the connections. So each address is bound once without it first.

internal import Kernel

enum Listeners {
    struct Bound {
        /// By worker.
        var descriptors: [[Int32]]
        var ports: [UInt16]
    }

    static func bind(_ settings: ProxySettings, workerCount: Int) throws(ProxyStartError) -> Bound {
        var bound = Bound(descriptors: Array(repeating: [], count: workerCount), ports: [])
        for listen in settings.httpListen {
            do throws(SystemError) {
                try bind(listen, takesOver: settings.takesOver, workerCount: workerCount, into: &bound)
            } catch {
                for descriptor in bound.descriptors.joined() { Socket.close(descriptor) }
                throw ProxyStartError(description: explain(listen, error))
            }
        }
        return bound
    }

    private static func bind(
        _ listen: ListenAddress, takesOver: Bool, workerCount: Int, into bound: inout Bound
    ) throws(SystemError) {
        var listen = listen
        if !takesOver || listen.isDualStack {
            do throws(SystemError) {
                try Socket.probeBind(listen.address, isDualStack: listen.isDualStack)
            } catch {
                // IPv6 is off here: IPv4 alone is all that "every address" can mean.
                let hasNoIPv6 = error.code == SystemError.noFamilyCode || error.code == SystemError.noAddressCode
                if listen.isDualStack, hasNoIPv6 {
                    listen = ListenAddress(address: SocketAddress(v4: 0, port: listen.address.port))
                    if !takesOver { try Socket.probeBind(listen.address) }
                } else if !takesOver || error.code != SystemError.addressInUseCode {
                    throw error
                }
            }
        }
        var address = listen.address
        for worker in 0..<workerCount {
            let descriptor = try Socket.listen(address, sharesPort: true, isDualStack: listen.isDualStack)
            bound.descriptors[worker].append(descriptor)
            // Port 0: the first worker's choice is everybody's.
            if worker == 0 {
                let port = try Socket.localAddress(descriptor).port
                bound.ports.append(port)
                address =
                    address.family == .v6
                    ? SocketAddress(v6High: address.high, low: address.low, port: port)
                    : SocketAddress(v4: UInt32(truncatingIfNeeded: address.low), port: port)
            }
        }
    }

    private static func explain(_ listen: ListenAddress, _ error: SystemError) -> String {
        switch error.code {
        case SystemError.addressInUseCode:
            "cannot listen on \(listen): another process holds the port"
                + " (stop it, choose another INTERLOCK_HTTP_LISTEN, or set INTERLOCK_TAKEOVER=true)"
        case SystemError.notPermittedCode:
            "cannot listen on \(listen): ports below 1024 need CAP_NET_BIND_SERVICE"
                + " (run with that capability, or choose another INTERLOCK_HTTP_LISTEN)"
        default:
            "cannot listen on \(listen): \(error.reason)"
        }
    }
}
