// The commands that people run by hand where nothing manages their services. Pure. A name comes from a label that
// anybody may have written, and a command is copied into a shell: what no object of Docker's can be called is not
// written into one.

public import Discovery
public import Docker
import Model

public enum Advice {
    /// For secrets that labels name and that are not among a service's files: the commands that attach them.
    /// - Parameters:
    ///   - existing: the Swarm's secrets; nil: they could not be listed.
    ///   - service: what to attach them to; "" if nobody knows.
    public static func commands(
        secrets needs: [SecretNeed], files: Set<String>, existing: [SwarmSecret]?, service: String
    ) -> [String] {
        let names = existing.map { Set($0.map(\.name)) }
        var commands: [String] = []
        for need in needs where !need.reference.names.contains(where: files.contains) {
            let candidates = need.reference.names
            let existing = names.map { names in candidates.first { names.contains($0) } } ?? candidates.first
            if existing == nil { add(create(secret: candidates.first ?? ""), to: &commands) }
            add(attach(secret: existing ?? candidates.first ?? "", to: service), to: &commands)
        }
        return commands
    }

    /// For networks that the proxies do not share: the commands that attach them.
    public static func commands(networks needs: [NetworkNeed], service: String) -> [String] {
        var commands: [String] = []
        for need in needs where !need.isShared { add(attach(network: need.name, to: service), to: &commands) }
        return commands
    }

    static func attach(secret: String, to service: String) -> String {
        guard isName(secret) else { return "# \(shown(secret)) can be the name of no secret" }
        return "docker service update --secret-add \(secret) \(target(service, "<controller service>"))"
    }

    static func attach(network: String, to service: String) -> String {
        guard isName(network) else { return "# \(shown(network)) can be the name of no network" }
        return "docker service update --network-add \(network) \(target(service, "<proxy service>"))"
    }

    static func create(secret: String) -> String {
        guard isName(secret) else { return "# \(shown(secret)) can be the name of no secret" }
        return "docker secret create \(secret) FILE"
    }

    private static func add(_ command: String, to commands: inout [String]) {
        if !commands.contains(command) { commands.append(command) }
    }

    private static func target(_ service: String, _ unknown: String) -> String { isName(service) ? service : unknown }

    /// What Docker lets objects be called, no more: it ends no word of a shell and is no option.
    static func isName(_ text: String) -> Bool {
        guard let first = text.utf8.first, text.utf8.count <= 255 else { return false }
        func isPlain(_ byte: UInt8) -> Bool {
            (0x61...0x7A).contains(byte | 0x20) || (0x30...0x39).contains(byte)
        }
        return isPlain(first)
            && text.utf8.allSatisfy { isPlain($0) || [0x2D, 0x2E, 0x5F].contains($0) }
    }

    private static func shown(_ name: String) -> String {
        "\""
            + name.unicodeScalars.prefix(60).map { $0.isASCII && $0.value >= 0x20 && $0.value != 0x7F ? "\($0)" : "?" }
            .joined() + "\""
    }
}
