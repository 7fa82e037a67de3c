import Testing

@testable import TLS

private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

private func run(_ first: UInt8, _ count: Int) -> [UInt8] { (0..<count).map { first &+ UInt8(truncatingIfNeeded: $0) } }

@Suite("digests") struct DigestTests {
    /// FIPS 180-4, examples of NIST.
    @Test(arguments: [
        ([UInt8](), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (Array("abc".utf8), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ])
    func isSHA256(_ text: [UInt8], _ digest: String) {
        #expect(Digest.sha256(text) == bytes(digest))
        #expect(bytes(digest).count == Digest.size)
    }
}

/// RFC 5869, appendix A, the cases with SHA-256.
private struct HKDFCase: Sendable {
    var secret: [UInt8]
    var salt: [UInt8]
    var info: [UInt8]
    var key: String

    static let all = [
        HKDFCase(
            secret: [UInt8](repeating: 0x0B, count: 22), salt: run(0, 13), info: run(0xF0, 10),
            key: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        HKDFCase(
            secret: run(0, 80), salt: run(0x60, 80), info: run(0xB0, 80),
            key: """
                b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
                da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87
                """),
        HKDFCase(
            secret: [UInt8](repeating: 0x0B, count: 22), salt: [], info: [],
            key: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ]
}

/// The GCM specification (McGrew, Viega), appendix B, cases 13, 14 and 16.
private struct GCMCase: Sendable {
    var key: String
    var nonce: String
    var context = ""
    var plain = ""
    var sealed = ""
    var tag: String

    static let all = [
        GCMCase(
            key: String(repeating: "0", count: 64), nonce: String(repeating: "0", count: 24),
            tag: "530f8afbc74536b9a963b4f1c4cb738b"),
        GCMCase(
            key: String(repeating: "0", count: 64), nonce: String(repeating: "0", count: 24),
            plain: String(repeating: "0", count: 32), sealed: "cea7403d4d606b6e074ec5d3baf39d18",
            tag: "d0d1c8a799996bf0265b98b5d48ab919"),
        GCMCase(
            key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888", context: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plain: """
                d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39
                """,
            sealed: """
                522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
                """,
            tag: "76fc6ece0f4e1768cddf8853bb2d551b"),
    ]
}

@Suite("sealing") struct SealingTests {
    private let key = Sealing.key(from: Array("secret".utf8), salt: [], info: "a test")

    @Test(arguments: HKDFCase.all)
    private func keysAreHKDF(_ row: HKDFCase) {
        let key = bytes(row.key)
        #expect(Sealing.derive(from: row.secret, salt: row.salt, info: row.info, count: key.count) == key)
    }

    @Test func keysDifferByEachPart() {
        let keys: Set<[UInt8]> = [
            Sealing.key(from: [1], salt: [], info: ""), Sealing.key(from: [2], salt: [], info: ""),
            Sealing.key(from: [1], salt: [1], info: ""), Sealing.key(from: [1], salt: [], info: "1"),
            Sealing.key(from: [], salt: [], info: ""),
        ]
        #expect(keys.count == 5)
        #expect(keys.allSatisfy { $0.count == 32 })
    }

    @Test(arguments: GCMCase.all)
    private func opensWhatOthersHaveSealed(_ row: GCMCase) {
        let sealed = bytes(row.nonce) + bytes(row.sealed) + bytes(row.tag)
        #expect(Sealing.open(sealed, key: bytes(row.key), authenticating: bytes(row.context)) == bytes(row.plain))
    }

    @Test(arguments: [0, 1, 15, 16, 17, 100_000])
    func opensWhatItHasSealed(_ count: Int) throws {
        let plain = run(7, count)
        for context in [[], Array("context".utf8)] {
            let sealed = try Sealing.seal(plain, key: key, authenticating: context)
            #expect(sealed.count == count + Sealing.overhead)
            #expect(Sealing.open(sealed, key: key, authenticating: context) == plain)
        }
    }

    @Test func sealsDifferentlyEachTime() throws {
        let first = try Sealing.seal([1, 2, 3], key: key, authenticating: [])
        #expect(try Sealing.seal([1, 2, 3], key: key, authenticating: []) != first)
    }

    @Test func noticesEveryChange() throws {
        let context: [UInt8] = [1, 2]
        let sealed = try Sealing.seal(run(1, 40), key: key, authenticating: context)
        for index in sealed.indices {
            for bit in 0..<8 {
                var changed = sealed
                changed[index] ^= 1 << UInt8(bit)
                #expect(Sealing.open(changed, key: key, authenticating: context) == nil)
            }
        }
        for count in 0..<sealed.count {
            #expect(Sealing.open(Array(sealed.prefix(count)), key: key, authenticating: context) == nil)
        }
        #expect(Sealing.open(sealed + [0], key: key, authenticating: context) == nil)
        for other in [[], [1], [2, 1], [1, 2, 0]] as [[UInt8]] {
            #expect(Sealing.open(sealed, key: key, authenticating: other) == nil)
        }
        #expect(Sealing.open(sealed, key: Sealing.key(from: [1], salt: [], info: ""), authenticating: context) == nil)
    }
}
