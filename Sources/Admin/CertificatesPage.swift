// The certificates in use as JSON: names, hosts, validity, problems. Never a key, and no certificate either.

import Model

enum CertificatesPage {
    static func json(_ reading: TLSReading) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.array("certificates") { writer in
                for certificate in reading.certificates { append(certificate, to: &writer) }
            }
            writer.array("problems") { writer in
                for problem in reading.problems {
                    writer.object { writer in
                        writer.field("certificate", problem.certificate)
                        writer.field("problem", problem.code)
                        writer.field("host", problem.host)
                        writer.field("refused", problem.isRefused)
                        writer.field("message", problem.message)
                    }
                }
            }
        }
        return writer.bytes + [0x0A]
    }

    private static func append(_ certificate: CertificateReading, to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("name", certificate.name)
            writer.field("hosts", certificate.hosts)
            writer.field("not_before", Int(certificate.notBefore))
            writer.field("not_after", Int(certificate.notAfter))
            writer.field("key_type", certificate.keyType)
            writer.field("is_default", certificate.isDefault)
            writer.field("is_last_good", certificate.isLastGood)
        }
    }
}
