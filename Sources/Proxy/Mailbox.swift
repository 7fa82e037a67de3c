// The only door between threads: messages under a lock, and a bell. Never used by a request.

internal import Kernel
internal import Synchronization

/// Messages from any thread to one owner, in order.
final class Mailbox<Message: Sendable>: Sendable {
    private let queue = Mutex<[Message]>([])
    let wakeup: Wakeup

    init() throws(SystemError) { wakeup = try Wakeup() }

    func post(_ message: Message) {
        let wasEmpty = queue.withLock { queue in
            queue.append(message)
            return queue.count == 1
        }
        if wasEmpty { wakeup.ring() }
    }

    /// All messages so far. The owner calls it after the bell.
    func takeAll() -> [Message] {
        wakeup.clear()
        return queue.withLock { queue in
            let messages = queue
            queue.removeAll()
            return messages
        }
    }
}
