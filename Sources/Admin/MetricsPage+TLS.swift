// The part of /metrics about TLS: handshakes both ways, and the certificates in use.

import Telemetry

extension MetricsPage {
    /// Series about problems of certificates; who has more looks at `/api/certificates`.
    private static let problemLimit = 500

    static func appendTLS(_ source: TrafficSource, _ reading: TLSReading, to text: inout PrometheusText) {
        let counters = source.counters
        text.family("interlock_entry_connections_total", .counter, "Client connections accepted, by entry.")
        for entry in ConnectionEntry.allCases { text.sample(["entry": entry.name], counters.total(entry)) }
        text.family("interlock_tls_handshakes_total", .counter, "TLS handshakes with clients that succeeded.")
        for kind in HandshakeKind.allCases {
            text.sample(["version": kind.version, "result": kind.result], counters.total(kind))
        }
        text.family(
            "interlock_tls_handshake_failures_total", .counter,
            "TLS handshakes with clients that failed or were refused, by reason.")
        var totals: [String: UInt64] = [:]
        for entry in source.handshakeFailureNames
        where (0..<ProxyCells.handshakeFailureCapacity).contains(entry.number) {
            totals[entry.name, default: 0] &+= counters.total(handshakeFailure: entry.number)
        }
        for (name, total) in totals.sorted(by: { $0.key < $1.key }) { text.sample(["reason": name], total) }
        text.family("interlock_upstream_tls_handshakes_total", .counter, "TLS handshakes with tasks that succeeded.")
        for kind in HandshakeKind.allCases {
            text.sample(["version": kind.version, "result": kind.result], counters.total(upstream: kind))
        }
        appendCertificates(reading, to: &text)
    }

    private static func appendCertificates(_ reading: TLSReading, to text: inout PrometheusText) {
        text.family("interlock_certificates", .gauge, "Certificates in use.")
        text.sample(UInt64(reading.certificates.count))
        // Two hosts may use one certificate under one name, and a series may appear only once.
        var expiries: [String: Int64] = [:]
        for certificate in reading.certificates {
            expiries[certificate.name] = min(expiries[certificate.name] ?? .max, certificate.notAfter)
        }
        text.family(
            "interlock_certificate_not_after_timestamp_seconds", .gauge,
            "When a certificate in use expires, seconds since 1970.")
        for (name, notAfter) in expiries.sorted(by: { $0.key < $1.key }) {
            text.sample(["certificate": name], Double(notAfter))
        }
        text.family("interlock_certificate_problems", .gauge, "What is wrong with certificates now, all together.")
        text.sample(UInt64(reading.problems.count))
        text.family("interlock_certificate_problem", .gauge, "1 for each thing that is wrong with a certificate now.")
        var seen: Set<[String]> = []
        for problem in reading.problems.prefix(problemLimit) {
            let labels = [problem.certificate, problem.code, problem.host]
            guard seen.insert(labels).inserted else { continue }
            text.sample(["certificate": labels[0], "problem": labels[1], "host": labels[2]], UInt64(1))
        }
    }
}
