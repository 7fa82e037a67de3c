// The door between threads: who looks in from outside leaves the bell to the owner, and an end is never slept through.

import Kernel
import Support
import Telemetry
import Testing

@testable import Proxy

@Suite struct MailboxTests {
    @Test func whoIsNotTheOwnerLeavesTheBell() throws {
        let mailbox = try Mailbox<Int>()
        mailbox.post(1)
        #expect(mailbox.takeQuietly() == [1])
        #expect(mailbox.wakeup.wait(timeoutMs: 0), "the owner would sleep on")
        mailbox.post(2)
        #expect(mailbox.takeAll() == [2])
        #expect(!mailbox.wakeup.wait(timeoutMs: 0))
    }

    /// The publisher sleeps for minutes between its looks: an end that it misses would be felt as a hang.
    @Test func everyEndIsHeard() throws {
        for round in 0..<60 {
            var settings = ProxySettings()
            settings.httpListen = [ListenAddress(address: .loopback(port: 0))]
            settings.httpsListen = []
            settings.workerCount = 1
            let proxy = try ProxyServer(settings: settings, proxyID: "end", log: Log(level: .error))
            let isDone = try Collected<Bool>()
            let waiter = try Kernel.Thread.start(name: "end") {
                // Looks of others must not take the bell away either.
                proxy.drain(timeoutMs: 0)
                _ = proxy.livePublicationCount
                proxy.waitUntilStopped()
                isDone.append(true)
            }
            #expect(isDone.wait(timeoutMs: 30_000) { !$0.isEmpty }, "round \(round): the end was slept through")
            waiter.join()
        }
    }
}
