// What is read, what is refused and why, and which changes are seen however they are made.

import Kernel
import Model
import Secrets
import Support
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// One look, without watching.
private func look(_ places: SecretPlaces, _ names: Set<String> = []) throws -> SecretFiles {
    try SecretStore(places: places) { _ in }.want(names) { $0 }
}

@Suite("secret files")
struct SecretFilesTests {
    @Test("printing them shows nothing of their contents")
    func printing() {
        let files = SecretFiles(
            secrets: ["key": bytes("hunter2")], certificates: ["a.pem": bytes("hunter2")],
            defaultKey: bytes("hunter2"))
        for value in [files, files.certificatePairs] as [Any] {
            #expect(!"\(value)".contains("hunter2") && !"\(value)".contains("104"))
            #expect(!String(reflecting: value).contains("hunter2"))
            var dumped = ""
            dump(value, to: &dumped)
            #expect(!dumped.contains("hunter2") && !dumped.contains("104"))
        }
    }

    @Test("certificates find their keys and staples by name")
    func pairs() {
        let names = [
            "a.crt", "a.key", "a.ocsp", "b.pem", "b.pem.key", "b.pem.ocsp", "c.pem", "d.pem", "d-key.pem",
            "e.test/fullchain.pem", "e.test/privkey.pem", "lonely.key",
        ]
        let files = SecretFiles(certificates: Dictionary(uniqueKeysWithValues: names.map { ($0, bytes($0)) }))
        let found = files.certificatePairs.map { pair in
            [pair.name] + [pair.key, pair.staple].map { $0.map { String(decoding: $0, as: UTF8.self) } ?? "-" }
        }
        #expect(
            found == [
                ["a.crt", "a.key", "a.ocsp"], ["b.pem", "b.pem.key", "b.pem.ocsp"], ["c.pem", "-", "-"],
                ["d.pem", "d-key.pem", "-"], ["e.test/fullchain.pem", "e.test/privkey.pem", "-"],
            ])
    }

    @Test("what is named is read, and nothing else")
    func named() throws {
        let folder = try makeFolder()
        for name in ["a", "a.ocsp", "b", "c"] { try writeFile("\(folder)/\(name)", name) }
        let files = try look(SecretPlaces(secretsDirectory: folder), ["a", "b", "web_b"])
        #expect(files.secrets == ["a": bytes("a"), "a.ocsp": bytes("a.ocsp"), "b": bytes("b")])
        #expect(files.staple(ofSecret: "a") == bytes("a.ocsp") && files.staple(ofSecret: "b") == nil)
        #expect(files.failures == ["web_b": "there is no such file"])
        #expect(files.find(SecretReference("b", stack: "web"))?.name == "b")
    }

    @Test(
        "a name that is more than a name is not looked up",
        arguments: ["../secret", "a/b", "/etc/passwd", "..", ".", "", "..data", ".hidden", "a\u{0}b", "a\nb"])
    func badNames(name: String) throws {
        let folder = try makeFolder()
        #expect(runProgram(["mkdir", "\(folder)/in", "\(folder)/in/a"]) == 0)
        try writeFile("\(folder)/secret", "x")
        try writeFile("\(folder)/in/a/b", "x")
        try writeFile("\(folder)/in/.hidden", "x")
        let files = try look(SecretPlaces(secretsDirectory: folder + "/in"), [name])
        #expect(files.secrets.isEmpty)
        #expect(files.failures == [name: "is not the name of a file"])
    }

    @Test("what cannot be read is told by name, with the reason")
    func failures() throws {
        let folder = try makeFolder()
        #expect(runProgram(["mkdir", "\(folder)/directory"]) == 0)
        // A pipe that nobody writes to would hold a careless reader up for ever.
        #expect(runProgram(["mkfifo", "\(folder)/pipe"]) == 0)
        #expect(runProgram(["truncate", "-s", "1048577", "\(folder)/large"]) == 0)
        #expect(runProgram(["truncate", "-s", "1048576", "\(folder)/full"]) == 0)
        try writeFile("\(folder)/empty", "")
        try linkFile("\(folder)/dangling", to: "nowhere")
        try linkFile("\(folder)/circle", to: "circle")
        let names: Set<String> = ["directory", "pipe", "large", "full", "empty", "dangling", "circle", "absent"]
        let files = try look(SecretPlaces(secretsDirectory: folder), names)
        #expect(files.secrets.keys.sorted() == ["full"])
        #expect(files.secrets["full"]?.count == 1_048_576)
        #expect(
            files.failures == [
                "directory": "is not a file", "pipe": "is not a file", "large": "is larger than 1 MiB",
                "empty": "is empty", "dangling": "there is no such file", "absent": "there is no such file",
                "circle": "cannot be read: Too many levels of symbolic links",
            ])
        let nowhere = try look(SecretPlaces(secretsDirectory: folder + "/none"), ["a"])
        #expect(nowhere.failures == ["a": "there is no such file"])
        #expect(try look(SecretPlaces(), ["a"]).failures == ["a": "there is no such file"])
    }

    @Test("the certificates directory is read whole, certbot's way of writing included")
    func certificates() throws {
        let folder = try makeFolder()
        #expect(runProgram(["mkdir", "-p", "\(folder)/live/x.test", "\(folder)/live/empty", "\(folder)/archive"]) == 0)
        for name in ["a.pem", "a.key", "a.ocsp", "notes.txt", ".b.pem"] {
            try writeFile("\(folder)/live/\(name)", name)
        }
        for name in ["cert", "chain", "fullchain", "privkey"] {
            try writeFile("\(folder)/archive/\(name)1.pem", name)
            try linkFile("\(folder)/live/x.test/\(name).pem", to: "../../archive/\(name)1.pem")
        }
        let files = try look(SecretPlaces(certificatesDirectory: folder + "/live"))
        #expect(
            files.certificates == [
                "a.pem": bytes("a.pem"), "a.key": bytes("a.key"), "a.ocsp": bytes("a.ocsp"),
                "x.test/fullchain.pem": bytes("fullchain"), "x.test/privkey.pem": bytes("privkey"),
            ])
        #expect(files.failures.isEmpty)
        let missing = try look(SecretPlaces(certificatesDirectory: folder + "/none"))
        #expect(missing.failures == [folder + "/none": "there is no such file"])
    }

    @Test("a setting names a secret or a path")
    func singles() throws {
        let folder = try makeFolder()
        #expect(runProgram(["mkdir", "\(folder)/run"]) == 0)
        try writeFile("\(folder)/run/cert", "cert")
        try writeFile("\(folder)/key", "key")
        try writeFile("\(folder)/run/cert.ocsp", "staple")
        try writeFile("\(folder)/run/tickets", "0123456789abcdef\r\n")
        try writeFile("\(folder)/run/short", "0123456789abcde\n")
        var places = SecretPlaces(
            secretsDirectory: folder + "/run", defaultCertificate: "cert", defaultKey: folder + "/key",
            ticketKey: "tickets")
        var files = try look(places)
        #expect(files.defaultCertificate == bytes("cert") && files.defaultKey == bytes("key"))
        #expect(files.defaultStaple == bytes("staple") && files.ticketKey == bytes("0123456789abcdef"))
        #expect(files.failures.isEmpty && files.secrets.isEmpty)
        places.ticketKey = "short"
        places.defaultKey = "../key"
        files = try look(places)
        #expect(files.ticketKey == nil && files.defaultKey == nil)
        #expect(files.failures["short"]?.contains("too short") == true)
        #expect(files.failures["../key"] == "there is no such file")
    }
}

