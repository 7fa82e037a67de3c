// The Prometheus text exposition format 0.0.4: families with help and type, samples with escaped labels.
// A sample belongs to the family opened last; a family without samples leaves no trace.

public struct PrometheusText {
    public enum Kind: String, Sendable { case counter, gauge, histogram }

    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    public private(set) var bytes: [UInt8] = []
    private var name = ""
    private var header = ""

    public init() { bytes.reserveCapacity(64 * 1024) }

    /// Opens a family; its header is written with its first sample. `help` ends with a full stop.
    public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        self.name = name
        header = "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    public mutating func sample(_ labels: KeyValuePairs<String, String>, _ value: UInt64) {
        line(suffix: "", labels, String(value))
    }

    public mutating func sample(_ labels: KeyValuePairs<String, String>, _ value: Double) {
        line(suffix: "", labels, Self.number(value))
    }

    public mutating func sample(_ value: UInt64) { sample([:], value) }
    public mutating func sample(_ value: Double) { sample([:], value) }

    /// All samples of one histogram with the buckets of `DurationBuckets`; `buckets` are not cumulative.
    public mutating func histogram(_ label: String, _ labelValue: String, buckets: [UInt64], sumUs: UInt64) {
        var cumulative: UInt64 = 0
        for (index, count) in buckets.enumerated() {
            cumulative &+= count
            line(suffix: "_bucket", [label: labelValue, "le": DurationBuckets.labels[index]], String(cumulative))
        }
        line(suffix: "_sum", [label: labelValue], Self.number(Double(sumUs) / 1_000_000))
        line(suffix: "_count", [label: labelValue], String(cumulative))
    }

    private mutating func line(suffix: String, _ labels: KeyValuePairs<String, String>, _ value: String) {
        bytes += header.utf8
        header = ""
        bytes += name.utf8
        bytes += suffix.utf8
        if !labels.isEmpty {
            var separator = UInt8(ascii: "{")
            for (key, text) in labels {
                bytes.append(separator)
                bytes += key.utf8
                bytes += "=\"".utf8
                appendEscaped(text)
                bytes.append(UInt8(ascii: "\""))
                separator = UInt8(ascii: ",")
            }
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: " "))
        bytes += value.utf8
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func appendEscaped(_ text: String) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes += "\\\\".utf8
            case UInt8(ascii: "\""): bytes += "\\\"".utf8
            case 0x0A: bytes += "\\n".utf8
            default: bytes.append(byte)
            }
        }
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
    }
}
