import Testing

@testable import TLS

@Suite("the feed's CA and its successor") struct FeedRotationTests {
    /// The credentials of one step.
    private struct Step {
        var stage: FeedAuthorityFile.Stage
        var controller: FeedCredential
        var proxy: FeedCredential

        init(_ file: FeedAuthorityFile) throws {
            stage = file.stage
            controller = try Self.credential(file, .controller)
            proxy = try Self.credential(file, .proxy)
        }

        private static func credential(_ file: FeedAuthorityFile, _ role: FeedIdentity.Role) throws -> FeedCredential {
            let credential = try FeedCredential(
                pem: Array(try file.issue(role: role, cluster: "", commonName: role.rawValue).utf8))
            #expect(file.isUpToDate(credential))
            return credential
        }
    }

    /// Each step reads the file that the one before wrote.
    private func steps() throws -> [Step] {
        var file = try FeedAuthorityFile()
        var steps = [try Step(file)]
        for _ in 0..<3 {
            let before = steps[steps.count - 1]
            file = try FeedAuthorityFile(pem: Array(file.pem.utf8))
            try file.rotate()
            #expect(!file.isUpToDate(before.controller))
            steps.append(try Step(file))
        }
        return steps
    }

    @Test func neighboursUnderstandEachOther() throws {
        let steps = try steps()
        #expect(steps.map(\.stage) == [.settled, .announced, .takenOver, .settled])
        for (index, one) in steps.enumerated() {
            for (otherIndex, other) in steps.enumerated() {
                let isDone = try FeedPair(client: one.proxy, server: other.controller).isDone
                #expect(
                    isDone == (abs(index - otherIndex) <= 1), "a proxy of step \(index), a controller of \(otherIndex)")
            }
        }
    }

    @Test func theFileIsReadAsItWasWritten() throws {
        var file = try FeedAuthorityFile()
        for _ in 0..<3 {
            #expect(try FeedAuthorityFile(pem: Array(file.pem.utf8)).pem == file.pem)
            #expect(FeedCredential.isCredential(Array(file.pem.utf8)))
            try file.rotate()
        }
        #expect(try FeedAuthorityFile(days: 10).lastDay < file.lastDay)
    }

    @Test func theOldKeyIsDropped() throws {
        var file = try FeedAuthorityFile()
        let oldKey = file.pem.split(separator: "-----BEGIN PRIVATE KEY-----")[1]
        try file.rotate()
        #expect(file.pem.contains(oldKey))
        try file.rotate()
        #expect(!file.pem.contains(oldKey))
    }

    @Test func otherFilesAreRefused() throws {
        let house = try FeedHouse()
        let other = try FeedHouse()
        let credential = Parts(try house.pem(.proxy))
        let rows = [
            ("", "must hold the certificate of the feed's CA and its key"),
            (house.certificate, "must hold the certificate"), (house.key, "must hold the certificate"),
            (house.certificate + other.key, "the key does not belong"),
            (house.certificate + house.key + house.key, "holds 1 certificates and 2 keys"),
            (house.certificate + house.key + other.certificate + house.key, "the key does not belong"),
            (house.certificate + house.key + other.certificate + other.certificate, "holds 3 certificates"),
            (credential.text, "no feed's CA"),
            (house.certificate + house.key + "-----END DH PARAMETERS-----\n", "DH PARAMETERS"),
            (house.certificate.replacing("MII", with: "MJJ") + house.key, "damaged"),
        ]
        for (pem, words) in rows {
            do throws(TLSError) {
                _ = try FeedAuthorityFile(pem: Array(pem.utf8))
                Issue.record("taken: \(words)")
            } catch {
                #expect(error.description.contains(words), "\(error) lacks: \(words)")
            }
        }
        _ = try FeedAuthorityFile(pem: Array((house.certificate + house.key).replacing("\n", with: "\r\n").utf8))
    }
}
