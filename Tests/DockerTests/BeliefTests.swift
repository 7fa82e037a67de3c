// What the watcher believes: versions that go back, motion, and which container it is itself.

import Discovery
import Testing

@testable import Docker

@Suite struct VersionGuardTests {
    private let second: UInt64 = 1_000_000_000

    @Test func aListThatGoesBackIsDroppedForTenSeconds() {
        var guardian = VersionGuard()
        #expect(guardian.judge(clusterID: "c", versions: ["a": 5, "b": 9], isWhole: true, nowNs: 0) == .accepted)
        let stale = guardian.judge(clusterID: "c", versions: ["a": 5, "b": 8], isWhole: true, nowNs: second)
        #expect(stale == .stale(id: "b", seen: 9, listed: 8))
        #expect(
            guardian.judge(clusterID: "c", versions: ["a": 4], isWhole: true, nowNs: 10 * second)
                == .stale(id: "a", seen: 5, listed: 4))
        #expect(
            guardian.judge(clusterID: "c", versions: ["a": 4, "b": 8], isWhole: true, nowNs: 11 * second)
                == .acceptedAfterWaiting)
        #expect(guardian.judge(clusterID: "c", versions: ["a": 4], isWhole: true, nowNs: 12 * second) == .accepted)
        #expect(guardian.highest == 9)
    }

    @Test func aGoodListInBetweenStartsTheWaitAnew() {
        var guardian = VersionGuard()
        _ = guardian.judge(clusterID: "c", versions: ["a": 5], isWhole: true, nowNs: 0)
        _ = guardian.judge(clusterID: "c", versions: ["a": 4], isWhole: true, nowNs: second)
        #expect(guardian.judge(clusterID: "c", versions: ["a": 5], isWhole: true, nowNs: 9 * second) == .accepted)
        #expect(
            guardian.judge(clusterID: "c", versions: ["a": 4], isWhole: true, nowNs: 12 * second)
                == .stale(id: "a", seen: 5, listed: 4))
    }

    @Test func removingTheNewestObjectIsNoStepBack() {
        var guardian = VersionGuard()
        _ = guardian.judge(clusterID: "c", versions: ["old": 5, "new": 90], isWhole: true, nowNs: 0)
        #expect(guardian.judge(clusterID: "c", versions: ["old": 5], isWhole: true, nowNs: 1) == .accepted)
        #expect(guardian.highest == 90)
    }

    @Test func anotherClusterStartsAnew() {
        var guardian = VersionGuard()
        _ = guardian.judge(clusterID: "c", versions: ["a": 500], isWhole: true, nowNs: 0)
        #expect(
            guardian.judge(clusterID: "d", versions: ["a": 3], isWhole: true, nowNs: 1)
                == .acceptedNewCluster(previous: "c"))
        #expect(guardian.highest == 3)
    }

    @Test func aPartialListForgetsNothing() {
        var guardian = VersionGuard()
        _ = guardian.judge(clusterID: "c", versions: ["service": 5, "task": 6], isWhole: true, nowNs: 0)
        #expect(guardian.judge(clusterID: "c", versions: ["task": 7], isWhole: false, nowNs: 1) == .accepted)
        #expect(
            guardian.judge(clusterID: "c", versions: ["service": 4, "task": 7], isWhole: true, nowNs: 2)
                == .stale(id: "service", seen: 5, listed: 4))
    }
}

@Suite struct TaskMotionTests {
    private func task(
        _ desired: TaskState, _ state: TaskState, service: String = "s", node: String = "n"
    ) -> SwarmTask {
        SwarmTask(id: "t", serviceID: service, nodeID: node, desiredState: desired, state: state)
    }

    @Test(arguments: [
        (TaskState.running, TaskState.running, false), (.running, .starting, true), (.running, .pending, true),
        (.ready, .ready, true), (.shutdown, .running, true), (.remove, .running, true), (.shutdown, .shutdown, false),
        (.shutdown, .failed, false), (.running, .failed, true),
    ])
    func oneTask(desired: TaskState, state: TaskState, isMoving: Bool) {
        let service = SwarmService(id: "s", name: "s", mode: .global)
        #expect(
            TaskMotion.isUnderWay(services: [service], tasks: [task(desired, state)], nodes: []) == isMoving)
    }

    @Test func servicesThatLackTasksOrAreUpdating() {
        let running = [task(.running, .running)]
        func isMoving(_ mode: ServiceMode, _ update: UpdateState? = nil) -> Bool {
            TaskMotion.isUnderWay(
                services: [SwarmService(id: "s", name: "s", mode: mode, updateState: update)], tasks: running, nodes: []
            )
        }
        #expect(!isMoving(.replicated(1)))
        #expect(isMoving(.replicated(2)))
        #expect(!isMoving(.replicated(0)))
        #expect(isMoving(.replicated(1), .updating))
        #expect(isMoving(.replicated(1), .rollbackStarted))
        #expect(!isMoving(.replicated(1), .paused))
        #expect(!isMoving(.replicated(1), .completed))
        #expect(!isMoving(.job))
    }

    @Test func aStoppingTaskOfALostNodeMovesNothing() {
        let stopping = [task(.shutdown, .running, node: "lost")]
        let nodes = [SwarmNode(id: "lost", state: .down)]
        #expect(!TaskMotion.isUnderWay(services: [], tasks: stopping, nodes: nodes))
    }
}

@Suite struct OwnContainerTests {
    private let id = String(repeating: "0123456789abcdef", count: 4)

    @Test func findsTheMountedFiles() {
        let mounts = """
            612 590 0:55 / / rw,relatime - overlay overlay rw
            640 612 254:1 /var/lib/docker/containers/\(id)/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw
            641 612 254:1 /var/lib/docker/containers/\(id)/hostname /etc/hostname rw - ext4 /dev/vda1 rw
            """
        #expect(OwnContainer.candidates(mountInfo: mounts, controlGroups: "0::/", hostname: "web1\n") == [id])
    }

    @Test func ignoresOtherContainersOnTheHost() {
        let mounts = "700 1 0:60 / /var/lib/docker/containers/\(id)/mounts/shm rw - tmpfs shm rw"
        #expect(OwnContainer.candidates(mountInfo: mounts, controlGroups: "0::/init.scope", hostname: "box\n").isEmpty)
    }

    @Test(arguments: ["12:pids:/docker/ID\n", "0::/system.slice/docker-ID.scope\n", "5:cpu:/kubepods/pod1/ID"])
    func findsControlGroups(text: String) {
        let groups = text.replacing("ID", with: id)
        #expect(OwnContainer.candidates(mountInfo: "", controlGroups: groups, hostname: "") == [id])
    }

    @Test(arguments: [("0123456789ab\n", true), ("0123456789ab", true), ("0123456789AB", false), ("0123456789", false)])
    func takesAHostnameThatLooksLikeAnID(hostname: String, isTaken: Bool) {
        #expect(OwnContainer.candidates(mountInfo: "", controlGroups: "", hostname: hostname).isEmpty != isTaken)
    }

    @Test func garbageIsNoID() {
        let garbage = "a b\n\n1 2 3 /containers /etc/hosts\n1 2 3 /x/containers/ /etc/hosts"
        #expect(OwnContainer.candidates(mountInfo: garbage, controlGroups: "::://::", hostname: "").isEmpty)
    }
}