@Suite("watched secrets")
struct SecretStoreTests {
    private final class Watched {
        let folder: String
        let seen: Collected<SecretFiles>
        let store: SecretStore

        init(_ places: SecretPlaces, _ folder: String, names: Set<String> = [], slowLookMs: Int = 600_000) throws {
            self.folder = folder
            let seen = try Collected<SecretFiles>()
            self.seen = seen
            store = try SecretStore(places: places, slowLookMs: slowLookMs) { seen.append($0) }
            try store.start()
            store.want(names) { seen.append($0) }
        }

        deinit { store.stop() }

        /// Waits until the newest files are so.
        func waits(_ isSo: (SecretFiles) -> Bool) -> Bool { seen.wait { $0.last.map(isSo) == true } }
    }

    @Test("rewritten in place, renamed over, removed, and back again")
    func changes() throws {
        let folder = try makeFolder()
        try writeFile("\(folder)/a", "one")
        let watched = try Watched(SecretPlaces(secretsDirectory: folder), folder, names: ["a"])
        #expect(watched.seen.all.map { $0.secrets["a"] } == [bytes("one")])
        try writeFile("\(folder)/a", "two")
        #expect(watched.waits { $0.secrets["a"] == bytes("two") })
        try writeFile("\(folder)/new", "three")
        try renameFile("\(folder)/new", to: "\(folder)/a")
        #expect(watched.waits { $0.secrets["a"] == bytes("three") })
        removeFile("\(folder)/a")
        #expect(watched.waits { $0.secrets["a"] == nil && $0.failures["a"] != nil })
        try writeFile("\(folder)/a", "four")
        #expect(watched.waits { $0.secrets["a"] == bytes("four") && $0.failures.isEmpty })
    }

