// One probe on its connection, from connect to result. A probe asks as a request would: over TLS if the service speaks
// TLS to its tasks, with the service's own policy and name, and with a PROXY header if its tasks expect one. No session
// is resumed: a certificate is looked at each time. The connection serves one probe and is reset, so that thousands of
// them leave nothing behind in the kernel.

internal import Kernel
internal import Model
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

extension HealthProber {
    private func check(_ slot: UInt32) -> ServiceCheck { publication.table.checks[probes[slot].pointee.position] }

    /// Begins to connect.
    mutating func begin(_ slot: UInt32) {
        let check = check(slot)
        let address = Self.target(probes[slot].pointee.endpoint, check.check)
        probes[slot].pointee.isPeerClosed = false
        probes[slot].pointee.interimCount = 0
        probes[slot].pointee.input = []
        probes[slot].pointee.output = []
        do throws(SystemError) {
            let descriptor = try Socket.create(for: address.socketAddress)
            Socket.setNoDelay(descriptor)
            probes[slot].pointee.descriptor = descriptor
            probes[slot].pointee.phase = .connecting
            setDeadline(slot, nowNs + UInt64(max(1, check.check.timeoutMs)) * 1_000_000)
            let result = Socket.connect(descriptor, address.socketAddress)
            if result.isFailure, result.code != Socket.inProgressCode {
                finish(slot, Self.result(connectCode: result.code))
                return
            }
            let token = Token(kind: Kind.probe, generation: probes.generation(of: slot), slot: slot)
            try poller.add(descriptor, [.readable, .writable, .peerClosed, .edgeTriggered], token: token)
            if !result.isFailure { connected(slot) }
        } catch {
            if !probes[slot].pointee.isUnderWay { queue.ended(probes[slot].pointee.position) }
            finish(slot, .notSent)
        }
    }

    private static func target(_ endpoint: Endpoint, _ check: HealthCheck) -> Endpoint {
        check.port.map { Endpoint(address: endpoint.address, port: $0) } ?? endpoint
    }

    private static func result(connectCode code: Int32) -> ProbeResult {
        switch code {
        case SystemError.refusedCode: .connectRefused
        case SystemError.timedOutCode: .timeout
        case SystemError.tooManyFilesCode, SystemError.systemFilesCode, SystemError.noAddressCode: .notSent
        default: .connectError
        }
    }

    /// Ends a probe's connection. Its next state is the caller's affair.
    mutating func close(_ slot: UInt32) {
        guard probes[slot].pointee.isUnderWay else { return }
        probes[slot].pointee.tls?.free()
        probes[slot].pointee.tls = nil
        workspace.dropOutput()
        if !probes[slot].pointee.isPeerClosed { Socket.resetOnClose(probes[slot].pointee.descriptor) }
        Socket.close(probes[slot].pointee.descriptor)
        probes[slot].pointee.descriptor = -1
        probes[slot].pointee.input = []
        probes[slot].pointee.output = []
        probes[slot].pointee.phase = .waiting
        queue.ended(probes[slot].pointee.position)
    }

    // MARK: Events

    mutating func probeReady(_ slot: UInt32, _ readiness: Readiness) {
        if readiness.contains(.peerClosed) { probes[slot].pointee.isPeerClosed = true }
        switch probes[slot].pointee.phase {
        // The event is older than what became of the probe in this turn.
        case .waiting, .queued: return
        case .connecting:
            guard !readiness.isDisjoint(with: [.writable, .failed, .hungUp]) else { return }
            if !readiness.isDisjoint(with: [.failed, .hungUp]) {
                let code = Socket.pendingError(probes[slot].pointee.descriptor)
                if code != 0 { return finish(slot, Self.result(connectCode: code)) }
            }
            connected(slot)
        case .handshaking, .asking:
            if readiness.contains(.writable), !flush(slot) { return finish(slot, .reset) }
        }
        guard probes[slot].pointee.isUnderWay,
            !readiness.isDisjoint(with: [.readable, .peerClosed, .failed, .hungUp])
        else { return }
        receive(slot)
    }

