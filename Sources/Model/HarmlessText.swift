// Text of other people, made fit for a terminal: who writes labels, or answers on a port, is not who reads the line.

extension String {
    /// What stands on a line stays on it, and commands no terminal: controls, formats and separators are escaped.
    public var harmless: String {
        func isControl(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: true
            default: false
            }
        }
        guard unicodeScalars.contains(where: isControl) else { return self }
        return unicodeScalars.reduce(into: "") { text, scalar in
            if isControl(scalar) {
                text += scalar.escaped(asASCII: true)
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
    }
}
