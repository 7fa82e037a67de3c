// Reads a whole file, with a limit. The one place of this target that opens files.

import Glibc
import Kernel

enum FileBytes {
    /// - Throws: what the system said; EFBIG for more than `limit` bytes.
    static func read(_ path: String, limit: Int) throws(SystemError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError(code: errno, operation: "open \(path)") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &piece, piece.count)
            if count == 0 { return bytes }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw SystemError(code: errno, operation: "read \(path)")
            }
            guard bytes.count + count <= limit else { throw SystemError(code: EFBIG, operation: "read \(path)") }
            bytes += piece[..<count]
        }
    }
}
