// How a task is picked, and what a request must look like for a route to answer it: what services say about it, as
// plain values. Who picks is the data plane.
// Part of a snapshot: where a new field has to be added is said in Snapshot.swift.

/// How a task of a route's pool is picked.
public struct Balancing: Hashable, Sendable {
    public enum Method: String, Hashable, Sendable, BitwiseCopyable, CaseIterable {
        case roundRobin = "round_robin"
        /// The task with the fewest requests under way.
        case leastConnections = "least_conn"
        /// The one with fewer requests under way of two picked at random.
        case random
    }

    /// What a request is hashed by: equal keys go to the same task as long as it is there.
    public enum Key: Hashable, Sendable {
        /// The real client's address.
        case clientAddress
        /// The value of a cookie that the application sets.
        case cookie(String)
        /// The value of a field; its name in lower case.
        case header(String)
    }

    /// For requests without a key.
    public var method: Method
    public var key: Key?

    public init(method: Method = .roundRobin, key: Key? = nil) {
        self.method = method
        self.key = key
    }
}

extension Balancing {
    /// For people: only what was asked for.
    public var terms: [String] {
        var terms: [String] = []
        switch key {
        case .cookie(let name): terms.append("by cookie \(name)")
        case .header(let name): terms.append("by header \(name)")
        case .clientAddress: terms.append("by client address")
        case nil: break
        }
        if method != .roundRobin { terms.append(method.rawValue) }
        return terms
    }
}

/// What a request must have for a route to answer it. All of it must hold.
public struct RouteConditions: Hashable, Sendable {
    public struct Header: Hashable, Sendable {
        /// In lower case.
        public var name: String
        /// Compared byte for byte; nil: the field is there, whatever its value.
        public var value: String?

        public init(name: String, value: String? = nil) {
            self.name = name
            self.value = value
        }
    }

    /// In order of name and value, without duplicates.
    public var headers: [Header]
    /// One of these; as written in requests, in order, without duplicates. Empty: any.
    public var methods: [String]

    public init(headers: [Header] = [], methods: [String] = []) {
        self.headers = headers
        self.methods = methods
    }

    public var isEmpty: Bool { headers.isEmpty && methods.isEmpty }
}

extension RouteConditions {
    /// The order in which routes of one host and path are asked: who asks for more goes first, by the number of
    /// headers, then of those that name a value; then who names methods, the fewer the sooner; then by their text, so
    /// that the order is the same everywhere.
    public func precedes(_ other: RouteConditions) -> Bool {
        if headers.count != other.headers.count { return headers.count > other.headers.count }
        let (valueCount, otherValueCount) = (headers.count { $0.value != nil }, other.headers.count { $0.value != nil })
        if valueCount != otherValueCount { return valueCount > otherValueCount }
        if methods.isEmpty != other.methods.isEmpty { return other.methods.isEmpty }
        if methods.count != other.methods.count { return methods.count < other.methods.count }
        for (own, others) in zip(headers, other.headers) where own != others { return own.precedes(others) }
        for (own, others) in zip(methods, other.methods) where own != others { return own.isBefore(others) }
        return false
    }
}

extension RouteConditions.Header {
    /// Canonical order: by name, then value; a name alone goes first.
    public func precedes(_ other: Self) -> Bool {
        guard name == other.name else { return name.isBefore(other.name) }
        switch (value, other.value) {
        case (let own?, let others?): return own.isBefore(others)
        case (nil, .some): return true
        case (_, nil): return false
        }
    }
}

extension RouteConditions: CustomStringConvertible {
    /// `x-preview: green; x-team; GET, POST`; "" without any.
    public var description: String {
        let fields = headers.map { header in header.value.map { "\(header.name): \($0)" } ?? header.name }
        return (fields + (methods.isEmpty ? [] : [methods.joined(separator: ", ")])).joined(separator: "; ")
    }
}
