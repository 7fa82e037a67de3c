// One small file of the state directory: replaced as a whole, so that a reader finds the old content or the new one
// whatever happens in between, and readable by its owner alone. Nothing is read that another user may have written.

import Glibc
import Kernel

struct StateFile: Sendable {
    let path: String
    private let directory: String

    /// - Parameter directory: made when something is written, if it is not there.
    init(_ name: String, in directory: String) {
        self.directory = directory
        path = directory + "/" + name
    }

    /// - Returns: nil if there is no such file.
    /// - Throws: what the system said; EFBIG for more than `limit` bytes.
    func read(limit: Int) throws(SystemError) -> [UInt8]? {
        // Without O_NONBLOCK a named pipe would hold us up.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw SystemError(code: errno, operation: "open \(path)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError(code: errno, operation: "stat \(path)") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SystemError(code: EINVAL, operation: "read \(path)") }
        let isOurs = status.st_uid == geteuid() || status.st_uid == 0
        guard isOurs, status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw SystemError(code: EPERM, operation: "trust \(path), which others may have written")
        }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
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

    func write(_ bytes: [UInt8]) throws(SystemError) {
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw SystemError(code: errno, operation: "mkdir \(directory)")
        }
        let draft = path + ".new"
        // What a crash left behind.
        unlink(draft)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SystemError(code: errno, operation: "open \(draft)") }
        do throws(SystemError) {
            try Self.writeAll(bytes, descriptor, draft)
            guard fsync(descriptor) == 0 else { throw SystemError(code: errno, operation: "fsync \(draft)") }
        } catch {
            close(descriptor)
            unlink(draft)
            throw error
        }
        close(descriptor)
        guard rename(draft, path) == 0 else { throw SystemError(code: errno, operation: "rename \(draft)") }
        syncDirectory()
    }

    /// - Returns: false if there was none.
    func remove() throws(SystemError) -> Bool {
        guard unlink(path) == 0 else {
            if errno == ENOENT { return false }
            throw SystemError(code: errno, operation: "unlink \(path)")
        }
        syncDirectory()
        return true
    }

    private static func writeAll(_ bytes: [UInt8], _ descriptor: Int32, _ path: String) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done)
            }
            guard count >= 0 else {
                if errno == EINTR { continue }
                throw SystemError(code: errno, operation: "write \(path)")
            }
            done += count
        }
    }

    /// The new name must outlive a power cut too. Not all file systems can do that, and none must.
    private func syncDirectory() {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        close(descriptor)
    }
}
