// A piece of JSON as a tree that forgets nothing: fields that nobody here knows, their order, and every number and
// string as it was spelled. For the one use that must send back what it read: an object of the engine with a small
// change in it. Lists are read by `JSONReader`, which builds no tree.

import Model

indirect enum JSONTree: Hashable, Sendable {
    /// A string, a number, true, false or null, byte for byte.
    case scalar([UInt8])
    case array([JSONTree])
    case object([Member])

    struct Member: Hashable, Sendable {
        var name: String
        /// The name as it was spelled, with its quotes.
        var spelling: [UInt8]
        var value: JSONTree
    }

    /// Swarm itself refuses objects larger than its messages, which are 4 MiB.
    static let sizeLimit = 4 << 20
    /// The engine's own objects nest about ten deep.
    static let depthLimit = 64

    init(_ bytes: [UInt8]) throws(JSONError) {
        guard bytes.count <= Self.sizeLimit else {
            throw JSONError(kind: .syntax, offset: Self.sizeLimit, message: "more than \(Self.sizeLimit) bytes")
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw JSONError(kind: .syntax, offset: 0, message: "the text is no UTF-8")
        }
        var parser = JSONTreeParser(bytes)
        self = try parser.document()
    }

    static let null = JSONTree.scalar(Array("null".utf8))

    static func string(_ text: String) -> JSONTree {
        var writer = JSONWriter()
        writer.value(text)
        return .scalar(writer.bytes)
    }

    static func number(_ value: some BinaryInteger) -> JSONTree { .scalar(Array(String(value).utf8)) }

    /// An object whose fields are in this order.
    static func fields(_ fields: KeyValuePairs<String, JSONTree>) -> JSONTree {
        .object(fields.map { Member($0.key, $0.value) })
    }

    // MARK: Reading

    var isNull: Bool { self == .null }

    /// A string's text; nil for all else.
    var text: String? {
        guard case .scalar(let spelling) = self, spelling.first == UInt8(ascii: "\"") else { return nil }
        var reader = JSONReader(spelling)
        return try? reader.string()
    }

    /// A number without sign, fraction or exponent; nil for all else.
    var unsigned: UInt64? {
        guard case .scalar(let spelling) = self else { return nil }
        return UInt64(String(decoding: spelling, as: UTF8.self))
    }

    /// A field's value; nil if this is no object, has no such field, or null in it.
    subscript(_ name: String) -> JSONTree? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }.flatMap { $0.value.isNull ? nil : $0.value }
    }

    /// A list's elements; none for all else.
    var elements: [JSONTree] {
        guard case .array(let elements) = self else { return [] }
        return elements
    }

    /// An object's fields that are strings.
    var strings: [String: String] {
        guard case .object(let members) = self else { return [:] }
        let pairs = members.compactMap { member in member.value.text.map { (member.name, $0) } }
        return Dictionary(pairs) { first, _ in first }
    }

    // MARK: Changing

    /// Puts a field in its place, or after all others; nil takes it out.
    /// - Throws: if this is neither an object nor null.
    mutating func set(_ name: String, _ value: JSONTree?) throws(JSONError) {
        try change(at: []) { (members) throws(JSONError) in
            let index = members.firstIndex { $0.name == name }
            switch (index, value) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append(Member(name, value))
            case (nil, nil): break
            }
        }
    }

    /// Changes the object at a path of names; what is missing or null on the way becomes an object.
    mutating func change(
        at path: ArraySlice<String>, _ body: (inout [Member]) throws(JSONError) -> Void
    ) throws(JSONError) {
        var members: [Member]
        switch self {
        case .object(let own): members = own
        case .null: members = []
        default: throw JSONError(kind: .mismatch, offset: 0, message: "expected an object")
        }
        if let name = path.first {
            let index = members.firstIndex { $0.name == name } ?? members.count
            if index == members.count { members.append(Member(name, .null)) }
            try members[index].value.change(at: path.dropFirst(), body)
        } else {
            try body(&members)
        }
        self = .object(members)
    }

    // MARK: Writing

    /// Without white space, as the engine writes it.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    private func append(to bytes: inout [UInt8]) {
        switch self {
        case .scalar(let spelling): bytes += spelling
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                bytes += member.spelling
                bytes.append(UInt8(ascii: ":"))
                member.value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }
}

extension JSONTree.Member {
    init(_ name: String, _ value: JSONTree) {
        self.name = name
        self.value = value
        var writer = JSONWriter()
        writer.value(name)
        spelling = writer.bytes
    }
}
