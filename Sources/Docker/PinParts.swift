// A pin cut into Docker configs, and put together again. A config holds at most 500 kB, so a pin of many services takes
// several; it counts only when all of them are there. The first part is written last and removed first, so that a
// pin appears and goes at once.

import Discovery
import Model

/// A config that is labelled as a part of a pin.
struct PinPart: Hashable, Sendable {
    /// Of the config.
    var configID: String
    var name: String
    var version: UInt64
    /// The value of the label `<prefix>pin`.
    var pinID: String
    /// The value of the label `<prefix>pin.part`: "1/3".
    var place: String
    var content: [UInt8]

    /// "2/3" as (2, 3).
    static func numbers(_ place: String) -> (index: Int, count: Int)? {
        let parts = place.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ (1...4).contains($0.utf8.count) }), let index = Int(parts[0]),
            let count = Int(parts[1]), (1...PinParts.countLimit).contains(count), (1...count).contains(index)
        else { return nil }
        return (index, count)
    }
}

enum PinParts {
    /// Labels of a config, behind the prefix: the pin that it is a part of, and which part.
    static let label = "pin"
    static let placeLabel = "pin.part"
    /// Bytes of one part; Swarm takes 500 kB.
    static let size = 400_000
    /// Bad pins that are told of.
    private static let problemLimit = 20
    /// Parts of one pin: 80 MB.
    static let countLimit = 200

    /// - Throws: for a pin that is too large.
    static func cut(_ bytes: [UInt8]) throws(PinError) -> [[UInt8]] {
        let count = max(1, (bytes.count + size - 1) / size)
        guard count <= countLimit else { throw PinError(description: "it has \(bytes.count) bytes, which is too much") }
        return (0..<count).map { Array(bytes[$0 * size..<min(bytes.count, ($0 + 1) * size)]) }
    }

    /// Pins that are whole and can be read, the newest first: by the version that Swarm gave to their first part (the
    /// same order on every manager, and no clock in it), then by the id of its config.
    static func joined(_ parts: [PinPart]) -> (pins: [Pin], problems: [Diagnostic]) {
        var found: [(pin: Pin, version: UInt64, configID: String)] = []
        var problems: [Diagnostic] = []
        for (pinID, parts) in Dictionary(grouping: parts, by: \.pinID).sorted(by: { $0.key < $1.key }) {
            // Without its first part a pin is being written or removed right now.
            guard let first = parts.first(where: { PinPart.numbers($0.place).map { $0.index == 1 } ?? true }) else {
                continue
            }
            do throws(PinError) {
                let pin = try PinDocument.decode(try content(of: parts))
                guard pin.id == pinID else {
                    throw PinError(description: "its label says \"\(pinID.prefix(40))\", and its content another id")
                }
                found.append((pin, first.version, first.configID))
            } catch {
                problems.append(
                    Diagnostic(
                        severity: .warning, service: PinnedLabels.subject, value: first.name,
                        message: "the pin in config \(first.name) is passed over: \(error.description)"))
            }
        }
        found.sort { ($0.version, $0.configID) > ($1.version, $1.configID) }
        return (found.map(\.pin), Array(problems.prefix(problemLimit)))
    }

    private static func content(of parts: [PinPart]) throws(PinError) -> [UInt8] {
        var byIndex: [Int: PinPart] = [:]
        var count: Int?
        for part in parts {
            guard let numbers = PinPart.numbers(part.place) else {
                throw PinError(description: "\"\(part.place.prefix(40))\" is no part such as 1/3")
            }
            guard count ?? numbers.count == numbers.count, byIndex.updateValue(part, forKey: numbers.index) == nil
            else { throw PinError(description: "its parts contradict each other") }
            count = numbers.count
        }
        guard let count, byIndex.count == count else {
            throw PinError(description: "only \(byIndex.count) of its \(count ?? 0) parts are there")
        }
        return (1...count).flatMap { byIndex[$0]?.content ?? [] }
    }
}
