// How many connections one client address may hold, over all workers. Asked when a connection comes and goes, and only
// if the operator set a limit; requests never come here.

internal import Model
internal import Synchronization

final class Admission: Sendable {
    private let limitPerClient: Int
    private let counts = Mutex<[IPAddress: Int]>([:])

    init(limitPerClient: Int) { self.limitPerClient = limitPerClient }

    var isLimited: Bool { limitPerClient > 0 }

    /// Counts a connection in, if its address has room for it.
    func enter(_ address: IPAddress) -> Bool {
        guard isLimited else { return true }
        return counts.withLock { counts in
            let count = counts[address, default: 0]
            guard count < limitPerClient else { return false }
            counts[address] = count + 1
            return true
        }
    }

    /// Counts a connection out that was counted in.
    func leave(_ address: IPAddress) {
        guard isLimited else { return }
        counts.withLock { counts in
            guard let count = counts[address] else { return }
            counts[address] = count > 1 ? count - 1 : nil
        }
    }
}
