// The exposition format, byte for byte.

import Testing

@testable import Telemetry

@Suite struct PrometheusTextTests {
    @Test func familiesSamplesAndEscapes() {
        var text = PrometheusText()
        text.family("a_total", .counter, "Things.")
        text.sample(["service": "we\"b\\\n", "code": "2xx"], UInt64(3))
        text.sample(["service": "x"], UInt64.max)
        text.family("empty", .gauge, "Never shown.")
        text.family("b", .gauge, "Other.")
        text.sample(1.5)
        #expect(
            String(decoding: text.bytes, as: UTF8.self) == """
                # HELP a_total Things.
                # TYPE a_total counter
                a_total{service="we\\"b\\\\\\n",code="2xx"} 3
                a_total{service="x"} 18446744073709551615
                # HELP b Other.
                # TYPE b gauge
                b 1.5

                """)
    }

    @Test func histogramsAreCumulative() {
        var text = PrometheusText()
        text.family("d_seconds", .histogram, "Durations.")
        var buckets = [UInt64](repeating: 0, count: DurationBuckets.count)
        buckets[0] = 2
        buckets[13] = 1
        text.histogram("service", "web", buckets: buckets, sumUs: 12_000_500)
        let lines = String(decoding: text.bytes, as: UTF8.self).split(separator: "\n")
        #expect(lines[2] == "d_seconds_bucket{service=\"web\",le=\"0.001\"} 2")
        #expect(lines[15] == "d_seconds_bucket{service=\"web\",le=\"+Inf\"} 3")
        #expect(lines[16] == "d_seconds_sum{service=\"web\"} 12.0005")
        #expect(lines[17] == "d_seconds_count{service=\"web\"} 3")
    }

    @Test(
        arguments: [
            (0.0, "0"), (1.0, "1"), (-2.0, "-2"), (0.25, "0.25"), (1e20, "1e+20"), (.infinity, "+Inf"),
            (-.infinity, "-Inf"),
            (.nan, "NaN"),
        ] as [(Double, String)])
    func numbers(_ value: Double, _ expected: String) {
        #expect(PrometheusText.number(value) == expected)
    }
}
