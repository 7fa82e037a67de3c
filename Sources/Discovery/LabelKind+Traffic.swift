// Kinds of label values that decide which requests a route takes and how tasks are picked and probed. They become plain
// values that requests are compared with byte by byte, so each is brought to one form here.

import Model

extension LabelKind {
    /// As many header conditions, or methods, as one route may have: each is compared for each request.
    static let conditionLimit = 16

    static func token(_ text: String) throws(LabelValueError) -> String {
        guard text.isToken, text.utf8.count <= 255 else {
            throw LabelValueError(message: "write one name of letters, digits and !#$%&'*+-.^_`|~, without spaces")
        }
        return text
    }

    /// In upper case, in order, without duplicates: methods are case-sensitive, and all that are in use are upper case.
    static func methods(_ text: String) throws(LabelValueError) -> [String] {
        let methods = Set(try list(text).map { part throws(LabelValueError) in try token(part).uppercased() })
        guard (1...conditionLimit).contains(methods.count) else {
            throw LabelValueError(message: "write 1 to \(conditionLimit) methods with commas between them (GET,HEAD)")
        }
        return methods.sorted { $0.isBefore($1) }
    }

    /// `Name: value;Name`, in canonical order. Spaces around a value do not count.
    static func conditions(_ text: String) throws(LabelValueError) -> [RouteConditions.Header] {
        var headers: Set<RouteConditions.Header> = []
        for part in text.split(separator: ";").map(\.trimmed) where !part.isEmpty {
            let sides = part.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let name = sides[0].trimmed
            let value = sides.count > 1 ? sides[1].trimmed : nil
            guard name.isToken, name.utf8.count <= 255 else {
                throw LabelValueError(message: "\"\(part.shortened)\" is no header; write Name: value;Name")
            }
            guard value?.isFieldValue != false else {
                throw LabelValueError(
                    message: "\"\(part.shortened)\" has no value that a header can have; write Name: value, or Name "
                        + "alone for any value")
            }
            headers.insert(RouteConditions.Header(name: name.lowercased(), value: value))
        }
        guard (1...conditionLimit).contains(headers.count) else {
            throw LabelValueError(message: "write 1 to \(conditionLimit) headers as Name: value;Name")
        }
        return headers.sorted { $0.precedes($1) }
    }

    /// `round_robin`, or `hash:header:<name>`, in lower case.
    static func balancing(_ text: String) throws(LabelValueError) -> String {
        let lower = text.lowercased()
        if Balancing.Method(rawValue: lower) != nil { return lower }
        guard lower.hasPrefix("hash:header:"), lower.utf8.count <= 255, String(lower.dropFirst(12)).isToken else {
            throw LabelValueError(message: "write round_robin, least_conn, random or hash:header:<name>")
        }
        return lower
    }

    static func requestTarget(_ text: String) throws(LabelValueError) -> String {
        guard text.isRequestTarget else {
            throw LabelValueError(
                message: "write a path that begins with /, perhaps with a query: visible ASCII without #, at most 1024 "
                    + "bytes")
        }
        return text
    }

    /// Statuses and classes of them, as ranges in ascending order that do not touch.
    static func statuses(_ text: String) throws(LabelValueError) -> [ClosedRange<Int>] {
        var accepted: Set<Int> = []
        let parts = list(text)
        for part in parts {
            let lower = part.lowercased()
            if lower.utf8.count == 3, lower.hasSuffix("xx"), let first = digits(lower.prefix(1)), (2...5) ~= first {
                accepted.formUnion(first * 100...first * 100 + 99)
            } else if let status = digits(lower), (200...599).contains(status) {
                accepted.insert(status)
            } else {
                let what = "a status (200 to 599) or a class of them (2xx)"
                throw LabelValueError(message: "\"\(part.shortened)\" is not \(what); write a list with commas")
            }
        }
        var ranges: [ClosedRange<Int>] = []
        for status in accepted.sorted() {
            if let last = ranges.last, last.upperBound == status - 1 {
                ranges[ranges.count - 1] = last.lowerBound...status
            } else {
                ranges.append(status...status)
            }
        }
        return ranges
    }
}
