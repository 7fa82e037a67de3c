// An array that never changes: it owns its memory, is not reference counted, and is read through one bounds check.
// The one home of owned memory in this target; lookup tables are built from it.

/// A fixed list of plain values. Reading an element allocates nothing and touches no reference count.
public struct FrozenArray<Element: BitwiseCopyable>: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let count: Int

    public init(_ elements: [Element]) {
        base = .allocate(capacity: max(elements.count, 1))
        count = elements.count
        base.initialize(from: elements, count: elements.count)
    }

    deinit { base.deallocate() }

    /// Traps outside of `0..<count`, in release builds too.
    @inlinable
    public subscript(index: Int) -> Element {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index outside of a frozen array")
        return base[index]
    }

    /// The memory of a range of elements; valid as long as the array lives.
    @inlinable
    public func bytes(from start: Int, count length: Int) -> UnsafeRawBufferPointer {
        precondition(start >= 0 && length >= 0 && start <= count && length <= count - start, "range outside")
        return UnsafeRawBufferPointer(UnsafeBufferPointer(start: base + start, count: length))
    }
}

// Nobody can write to it after `init`.
extension FrozenArray: @unchecked Sendable where Element: Sendable {}
