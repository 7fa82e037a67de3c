// The last good snapshot on disk: it comes back, keys are never in it in clear, and whatever else is found under its
// name is refused with a sentence.

import Glibc
import Model
import Support
import TLS
import Testing

@testable import Feed

private let now: UInt64 = 1_800_000_000_000_000_000
private let second: UInt64 = 1_000_000_000
private let key = [UInt8](repeating: 7, count: 32)
private let day = 86_400_000
private let privateKey = Array("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg".utf8)

private func content(_ name: String = "web", secrets: SecretFiles? = nil) -> FeedContent {
    FeedContent(
        snapshot: Snapshot(
            order: SnapshotOrder(clusterID: "swarm", version: 42, listedAtNs: 43),
            configuration: Configuration(
                services: [Service(id: "1", name: name)], routes: [Route(host: .exact("web.test"), services: [0])]),
            endpoints: [[Upstream(id: "task", endpoint: Endpoint(address: IPAddress(v4: 0x0A00_0001), port: 80))]]),
        secrets: secrets
            ?? SecretFiles(
                secrets: ["web.key": privateKey], certificates: ["x.pem": privateKey], defaultCertificate: privateKey,
                defaultKey: privateKey, ticketKey: privateKey, failures: ["other": "there is no such file"]))
}

/// A state directory that goes when the test ends.
private final class Folder {
    let path: String
    var file: String { "\(path)/last-good" }

    init() throws { path = try makeFolder() }

    func lastGood(key: [UInt8]? = key, cluster: String = "", maximumAgeMs: Int = day) throws -> LastGood {
        try LastGood(directory: path, sealingKey: key, cluster: cluster, maximumAgeMs: maximumAgeMs)
    }

    func write(_ bytes: [UInt8], mode: mode_t = 0o600) {
        unlink(file)
        let descriptor = open(file, O_WRONLY | O_CREAT, 0o600)
        #expect(bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count)
        close(descriptor)
        #expect(chmod(file, mode) == 0)
    }

    var status: stat {
        var status = stat()
        stat(file, &status)
        return status
    }

    deinit { runProgram(["rm", "-rf", path]) }
}

private func error(_ body: () throws -> Void) -> LastGoodError? {
    do {
        try body()
        return nil
    } catch {
        return error as? LastGoodError
    }
}

@Suite struct LastGoodTests {
    @Test("what was saved is loaded by another process, with its secrets")
    func roundTrip() throws {
        let folder = try Folder()
        #expect(try folder.lastGood().load(nowNs: now) == nil)
        try folder.lastGood().save(content(), atNs: now)
        let loaded = try #require(try folder.lastGood().load(nowNs: now + second))
        #expect(loaded.content == content() && loaded.savedAtNs == now && loaded.missingSecrets == nil)
        #expect(folder.status.st_mode & 0o7777 == 0o600)
    }

    @Test("a snapshot without secrets needs no key")
    func withoutSecrets() throws {
        let folder = try Folder()
        let plain = content(secrets: SecretFiles())
        try folder.lastGood(key: nil).save(plain, atNs: now)
        let loaded = try #require(try folder.lastGood(key: nil).load(nowNs: now))
        #expect(loaded.content == plain && loaded.missingSecrets == nil)
    }

