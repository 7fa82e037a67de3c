// What a worker tells about requests: access log lines and the answer's info headers. Lines go into the worker's ring;
// the log's own thread writes them out.

internal import Kernel
internal import Model
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

/// The texts of a request that a log line wants, as they are kept in a buffer: each with its length before it.
enum LoggedText {
    static let limits = (method: 32, target: 1024, host: 255, userAgent: 255, referer: 255)

    static func read(_ buffer: PooledBuffer, _ position: inout Int) -> UnsafeRawBufferPointer {
        guard buffer.isAllocated, position + 2 <= buffer.count else {
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        let bytes = buffer.bytes
        let count = Int(bytes[position]) << 8 | Int(bytes[position + 1])
        position += 2 + count
        return bytes.slice(from: position - count, to: position).raw
    }
}

extension Worker {
    /// Keeps what the log will want of the request in `requestHead`; its buffer may be gone by then.
    mutating func keepForLog(_ slot: UInt32, _ bytes: Bytes) {
        let exchange = exchanges[slot]
        exchange.pointee.logged = buffers.take(4096)
        func keep(_ span: ByteSpan, _ limit: Int) {
            let text = bytes.slice(span)
            let count = min(text.count, limit)
            exchange.pointee.logged.tail[0] = UInt8(count >> 8)
            exchange.pointee.logged.tail[1] = UInt8(count & 255)
            exchange.pointee.logged.filled(2)
            exchange.pointee.logged.tail.update(from: text.base, count: count)
            exchange.pointee.logged.filled(count)
        }
        keep(requestHead.methodName, LoggedText.limits.method)
        keep(requestHead.target, LoggedText.limits.target)
        keep(requestHead.host, LoggedText.limits.host)
        keep(requestHead.userAgent, LoggedText.limits.userAgent)
        keep(requestHead.referer, LoggedText.limits.referer)
    }

    /// Logs an exchange that ended.
    mutating func log(_ slot: UInt32, _ outcome: Outcome, status: UInt16, durationUs: UInt64) {
        let exchange = exchanges[slot]
        let client = clients[exchange.pointee.client]
        var record = AccessRecord()
        var position = 0
        record.method = LoggedText.read(exchange.pointee.logged, &position)
        record.target = LoggedText.read(exchange.pointee.logged, &position)
        record.host = LoggedText.read(exchange.pointee.logged, &position)
        record.userAgent = LoggedText.read(exchange.pointee.logged, &position)
        record.referer = LoggedText.read(exchange.pointee.logged, &position)
        record.startedAtNs = Clock.realtimeNs() &- (nowNs &- exchange.pointee.startedNs)
        record.clientPort = client.pointee.peer.port
        record.version = exchange.pointee.clientVersion == .http10 ? "HTTP/1.0" : "HTTP/1.1"
        record.status = status
        record.outcome = outcome.code
        record.attempts = exchange.pointee.attempts
        record.bytesIn = exchange.pointee.requestByteCount &+ exchange.pointee.tunnelBytesIn
        record.bytesOut = exchange.pointee.responseByteCount &+ exchange.pointee.tunnelBytesOut
        record.durationUs = durationUs
        if exchange.pointee.connectedNs > 0 {
            record.connectUs = (exchange.pointee.connectedNs &- exchange.pointee.attemptStartedNs) / 1000
        }
        if exchange.pointee.answeredNs > 0 {
            record.upstreamUs = (exchange.pointee.answeredNs &- exchange.pointee.sentNs) / 1000
        }
        record.upstream = AddressText.bytes(at: &exchange.pointee.upstreamText).raw
        var service = serviceName(slot)
        service.withUTF8 { name in
            record.service = UnsafeRawBufferPointer(name)
            push(&record, client: exchange.pointee.client, requestID: exchange.pointee.requestID)
        }
    }

    /// Keeps the server name of a stream for the log.
    mutating func keepForLog(_ slot: UInt32, serverName: Bytes) {
        let count = min(serverName.count, LoggedText.limits.host)
        guard count > 0 else { return }
        let exchange = exchanges[slot]
        exchange.pointee.logged = buffers.take(2 + count)
        exchange.pointee.logged.tail[0] = UInt8(count >> 8)
        exchange.pointee.logged.tail[1] = UInt8(count & 255)
        exchange.pointee.logged.filled(2)
        exchange.pointee.logged.tail.update(from: serverName.base, count: count)
        exchange.pointee.logged.filled(count)
    }

