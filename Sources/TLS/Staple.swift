// Reads an OCSP response (RFC 6960) just far enough to know whether it speaks of a certificate and until when. Its
// signature is not looked at: clients do that, and to them a wrong one is as good as none.

internal import COpenSSL

enum Staple {
    /// How long a response without an end of its own is sent.
    private static let defaultLifetimeSeconds: Int64 = 86400

    /// Makes `der` the response that is sent with `certificate`.
    /// - Returns: its end in Unix seconds; nil if it is no response for this certificate.
    static func attach(_ der: [UInt8], to certificate: OpaquePointer) -> Int64? {
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let end = validUntil(der, certificate),
            il_certificate_set_staple(certificate, der, der.count, end) == 1
        else { return nil }
        return end
    }

    private static func validUntil(_ der: [UInt8], _ certificate: OpaquePointer) -> Int64? {
        let response = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var position = bytes.baseAddress
            return d2i_OCSP_RESPONSE(nil, &position, bytes.count)
        }
        guard let response else { return nil }
        defer { OCSP_RESPONSE_free(response) }
        guard OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL,
            let basic = OCSP_response_get1_basic(response)
        else { return nil }
        defer { OCSP_BASICRESP_free(basic) }
        let serial = X509_get0_serialNumber(certificate)
        for index in 0..<OCSP_resp_count(basic) {
            guard let single = OCSP_resp_get0(basic, index), let id = OCSP_SINGLERESP_get0_id(single) else { continue }
            var found: UnsafeMutablePointer<ASN1_INTEGER>?
            guard OCSP_id_get0_info(nil, nil, nil, &found, OpaquePointer(UnsafeRawPointer(id))) == 1,
                ASN1_INTEGER_cmp(found, serial) == 0
            else { continue }
            var begin: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
            var end: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
            _ = OCSP_single_get0_status(single, nil, nil, &begin, &end)
            if let end { return CertificateNames.seconds(end) }
            return CertificateNames.seconds(begin) + defaultLifetimeSeconds
        }
        return nil
    }
}
