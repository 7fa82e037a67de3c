// The hash by which parts of the feed are named: who has the bytes of that name has the right bytes.

internal import COpenSSL

/// SHA-256.
public enum Digest {
    public static let size = 32

    public static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        _ = SHA256(bytes, bytes.count, &digest)
        return digest
    }
}