    /// Logs a stream that ended.
    mutating func logStream(_ slot: UInt32, _ outcome: Outcome) {
        let exchange = exchanges[slot]
        var record = AccessRecord()
        var position = 0
        record.isStream = true
        record.isTLS = exchange.pointee.carriesTLS
        record.host = LoggedText.read(exchange.pointee.logged, &position)
        record.startedAtNs = Clock.realtimeNs() &- (nowNs &- exchange.pointee.startedNs)
        record.clientPort = clients[exchange.pointee.client].pointee.peer.port
        record.outcome = outcome.code
        record.attempts = exchange.pointee.attempts
        record.bytesIn = exchange.pointee.tunnelBytesIn
        record.bytesOut = exchange.pointee.tunnelBytesOut
        record.durationUs = (nowNs &- exchange.pointee.startedNs) / 1000
        if exchange.pointee.connectedNs > 0 {
            record.connectUs = (exchange.pointee.connectedNs &- exchange.pointee.attemptStartedNs) / 1000
        }
        if exchange.pointee.attempts > 0 { record.upstream = AddressText.bytes(at: &exchange.pointee.upstreamText).raw }
        var service = serviceName(slot)
        service.withUTF8 { name in
            record.service = UnsafeRawBufferPointer(name)
            push(&record, client: exchange.pointee.client, requestID: exchange.pointee.requestID)
        }
    }

    func serviceName(_ slot: UInt32) -> String {
        let exchange = exchanges[slot]
        let index = Int(exchange.pointee.serviceIndex)
        if exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication {
            return publication.counters.name(service: index)
        }
        return exchange.pointee.retainedCounters?.takeUnretainedValue().name(service: index) ?? ""
    }

    /// Counts and logs an answer of our own to a request that never became an exchange.
    mutating func countLocal(
        _ slot: UInt32, _ local: borrowing LocalAnswer, rejection: Int?, bytes: Bytes, hasHead: Bool
    ) {
        let client = clients[slot]
        let startedNs = client.pointee.requestStartedNs == 0 ? nowNs : client.pointee.requestStartedNs
        let durationUs = (nowNs &- startedNs) / 1000
        unrouted.addRequest(status: local.status, durationUs: durationUs)
        if let rejection { counters.add(rejection: rejection) }
        guard logRing != nil else { return }
        var record = AccessRecord()
        record.startedAtNs = Clock.realtimeNs() &- (nowNs &- startedNs)
        record.clientPort = client.pointee.peer.port
        record.status = local.status
        record.outcome = local.code
        record.durationUs = durationUs
        if hasHead {
            record.version = local.version == .http10 ? "HTTP/1.0" : "HTTP/1.1"
            record.method = bytes.slice(requestHead.methodName).raw
            record.target = bytes.slice(requestHead.target).raw
            record.host = bytes.slice(requestHead.host).raw
            record.userAgent = bytes.slice(requestHead.userAgent).raw
            record.referer = bytes.slice(requestHead.referer).raw
        } else {
            // What was refused was not understood: its first line, whatever it is, stands where the target would.
            let end = bytes.firstIndex(of: 10) ?? bytes.count
            record.target = bytes.slice(from: 0, to: min(end, 256)).raw
        }
        push(&record, client: slot, requestID: local.requestID)
    }

    mutating func push(_ record: inout AccessRecord, client slot: UInt32, requestID: RequestID) {
        guard let logRing else { return }
        let client = clients[slot]
        let line = UnsafeMutableRawBufferPointer(start: headScratch, count: AccessLog.maximumLineSize)
        record.clientAddress = ClientConnection.addressBytes(at: client).raw
        if let tls = client.pointee.tls {
            record.isTLS = true
            record.tlsVersion = tls.pointee.stream.version == .tls13 ? "1.3" : "1.2"
            record.tlsIsResumed = tls.pointee.stream.isResumed
        }
        let count = requestID.withBytes { id in
            record.requestID = id.raw
            return AccessLog.write(record, format: settings.accessLog, into: line)
        }
        if !logRing.push(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(line)[..<count])) {
            counters.add(.accessLogDropped)
        }
    }

    /// Writes the lines that an answer gets beside the task's own to the end of the head scratch.
    /// - Returns: bytes written, at most 1024.
    mutating func infoLines(_ slot: UInt32) -> Int {
        let exchange = exchanges[slot]
        var writer = ByteWriter(base: headScratch + Self.headScratchSize - 1024, capacity: 1024)
        appendHSTS(exchange: slot, to: &writer)
        guard settings.showsInfoHeaders else { return writer.overflowed ? 0 : writer.count }
        writer.append("x-proxy-id: ")
        shared.proxyID.withUnsafeBytes { writer.append(Bytes($0)) }
        writer.append("\r\nx-server-info: interlock\r\nx-upstream-addr: ")
        writer.append(AddressText.bytes(at: &exchange.pointee.upstreamText))
        writer.append("\r\nx-upstream-response-time: ")
        let elapsedUs = (nowNs &- exchange.pointee.sentNs) / 1000
        writer.append(decimal: elapsedUs / 1_000_000)
        writer.append(".")
        let fraction = elapsedUs % 1_000_000 / 1000
        writer.append(UInt8(48 + fraction / 100))
        writer.append(UInt8(48 + fraction / 10 % 10))
        writer.append(UInt8(48 + fraction % 10))
        writer.append("\r\n")
        return writer.overflowed ? 0 : writer.count
    }
}