    @Test("a symbolic link that is swapped, as orchestrators mount files, and the file behind it")
    func swaps() throws {
        let folder = try makeFolder()
        for name in ["v1", "v2"] {
            #expect(runProgram(["mkdir", "\(folder)/..\(name)"]) == 0)
            try writeFile("\(folder)/..\(name)/tls.crt", name)
            try writeFile("\(folder)/..\(name)/tls.key", name)
        }
        try linkFile("\(folder)/..data", to: "..v1")
        for name in ["tls.crt", "tls.key"] { try linkFile("\(folder)/\(name)", to: "..data/\(name)") }
        let watched = try Watched(SecretPlaces(certificatesDirectory: folder), folder)
        #expect(watched.seen.all.first?.certificatePairs.map(\.name) == ["tls.crt"])
        try linkFile("\(folder)/..new", to: "..v2")
        try renameFile("\(folder)/..new", to: "\(folder)/..data")
        #expect(watched.waits { $0.certificates == ["tls.crt": bytes("v2"), "tls.key": bytes("v2")] })
        try writeFile("\(folder)/..v2/tls.key", "v3")
        #expect(watched.waits { $0.certificates["tls.key"] == bytes("v3") })
    }

    @Test("directories that appear later, however deep, and that are replaced")
    func laterDirectories() throws {
        let folder = try makeFolder()
        let places = SecretPlaces(
            secretsDirectory: folder + "/run/secrets", certificatesDirectory: folder + "/certs",
            defaultCertificate: folder + "/other/default.pem")
        let watched = try Watched(places, folder, names: ["a"])
        #expect(watched.seen.all.first?.failures.count == 3)
        #expect(runProgram(["mkdir", "-p", "\(folder)/run/secrets"]) == 0)
        try writeFile("\(folder)/run/secrets/a", "one")
        #expect(watched.waits { $0.secrets["a"] == bytes("one") })
        #expect(runProgram(["mkdir", "\(folder)/certs"]) == 0)
        try writeFile("\(folder)/certs/b.pem", "two")
        #expect(watched.waits { $0.certificates["b.pem"] == bytes("two") })
        #expect(runProgram(["mkdir", "\(folder)/certs/x.test"]) == 0)
        try writeFile("\(folder)/certs/x.test/fullchain.pem", "three")
        #expect(watched.waits { $0.certificates["x.test/fullchain.pem"] == bytes("three") })
        #expect(runProgram(["mkdir", "\(folder)/other"]) == 0)
        try writeFile("\(folder)/other/default.pem", "four")
        #expect(watched.waits { $0.defaultCertificate == bytes("four") && $0.failures.isEmpty })
        #expect(runProgram(["rm", "-r", "\(folder)/certs"]) == 0)
        #expect(watched.waits { $0.failures["\(folder)/certs"] != nil })
        #expect(runProgram(["mkdir", "\(folder)/certs"]) == 0)
        try writeFile("\(folder)/certs/c.pem", "five")
        #expect(watched.waits { $0.certificates == ["c.pem": bytes("five")] })
    }

    @Test("a certificate that is there and cannot be read stays as it was; one that is taken away is gone")
    func unreadable() throws {
        let folder = try makeFolder()
        #expect(runProgram(["mkdir", "-p", "\(folder)/certs/x.test", "\(folder)/archive"]) == 0)
        for name in ["a.pem", "b.pem", "c.pem"] { try writeFile("\(folder)/certs/\(name)", name) }
        try writeFile("\(folder)/archive/fullchain1.pem", "chain")
        try linkFile("\(folder)/certs/x.test/fullchain.pem", to: "../../archive/fullchain1.pem")
        let watched = try Watched(SecretPlaces(certificatesDirectory: folder + "/certs"), folder)
        var wanted = ["a.pem": bytes("a.pem"), "b.pem": bytes("b.pem"), "c.pem": bytes("c.pem")]
        wanted["x.test/fullchain.pem"] = bytes("chain")
        try writeFile("\(folder)/certs/a.pem", "")
        #expect(runProgram(["mkfifo", "\(folder)/pipe"]) == 0)
        try renameFile("\(folder)/pipe", to: "\(folder)/certs/b.pem")
        removeFile("\(folder)/archive/fullchain1.pem")
        #expect(watched.waits { $0.failures.count == 3 && $0.certificates == wanted })
        watched.store.reread()
        removeFile("\(folder)/certs/c.pem")
        wanted["c.pem"] = nil
        #expect(watched.waits { $0.failures.count == 3 && $0.certificates == wanted })
        try renameFile("\(folder)/certs", to: "\(folder)/other")
        #expect(watched.waits { Array($0.failures.keys) == ["\(folder)/certs"] && $0.certificates == wanted })
        try renameFile("\(folder)/other", to: "\(folder)/certs")
        removeFile("\(folder)/certs/b.pem")
        wanted["b.pem"] = nil
        try writeFile("\(folder)/certs/a.pem", "new")
        wanted["a.pem"] = bytes("new")
        #expect(watched.waits { $0.failures.count == 1 && $0.certificates == wanted })
    }

