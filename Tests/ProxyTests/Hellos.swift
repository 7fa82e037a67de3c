// Owns ClientHellos for tests: byte strings of TLS 1.2 shape, with or without a server name, in as many records as a
// test wants.

enum Hellos {
    /// A ClientHello in records of at most `recordSize` bytes.
    static func make(_ serverName: String?, recordSize: Int = 16384) -> [UInt8] {
        var extensions: [UInt8] = []
        if let serverName {
            let name = [0] + vector(2, Array(serverName.utf8))
            extensions += [0, 0] + vector(2, vector(2, name))
        }
        // supported_groups with X25519, so that there is an extension in any case.
        extensions += [0, 10] + vector(2, vector(2, [0, 29]))
        let body =
            [3, 3] + [UInt8](repeating: 7, count: 32) + [0] + vector(2, [0x13, 0x01]) + vector(1, [0])
            + vector(2, extensions)
        let message = [1] + vector(3, body)
        var records: [UInt8] = []
        for start in stride(from: 0, to: message.count, by: recordSize) {
            records += [22, 3, 1] + vector(2, Array(message[start..<min(message.count, start + recordSize)]))
        }
        return records
    }

    private static func vector(_ lengthSize: Int, _ bytes: [UInt8]) -> [UInt8] {
        (0..<lengthSize).map { UInt8(truncatingIfNeeded: bytes.count >> (8 * (lengthSize - 1 - $0))) } + bytes
    }
}
