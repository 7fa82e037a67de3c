// Pooled buffers: what is appended comes out again, memory grows and is given back, and the count of bytes agrees.

@testable import Proxy
import Support
import Kernel
import Testing
import Wire

private func contents(_ buffer: PooledBuffer) -> [UInt8] { buffer.isEmpty ? [] : buffer.bytes.array() }

extension BufferPool {
    fileprivate mutating func add(_ bytes: [UInt8], to buffer: inout PooledBuffer) -> Bool {
        var result = false
        bytes.withUnsafeBytes { result = append($0, to: &buffer) }
        return result
    }
}

@Suite struct BufferPoolTests {
    @Test(arguments: [(0, 4096), (1, 4096), (4096, 4096), (4097, 16384), (65537, 1 << 18), (1 << 20, 1 << 20)])
    func aBufferHasTheNextSize(minimum: Int, size: Int) {
        var pool = BufferPool()
        var buffer = pool.take(minimum)
        #expect(buffer.space == size)
        #expect(buffer.isEmpty && buffer.isAllocated)
        #expect(pool.usedBytes == size)
        pool.give(&buffer)
        #expect(!buffer.isAllocated)
        #expect(pool.usedBytes == 0)
        pool.give(&buffer)
        #expect(pool.usedBytes == 0)
    }

    @Test func memoryIsReused() {
        var pool = BufferPool()
        var first = pool.take(100)
        let place = first.tail
        pool.give(&first)
        var second = pool.take(4000)
        #expect(second.tail == place)
        pool.give(&second)
    }

    @Test func growingKeepsTheBytes() {
        var pool = BufferPool()
        var buffer = PooledBuffer.empty
        var random = SeededRandom(seed: 1)
        var expected: [UInt8] = []
        while expected.count < 300_000 {
            let piece = random.bytes(random.number(1...9000))
            check(pool.add(piece, to: &buffer))
            expected += piece
        }
        #expect(contents(buffer) == expected)
        #expect(pool.usedBytes == 1 << 20)
        pool.give(&buffer)
        #expect(pool.usedBytes == 0)
    }

    @Test func whatPassesOneMebibyteIsRefusedWhole() {
        var pool = BufferPool()
        var buffer = PooledBuffer.empty
        check(!pool.add([UInt8](repeating: 1, count: (1 << 20) + 1), to: &buffer))
        #expect(!buffer.isAllocated)
        check(pool.add([UInt8](repeating: 1, count: 1 << 20), to: &buffer))
        check(!pool.add([2], to: &buffer))
        #expect(buffer.count == 1 << 20)
        buffer.consume(10)
        // Room at the front counts.
        check(pool.add([UInt8](repeating: 3, count: 10), to: &buffer))
        #expect(buffer.count == 1 << 20)
        #expect(contents(buffer).suffix(11) == [1] + [UInt8](repeating: 3, count: 10))
        pool.give(&buffer)
        #expect(pool.usedBytes == 0)
    }

    @Test func compactingMovesWhatIsLeftToTheFront() {
        var pool = BufferPool()
        var buffer = pool.take(4096)
        check(pool.add(Array(0..<100), to: &buffer))
        buffer.consume(90)
        #expect(contents(buffer) == Array(90..<100))
        let place = buffer.bytes.base
        buffer.compact()
        #expect(contents(buffer) == Array(90..<100))
        #expect(buffer.bytes.base == place - 90)
        #expect(buffer.space == 4086)
        buffer.consume(10)
        #expect(buffer.isEmpty && buffer.space == 4096)
        pool.give(&buffer)
    }

    @Test func nothingIsAppendedWithoutMemory() {
        var pool = BufferPool()
        var buffer = PooledBuffer.empty
        check(pool.add([], to: &buffer))
        #expect(!buffer.isAllocated)
    }

    @Test(arguments: 0...12)
    func aGatherListIsAppendedFromAnyPlace(skipped: Int) {
        var pool = BufferPool()
        var buffer = PooledBuffer.empty
        let pieces: [[UInt8]] = [[1, 2, 3], [4], [], [5, 6, 7, 8], [9, 10, 11, 12]]
        var gather = GatherList(capacity: 8)
        var memory: [UnsafeMutableBufferPointer<UInt8>] = []
        for piece in pieces {
            let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, piece.count))
            _ = copy.initialize(from: piece)
            memory.append(copy)
            gather.append(copy.baseAddress.unsafelyUnwrapped, count: piece.count)
        }
        #expect(gather.byteCount == 12)
        check(pool.append(gather, from: skipped, to: &buffer))
        #expect(contents(buffer) == Array(pieces.joined().dropFirst(skipped)))
        pool.give(&buffer)
        for copy in memory { copy.deallocate() }
    }

    @Test(arguments: 0..<16 as Range<UInt64>)
    func agreesWithArrays(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var pool = BufferPool()
        var buffers = [PooledBuffer](repeating: .empty, count: 4)
        var models = [[UInt8]](repeating: [], count: 4)
        for _ in 0..<300 {
            let index = random.number(0...3)
            switch random.number(0...9) {
            case 0...4:
                let piece = random.bytes(random.number(0...random.choice([10, 3000, 100_000])))
                let fits = pool.add(piece, to: &buffers[index])
                #expect(fits == (models[index].count + piece.count <= 1 << 20), "seed \(seed)")
                if fits { models[index] += piece }
            case 5...7:
                let count = random.number(0...models[index].count)
                if count > 0 { buffers[index].consume(count) }
                models[index].removeFirst(count)
            case 8: buffers[index].compact()
            default:
                pool.give(&buffers[index])
                models[index] = []
            }
            #expect(contents(buffers[index]) == models[index], "seed \(seed)")
        }
        for index in buffers.indices { pool.give(&buffers[index]) }
        #expect(pool.usedBytes == 0, "seed \(seed)")
    }
}
