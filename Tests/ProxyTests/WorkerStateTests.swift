// The small pieces of a worker's state, each against a plain model of it.

@testable import Proxy
import Support
import Kernel
import Model
import Testing
import Wire

@Suite struct IdentityIndexTests {
    @Test func anUnknownIdentityIsNotFound() {
        var index = IdentityIndex()
        #expect(index.find(1) == -1)
        index.insert(1, 7)
        #expect(index.find(1) == 7)
        #expect(index.find(2) == -1)
        index.remove(2)
        index.remove(1)
        index.remove(1)
        #expect(index.find(1) == -1)
    }

    /// Ascending identities, as the numbering gives them, and arbitrary ones, which collide in other ways.
    @Test(arguments: 0..<16 as Range<UInt64>)
    func agreesWithADictionary(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var index = IdentityIndex()
        var model: [UInt64: Int32] = [:]
        var known: [UInt64] = []
        let isAscending = seed % 2 == 0
        for number in 0..<3000 {
            // Grows for two thirds of the time, then shrinks.
            let grows = random.number(0...99) < (number < 2000 ? 70 : 30)
            if grows || known.isEmpty {
                let identity = isAscending ? UInt64(number + 1) : random.next() | 1
                guard model[identity] == nil else { continue }
                index.insert(identity, Int32(number))
                model[identity] = Int32(number)
                known.append(identity)
            } else {
                let identity = known.remove(at: random.number(0...known.count - 1))
                index.remove(identity)
                model[identity] = nil
                #expect(index.find(identity) == -1, "seed \(seed)")
            }
            if number % 97 == 0 {
                let wrong = model.filter { index.find($0.key) != $0.value }
                #expect(wrong.isEmpty, "seed \(seed) step \(number)")
            }
        }
        let wrong = model.filter { index.find($0.key) != $0.value }
        #expect(wrong.isEmpty, "seed \(seed)")
    }

    @Test func aTaskIsForgottenOnlyWhenItIsDrainedAndUnused() {
        var states = UpstreamStates()
        var targets = TLSTargets()
        let endpoint = Endpoint(address: IPAddress(v4: 0x7F00_0001), port: 80)
        let home = states.home(of: 5, endpoint: endpoint)
        #expect(states.home(of: 5, endpoint: endpoint) == home)
        #expect(states.find(5) == home)
        states.forgetIfUnused(home, &targets)
        #expect(states.find(5) == home)
        states[home].pointee.openCount = 1
        states[home].pointee.isDrained = true
        states.forgetIfUnused(home, &targets)
        #expect(states.find(5) == home)
        states[home].pointee.openCount = 0
        states.forgetIfUnused(home, &targets)
        #expect(states.find(5) == -1)
        #expect(states.count == 0)
    }
}

@Suite struct ClientListTests {
    private static func connection() -> ClientConnection {
        ClientConnection(
            descriptor: -1, peer: Endpoint(address: IPAddress(v4: 0x7F00_0001), port: 1), localPort: 80)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func agreesWithAList(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var clients = Slab<ClientConnection>()
        var idle = ClientList(.idle)
        var model: [UInt32] = []
        let slots = (0..<20).map { _ in clients.insert(Self.connection()) }
        #expect(idle.oldest == nil)
        for _ in 0..<2000 {
            let slot = random.choice(slots)
            if random.oneIn(2) {
                idle.append(slot, in: clients)
                // Who is in it already keeps its place.
                if !model.contains(slot) { model.append(slot) }
            } else {
                idle.remove(slot, in: clients)
                model.removeAll { $0 == slot }
            }
            #expect(idle.oldest == model.first, "seed \(seed)")
        }
        while let oldest = idle.oldest {
            #expect(oldest == model.removeFirst(), "seed \(seed)")
            idle.remove(oldest, in: clients)
        }
        #expect(model.isEmpty, "seed \(seed)")
    }
}

@Suite struct RequestIDTests {
    @Test func anIDIs32HexDigitsAndNoTwoAreEqual() {
        var ids = RequestIDs()
        var seen: Set<[UInt8]> = []
        for _ in 0..<10_000 {
            let text = ids.makeID().withBytes { $0.array() }
            let isHex = text.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            #expect(text.count == 32 && isHex)
            seen.insert(text)
        }
        #expect(seen.count == 10_000)
        // Another worker's are others.
        var others = RequestIDs()
        #expect(!seen.contains(others.makeID().withBytes { $0.array() }))
    }

