// What other threads handed over, for a test that waits until it has seen enough.

import Kernel
import Synchronization

public final class Collected<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])
    private let wakeup: Wakeup

    public init() throws { wakeup = try Wakeup() }

    public func append(_ element: Element) {
        elements.withLock { $0.append(element) }
        wakeup.ring()
    }

    public var all: [Element] { elements.withLock { $0 } }

    /// Waits until `isEnough` is true of what came; one test waits at a time.
    /// - Returns: whether it became true in time.
    public func wait(timeoutMs: Int = 10_000, until isEnough: ([Element]) -> Bool) -> Bool {
        let endNs = Clock.monotonicNs() + UInt64(timeoutMs) * 1_000_000
        while true {
            if isEnough(all) { return true }
            let nowNs = Clock.monotonicNs()
            guard nowNs < endNs else { return false }
            _ = wakeup.wait(timeoutMs: Int((endNs - nowNs) / 1_000_000) + 1)
        }
    }
}

/// Waits for something that tells nobody when it comes, by asking every few milliseconds.
/// - Returns: whether it became true in time.
public func eventually(timeoutMs: Int = 10_000, _ isTrue: () -> Bool) -> Bool {
    let endNs = Clock.monotonicNs() + UInt64(timeoutMs) * 1_000_000
    while !isTrue() {
        guard Clock.monotonicNs() < endNs else { return false }
        Thread.sleep(milliseconds: 5)
    }
    return true
}
