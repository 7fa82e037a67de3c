// What `interlock --help` prints: the roles, and every setting with its default, made from the settings table.

enum Help {
    static let lineWidth = 100

    static let roles: [(usage: String, text: String)] = [
        ("interlock", "watch Docker and the services file, and proxy to what they publish"),
        ("interlock controller", "watch Docker and the services file, and tell proxies and extensions"),
        ("interlock proxy", "proxy to what a controller tells; needs no Docker"),
        ("interlock extension nginx|haproxy", "configure another load balancer by what a controller tells"),
        ("interlock extension exec -- COMMAND", "give each snapshot to a command, as JSON"),
        ("interlock feed-init [--help]", "make the credentials of controllers, proxies and extensions"),
        ("interlock rollback N", "pin an earlier configuration, of the running controller's history"),
        ("interlock resume", "let go of a pinned configuration"),
        ("interlock check [FILE]", "say what the settings and the services would give, and exit"),
        (
            "interlock explain URL [FILE] [--method M] [--header H]...",
            "say who would get a request, and why"
        ),
        (
            "interlock render nginx|haproxy [FILE] [--directory DIR]",
            "print, or write, what another load balancer would be given"
        ),
        ("interlock status [PAGE]", "print a page of the running instance, such as /api/feed"),
        ("interlock healthcheck", "exit 0 if the running instance is healthy; for HEALTHCHECK lines"),
        ("interlock demo-backend [--listen ADDR] [--name NAME]", "a backend that answers with what it received"),
        ("interlock version", "print the version (also --version)"),
        ("interlock --help", "print this"),
    ]

    static func text() -> String {
        var lines = ["Interlock: a reverse proxy for Docker Swarm.", "", "Usage:"]
        let usageWidth = roles.map(\.usage.count).max() ?? 0
        for role in roles {
            let padding = String(repeating: " ", count: usageWidth - role.usage.count)
            lines.append("  \(role.usage)\(padding)  \(role.text)")
        }
        lines += [
            "",
            "Settings are environment variables. Each can also be given as NAME_FILE, the path of a file that",
            "holds the value (or is the file meant, where the value names a file). An empty value counts as unset.",
            "DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH mean what they mean to Docker's own client.",
        ]
        for section in SettingDefinition.Section.allCases {
            lines += ["", "\(section.rawValue):"]
            for setting in SettingsTable.all where setting.section == section {
                let standard = setting.defaultText.isEmpty ? setting.unsetMeans : setting.defaultText
                lines.append("  \(setting.name)  (\(plain(setting.form)); default: \(plain(standard)))")
                lines += wrap(plain(setting.documentation), indentation: 6)
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Without the Markdown ticks.
    private static func plain(_ text: String) -> String { text.filter { $0 != "`" } }

    static func wrap(_ text: String, indentation: Int) -> [String] {
        let margin = String(repeating: " ", count: indentation)
        var lines: [String] = []
        var line = margin
        for word in text.split(separator: " ") {
            if line.count + 1 + word.count > lineWidth, line.count > indentation {
                lines.append(line)
                line = margin
            }
            line += line.count > indentation ? " \(word)" : "\(word)"
        }
        return lines + [line]
    }
}