    @Test("no byte of a key is on disk in clear, nor the key it is sealed with")
    func keysAreSealed() throws {
        let folder = try Folder()
        for sealingKey in [key, nil] {
            try folder.lastGood(key: sealingKey).save(content(), atNs: now)
            let bytes = try readFile(folder.file)
            #expect(contains(bytes, Array("web.test".utf8)), "the snapshot is in clear")
            for start in stride(from: 0, to: privateKey.count - 8, by: 8) {
                #expect(!contains(bytes, Array(privateKey[start..<start + 8])))
            }
            for hidden in ["web.key", "x.pem", "no such file"] { #expect(!contains(bytes, Array(hidden.utf8))) }
            #expect(!contains(bytes, key))
        }
    }

    @Test("secrets that cannot be opened are left out, and it is said why")
    func otherKeys() throws {
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        for (other, reason) in [
            ([UInt8](repeating: 8, count: 32), "another feed credential"), (nil, "no feed credential"),
        ] {
            let loaded = try #require(try folder.lastGood(key: other).load(nowNs: now))
            #expect(loaded.content == content(secrets: SecretFiles()))
            #expect(
                loaded.missingSecrets?.contains(reason) == true && loaded.missingSecrets?.contains(folder.file) == true)
        }
        try folder.lastGood(key: nil).save(content(), atNs: now)
        let loaded = try #require(try folder.lastGood().load(nowNs: now))
        #expect(loaded.missingSecrets?.contains("were not kept") == true)
        #expect(loaded.content.secrets == SecretFiles())
    }

    @Test("secrets do not go with another snapshot")
    func secretsBelongToTheirSnapshot() throws {
        let folder = try Folder()
        try folder.lastGood().save(content("one"), atNs: now)
        let first = try readFile(folder.file)
        try folder.lastGood().save(content("two"), atNs: now)
        let other = try readFile(folder.file)
        #expect(first.count == other.count)
        // The clear part of the one before the sealed part of the other, with a checksum that fits.
        let border = try #require(zip(first, other).enumerated().first { $0.element.0 != $0.element.1 }?.offset)
        var mixed = Array(other[..<(border + 3)] + first[(border + 3)...].dropLast(Digest.size))
        mixed += Digest.sha256(mixed)
        folder.write(mixed)
        let loaded = try folder.lastGood().load(nowNs: now)
        #expect(loaded?.content.secrets == SecretFiles() && loaded?.missingSecrets != nil)
    }

