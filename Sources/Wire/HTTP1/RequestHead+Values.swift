// Owns what a request says under a name that somebody else chose: the fields that routes ask for and the cookies that
// requests are kept together by. Only names and bytes are compared, nothing is decoded, and nothing is copied.

extension RequestHead {
    /// Whether there is a field of this name, in any case, with this value byte for byte; nil: with any. Of several
    /// fields of the name, one will do.
    /// - Parameter believesPeer: what speaks for the client (X-Forwarded-For, X-Real-IP and their like) is to be
    ///   believed; from others it is not passed on, and is no field of the request.
    public func hasField(_ name: Bytes, value: Bytes?, in source: Bytes, believesPeer: Bool) -> Bool {
        if name.equalsIgnoringCase("host") {
            return value.map { authority.count == $0.count && source.slice(authority).equals($0) } ?? !authority.isEmpty
        }
        for index in 0..<fieldCount {
            let field = field(index)
            guard Int(field.name.count) == name.count, believesPeer || !field.id.isIn(FieldGroup.identity),
                source.slice(field.name).equalsIgnoringCase(name)
            else { continue }
            guard let value else { return true }
            if source.slice(field.value).equals(value) { return true }
        }
        return false
    }

    /// The value of the first field of this name, in any case, that is not empty.
    public func fieldValue(_ name: Bytes, in source: Bytes, believesPeer: Bool) -> Bytes? {
        if name.equalsIgnoringCase("host") { return authority.isEmpty ? nil : source.slice(authority) }
        for index in 0..<fieldCount {
            let field = field(index)
            guard Int(field.name.count) == name.count, !field.value.isEmpty,
                believesPeer || !field.id.isIn(FieldGroup.identity),
                source.slice(field.name).equalsIgnoringCase(name)
            else { continue }
            return source.slice(field.value)
        }
        return nil
    }

    /// The value of the first cookie of this name, which is case-sensitive, that is not empty. Browsers send one Cookie
    /// field; HTTP/2 cuts it into several, and who translates that need not have put it together again.
    public func cookieValue(_ name: Bytes, in source: Bytes) -> Bytes? {
        guard meaning.saw(.cookie) else { return nil }
        for index in 0..<fieldCount where field(index).id == .cookie {
            if let value = CookieString.value(of: name, in: source.slice(field(index).value)) { return value }
        }
        return nil
    }
}

/// The value of a Cookie field (RFC 6265 section 4.2.1): pairs of name and value between semicolons. Read as servers
/// read it: white space around a pair, its name and its value does not count, quotes are part of the value, and what
/// is no pair is passed over.
enum CookieString {
    static func value(of name: Bytes, in text: Bytes) -> Bytes? {
        var position = 0
        while position < text.count {
            let end = text.firstIndex(of: ASCII.semicolon, from: position) ?? text.count
            if let equal = text.firstIndex(of: ASCII.equal, from: position), equal < end {
                let own = ListReader.trimmed(text, from: position, to: equal)
                if own.equals(name) {
                    let value = ListReader.trimmed(text, from: equal + 1, to: end)
                    if !value.isEmpty { return value }
                }
            }
            position = end + 1
        }
        return nil
    }
}
