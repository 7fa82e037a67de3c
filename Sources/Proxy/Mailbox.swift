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

    /// All messages so far. The owner calls it after the bell; what the bell may have been rung for beside messages is
    /// to be looked at afterwards.
    func takeAll() -> [Message] {
        wakeup.clear()
        return takeQuietly()
    }

    /// All messages so far, for whoever is not the owner: the bell stays as it is, since the owner waits for it.
    func takeQuietly() -> [Message] {
        queue.withLock { queue in
            let messages = queue
            queue.removeAll()
            return messages
        }
    }
}
