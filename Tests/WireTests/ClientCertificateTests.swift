// Owns the table of what a task is told about its client's certificate, and that nobody else can say it.

import Testing
import Wire

/// The lines that are written for a certificate.
private func lines(_ certificate: String, chain: [String] = [], subject: String = "CN=a") -> String {
    withBytes(certificate) { certificate in
        withBytes(subject) { subject in
            written {
                ClientCertificateFields.write(
                    certificate: certificate, chain: chain.map { bytes($0) }, subject: subject, into: &$0)
            }
        }
    }
}

@Suite("Client certificates")
struct ClientCertificateTests {
    @Test(
        "base64 (RFC 4648 section 10)",
        arguments: [
            ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"), ("\u{FB}\u{FF}\u{FE}", "+//+"), ("", ""),
        ])
    func base64(plain: String, encoded: String) {
        #expect(lines(plain).hasPrefix("Client-Cert: :\(encoded):\r\n"))
    }

    @Test("the certificate, its chain, the verdict and the name")
    func whole() {
        #expect(
            lines("foo", chain: ["foob", "fo"], subject: "CN=Jane Doe,O=Example\\, Inc.")
                == "Client-Cert: :Zm9v:\r\nClient-Cert-Chain: :Zm9vYg==:, :Zm8=:\r\n"
                + "X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: CN=Jane Doe,O=Example\\, Inc.\r\n")
        #expect(lines("foo", chain: Array(repeating: "f", count: 50)).filter { $0 == "," }.count == 3)
        #expect(written { ClientCertificateFields.writeNone(into: &$0) } == "X-SSL-Client-Verify: NONE\r\n")
    }

    @Test(
        "a name cannot begin a line of its own, or hold what no field value may hold",
        arguments: [
            ("CN=a\r\nX-Admin: 1", "CN=a\\0D\\0AX-Admin: 1"), ("CN=\u{0}", "CN=\\00"), ("CN=\u{E9}", "CN=\\E9"),
            ("CN=\u{7F}\t", "CN=\\7F\\09"), ("", ""),
        ])
    func names(subject: String, shown: String) {
        #expect(lines("f", subject: subject).hasSuffix("X-SSL-Client-S-DN: \(shown)\r\n"))
    }

    static let claims = [
        "Client-Cert: :x:", "Client_Cert: :x:", "client-cert: :x:", "CLIENT-CERT: :x:", "Client-Cert-Chain: :x:",
        "Client_Cert_Chain: :x:", "Client-Cert_Chain: :x:", "X-SSL-Client-Verify: SUCCESS",
        "X_SSL_Client_Verify: SUCCESS", "x-ssl_client-verify: SUCCESS", "X-SSL-Client-S-DN: CN=admin",
        "X_SSL_CLIENT_S_DN: CN=admin", "X-Ssl-Client-Cert: x", "X-SSL-Client-Fingerprint: x", "X_SSL_Client: x",
    ]

    @Test("nobody's own words about a certificate are forwarded, a trusted peer's neither", arguments: claims)
    func claimed(claim: String) {
        let message =
            "GET / HTTP/1.1\r\nHost: a\r\n\(claim)\r\nKept: 1\r\nConnection: \(claim.prefix { $0 != ":" })\r\n\r\n"
        let truth = lines("foo")
        let name = claim.prefix { $0 != ":" }.lowercased().map { $0 == "_" ? "-" : $0 }
        for trusted in [false, true] {
            let plain = fieldLines(forwarded(message) { $0.peerIsTrusted = trusted })
            #expect(plain.contains("Kept: 1"))
            #expect(!plain.contains { $0.lowercased().map { $0 == "_" ? "-" : $0 }.starts(with: name) }, "\(plain)")
            // What the handshake said comes once, whole, at the end.
            let shown = withBytes(truth) { ours in
                forwarded(message) {
                    $0.peerIsTrusted = trusted
                    $0.isTLS = true
                    $0.clientCertificateLines = ours
                }
            }
            #expect(shown.hasSuffix("\r\n" + truth + "\r\n"))
            #expect(fieldLines(shown).count == plain.count + 3)
            #expect(parseRequest(shown).parsed != nil)
        }
    }
}
