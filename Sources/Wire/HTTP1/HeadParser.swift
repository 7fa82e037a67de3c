// Owns what requests and responses have in common: one field line, strictly read. It decides left to right and never
// looks at a byte beyond the one that decides, so a message is judged the same however it was cut into pieces.
// It knows no meaning of any field.
//
//   field-line = token ":" OWS *( VCHAR / SP / HTAB / obs-text ) OWS CR LF          (RFC 9112 section 5)
//
// Refused: folding, white space before the colon, bare CR or LF, control characters, names that are no tokens.

enum LineOutcome: BitwiseCopyable {
    /// A field; `next` is the first byte of the line after it.
    case field
    /// The empty line; `next` is the first byte after the head.
    case end
    case incomplete
    case refused(Refusal.Reason)
}

enum HeadParser {
    /// Reads the line that begins at `position`; bytes at or after `limit` are not there yet.
    @inline(__always)
    static func line(
        _ base: UnsafePointer<UInt8>, at position: Int, limit: Int, into field: inout Field, next: inout Int
    ) -> LineOutcome {
        guard position < limit else { return .incomplete }
        let nameEnd = ByteScan.endOfName(base, from: position, limit: limit)
        guard nameEnd < limit else { return .incomplete }
        guard base[nameEnd] == ASCII.colon, nameEnd > position else {
            return unusual(base, at: position, stop: nameEnd, limit: limit, next: &next)
        }
        let nameCount = nameEnd &- position
        var marks = Field.Marks.none
        let id = FieldName.recognise(base + position, nameCount)
        if id == .other || id == .xForwardedOther || id == .xSSLClient {
            guard checkName(base + position, nameCount, marks: &marks) else { return .refused(.badFieldName) }
        }
        var valueStart = nameEnd &+ 1
        while valueStart < limit, ASCII.isBlank(base[valueStart]) { valueStart &+= 1 }
        let lineEnd = ByteScan.endOfValue(base, from: valueStart, limit: limit)
        guard lineEnd < limit else { return .incomplete }
        switch endOfLine(base, at: lineEnd, limit: limit) {
        case .field: break
        case let other: return other
        }
        var valueEnd = lineEnd
        while valueEnd > valueStart, ASCII.isBlank(base[valueEnd &- 1]) { valueEnd &-= 1 }
        if valueStart == nameEnd &+ 2, valueEnd == lineEnd, base[nameEnd &+ 1] == ASCII.space {
            marks.rawValue |= Field.Marks.canonical.rawValue
        }
        field = Field(
            name: ByteSpan(from: position, to: nameEnd), value: ByteSpan(from: valueStart, to: valueEnd), id: id,
            marks: marks)
        next = lineEnd &+ 2
        return .field
    }

    /// Judges the control character at `index` that ended a value or a request line: only CR LF ends a line.
    @inline(__always)
    static func endOfLine(_ base: UnsafePointer<UInt8>, at index: Int, limit: Int) -> LineOutcome {
        if base[index] == ASCII.carriageReturn {
            guard index &+ 1 < limit else { return .incomplete }
            return base[index &+ 1] == ASCII.lineFeed ? .field : .refused(.bareCarriageReturn)
        }
        return .refused(base[index] == ASCII.lineFeed ? .bareLineFeed : .badFieldValue)
    }

    /// A line without a name before its colon: the head's end, or a fault. `stop` is where the name's scan ended.
    private static func unusual(
        _ base: UnsafePointer<UInt8>, at position: Int, stop: Int, limit: Int, next: inout Int
    ) -> LineOutcome {
        let byte = base[stop]
        if stop == position {
            if byte == ASCII.carriageReturn {
                let outcome = endOfLine(base, at: stop, limit: limit)
                guard case .field = outcome else { return outcome }
                next = stop &+ 2
                return .end
            }
            if ASCII.isBlank(byte) { return .refused(.foldedField) }
        }
        if byte == ASCII.lineFeed { return .refused(.bareLineFeed) }
        return .refused(ASCII.isBlank(byte) ? .spaceBeforeColon : .badFieldName)
    }

    /// Names that were not recognised letter by letter must be tokens. Also finds underscore twins.
    @inline(__always)
    private static func checkName(_ name: UnsafePointer<UInt8>, _ count: Int, marks: inout Field.Marks) -> Bool {
        var underscores = false
        guard ByteScan.isToken(name, count, underscores: &underscores) else { return false }
        if underscores {
            marks.rawValue |= Field.Marks.underscore.rawValue
            if isGuardedTwin(name, count) { marks.rawValue |= Field.Marks.dropped.rawValue }
        }
        return true
    }

    /// Whether the name with `-` for every `_` is one that the proxy guards. The longest guarded name has 18 bytes,
    /// the families are known by their first 13.
    private static func isGuardedTwin(_ name: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { dashed in
            let size = min(count, 24)
            for index in 0..<size { dashed[index] = name[index] == ASCII.underscore ? ASCII.dash : name[index] }
            guard let start = dashed.baseAddress else { return false }
            return FieldName.recognise(UnsafePointer(start), size).isIn(FieldGroup.guarded)
        }
    }
}
