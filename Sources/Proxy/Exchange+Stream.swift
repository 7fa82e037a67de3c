// The exchange of a connection that carries no HTTP: the same links, attempts and counts, and no message. It is found a
// task and is a tunnel from then on.
//
//   phase       bytes of the client            bytes of the task     loss of the task
//   connecting  wait: in the kernel, and what  -                     another task
//               was read already in `input`
//   tunnel      as they are                    as they are           another task while no byte of either side was
//                                                                    passed on and the table is still held, else the
//                                                                    tunnel ends
//   finished    -                              -                     -

internal import Routing
internal import Telemetry
internal import Wire

extension Exchange {
    enum Kind: UInt8 {
        /// A request and its answer.
        case http
        /// The bytes of a TCP connection.
        case stream
    }

    /// What every exchange begins with.
    struct Seed {
        var client: UInt32
        var held: Int32
        var pool: PoolEntry
        var service: ServiceEntry
        var serviceIndex: Int32
        var cells: ServiceCells
        var publicationVersion: UInt64
        var maximumBodySize: UInt64
        var requestID: RequestID
        var startedNs: UInt64
    }

    /// An exchange of bytes.
    init(stream seed: Seed) {
        kind = .stream
        client = seed.client
        held = seed.held
        pool = seed.pool
        service = seed.service
        serviceIndex = seed.serviceIndex
        cells = seed.cells
        publicationVersion = seed.publicationVersion
        maximumBodySize = seed.maximumBodySize
        requestID = seed.requestID
        startedNs = seed.startedNs
        method = .get
        clientVersion = .http11
        expectsContinue = false
        asksUpgrade = false
        acceptsTrailers = false
        keepsClient = false
        accept = .html
        // What is in the pool has served HTTP.
        wantsNewConnection = true
    }

    /// Nothing of either side was passed on: to the client it makes no difference who its task is.
    var isUntouched: Bool { tunnelBytesIn == 0 && tunnelBytesOut == 0 }
}
