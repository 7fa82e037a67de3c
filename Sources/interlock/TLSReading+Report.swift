// From the proxy's report about certificates to what the admin pages show.

import Admin
import Proxy

extension TLSReading {
    /// - Parameters:
    ///   - now: Unix seconds; some problems come with time.
    ///   - others: problems that the proxy knows nothing of.
    init(_ report: TLSReport, atSeconds now: Int64, and others: [CertificateProblem] = []) {
        self.init(
            certificates: report.certificates.map { certificate in
                CertificateReading(
                    name: certificate.file, hosts: certificate.names, notBefore: certificate.notBefore,
                    notAfter: certificate.notAfter, keyType: certificate.key,
                    isDefault: certificate.origin == .standard, isLastGood: certificate.isLastGood)
            },
            problems: report.problems(atSeconds: now).map { problem in
                CertificateProblem(
                    certificate: problem.file, code: problem.fault.rawValue, host: problem.subject,
                    isRefused: problem.isRefused, message: problem.explanation)
            } + others)
    }
}