    @Test("what another service cluster was told is not used, nor sealed anew")
    func otherClusters() throws {
        let folder = try Folder()
        let green = try folder.lastGood(cluster: "green")
        try green.save(content(), atNs: now)
        for (cluster, name) in [("", "the default service cluster"), ("blue", "the service cluster \"blue\"")] {
            let problem = try #require(error { _ = try folder.lastGood(cluster: cluster).load(nowNs: now) })
            #expect(problem.kind == .foreign)
            for part in ["\"green\"", name, folder.file] { #expect(problem.description.contains(part)) }
        }
        try green.reseal(with: [UInt8](repeating: 9, count: 32), cluster: "blue")
        #expect(try folder.lastGood(cluster: "green").load(nowNs: now)?.missingSecrets == nil)
        // The file may go on as another's from its next snapshot on.
        try green.save(content("new"), atNs: now)
        let other = try folder.lastGood(key: [UInt8](repeating: 9, count: 32), cluster: "blue")
        #expect(try other.load(nowNs: now)?.content == content("new"))
    }

    @Test("the same again is written once a minute, something new at once")
    func rewriting() throws {
        let folder = try Folder()
        let lastGood = try folder.lastGood()
        try lastGood.touch(atNs: now)
        #expect(try lastGood.load(nowNs: now) == nil)
        try lastGood.save(content(), atNs: now)
        let inode = folder.status.st_ino
        try lastGood.save(content(), atNs: now + 59 * second)
        try lastGood.touch(atNs: now + 59 * second)
        #expect(folder.status.st_ino == inode)
        try lastGood.touch(atNs: now + 60 * second)
        #expect(try lastGood.load(nowNs: now + 60 * second)?.savedAtNs == now + 60 * second)
        try lastGood.save(content("other"), atNs: now + 61 * second)
        #expect(try lastGood.load(nowNs: now + 61 * second)?.content == content("other"))
        // A process that starts from it goes on where the other one was.
        let next = try folder.lastGood()
        _ = try next.load(nowNs: now + 70 * second)
        try next.save(content("other"), atNs: now + 90 * second)
        #expect(try next.load(nowNs: now + 90 * second)?.savedAtNs == now + 61 * second)
        try next.touch(atNs: now + 121 * second)
        #expect(try folder.lastGood().load(nowNs: now + 130 * second)?.content == content("other"))
        #expect(try folder.lastGood().load(nowNs: now + 130 * second)?.savedAtNs == now + 121 * second)
    }

    @Test("what is too old is not used; a clock that went back makes nothing too old")
    func age() throws {
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        let lastGood = try folder.lastGood(maximumAgeMs: 7_200_000)
        #expect(try lastGood.load(nowNs: now + 7200 * second) != nil)
        let problem = error { _ = try lastGood.load(nowNs: now + 7201 * second) }
        #expect(problem?.kind == .tooOld && problem?.description.contains("is 2 h old") == true, "\(problem as Any)")
        #expect(try lastGood.load(nowNs: now - 7200 * second) != nil)
        #expect(try folder.lastGood(maximumAgeMs: .max).load(nowNs: .max) != nil)
    }

    @Test("a file that is cut off anywhere is damaged")
    func truncation() throws {
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        let whole = try readFile(folder.file)
        let lastGood = try folder.lastGood()
        for count in 0..<whole.count {
            folder.write(Array(whole[..<count]))
            #expect(error { _ = try lastGood.load(nowNs: now) }?.kind == .damaged, "\(count) bytes")
        }
        folder.write(whole + [0])
        #expect(error { _ = try lastGood.load(nowNs: now) }?.kind == .damaged)
    }

    @Test("a file with another byte anywhere is damaged, or has another format")
    func flips() throws {
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        let whole = try readFile(folder.file)
        for offset in whole.indices {
            var bytes = whole
            bytes[offset] ^= UInt8(1 << (offset % 8))
            #expect(readKind(bytes) == (offset == LastGoodRecord.magic.count ? .format : .damaged), "byte \(offset)")
        }
    }

    @Test("bytes with a checksum that fits are refused all the same, or make sense", arguments: 1...300)
    func forgeries(_ seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let owner = LastGoodOwner(cluster: "", key: key)
        var bytes = try LastGoodRecord.bytes(of: content(), atNs: now, for: owner).dropLast(Digest.size)
        for _ in 0..<random.number(1...4) {
            switch random.number(0...2) {
            case 0: bytes[random.number(21...bytes.count - 1)] = UInt8(truncatingIfNeeded: random.next())
            case 1: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: random.number(21...bytes.count))
            default: bytes.remove(at: random.number(21...bytes.count - 1))
            }
        }
        let folder = try Folder()
        folder.write(Array(bytes) + Digest.sha256(Array(bytes)))
        let lastGood = try folder.lastGood(maximumAgeMs: .max)
        let problem = error { _ = try lastGood.load(nowNs: now) }
        #expect(problem == nil || problem?.kind == .damaged || problem?.kind == .foreign, "\(problem as Any)")
    }

    @Test("a file of another version says so")
    func otherFormat() throws {
        let folder = try Folder()
        folder.write(LastGoodRecord.magic + [255] + .init(repeating: 0, count: 100))
        let problem = error { _ = try folder.lastGood().load(nowNs: now) }
        #expect(problem?.kind == .format && problem?.description.contains("format 255") == true)
        folder.write(Array("something else".utf8))
        #expect(error { _ = try folder.lastGood().load(nowNs: now) }?.kind == .damaged)
        folder.write([])
        #expect(error { _ = try folder.lastGood().load(nowNs: now) }?.kind == .damaged)
    }

    @Test("a damaged file is replaced by the next snapshot")
    func recovery() throws {
        let folder = try Folder()
        folder.write([1, 2, 3])
        let lastGood = try folder.lastGood()
        #expect(error { _ = try lastGood.load(nowNs: now) } != nil)
        try lastGood.save(content(), atNs: now)
        #expect(try lastGood.load(nowNs: now)?.content == content())
    }

