// What a certificate says about itself: whose it is and how long it lasts. A name that holds what no host name does is
// left out, a NUL above all: it would end a C string early.

internal import COpenSSL

/// Reads what a certificate says about itself.
enum CertificateNames {
    /// DNS names; if the certificate has no alternative names at all, the common name.
    static func read(_ certificate: OpaquePointer) -> (names: [String], isCommonNameOnly: Bool) {
        if let found = alternativeNames(certificate) { return (found, false) }
        return (commonName(certificate).map { [$0] } ?? [], true)
    }

    private static func alternativeNames(_ certificate: OpaquePointer) -> [String]? {
        guard let list = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return nil }
        let stack = OpaquePointer(list)
        defer { GENERAL_NAMES_free(stack) }
        var names: [String] = []
        for index in 0..<OPENSSL_sk_num(stack) {
            guard let item = OPENSSL_sk_value(stack, index) else { continue }
            let name = item.assumingMemoryBound(to: GENERAL_NAME.self)
            guard name.pointee.type == GEN_DNS, let text = text(name.pointee.d.dNSName) else { continue }
            names.append(text)
        }
        return names
    }

    private static func commonName(_ certificate: OpaquePointer) -> String? {
        let subject = X509_get_subject_name(certificate)
        let index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, let entry = X509_NAME_get_entry(subject, index) else { return nil }
        return text(X509_NAME_ENTRY_get_data(entry))
    }

    /// A name in lower case; nil if no host has such a name.
    private static func text(_ string: UnsafeMutablePointer<ASN1_STRING>?) -> String? {
        guard let string, let data = ASN1_STRING_get0_data(string) else { return nil }
        let bytes = UnsafeBufferPointer(start: data, count: Int(ASN1_STRING_length(string)))
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }

    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard let epoch = ASN1_TIME_set(nil, 0) else { return 0 }
        defer { ASN1_TIME_free(epoch) }
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return 0 }
        return Int64(days) * 86400 + Int64(seconds)
    }
}