    @Test("a certificate and its key, written one after the other, are seen together")
    func together() throws {
        let folder = try makeFolder()
        let watched = try Watched(SecretPlaces(certificatesDirectory: folder), folder)
        var quickRounds: Set<UInt8> = []
        for round in UInt8(1)...5 {
            let startedNs = Clock.monotonicNs()
            try writeFile("\(folder)/a.crt", "certificate \(round)")
            Thread.sleep(milliseconds: 20)
            try writeFile("\(folder)/a.key", "key \(round)")
            // A machine that stalls between the two shows them apart, and may.
            if Clock.monotonicNs() - startedNs < 80_000_000 { quickRounds.insert(UInt8(ascii: "0") + round) }
            #expect(watched.waits { $0.certificates["a.key"] == bytes("key \(round)") })
        }
        for files in watched.seen.all.dropFirst() {
            let rounds = ["a.crt", "a.key"].map { files.certificates[$0]?.last }
            if let first = rounds[0], quickRounds.contains(first) { #expect(rounds[1] == first) }
        }
    }

    @Test("the same bytes again are no news; a change that nobody announced is seen at a slow look, or when asked for")
    func quietChanges() throws {
        let folder = try makeFolder()
        let elsewhere = try makeFolder()
        try writeFile("\(elsewhere)/a", "one")
        // A second name of the file: what is written under the one is not announced under the other.
        #expect(runProgram(["ln", "\(elsewhere)/a", "\(folder)/a"]) == 0)
        let places = SecretPlaces(secretsDirectory: folder)
        let asked = try Watched(places, folder, names: ["a"])
        let slow = try Watched(places, folder, names: ["a"], slowLookMs: 200)
        try writeFile("\(folder)/a", "one")
        try writeFile("\(folder)/b", "nobody wants it")
        try writeFile("\(elsewhere)/a", "two")
        #expect(slow.waits { $0.secrets["a"] == bytes("two") })
        asked.store.reread()
        #expect(asked.waits { $0.secrets["a"] == bytes("two") })
        #expect(slow.seen.all.count == 2)
        #expect(asked.seen.all.count == 2)
    }

    @Test("what is wanted changes with the configuration, and what was wanted before is forgotten")
    func wants() throws {
        let folder = try makeFolder()
        for name in ["a", "b"] { try writeFile("\(folder)/\(name)", "one") }
        let watched = try Watched(SecretPlaces(secretsDirectory: folder), folder, names: ["a"])
        #expect(watched.store.want(["b"]) { $0.secrets } == ["b": bytes("one")])
        try writeFile("\(folder)/a", "two")
        try writeFile("\(folder)/b", "two")
        #expect(watched.waits { $0.secrets == ["b": bytes("two")] })
        #expect(watched.seen.all.count == 2)
    }

    @Test("ten thousand certificates are looked through in a moment")
    func many() throws {
        let folder = try makeFolder()
        let content = String(repeating: "x", count: 2048)
        for index in 0..<10_000 { try writeFile("\(folder)/\(index).pem", content) }
        let store = try SecretStore(places: SecretPlaces(certificatesDirectory: folder)) { _ in }
        #expect(store.want([]) { $0.certificatePairs.count } == 10_000)
        // Once their times are older than the file system's rounding.
        Thread.sleep(milliseconds: 2_500)
        store.want([]) { _ in }
        let startedNs = Clock.monotonicNs()
        store.want([]) { _ in }
        let tookMs = (Clock.monotonicNs() - startedNs) / 1_000_000
        print("10,000 unchanged certificate files: \(tookMs) ms")
        #expect(tookMs < 5_000)
    }
}
