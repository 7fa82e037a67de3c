// Owns the entry that libFuzzer calls and the choice of target (environment variable FUZZ_TARGET). A target is a
// function over bytes that traps when a property does not hold; what the properties are stands in Targets.swift.
// Compiled together with the sources of Wire, TLS and the feed's protocol into one module by run.sh; Model is beside
// it.

import Glibc

enum Target: String, CaseIterable {
    case request, response, chunked, proxy, target, hello, tls, pem, snapshot, feed, canary
}

nonisolated(unsafe) private var chosen = Target.request

@c(LLVMFuzzerInitialize)
public func initializeFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> CInt {
    guard let name = getenv("FUZZ_TARGET"), let target = Target(rawValue: String(cString: name)) else {
        print("FUZZ_TARGET must be one of", Target.allCases.map(\.rawValue))
        exit(2)
    }
    chosen = target
    return 0
}

@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let start else { return 0 }
    let input = Bytes(start, count: count)
    switch chosen {
    case .request: fuzzRequest(input)
    case .response: fuzzResponse(input)
    case .chunked: fuzzChunked(input)
    case .proxy: fuzzProxy(input)
    case .target: fuzzTarget(input)
    case .hello: fuzzHello(input)
    case .tls: fuzzTLS(input)
    case .pem: fuzzPEM(input)
    case .snapshot: fuzzSnapshot(input)
    case .feed: fuzzFeed(input)
    case .canary: fuzzCanary(input)
    }
    return 0
}

/// A property that must hold. Prints which before it stops the run.
func require(_ holds: Bool, _ property: StaticString) {
    if holds { return }
    print("property violated:", property)
    abort()
}

/// A copy of exactly this size, so that the sanitizer sees every read beyond it.
func withExactCopy<Result>(_ input: Bytes, _ body: (Bytes) -> Result) -> Result {
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, input.count))
    defer { copy.deallocate() }
    copy.update(from: input.base, count: input.count)
    return body(Bytes(UnsafePointer(copy), count: input.count))
}

/// Places to cut a message at: all of them if it is short, else some that depend on its size.
func cuts(_ count: Int) -> [Int] {
    guard count > 1 else { return [] }
    if count <= 96 { return Array(1..<count) }
    let step = count / 48
    return Array(stride(from: 1 + count % step, to: count, by: step))
}

/// Poisoning fresh memory costs more than the targets do: one piece serves all writing.
nonisolated(unsafe) private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 19, alignment: 8)
nonisolated(unsafe) private var scratchUsed = 0

func withWriter<Result>(_ body: (inout ByteWriter) -> Result) -> Result {
    let size = 1 << 17
    let piece = UnsafeMutableRawBufferPointer(rebasing: scratch[scratchUsed..<scratchUsed + size])
    scratchUsed += size
    defer { scratchUsed -= size }
    var writer = ByteWriter(piece)
    return body(&writer)
}
