// Who somebody is in the feed: read out of a certificate that the feed's own authority has signed. The certificate's
// one alternative name says it, a URI such as
//
//   interlock:controller:    interlock:proxy:    interlock:proxy:blue    interlock:extension:blue
//   interlock:authority      (the CA itself)
//
// The last part is the service cluster, percent-encoded (RFC 3986) in one way only; it is empty for the default group.
// Reading is strict: one name, one spelling, the key usage of the role, no authority. Anything else is nobody.

internal import COpenSSL

/// Role and service cluster, as a certificate of the feed states them. Nobody is believed about either otherwise.
public struct FeedIdentity: Hashable, Sendable {
    public enum Role: String, CaseIterable, Hashable, Sendable {
        case controller, proxy
        case extension_ = "extension"

        /// As in `a proxy`.
        public var article: String { self == .extension_ ? "an extension" : "a \(rawValue)" }
    }

    public var role: Role
    /// The service cluster; empty: the default group. Of a controller it means nothing: it serves all.
    public var cluster: String
    /// For people.
    public var commonName: String
    /// Unix seconds.
    public var notAfterSeconds: Int64

    public init(role: Role, cluster: String, commonName: String, notAfterSeconds: Int64) {
        self.role = role
        self.cluster = cluster
        self.commonName = commonName
        self.notAfterSeconds = notAfterSeconds
    }

    /// The last day, as in `2028-11-28`.
    public var lastDay: String { FeedDate.text(notAfterSeconds) }

    /// As in `proxy of cluster blue ("proxy-blue")`.
    var text: String {
        let place = cluster.isEmpty || role == .controller ? "" : " of cluster \(cluster)"
        return "\(role.rawValue)\(place) (\"\(commonName)\")"
    }
}

/// The URIs of the feed's certificates.
enum FeedName {
    static let scheme = "interlock:"
    static let authority = "interlock:authority"
    /// The organization in the subject, for people who look at one.
    static let organization = "Interlock feed"
    /// A service cluster is what the label `service_cluster` may hold.
    static let clusterLimit = 255

    /// nil: no cluster can have this name.
    static func uri(_ role: FeedIdentity.Role, cluster: String) -> String? {
        guard isCluster(cluster.utf8) else { return nil }
        return "\(scheme)\(role.rawValue):\(encoded(cluster.utf8))"
    }

    /// nil: not the one spelling of a role and a cluster.
    static func parse(_ uri: [UInt8]) -> (role: FeedIdentity.Role, cluster: String)? {
        for role in FeedIdentity.Role.allCases {
            let prefix = Array("\(scheme)\(role.rawValue):".utf8)
            guard uri.starts(with: prefix), let cluster = decoded(uri.dropFirst(prefix.count)), isCluster(cluster),
                Array(encoded(cluster).utf8) == Array(uri.dropFirst(prefix.count))
            else { continue }
            return (role, String(decoding: cluster, as: UTF8.self))
        }
        return nil
    }

    private static func isCluster(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.count <= clusterLimit && bytes.allSatisfy { (0x21..<0x7F).contains($0) }
    }

    /// Everything but RFC 3986's unreserved characters as `%` and two digits.
    static func encoded(_ bytes: some Collection<UInt8>) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                text.append(byte)
            default: text += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// What the feed reads in a certificate. Whether its signature is good is for others to judge.
enum FeedCertificate {
    /// Why a certificate is nobody's in the feed.
    struct Objection: Error, Equatable {
        let text: String
    }

    static func identity(_ certificate: OpaquePointer) throws(Objection) -> FeedIdentity {
        let names = alternativeNames(certificate)
        if names == [Array(FeedName.authority.utf8)] {
            throw Objection(text: "it is the certificate of the feed's CA, which only signs others")
        }
        // A CA by its constraints is one for us, whatever its key usage says.
        guard X509_check_ca(certificate) == 0, X509_get_extension_flags(certificate) & UInt32(EXFLAG_CA) == 0 else {
            throw Objection(text: "it is the certificate of a CA")
        }
        guard let names, names.count == 1, let name = FeedName.parse(names[0]) else {
            throw Objection(text: "it is no certificate of a feed: interlock feed-init makes those")
        }
        guard let commonName = commonName(certificate) else {
            throw Objection(text: "its subject has no common name, or a strange one")
        }
        guard X509_get_key_usage(certificate) & UInt32(KU_DIGITAL_SIGNATURE) != 0,
            X509_get_extended_key_usage(certificate) == usage(of: name.role)
        else { throw Objection(text: "its key usage is not that of \(name.role.article)") }
        return FeedIdentity(
            role: name.role, cluster: name.cluster, commonName: commonName,
            notAfterSeconds: CertificateNames.seconds(X509_get0_notAfter(certificate)))
    }

    /// The feed's own CA, as far as the certificate says so.
    static func isAuthority(_ certificate: OpaquePointer) -> Bool {
        X509_check_ca(certificate) == 1 && alternativeNames(certificate) == [Array(FeedName.authority.utf8)]
    }

    /// It has to do with a feed, whether or not it can be used in one.
    static func isRelated(_ certificate: OpaquePointer) -> Bool {
        let scheme = Array(FeedName.scheme.utf8)
        return uris(certificate).contains { $0.starts(with: scheme) }
    }

    /// What a peer with this role does: a controller is a server, all others are clients.
    private static func usage(of role: FeedIdentity.Role) -> UInt32 {
        UInt32(role == .controller ? XKU_SSL_SERVER : XKU_SSL_CLIENT)
    }

    /// The URIs, if there are no names of other kinds and no second list of names.
    private static func alternativeNames(_ certificate: OpaquePointer) -> [[UInt8]]? {
        guard let (count, found) = names(certificate), count == found.count else { return nil }
        return found
    }

    private static func uris(_ certificate: OpaquePointer) -> [[UInt8]] { names(certificate)?.uris ?? [] }

    private static func names(_ certificate: OpaquePointer) -> (count: Int, uris: [[UInt8]])? {
        // It gives nothing if there are two such extensions.
        guard let list = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else {
            ERR_clear_error()
            return nil
        }
        let stack = OpaquePointer(list)
        defer { GENERAL_NAMES_free(stack) }
        let count = OPENSSL_sk_num(stack)
        var found: [[UInt8]] = []
        for index in 0..<max(0, count) {
            guard let item = OPENSSL_sk_value(stack, index) else { continue }
            let name = item.assumingMemoryBound(to: GENERAL_NAME.self)
            guard name.pointee.type == GEN_URI, let text = name.pointee.d.uniformResourceIdentifier else { continue }
            found.append(bytes(text))
        }
        return (Int(count), found)
    }

    private static func commonName(_ certificate: OpaquePointer) -> String? {
        let subject = X509_get_subject_name(certificate)
        let index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, X509_NAME_get_index_by_NID(subject, NID_commonName, index) < 0,
            let text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index))
        else { return nil }
        let name = bytes(text)
        return isCommonName(name) ? String(decoding: name, as: UTF8.self) : nil
    }

    /// It stands in logs and on the status page: printable ASCII, and no more than X.509 allows.
    static func isCommonName(_ bytes: some Collection<UInt8>) -> Bool {
        (1...64).contains(bytes.count) && bytes.allSatisfy { (0x20..<0x7F).contains($0) }
    }

    private static func bytes(_ string: UnsafeMutablePointer<ASN1_STRING>) -> [UInt8] {
        Array(UnsafeBufferPointer(start: ASN1_STRING_get0_data(string), count: Int(ASN1_STRING_length(string))))
    }
}
