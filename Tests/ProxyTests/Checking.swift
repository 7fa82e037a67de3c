// Owns the one way around a limit of `#expect`: it takes a call apart into its operands, which it cannot do with a
// value that is not copyable.

import Testing

/// `#expect` for calls on values that are not copyable.
func check(
    _ isTrue: Bool, _ comment: @autoclosure () -> Comment? = nil, at location: SourceLocation = #_sourceLocation
) {
    #expect(isTrue, comment(), sourceLocation: location)
}
