// Races on purpose: they show that ThreadSanitizer still speaks under futex.c and thread-suppressions.txt, and where it
// must be silent. check.sh builds and runs it before anything is believed; it is no part of the product.
//   planted pointer|array|forgotten|locked
import Glibc
import Synchronization

let rounds = 20_000

/// What the threads share. Nothing orders `cell` and `numbers`; `guarded` has a lock that a careless writer forgets.
final class Shared: @unchecked Sendable {
    /// Through a pointer, as the workers keep their state: no exclusivity check helps TSan to see it.
    let cell = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    var numbers: [Int] = []
    var guarded = 0
    let lock = Mutex(())
}

nonisolated let shared = Shared()

func addByPointer(_: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    for _ in 0..<rounds { shared.cell.pointee += 1 }
    return nil
}

func appendNumber(_: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    shared.numbers.append(1)
    return nil
}

func addUnderLock(_: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    for _ in 0..<rounds { shared.lock.withLock { _ in shared.guarded += 1 } }
    return nil
}

func addWithoutLock(_: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    for _ in 0..<rounds { shared.guarded += 1 }
    return nil
}

typealias Entry = @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?

func run(_ entries: [Entry]) {
    var threads: [pthread_t] = []
    for entry in entries {
        var thread = pthread_t()
        guard pthread_create(&thread, nil, entry, nil) == 0 else { exit(2) }
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}

switch CommandLine.arguments.dropFirst().first {
case "pointer": run([addByPointer, addByPointer])
case "array": run([appendNumber, appendNumber])
case "forgotten": run([addUnderLock, addUnderLock, addWithoutLock])
case "locked":
    // Four threads on one lock: the contended path, which TSan sees only through futex.c.
    run([addUnderLock, addUnderLock, addUnderLock, addUnderLock])
    guard shared.guarded == 4 * rounds else { exit(3) }
default: exit(2)
}
