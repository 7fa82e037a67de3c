// Socket addresses as plain values, ready for the kernel. Only this file knows sockaddr layouts.

internal import CLinux
internal import Glibc

/// An IPv4, IPv6 or Unix-domain address.
public struct SocketAddress: Hashable, Sendable {
    public enum Family: UInt8, Sendable { case v4, v6, unix }

    public let family: Family
    /// IPv6: the address's first 8 bytes in network order; else 0.
    public let high: UInt64
    /// IPv6: the last 8 bytes; IPv4: the address in the low 32 bits.
    public let low: UInt64
    public let port: UInt16
    /// Unix-domain path; "" otherwise.
    public let path: String

    public init(v4 address: UInt32, port: UInt16) {
        family = .v4
        high = 0
        low = UInt64(address)
        self.port = port
        path = ""
    }

    public init(v6High high: UInt64, low: UInt64, port: UInt16) {
        family = .v6
        self.high = high
        self.low = low
        self.port = port
        path = ""
    }

    /// - Returns: nil when the path is empty or longer than 107 bytes, which sun_path cannot hold.
    public init?(unixPath: String) {
        guard (1...107).contains(unixPath.utf8.count), !unixPath.utf8.contains(0) else { return nil }
        family = .unix
        high = 0
        low = 0
        port = 0
        path = unixPath
    }

    public static let loopback = SocketAddress(v4: 0x7F00_0001, port: 0)
    public static func loopback(port: UInt16) -> SocketAddress { SocketAddress(v4: 0x7F00_0001, port: port) }

    /// An IPv4-mapped IPv6 address as the IPv4 address it stands for; others as they are.
    public var unmapped: SocketAddress {
        guard family == .v6, high == 0, low >> 32 == 0xFFFF else { return self }
        return SocketAddress(v4: UInt32(truncatingIfNeeded: low), port: port)
    }

    var domain: Int32 {
        switch family {
        case .v4: AF_INET
        case .v6: AF_INET6
        case .unix: AF_UNIX
        }
    }

    func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        switch family {
        case .v4:
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
            return withGeneric(&address, body)
        case .v6:
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &address.sin6_addr) {
                $0.storeBytes(of: high.bigEndian, as: UInt64.self)
                $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            return withGeneric(&address, body)
        case .unix:
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            return withGeneric(&address, body)
        }
    }

    private func withGeneric<Address, Result>(
        _ address: inout Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        let length = socklen_t(MemoryLayout<Address>.size)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    init(_ storage: sockaddr_storage) {
        let family = Int32(storage.ss_family)
        self = withUnsafeBytes(of: storage) { bytes in
            switch family {
            case AF_INET:
                let address = bytes.loadUnaligned(as: sockaddr_in.self)
                return SocketAddress(
                    v4: UInt32(bigEndian: address.sin_addr.s_addr), port: UInt16(bigEndian: address.sin_port))
            case AF_INET6:
                let port = bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
                let high = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
                let low = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
                return SocketAddress(
                    v6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low), port: UInt16(bigEndian: port))
            default:
                return SocketAddress(unixPath: "(unnamed)") ?? SocketAddress(v4: 0, port: 0)
            }
        }
    }
}

extension SocketAddress: CustomStringConvertible {
    public var description: String {
        switch family {
        case .v4: "\(low >> 24 & 255).\(low >> 16 & 255).\(low >> 8 & 255).\(low & 255):\(port)"
        case .v6: "[\(hostText)]:\(port)"
        case .unix: path
        }
    }

    /// The address without the port, as the system writes it.
    public var hostText: String {
        guard family != .unix else { return path }
        return withSockaddr { pointer, length in
            var text = [CChar](repeating: 0, count: 64)
            getnameinfo(pointer, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}

/// Name look-ups through the system's resolver. They block: the control plane only.
public enum Resolver {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// All addresses of a host name or literal, in the resolver's order.
    public static func resolve(host: String, port: UInt16) throws(Failure) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &list)
        guard status == 0 else {
            throw Failure(description: "cannot resolve \"\(host)\": \(String(cString: gai_strerror(status)))")
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var entry = list
        while let current = entry {
            var storage = sockaddr_storage()
            let length = min(Int(current.pointee.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
            if let address = current.pointee.ai_addr {
                withUnsafeMutableBytes(of: &storage) {
                    $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: length))
                }
                addresses.append(SocketAddress(storage))
            }
            entry = current.pointee.ai_next
        }
        return addresses
    }
}
