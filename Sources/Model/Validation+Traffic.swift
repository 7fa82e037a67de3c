// What must hold for the values that decide which task gets a request, and when: conditions, balancing, health checks,
// limits. The data plane compiles them without looking twice.

extension RouteConditions {
    func check(_ place: String, _ problems: inout ProblemList) {
        for (index, header) in headers.enumerated() {
            if index > 0, !headers[index - 1].precedes(header) {
                problems.add("\(place): header conditions are out of order or twice")
            }
            if !header.name.isToken || header.name != header.name.lowercased() {
                problems.add("\(place): the condition \(header.name) is not a header's name in lower case")
            }
            if header.value?.isFieldValue == false {
                problems.add("\(place): no request can have the value that \(header.name) is to have")
            }
        }
        for (index, method) in methods.enumerated() {
            if index > 0, !methods[index - 1].isBefore(method) {
                problems.add("\(place): methods are out of order or twice")
            }
            if !method.isToken { problems.add("\(place): \(method) is not a method") }
        }
    }
}

extension Balancing {
    func check(_ place: String, _ problems: inout ProblemList) {
        switch key {
        case .header(let name):
            if !name.isToken || name != name.lowercased() {
                problems.add("\(place): \(name) is not a header's name in lower case")
            }
        case .cookie(let name):
            if !name.isToken { problems.add("\(place): \(name) is not a cookie's name") }
        case .clientAddress, nil: break
        }
    }

    /// Where no request is seen there is nothing to hash but the address.
    func checkUnseen(_ place: String, _ problems: inout ProblemList) {
        if key != nil, key != .clientAddress { problems.add("\(place) hashes what no connection shows") }
    }
}

extension ServiceOptions {
    func checkTraffic(_ place: String, _ problems: inout ProblemList) {
        let durations = [slowStartMs, failTimeoutMs, holdMs, queueTimeoutMs, maxFails]
        if durations.contains(where: { ($0 ?? 0) < 0 }) { problems.add("\(place) has a negative option") }
        if let weight, !(0...1000).contains(weight) { problems.add("\(place) has a weight beyond 0 to 1000") }
        if let maxConnections, maxConnections < 1 { problems.add("\(place) lets nobody in") }
        health?.check(place, &problems)
    }
}

extension HealthCheck {
    func check(_ place: String, _ problems: inout ProblemList) {
        if intervalMs < 1 || timeoutMs < 1 || rise < 1 || fall < 1 || port == 0 {
            problems.add("\(place) is probed never, at port 0, or without end")
        }
        if !path.isRequestTarget { problems.add("\(place) is probed at a path that no request can have") }
        if statuses.isEmpty { problems.add("\(place) is probed for no status") }
        for (index, range) in statuses.enumerated() {
            if range.lowerBound < 100 || range.upperBound > 599 {
                problems.add("\(place) is probed for statuses that there are not")
            }
            if index > 0, statuses[index - 1].upperBound >= range.lowerBound {
                problems.add("\(place): statuses of its probes are out of order or overlap")
            }
        }
    }
}

extension String {
    /// A token of RFC 9110, 5.6.2: methods, names of fields and of cookies.
    public var isToken: Bool {
        !isEmpty
            && utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
    }

    /// A field's value as a request can have it: no controls but tabs, nothing but visible bytes at its ends.
    public var isFieldValue: Bool {
        guard let first = utf8.first, let last = utf8.last else { return false }
        return first > 0x20 && last > 0x20 && utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 9 }
    }

    /// A path with or without a query, as the first line of a request has it.
    public var isRequestTarget: Bool {
        utf8.first == UInt8(ascii: "/") && utf8.count <= 1024
            && utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }
    }
}
