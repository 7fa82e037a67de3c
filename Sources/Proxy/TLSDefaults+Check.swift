// Whether OpenSSL can use what the operator wrote: asked once, at the start, so that a misspelt cipher is one clear
// line then and not a surprise later. Each list is tried on its own, to say which of them is wrong.

internal import TLS

extension TLSDefaults {
    /// A list of the settings.
    public enum List: Hashable, Sendable { case ciphers, cipherSuites, groups }

    /// The first list that cannot be used, and what is wrong with it; nil: all can.
    public func problem() -> (list: List, reason: String)? {
        for (list, text) in [(List.ciphers, ciphers), (.cipherSuites, cipherSuites), (.groups, groups)] {
            if let reason = Self.refusal(of: text, as: list) { return (list, reason) }
            // OpenSSL passes over a name that it does not know if it knows another; rules (`!`, `+`, `@`) are its own.
            for name in text.split(separator: ":") where name.first.map({ $0.isLetter || $0.isNumber }) ?? false {
                if Self.refusal(of: String(name), as: list) != nil { return (list, "\"\(name)\" is not known") }
            }
        }
        return nil
    }

    private static func refusal(of text: String, as list: List) -> String? {
        var settings = TLSPolicySettings()
        switch list {
        case .ciphers: settings.ciphers = text
        case .cipherSuites: settings.cipherSuites = text
        case .groups: settings.groups = text
        }
        do throws(TLSError) {
            _ = try TLSServerPolicy(settings, tickets: nil)
            return nil
        } catch {
            return error.description
        }
    }
}
