// Owns what an exchange needs of a table and of counters: a published service, made the way a publication makes it.

@testable import Proxy
import Model
import Routing
import Telemetry
import Wire

final class SimulatedWorld {
    private let registry = ServiceRegistry(workerCount: 1)
    private var tables: [[Int]: (table: RouteTable, counters: ServiceCounterTable)] = [:]
    private var numbering = Numbering()

    /// A table whose only service has these retry statuses.
    private func service(retryStatuses: [Int]) -> (table: RouteTable, counters: ServiceCounterTable) {
        if let known = tables[retryStatuses] { return known }
        var options = ServiceOptions()
        options.retryStatuses = retryStatuses
        let endpoint = Endpoint(address: IPAddress(v4: 0x7F00_0001), port: 1)
        let snapshot = Snapshot(
            configuration: Configuration(
                services: [Service(id: "s", name: "s", options: options)],
                routes: [Route(host: .exact("sim.test"), services: [0])]),
            endpoints: [[Upstream(id: "t", endpoint: endpoint)]])
        let table = RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
        let made = (table, registry.update([(slot: table.service(0).statsSlot, name: "s")]))
        tables[retryStatuses] = made
        return made
    }

    /// The exchange of a scenario's request, with the head that its tasks are to receive.
    func exchange(for scenario: Scenario, startedNs: UInt64, buffers: inout BufferPool) -> Exchange {
        let (table, counters) = service(retryStatuses: scenario.retryStatuses)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: scenario.head.count)
        defer { memory.deallocate() }
        memory.initialize(from: scenario.head, count: scenario.head.count)
        let source = Bytes(UnsafePointer(memory), count: scenario.head.count)
        var head = RequestHead(limits: HeadLimits())
        guard case .complete(let count) = head.parse(source, scanned: 0), count == source.count else {
            preconditionFailure("seed \(scenario.seed): the simulated request is not valid")
        }
        let seed = Exchange.Seed(
            client: 0, held: 0, pool: table.pool(0), service: table.service(0), serviceIndex: 0,
            cells: counters.cells(service: 0, worker: 0), publicationVersion: 1,
            maximumBodySize: UInt64(scenario.bodyLimit), requestID: RequestID(1, 2), startedNs: startedNs)
        var exchange = Exchange(seed, head: head, source: source, accept: .text, keepsClient: head.isPersistent)
        exchange.retryLimit = UInt8(scenario.retryLimit)
        exchange.sent = buffers.take(source.count + 2048)
        var writer = ByteWriter(base: exchange.sent.tail, capacity: exchange.sent.space)
        let context = RequestContext(
            clientAddress: Bytes("192.0.2.1"), localPort: 80, requestID: Bytes("00"), viaName: Bytes("sim"),
            keepsUpgrade: head.hasUpgrade)
        HeadWriter.writeRequest(head, from: source, context: context, into: &writer)
        exchange.sent.filled(writer.count)
        exchange.headCount = Int32(writer.count)
        return exchange
    }
}