    private mutating func connected(_ slot: UInt32) {
        let check = check(slot)
        let service = publication.table.service(check.service)
        if check.check.port == nil { appendPreface(service, to: slot) }
        guard service.backendTLS >= 0 else {
            return established(slot)
        }
        guard let policy = publication.tls.backendPolicy(service.backendTLS) else {
            return finish(slot, .tlsUnusable)
        }
        let label = publication.backendNames[Int(service.backendTLS)]
        let name = label.isEmpty ? host(slot) : String(decoding: label, as: UTF8.self)
        guard
            let stream = TLSStream(
                client: policy, serverName: name, isAddress: IPAddress(name) != nil, workspace: workspace)
        else { return finish(slot, .tlsUnusable) }
        probes[slot].pointee.tls = stream
        probes[slot].pointee.phase = .handshaking
        workspace.setInput(UnsafeRawBufferPointer(start: nil, count: 0))
        _ = take(slot, count: nil)
    }

    /// The host that is asked for; without a named one the task's address.
    private func host(_ slot: UInt32) -> String {
        let host = check(slot).host
        return host.isEmpty ? probes[slot].pointee.endpoint.address.description : host
    }

    /// The connection stands, with TLS if it is to have it.
    private mutating func established(_ slot: UInt32) {
        guard check(slot).check.mode == .http else { return finish(slot, .success) }
        probes[slot].pointee.phase = .asking
        let request = Array(
            """
            GET \(check(slot).check.path) HTTP/1.1\r
            Host: \(hostField(slot))\r
            User-Agent: interlock\r
            Accept: */*\r
            Connection: close\r
            \r

            """.utf8)
        if let tls = probes[slot].pointee.tls {
            let failure = request.withUnsafeBytes { bytes -> TLSFailure? in
                guard let base = bytes.baseAddress else { return nil }
                return tls.write(base, count: bytes.count)
            }
            if failure != nil { return finish(slot, .reset) }
            keepTLSOutput(slot)
        } else {
            probes[slot].pointee.output += request
        }
        if !flush(slot) { finish(slot, .reset) }
    }

    private func hostField(_ slot: UInt32) -> String {
        let check = check(slot)
        return check.host.isEmpty ? Self.target(probes[slot].pointee.endpoint, check.check).description : check.host
    }

    /// Health checks are what PROXY headers without ends are for.
    private mutating func appendPreface(_ service: ServiceEntry, to slot: UInt32) {
        guard service.proxyProtocolVersion > 0 else { return }
        var writer = ByteWriter(base: scratch, capacity: Self.scratchSize)
        if service.proxyProtocolVersion == 1 {
            ProxyProtocol.writeV1(nil, into: &writer)
        } else {
            ProxyProtocol.writeV2(nil, into: &writer)
        }
        probes[slot].pointee.output += UnsafeBufferPointer(start: scratch, count: writer.count)
    }

    // MARK: Bytes

    /// Who says more of them than that has no answer, and would be listened to for ever.
    private static var interimLimit: UInt8 { 16 }

    private mutating func keepTLSOutput(_ slot: UInt32) {
        probes[slot].pointee.output += workspace.output
        workspace.dropOutput()
    }

    /// Writes what waits, as far as the socket takes it.
    /// - Returns: false if the connection is broken.
    private mutating func flush(_ slot: UInt32) -> Bool {
        let count = probes[slot].pointee.output.count
        guard count > 0 else { return true }
        let descriptor = probes[slot].pointee.descriptor
        let result = probes[slot].pointee.output.withUnsafeBytes { bytes -> IOResult? in
            bytes.baseAddress.map { Socket.write(descriptor, $0, count: bytes.count) }
        }
        guard let result else { return true }
        if result.isFailure { return result.isWouldBlock }
        probes[slot].pointee.output.removeFirst(result.count)
        return true
    }