    @Test("a file that others may write is refused", arguments: [0o620, 0o602, 0o666] as [mode_t])
    func permissions(_ mode: mode_t) throws {
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        #expect(chmod(folder.file, mode) == 0)
        let problem = error { _ = try folder.lastGood().load(nowNs: now) }
        #expect(problem?.kind == .untrusted && problem?.description.contains("written by others") == true)
        // Who may save replaces it, mode and all.
        try folder.lastGood().save(content(), atNs: now)
        #expect(folder.status.st_mode & 0o7777 == 0o600)
    }

    @Test("a file of another user is refused")
    func ownership() throws {
        guard geteuid() == 0 else { return }
        let folder = try Folder()
        try folder.lastGood().save(content(), atNs: now)
        #expect(chown(folder.file, 65_532, 65_532) == 0)
        let problem = error { _ = try folder.lastGood().load(nowNs: now) }
        #expect(problem?.kind == .untrusted && problem?.description.contains("user 65532") == true)
    }

    @Test("what is no file is refused, and nobody waits for it")
    func otherThings() throws {
        let folder = try Folder()
        let lastGood = try folder.lastGood()
        #expect(mkfifo(folder.file, 0o600) == 0)
        #expect(error { _ = try lastGood.load(nowNs: now) }?.kind == .untrusted)
        unlink(folder.file)
        try linkFile(folder.file, to: "/etc/hostname")
        #expect(error { _ = try lastGood.load(nowNs: now) }?.kind == .untrusted)
        unlink(folder.file)
        #expect(mkdir(folder.file, 0o700) == 0)
        #expect(error { _ = try lastGood.load(nowNs: now) }?.kind == .untrusted)
        let problem = error { try lastGood.save(content(), atNs: now) }
        #expect(problem?.kind == .unwritable && problem?.description.contains(folder.file) == true)
        #expect(leftovers(folder).isEmpty, "a write that failed leaves nothing")
    }

    @Test("a directory that is not there or is a file is an error at start")
    func directories() throws {
        let folder = try Folder()
        try writeFile("\(folder.path)/file", "")
        for (path, words) in [("missing", "make it"), ("file", "is not a directory")] {
            let problem = error {
                _ = try LastGood(directory: "\(folder.path)/\(path)", sealingKey: nil, cluster: "", maximumAgeMs: day)
            }
            #expect(problem?.kind == .directory && problem?.description.contains(words) == true, "\(problem as Any)")
            #expect(problem?.description.contains("\(folder.path)/\(path)") == true)
        }
        // Not even root makes files there.
        guard access("/proc/self", W_OK) != 0 else { return }
        let problem = error {
            _ = try LastGood(directory: "/proc/self", sealingKey: nil, cluster: "", maximumAgeMs: day)
        }
        #expect(problem?.kind == .directory && problem?.description.contains("cannot be written to") == true)
    }

    @Test("what a killed writer left is deleted once it is old")
    func leftoversGo() throws {
        let folder = try Folder()
        for name in ["last-good.old.new", "last-good.young.new", "other.new"] {
            try writeFile("\(folder.path)/\(name)", "x")
        }
        for name in ["last-good.old.new", "other.new"] {
            runProgram(["touch", "-d", "1 hour ago", "\(folder.path)/\(name)"])
        }
        _ = try folder.lastGood()
        #expect(leftovers(folder) == ["last-good.young.new", "other.new"])
    }

    private func leftovers(_ folder: Folder) -> [String] {
        var names: [String] = []
        guard let handle = opendir(folder.path) else { return [] }
        defer { closedir(handle) }
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".new") { names.append(name) }
        }
        return names.sorted()
    }

    private func readKind(_ bytes: [UInt8]) -> LastGoodError.Kind? {
        do throws(LastGoodRecord.Problem) {
            _ = try LastGoodRecord(bytes)
            return nil
        } catch {
            return error.described("").kind
        }
    }

    private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        bytes.indices.dropLast(part.count - 1).contains { bytes[$0...].starts(with: part) }
    }
}
