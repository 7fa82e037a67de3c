// Files and folders of a test.

import Glibc
import Kernel

public func removeFile(_ path: String) { unlink(path) }

/// A new empty folder under /tmp.
public func makeFolder() throws -> String {
    let path = "/tmp/interlock-test-\(Machine.random())"
    guard mkdir(path, 0o700) == 0 else { throw SystemError(code: errno, operation: "mkdir \(path)") }
    return path
}

public func writeFile(_ path: String, _ text: String) throws {
    guard let file = fopen(path, "w") else { throw SystemError(code: errno, operation: "open \(path)") }
    defer { fclose(file) }
    guard fputs(text, file) >= 0 else { throw SystemError(code: errno, operation: "write \(path)") }
}

public func readFile(_ path: String) throws -> [UInt8] {
    guard let file = fopen(path, "r") else { throw SystemError(code: errno, operation: "open \(path)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = fread(&piece, 1, piece.count, file)
        guard count > 0 else { return bytes }
        bytes += piece[..<count]
    }
}

public func renameFile(_ from: String, to: String) throws {
    guard rename(from, to) == 0 else { throw SystemError(code: errno, operation: "rename \(from)") }
}

public func linkFile(_ path: String, to target: String) throws {
    guard symlink(target, path) == 0 else { throw SystemError(code: errno, operation: "symlink \(path)") }
}

/// Runs a program to its end.
/// - Returns: its exit status, or -1.
@discardableResult
public func runProgram(_ arguments: [String]) -> Int32 {
    let process = startProgram(arguments)
    guard process > 0 else { return -1 }
    var status: Int32 = 0
    waitpid(process, &status, 0)
    return status & 0x7F == 0 ? status >> 8 & 0xFF : -1
}

/// Starts a program with its output thrown away.
/// - Returns: its process id, or -1.
public func startProgram(_ arguments: [String]) -> Int32 {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var strings: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for string in strings { free(string) } }
    var process: pid_t = 0
    return posix_spawnp(&process, arguments[0], &actions, nil, &strings, environ) == 0 ? process : -1
}

/// Ends a program that `startProgram` started.
public func stopProgram(_ process: Int32) {
    guard process > 0 else { return }
    kill(process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
}

/// The permissions of a file; 0 if there is none.
public func mode(of path: String) -> UInt32 {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
}
