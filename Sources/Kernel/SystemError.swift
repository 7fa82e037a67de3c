// What a failed system call says: the call and the errno, with a sentence for people.

internal import Glibc

/// A system call that failed.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// errno, positive.
    public let code: Int32
    /// The call, for example "connect".
    public let operation: String

    public init(code: Int32, operation: String) {
        self.code = code
        self.operation = operation
    }

    /// "connect: Connection refused".
    public var description: String { "\(operation): \(reason)" }

    /// The system's own words for the code.
    public var reason: String {
        var text = [CChar](repeating: 0, count: 160)
        guard strerror_r(code, &text, text.count) == 0 else { return "error \(code)" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public static let timedOutCode = ETIMEDOUT
    public static let refusedCode = ECONNREFUSED
    public static let resetCode = ECONNRESET
    public static let addressInUseCode = EADDRINUSE
    public static let notPermittedCode = EACCES
    public static let notFoundCode = ENOENT
    public static let tooManyFilesCode = EMFILE
    public static let systemFilesCode = ENFILE
    public static let noFamilyCode = EAFNOSUPPORT
    public static let noAddressCode = EADDRNOTAVAIL

    /// Throws when `result` is a negative errno; else returns it.
    @discardableResult
    static func check<Value: SignedInteger>(
        _ result: Value, _ operation: @autoclosure () -> String
    ) throws(SystemError) -> Value {
        guard result < 0 else { return result }
        throw SystemError(code: Int32(-result), operation: operation())
    }
}