    @Test(
        arguments: [
            (0, 0, "00000000000000000000000000000000"),
            (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210, "0123456789abcdeffedcba9876543210"),
            (.max, 1, "ffffffffffffffff0000000000000001"),
        ] as [(UInt64, UInt64, String)])
    func isWrittenBigEndian(first: UInt64, second: UInt64, text: String) {
        var id = RequestID(first, second)
        #expect(id.withBytes { $0.string() } == text)
        withUnsafeMutablePointer(to: &id) { #expect(RequestID.bytes(at: $0).string() == text) }
    }

    @Test(arguments: [0, 1, 32, 63, 64, 65, 200])
    func aBroughtIDIsKeptIfItFits(count: Int) {
        let text = [UInt8](repeating: 0x61, count: count)
        let id = text.withUnsafeBufferPointer { RequestID(Bytes($0)) }
        #expect((id != nil) == (1...64).contains(count))
        if let id { #expect(id.withBytes { $0.array() } == text) }
    }
}

@Suite struct HTTPDateTests {
    @Test(
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (946_684_799, "Fri, 31 Dec 1999 23:59:59 GMT"),
            (946_684_800, "Sat, 01 Jan 2000 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_078_012_800, "Sun, 29 Feb 2004 00:00:00 GMT"),
            (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            // 2100 is no leap year.
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] as [(UInt64, String)])
    func isAnIMFFixdate(seconds: UInt64, text: String) {
        #expect(String(decoding: HTTPDate.text(secondsSince1970: seconds), as: UTF8.self) == text)
    }

    /// 400 years, a day at a time, against counting.
    @Test func everyDayFollowsTheOneBefore() {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        var year = 1970
        var month = 0
        var day = 1
        var wrong: [String] = []
        for number in 0..<146_097 {
            let padded = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
            let expected = "\(days[number % 7]), \(padded(day)) \(months[month]) \(year) 12:00:00 GMT"
            let text = HTTPDate.text(secondsSince1970: UInt64(number) * 86_400 + 43_200)
            if text != Array(expected.utf8) { wrong.append(expected) }
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            let length = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
            day += 1
            if day > length { (day, month) = (1, month + 1) }
            if month == 12 { (month, year) = (0, year + 1) }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(3))")
    }

    @Test func theTextIsRenewedOnlyWhenItIsStale() {
        var date = DateText()
        date.update(nowNs: 5)
        let first = date.bytes.array()
        #expect(first.count == HTTPDate.size && first.suffix(4) == Array(" GMT".utf8))
        // The wall clock goes on, but within the second that the text was made for nothing is written.
        date.update(nowNs: 5)
        #expect(date.bytes.array() == first)
    }
}

@Suite struct AdmissionTests {
    private let one = IPAddress(v4: 0x0A00_0001)
    private let other = IPAddress(v6High: 0xFD00_0000_0000_0000, low: 1)

    @Test func anAddressHasRoomUpToTheLimit() {
        let admission = Admission(limitPerClient: 2)
        #expect(admission.isLimited)
        #expect(admission.enter(one) && admission.enter(one))
        #expect(!admission.enter(one))
        #expect(admission.enter(other))
        admission.leave(one)
        #expect(admission.enter(one))
        #expect(!admission.enter(one))
    }

    @Test func leavingTooOftenGivesNobodyMore() {
        let admission = Admission(limitPerClient: 1)
        admission.leave(one)
        admission.leave(one)
        #expect(admission.enter(one))
        #expect(!admission.enter(one))
    }

    @Test func zeroIsNoLimit() {
        let admission = Admission(limitPerClient: 0)
        #expect(!admission.isLimited)
        #expect((0..<1000).allSatisfy { _ in admission.enter(one) })
    }
}

@Suite struct OutcomeTests {
    @Test func rejectionReasonsHaveOneNumberAndOneNameEach() {
        let all = RejectionReasons.all
        #expect(Set(all.map(\.number)).count == all.count)
        let names = all.map(\.name)
        let twice = Set(names.filter { name in names.count { $0 == name } > 1 })
        #expect(twice.isEmpty, "in a metric's label these would be one: \(twice)")
        #expect(Refusal.Reason.allCases.count <= RejectionReasons.outcomeStart)
    }

    @Test func everyReasonAndOutcomeIsCountedSomewhere() {
        let numbers = Set(RejectionReasons.all.map(\.number))
        #expect(Refusal.Reason.allCases.allSatisfy { numbers.contains(RejectionReasons.number(of: $0)) })
        for outcome in Outcome.allCases where outcome != .ok && outcome != .refused {
            #expect(numbers.contains(RejectionReasons.number(of: outcome)), "\(outcome)")
        }
    }

    @Test func outcomesHaveCodesAndErrorsExplainThemselves() {
        let codes = Outcome.allCases.map { String(describing: $0.code) }
        #expect(Set(codes).count == codes.count)
        for outcome in Outcome.allCases where outcome != .ok && outcome.status != 499 {
            #expect((400..<600).contains(Int(outcome.status)), "\(outcome)")
            #expect(!String(describing: outcome.explanation).isEmpty, "\(outcome)")
        }
    }
}
