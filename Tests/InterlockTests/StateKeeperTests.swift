// What is on disk and what a source says: whichever comes when, the source has the last word.

import Feed
import Kernel
import Model
import Support
import Telemetry
import Testing

@testable import interlock

@Suite struct StateKeeperTests {
    private func keeper(_ directory: String) throws -> StateKeeper {
        let settings = try SettingsLoader.load(environment: ["INTERLOCK_STATE_DIR": directory])
        return try #require(try StateKeeper(settings, cluster: "", sealingKey: nil, log: Log(level: .error)))
    }

    private func content(_ name: String) -> FeedContent {
        FeedContent(
            snapshot: Snapshot(configuration: Configuration(services: [Service(id: name, name: name)]), endpoints: [[]])
        )
    }

    @Test func whatIsOnDiskIsServedWholeBeforeASourceSpeaks() throws {
        let directory = try makeFolder()
        try keeper(directory).keep(content("old"))
        let keeper = try keeper(directory)
        defer { keeper.stop() }
        let served = try Collected<String>()
        keeper.serveLastGood(unlessReady: Life()) { content in
            served.append("begins")
            Thread.sleep(milliseconds: 300)
            served.append(content.snapshot.configuration.services[0].name)
        }
        #expect(served.wait { $0 == ["begins"] })
        keeper.sourceSpeaks()
        served.append("new")
        #expect(served.all == ["begins", "old", "new"])
    }

    @Test func whatIsOnDiskIsNotServedOnceASourceHasSpoken() throws {
        let directory = try makeFolder()
        try keeper(directory).keep(content("old"))
        let keeper = try keeper(directory)
        let served = try Collected<String>()
        keeper.sourceSpeaks()
        keeper.serveLastGood(unlessReady: Life()) { _ in served.append("old") }
        Thread.sleep(milliseconds: StateKeeper.patienceMs + 300)
        keeper.stop()
        #expect(served.all == [])
    }
}