    private mutating func receive(_ slot: UInt32) {
        while true {
            let result = Socket.read(probes[slot].pointee.descriptor, scratch, capacity: Self.scratchSize)
            if result.isFailure {
                if !result.isWouldBlock { finish(slot, .reset) }
                return
            }
            if result.count == 0 {
                probes[slot].pointee.isPeerClosed = true
                return finish(slot, probes[slot].pointee.phase == .handshaking ? .tlsHandshake : .closedEarly)
            }
            guard take(slot, count: result.count) else { return }
        }
    }

    /// Deals with what was read into the scratch memory.
    /// - Parameter count: nil: nothing yet, a handshake begins.
    /// - Returns: whether the probe goes on.
    private mutating func take(_ slot: UInt32, count: Int?) -> Bool {
        guard let tls = probes[slot].pointee.tls else {
            probes[slot].pointee.input += UnsafeBufferPointer(start: scratch, count: count ?? 0)
            return judgeHead(slot)
        }
        if let count { workspace.setInput(UnsafeRawBufferPointer(start: scratch, count: count)) }
        if probes[slot].pointee.phase == .handshaking {
            let progress = tls.handshake()
            keepTLSOutput(slot)
            switch progress {
            case .needsInput:
                guard flush(slot) else {
                    finish(slot, .tlsHandshake)
                    return false
                }
                return true
            case .failed(let failure):
                // The alert that says why.
                _ = flush(slot)
                finish(slot, Self.result(handshake: failure))
                return false
            case .done:
                // What came behind the handshake is still in the workspace, and read below.
                established(slot)
                guard probes[slot].pointee.isUnderWay else { return false }
            }
        }
        return decrypt(slot, tls)
    }

    private mutating func decrypt(_ slot: UInt32, _ tls: TLSStream) -> Bool {
        while true {
            switch tls.read(into: plainScratch, capacity: Self.scratchSize) {
            case .bytes(let count):
                probes[slot].pointee.input += UnsafeBufferPointer(start: plainScratch, count: count)
                // An endless answer is not read to its end.
                if probes[slot].pointee.input.count > head.limits.headSize { return judgeHead(slot) }
            case .needsInput:
                keepTLSOutput(slot)
                _ = flush(slot)
                return judgeHead(slot)
            case .ended:
                if judgeHead(slot) { finish(slot, .closedEarly) }
                return false
            case .failed(let failure):
                if judgeHead(slot) { finish(slot, Self.result(reading: failure)) }
                return false
            }
        }
    }

    private static func result(handshake failure: TLSFailure) -> ProbeResult {
        switch UpstreamFailure(handshake: failure) {
        case .tlsPlaintext: .tlsPlaintext
        case .tlsVerification: .tlsVerification
        default: .tlsHandshake
        }
    }

    private static func result(reading failure: TLSFailure) -> ProbeResult {
        UpstreamFailure(reading: failure) == .tlsHandshake ? .tlsHandshake : .reset
    }

    /// Looks for an answer's head in what has come.
    /// - Returns: whether more is needed; if not, the probe is finished.
    private mutating func judgeHead(_ slot: UInt32) -> Bool {
        while true {
            let input = probes[slot].pointee.input
            guard !input.isEmpty else { return true }
            let result = input.withUnsafeBytes { head.parse(Bytes($0), requestMethod: .get) }
            switch result {
            case .incomplete: return true
            case .refused:
                finish(slot, .badResponse)
                return false
            case .complete(let byteCount):
                if head.isInterim {
                    probes[slot].pointee.interimCount += 1
                    guard probes[slot].pointee.interimCount <= Self.interimLimit else {
                        finish(slot, .badResponse)
                        return false
                    }
                    probes[slot].pointee.input.removeFirst(byteCount)
                    continue
                }
                let status = head.status
                let isGood = check(slot).check.statuses.contains { $0.contains(Int(status)) }
                finish(slot, isGood ? .success : .status, answered: status)
                return false
            }
        }
    }
}
