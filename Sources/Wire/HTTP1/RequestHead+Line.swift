// Owns the request line: method, target in its four forms, version (RFC 9112 section 3).
//
//   GET /path?query HTTP/1.1          origin      everything but the following
//   GET http://host/path HTTP/1.1     absolute    its authority replaces the Host field
//   OPTIONS * HTTP/1.1                asterisk    OPTIONS only
//   CONNECT host:port HTTP/1.1        authority   refused with 405
//
// The target is kept as it came, byte for byte; what no target may hold is refused. Decoding is PathPolicy's work.

import Glibc

extension Method {
    /// Longer than any registered name; a longer token is an attack or another protocol.
    static var sizeLimit: Int { 32 }
}

/// The parts of one request line, relative to the message.
struct RequestLine: BitwiseCopyable {
    var method = Method.other
    var methodName = ByteSpan.empty
    var version = HTTPVersion.http11
    var form = TargetForm.origin
    var target = ByteSpan.empty
    var path = ByteSpan.empty
    var query = ByteSpan.empty
    var hasQuery = false
    var authority = ByteSpan.empty
    var authorityHost = ByteSpan.empty

    /// `.field`: the line is whole and `next` is the first byte after it.
    @inline(__always)
    mutating func parse(
        _ base: UnsafePointer<UInt8>, count: Int, limit headLimit: Int, limits: HeadLimits, next: inout Int
    ) -> LineOutcome {
        var start = 0
        if headLimit > 0, base[0] == ASCII.carriageReturn || base[0] == ASCII.lineFeed {
            switch HeadParser.endOfLine(base, at: 0, limit: headLimit) {
            case .field: start = 2
            case let other: return other
            }
        }
        // The line and its CR LF; one byte more decides that it is too long.
        let lineLimit = start &+ limits.requestLineSize &+ 2
        let limit = min(headLimit, lineLimit)
        let outcome = parseParts(base, from: start, limit: limit, next: &next)
        if case .incomplete = outcome, count > lineLimit, limit == lineLimit { return .refused(.uriTooLong) }
        return outcome
    }

    @inline(__always)
    private mutating func parseParts(
        _ base: UnsafePointer<UInt8>, from start: Int, limit: Int, next: inout Int
    ) -> LineOutcome {
        let methodLimit = min(limit, start &+ Method.sizeLimit &+ 1)
        var index = start
        while index < methodLimit, ASCII.isToken(base[index]) { index &+= 1 }
        guard index < methodLimit else {
            return index &- start > Method.sizeLimit ? .refused(.badMethod) : .incomplete
        }
        guard base[index] == ASCII.space, index > start else { return .refused(.badMethod) }
        method = Method.recognise(base + start, index &- start)
        methodName = ByteSpan(from: start, to: index)
        if method == .connect { return .refused(.connectRefused) }

        let targetStart = index &+ 1
        let targetEnd = ByteScan.endOfTarget(base, from: targetStart, limit: limit)
        guard targetEnd < limit else { return .incomplete }
        guard base[targetEnd] == ASCII.space else { return Self.fault(base, at: targetEnd, limit: limit) }
        guard targetEnd > targetStart else { return .refused(.badRequestLine) }
        target = ByteSpan(from: targetStart, to: targetEnd)
        if let reason = readTarget(base, from: targetStart, to: targetEnd) { return .refused(reason) }
        return readVersion(base, at: targetEnd &+ 1, limit: limit, next: &next)
    }

    /// What ended a target that no space ended. A line end here is HTTP/0.9 or a target of nothing.
    private static func fault(_ base: UnsafePointer<UInt8>, at index: Int, limit: Int) -> LineOutcome {
        switch base[index] {
        case ASCII.lineFeed: return .refused(.bareLineFeed)
        case ASCII.carriageReturn:
            switch HeadParser.endOfLine(base, at: index, limit: limit) {
            case .field: return .refused(.badVersion)
            case let other: return other
            }
        default: return .refused(.badTarget)
        }
    }

    @inline(__always)
    private mutating func readTarget(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Refusal.Reason? {
        if base[from] == ASCII.slash {
            form = .origin
            splitPath(base, from: from, to: to)
            return nil
        }
        if to &- from == 1, base[from] == 0x2A {
            form = .asterisk
            path = ByteSpan(from: from, to: to)
            return method == .options ? nil : .badTarget
        }
        return readAbsolute(base, from: from, to: to)
    }

    private mutating func readAbsolute(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Refusal.Reason? {
        form = .absolute
        let start: Int
        if to - from > 7, ByteScan.matches(base + from, 4, "http"), Self.isSchemeEnd(base + from + 4) {
            start = from + 7
        } else if to - from > 8, ByteScan.matches(base + from, 5, "https"), Self.isSchemeEnd(base + from + 5) {
            start = from + 8
        } else {
            return .badTarget
        }
        var end = start
        while end < to, base[end] != ASCII.slash, base[end] != ASCII.questionMark { end += 1 }
        guard let parsed = Authority.parse(base, from: start, to: end) else { return .badHost }
        authority = ByteSpan(from: start, to: end)
        authorityHost = parsed.host
        splitPath(base, from: end, to: to)
        return nil
    }

    private static func isSchemeEnd(_ base: UnsafePointer<UInt8>) -> Bool {
        base[0] == ASCII.colon && base[1] == ASCII.slash && base[2] == ASCII.slash
    }

    @inline(__always)
    private mutating func splitPath(_ base: UnsafePointer<UInt8>, from: Int, to: Int) {
        guard to > from, let mark = memchr(base + from, Int32(ASCII.questionMark), to &- from) else {
            path = ByteSpan(from: from, to: to)
            return
        }
        let end = UnsafeRawPointer(mark) - UnsafeRawPointer(base)
        path = ByteSpan(from: from, to: end)
        query = ByteSpan(from: end &+ 1, to: to)
        hasQuery = true
    }

    /// `HTTP/1.` digit CR LF. Names are case-sensitive, there is one digit on each side of the dot.
    @inline(__always)
    private mutating func readVersion(
        _ base: UnsafePointer<UInt8>, at start: Int, limit: Int, next: inout Int
    ) -> LineOutcome {
        let name: StaticString = "HTTP/"
        var index = 0
        while index < 5 {
            guard start &+ index < limit else { return .incomplete }
            guard base[start &+ index] == name.utf8Start[index] else { return .refused(.badVersion) }
            index &+= 1
        }
        guard start &+ 8 < limit else { return .incomplete }
        let major = base[start &+ 5]
        let minor = base[start &+ 7]
        guard ASCII.isDigit(major), base[start &+ 6] == ASCII.dot, ASCII.isDigit(minor) else {
            return .refused(.badVersion)
        }
        switch HeadParser.endOfLine(base, at: start &+ 8, limit: limit) {
        case .field: break
        case .incomplete: return .incomplete
        case .refused(.badFieldValue), .end: return .refused(.badVersion)
        case .refused(let reason): return .refused(reason)
        }
        guard major == 0x31 else { return .refused(major >= 0x32 ? .unsupportedVersion : .badVersion) }
        version = minor == 0x30 ? .http10 : .http11
        next = start &+ 10
        return .field
    }
}
