// What every long-running role begins with: a log, and signals that are blocked before any thread starts, so that all
// of them inherit the mask. And the helpers that roles share at their start.

import Glibc
import Kernel
import Proxy
import Telemetry

struct Startup {
    let settings: Settings
    let log: Log
    let signals: Signals

    init(_ settings: Settings) throws(Interlock.Failure) {
        self.settings = settings
        log = Log(level: settings.logLevel)
        do throws(SystemError) {
            signals = try Signals([.terminate, .quit, .interrupt, .hangUp])
        } catch {
            throw Interlock.Failure(error)
        }
    }

    /// Waits until the process is to end; SIGHUP only calls `onHangUp`.
    func waitForStop(onHangUp: () -> Void) {
        while true {
            switch signals.wait() {
            case .hangUp: onHangUp()
            case .terminate, .quit, .interrupt: return
            case nil: continue
            }
        }
    }

    static func resolve(_ listen: ListenSetting, setting: String) throws(Interlock.Failure) -> [ListenAddress] {
        if listen.host.isEmpty { return [ListenAddress(anyHostPort: listen.port)] }
        do throws(Resolver.Failure) {
            return try listen.resolved().map { ListenAddress(address: $0) }
        } catch {
            throw Interlock.Failure("\(setting): \(error)")
        }
    }

    static func resolve(
        _ list: [ListenSetting], setting: String
    ) throws(Interlock.Failure) -> [(address: SocketAddress, isDualStack: Bool)] {
        var addresses: [(address: SocketAddress, isDualStack: Bool)] = []
        for listen in list {
            for address in try resolve(listen, setting: setting) {
                addresses.append((address.address, address.isDualStack))
            }
        }
        return addresses
    }

    static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "interlock" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
