// docs/CONFIGURATION.md, made from the settings table: the same rows that the loader parses by.
// A test holds the file and this text equal; run it with UPDATE_DOCUMENTS=1 to write the file anew.

enum HelpDocument {
    static func markdown() -> String {
        var text = introduction
        for section in SettingDefinition.Section.allCases {
            text += "\n## \(section.rawValue)\n"
            if let note = notes[section] { text += "\n\(note)\n" }
            text += "\n| Setting | Value | Default | Meaning |\n|---|---|---|---|\n"
            for setting in SettingsTable.all where setting.section == section {
                let standard = setting.defaultText.isEmpty ? setting.unsetMeans : "`\(setting.defaultText)`"
                text += "| `\(setting.name)` | \(setting.form) | \(standard) | \(cell(setting.documentation)) |\n"
            }
        }
        return text + dockerVariables
    }

    private static func cell(_ text: String) -> String {
        String(text.flatMap { $0 == "|" ? ["\\", "|"] : [$0] })
    }

    private static let introduction = """
        # Configuration

        Interlock is configured by environment variables and nothing else. `interlock --help` prints this table for the
        build at hand; `interlock check` tells what a configuration would do without doing it.

        <!-- Made from Sources/interlock/SettingsTable.swift; a test holds both equal. Do not edit by hand. -->

        ## Rules

        - Every setting can also be given as `NAME_FILE`: the path of a file, such as a mounted Docker secret or config,
          that holds the value; or that is the file meant, where the value names a file. One line end at the file's end
          is not part of the value. Setting both is an error, so is a file that cannot be read.
        - An empty value counts as unset.
        - A name that begins with `INTERLOCK_` and is not known is an error that names the nearest known one. A bad
          value is an error of one line: the variable, the value (secrets are never shown) and what would be right. The
          process then exits with status 2 and has touched nothing.
        - Settings are read once, at the start.
        - What a service's label sets (see LABELS.md) goes before the setting for that service.

        | Kind | Written as |
        |---|---|
        | duration | `500ms`, `10s`, `1m30s`, `1h`, `1d`; a bare number is seconds |
        | size | bytes, or with `k`, `m`, `g` (powers of 1024): `8k`, `32m` |
        | `true` or `false` | also `1`, `0`, `yes`, `no`, `on`, `off`, in any case |
        | `[host]:port` list | `:80`, `127.0.0.1:80`, `[::1]:80`, several with commas; `off` listens nowhere |
        | port list | ports and ranges with commas: `5432, 9000-9099` |
        | secret's name or path | a name in `INTERLOCK_SECRETS_DIR`, or an absolute path; `_FILE` takes the path |
        | OpenSSL list | names with colons, as OpenSSL writes them |
        | CIDR list | `10.0.0.0/8, 2001:db8::/32`; a bare address is a block of one |
        | name list | names with commas |
        | secret | printable ASCII without spaces; never logged or shown |

        """

    private static let notes: [SettingDefinition.Section: String] = [
        .tls: """
        What serves TLS where no label says otherwise is Mozilla's "intermediate" recommendation. See OPERATIONS.md for
        how certificates are added and renewed.
        """,
        .feed: """
        A controller watches the cluster and tells proxies and extensions; they need no Docker. See OPERATIONS.md for
        how they are set up, and FEED.md for what they say to each other.
        """,
        .extensions: """
        See EXTENSIONS.md.
        """,
        .headers: """
        No forwarded header is trusted by default, private address ranges included: Swarm's routing mesh makes every
        client look internal.
        """,
        .timeouts: """
        Every wait has a deadline. Nothing limits the duration of a whole request, upload or download, as long as
        it moves.
        """,
        .logs: """
        `/healthz`, `/readyz` and `/metrics` of the admin listener are open to everybody who reaches it. The index
        page and `/api` answer loopback peers, holders of the token, or everybody if so told.
        """,
    ]

    private static let dockerVariables = """

        ## Docker's own variables

        They mean what they mean to Docker's client, while `INTERLOCK_DOCKER` does not name an address itself.

        | Variable | Meaning |
        |---|---|
        | `DOCKER_HOST` | the engine's address: `unix:///path` or `tcp://host:port` |
        | `DOCKER_TLS_VERIFY` | any value: use TLS for `tcp://` and verify the engine's certificate |
        | `DOCKER_CERT_PATH` | a directory with `ca.pem`, `cert.pem` and `key.pem` |

        """
}
