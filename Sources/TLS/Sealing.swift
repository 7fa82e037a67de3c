// Bytes that may lie on a disk and that only who knows a secret can read or make: AES-256-GCM (NIST SP 800-38D) with
// keys by HKDF-SHA256 (RFC 5869).
//
// A sealed text is: nonce (12) | ciphertext (as long as the plain text) | tag (16). The nonce is random: one key may
// seal about 2^32 texts before two nonces are likely to be the same, which would give both away.

internal import COpenSSL

/// Seals bytes with a key. The context is not in what is sealed: who opens it must know it, and it must be the same.
public enum Sealing {
    public static let keySize = IL_SEALING_KEY_SIZE
    /// How much longer a sealed text is than the plain one.
    public static let overhead = IL_NONCE_SIZE + IL_TAG_SIZE

    /// A key of 32 bytes for one purpose, which `info` names. Another salt or purpose gives a key that says nothing
    /// about this one.
    public static func key(from secret: [UInt8], salt: [UInt8], info: String) -> [UInt8] {
        let key = derive(from: secret, salt: salt, info: Array(info.utf8), count: keySize)
        // It fails for want of memory only; a key of zeroes must never be used.
        precondition(!key.isEmpty, "no key could be derived")
        return key
    }

    /// HKDF (RFC 5869) with SHA-256; empty if it gives no key of this size.
    static func derive(from secret: [UInt8], salt: [UInt8], info: [UInt8], count: Int) -> [UInt8] {
        var key = [UInt8](repeating: 0, count: count)
        let isGood = il_hkdf_sha256(secret, secret.count, salt, salt.count, info, info.count, &key, count)
        ERR_clear_error()
        return isGood == 1 ? key : []
    }

    /// Seals `plain` so that it opens only with the same key and context. `key` has 32 bytes.
    public static func seal(
        _ plain: [UInt8], key: [UInt8], authenticating context: [UInt8]
    ) throws(TLSError) -> [UInt8] {
        precondition(key.count == keySize, "a sealing key has 32 bytes")
        var nonce = [UInt8](repeating: 0, count: IL_NONCE_SIZE)
        guard RAND_bytes(&nonce, Int32(nonce.count)) == 1 else { throw .fromQueue(.configuration, "no random bytes") }
        var sealed = [UInt8](repeating: 0, count: plain.count + IL_TAG_SIZE)
        guard il_seal(key, nonce, context, context.count, plain, plain.count, &sealed) == 1 else {
            throw .fromQueue(.configuration, "cannot seal \(plain.count) bytes")
        }
        return nonce + sealed
    }

    /// The plain text; nil: it was sealed with another key or context, or changed since. `key` has 32 bytes.
    public static func open(_ sealed: [UInt8], key: [UInt8], authenticating context: [UInt8]) -> [UInt8]? {
        precondition(key.count == keySize, "a sealing key has 32 bytes")
        let count = sealed.count - overhead
        guard count >= 0 else { return nil }
        // A plain text of no bytes still needs a place to point to.
        var plain = [UInt8](repeating: 0, count: max(1, count))
        let isGood = sealed.withUnsafeBufferPointer { bytes -> Int32 in
            guard let nonce = bytes.baseAddress else { return 0 }
            return il_open(key, nonce, context, context.count, nonce + IL_NONCE_SIZE, count, &plain)
        }
        ERR_clear_error()
        guard isGood == 1 else { return nil }
        plain.removeLast(plain.count - count)
        return plain
    }
}
