// The system calls around the file of the last good snapshot. A file is replaced in one step: whoever reads, and
// whenever the power goes, finds the old one or the new one. Nothing is read that another user may have written.

internal import Glibc
internal import Kernel

enum LastGoodFile {
    /// Bytes; a snapshot of 100,000 services with its secrets stays far below.
    static let sizeLimit = 256 << 20
    /// What a process that was killed has left is old by then.
    private static let leftoverAgeNs: UInt64 = 600_000_000_000
    private static let leftoverSuffix = ".new"

    static func check(directory: String) throws(LastGoodError) {
        var status = stat()
        guard stat(directory, &status) == 0 else {
            let reason = reason(errno)
            throw LastGoodError(
                .directory,
                "the state directory \(directory) cannot be used (\(reason)): make it, or mount a volume there")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw LastGoodError(.directory, "the state directory \(directory) is not a directory")
        }
        guard faccessat(AT_FDCWD, directory, R_OK | W_OK | X_OK, AT_EACCESS) == 0 else {
            let reason = reason(errno)
            throw LastGoodError(
                .directory,
                """
                the state directory \(directory) cannot be written to (\(reason)): give it to user \(geteuid()), or \
                mount a volume that this user can write to
                """)
        }
    }

    /// - Returns: nil if there is none.
    static func read(_ path: String) throws(LastGoodError) -> [UInt8]? {
        // Without O_NONBLOCK a named pipe would hold us up.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            if errno == ELOOP { throw untrusted(path, "is a symbolic link", "delete it") }
            throw unreadable(path, errno)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw unreadable(path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw untrusted(path, "is not a file", "delete it") }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw untrusted(
                path, "belongs to user \(status.st_uid), not to \(geteuid())", "delete it, or give it to \(geteuid())")
        }
        guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw untrusted(path, "can be written by others", "delete it, or make it 0600 if nobody has changed it")
        }
        guard status.st_size <= sizeLimit else {
            throw LastGoodRecord.Problem.damaged("it is larger than \(sizeLimit >> 20) MiB").described(path)
        }
        return try bytes(of: descriptor, size: Int(status.st_size), path)
    }

    /// Readable and writable by its owner alone.
    static func replace(_ path: String, in directory: String, with bytes: [UInt8]) throws(LastGoodError) {
        // A name of its own for each write: a proxy that takes over from another shares the directory with it.
        let draft = "\(path).\(String(Machine.random(), radix: 16))\(leftoverSuffix)"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw unwritable(path, errno) }
        var failure = write(bytes, to: descriptor)
        if failure == nil, fsync(descriptor) != 0 { failure = errno }
        if close(descriptor) != 0, failure == nil { failure = errno }
        if failure == nil, rename(draft, path) != 0 { failure = errno }
        if let failure {
            unlink(draft)
            throw unwritable(path, failure)
        }
        // The new name has to be on disk too.
        let folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw unwritable(path, errno) }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw unwritable(path, errno) }
    }

    /// Deletes what writers that were killed have left.
    static func removeLeftovers(directory: String, name: String, nowNs: UInt64) {
        guard let handle = opendir(directory) else { return }
        defer { closedir(handle) }
        while let entry = readdir(handle) {
            let found = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard found.hasPrefix(name + "."), found.hasSuffix(leftoverSuffix) else { continue }
            var status = stat()
            guard fstatat(dirfd(handle), found, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            let modifiedNs = UInt64(clamping: status.st_mtim.tv_sec) &* 1_000_000_000
            if modifiedNs < nowNs, nowNs - modifiedNs > leftoverAgeNs { unlinkat(dirfd(handle), found, 0) }
        }
    }

    // MARK: Inside

    private static func bytes(of descriptor: Int32, size: Int, _ path: String) throws(LastGoodError) -> [UInt8] {
        var count = 0
        var failure: Int32?
        // What a file has grown by meanwhile is not waited for: files are replaced, not changed.
        let bytes = [UInt8](unsafeUninitializedCapacity: max(1, size)) { buffer, initialized in
            while count < size, let start = buffer.baseAddress {
                let taken = Glibc.read(descriptor, start + count, size - count)
                if taken < 0, errno == EINTR { continue }
                if taken < 0 { failure = errno }
                guard taken > 0 else { break }
                count += taken
            }
            initialized = count
        }
        if let failure { throw unreadable(path, failure) }
        return bytes
    }

    /// - Returns: errno, or nil when all of it is written.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        bytes.withUnsafeBytes { buffer in
            var offset = 0
            while offset < buffer.count, let start = buffer.baseAddress {
                let count = Glibc.write(descriptor, start + offset, buffer.count - offset)
                if count < 0, errno == EINTR { continue }
                if count < 0 { return errno }
                offset += count
            }
            return nil
        }
    }

    private static func reason(_ code: Int32) -> String { SystemError(code: code, operation: "").reason }

    private static func unreadable(_ path: String, _ code: Int32) -> LastGoodError {
        LastGoodError(
            .unreadable,
            """
            the last good snapshot \(path) cannot be read (\(reason(code))): it is not used, and a controller has to \
            answer first
            """)
    }

    private static func untrusted(_ path: String, _ what: String, _ wayOut: String) -> LastGoodError {
        LastGoodError(.untrusted, "the last good snapshot \(path) \(what): it is not used; \(wayOut)")
    }

    private static func unwritable(_ path: String, _ code: Int32) -> LastGoodError {
        LastGoodError(
            .unwritable,
            """
            the last good snapshot \(path) cannot be written (\(reason(code))): should this process start anew while \
            no controller answers, it has an older one or none
            """)
    }
}
