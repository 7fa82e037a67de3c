// Which controllers' addresses are tried when. Each address has its own turn and its own patience, so that one that
// swallows packets never holds up another. Pure: the clock and chance are handed in.

internal import Kernel

struct FeedDialer {
    private struct Slot {
        var isBusy = false
        var nextNs: UInt64 = 0
        var pauseNs: UInt64 = 0
        var isKnown = true
    }

    private var slots: [SocketAddress: Slot] = [:]
    private let shortestNs: UInt64
    private let longestNs: UInt64

    init(shortestNs: UInt64 = 250_000_000, longestNs: UInt64 = 2_000_000_000) {
        self.shortestNs = shortestNs
        self.longestNs = longestNs
    }

    /// The addresses of the controllers, as known now. Those that are gone are forgotten.
    mutating func update(_ addresses: [SocketAddress]) {
        let known = Set(addresses)
        for address in slots.keys where !known.contains(address) {
            slots[address]?.isKnown = false
            if slots[address]?.isBusy == false { slots[address] = nil }
        }
        for address in addresses {
            if slots[address] == nil { slots[address] = Slot() }
            slots[address]?.isKnown = true
        }
    }

    /// Everybody's turn is now, except who failed a moment ago.
    mutating func hurry(nowNs: UInt64) {
        slots = slots.mapValues { slot in
            var slot = slot
            slot.nextNs = min(slot.nextNs, slot.pauseNs == 0 ? nowNs : nowNs &+ shortestNs)
            return slot
        }
    }

    /// The addresses whose turn has come, except one; they count as busy until `failed` or `succeeded`.
    mutating func takeDue(nowNs: UInt64, except spared: SocketAddress? = nil) -> [SocketAddress] {
        let due = slots.filter { address, slot in
            !slot.isBusy && slot.isKnown && slot.nextNs <= nowNs && address != spared
        }
        for address in due.keys { slots[address]?.isBusy = true }
        return Array(due.keys)
    }

    /// When the next turn comes, except of one; nil: not before something else happens.
    func nextNs(except spared: SocketAddress? = nil) -> UInt64? {
        slots.lazy.filter { !$0.value.isBusy && $0.value.isKnown && $0.key != spared }.map(\.value.nextNs).min()
    }

    /// The next turn comes after a pause: twice the last one, and up to a quarter of it more by chance.
    mutating func failed(_ address: SocketAddress, nowNs: UInt64, random: UInt64) {
        guard var slot = slots[address] else { return }
        guard slot.isKnown else {
            slots[address] = nil
            return
        }
        slot.pauseNs = min(longestNs, max(shortestNs, slot.pauseNs &* 2))
        slot.nextNs = nowNs &+ slot.pauseNs &+ random % (slot.pauseNs / 4 + 1)
        slot.isBusy = false
        slots[address] = slot
    }

    /// It answered. Its next turn comes after the longest pause, unless somebody hurries.
    mutating func succeeded(_ address: SocketAddress, nowNs: UInt64) {
        guard slots[address] != nil else { return }
        slots[address]?.isBusy = false
        slots[address]?.pauseNs = 0
        slots[address]?.nextNs = nowNs &+ longestNs
    }

    var addressCount: Int { slots.count { $0.value.isKnown } }
}
