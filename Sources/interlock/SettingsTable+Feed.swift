// The settings of controllers, proxies and extensions: a part of the one table in SettingsTable.swift.

import Secrets

extension SettingsTable {
    static let feed: [SettingDefinition] = [
        .listen(
            "INTERLOCK_FEED_LISTEN", .feed, \.feedListen, default: ":9190",
            "Role `controller`: where proxies and extensions connect."
        ),
        SettingDefinition(
            "INTERLOCK_FEED_CONNECT", .feed, form: "`host[:port]` list", default: "",
            """
            Roles `proxy` and `extension`: the controllers. A name may stand for several addresses, such as \
            `tasks.lb_controller`; all are tried at once. Without a port: 9190.
            """
        ) { text, settings throws(BadValue) in settings.feedConnect = try SettingValue.controllers(text) },
        SettingDefinition(
            "INTERLOCK_FEED_CREDENTIAL", .feed, form: "secret's name or path", default: "", isSecret: true,
            namesFile: true,
            """
            The credential of this process for the feed, as `interlock feed-init` makes it: certificate, key and \
            authority in one file. Watched.
            """
        ) { text, settings throws(BadValue) in settings.feedCredential = try SettingValue.secretReference(text) },
        .boolean(
            "INTERLOCK_EXTENSION_KEYS", .feed, \.sharesKeysWithExtensions, default: false,
            "Role `controller`: give certificates with their keys to extensions, too. Proxies get them in any case."
        ),
        .path(
            "INTERLOCK_STATE_DIR", .feed, \.stateDirectory,
            """
            A directory of this process's own for the last good snapshot, from which it serves at once when neither \
            Docker nor a controller answers at its start, and for the history of configurations.
            """
        ),
        .duration(
            "INTERLOCK_STATE_MAX_AGE", .feed, \.stateMaximumAgeMs, default: "1d", inMs: 1_000...31_536_000_000,
            "How old the last good snapshot may be to be served from: an address may be another service's by then."
        ),
        SettingDefinition(
            "INTERLOCK_CONTROLLER_SERVICE", .feed, form: "name", default: "", unset: "found from the own container",
            "The Swarm service that this controller is a task of: secrets are attached to it."
        ) { text, settings throws(BadValue) in
            settings.controllerService = try SettingValue.word(text, of: "the name of a service")
        },
        SettingDefinition(
            "INTERLOCK_PROXY_SERVICE", .feed, form: "name list, or `group=name` list", default: "",
            """
            Role `controller`: the Swarm services of the proxies, one for each group. Their networks are the ones \
            that tasks are reached over.
            """
        ) { text, settings throws(BadValue) in settings.proxyServices = try SettingValue.proxyServices(text) },
        .boolean(
            "INTERLOCK_ROLLBACK", .feed, \.allowsRollback, default: true,
            """
            Let `interlock rollback` write its pin as a Docker config, and `interlock resume` remove it. Nothing else \
            is written, and nothing unless somebody asks. Without Swarm a pin is a file in the state directory.
            """
        ),
        .choice(
            "INTERLOCK_MANAGE_SERVICES", .feed, \.manageServices, default: .off,
            """
            Attach the secrets that labels name to the controller's service, by updates of that service; `proxy`: and \
            the networks of services to the proxies' services, which restarts proxies. Needs the right to change \
            services.
            """
        ),
    ]

    static let extensions: [SettingDefinition] = [
        .choice(
            "INTERLOCK_EXTENSION", .extensions, \.extensionKind, default: .nginx,
            "Role `extension`: what is configured; the same as the word after `extension`, which goes first."
        ),
        .path(
            "INTERLOCK_EXTENSION_DIRECTORY", .extensions, \.extensionDirectory, unset: "`/etc/interlock`",
            "The directory that the configuration is written to. It belongs to the extension alone."
        ),
        .command(
            "INTERLOCK_EXTENSION_CHECK", \.extensionCheck,
            unset: "`nginx -t -q -c {file}` or `haproxy -c -q -f {file}`",
            """
            The command that must accept a configuration before it is used; `{file}` is its main file, `{directory}` \
            where all files are. `off`: none.
            """
        ),
        .command(
            "INTERLOCK_EXTENSION_RELOAD", \.extensionReload,
            unset: "`nginx -c {file} -s reload` or `systemctl reload haproxy`",
            "The command that makes the load balancer read its configuration again. `off`: none."
        ),
        .command(
            "INTERLOCK_EXTENSION_COMMAND", \.extensionCommand, unset: "the words after `exec --`",
            "`exec`: the command that gets each snapshot as JSON on its standard input."
        ),
    ]
}

extension SettingDefinition {
    /// Words with spaces between them; no shell reads them.
    fileprivate static func command(
        _ name: String, _ field: Field<[String]>, unset: String, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, .extensions, form: "words", default: "", unset: unset, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.command(text)
        }
    }
}

extension SettingValue {
    static let feedPort: UInt16 = 9190

    /// `host`, `host:port`, several with commas.
    static func controllers(_ text: String) throws(BadValue) -> [ListenSetting] {
        let expectation = BadValue("names or addresses of controllers, such as tasks.lb_controller or 10.0.0.5:9190")
        let items = text.split(separator: ",").map { trim($0) }.filter { !$0.isEmpty }
        var found: [ListenSetting] = []
        for item in items {
            let hasPort = item.hasPrefix("[") ? !item.hasSuffix("]") : item.contains(":")
            let list = try listenList(hasPort ? item : "\(item):\(feedPort)")
            guard let controller = list.first, !controller.host.isEmpty, controller.port != 0 else { throw expectation }
            found.append(controller)
        }
        guard !found.isEmpty else { throw expectation }
        return found
    }

    static func secretReference(_ text: String) throws(BadValue) -> String {
        guard SecretPlaces.isReference(text) else {
            throw BadValue("the name of a file in INTERLOCK_SECRETS_DIR, or an absolute path")
        }
        return text
    }

    /// `lb_proxy`, or `=lb_proxy,blue=blue_proxy`.
    static func proxyServices(_ text: String) throws(BadValue) -> [String: String] {
        var services: [String: String] = [:]
        for item in try names(text) {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map { trim($0) }
            let (cluster, name) = parts.count == 2 ? (parts[0], parts[1]) : ("", parts[0])
            guard !name.isEmpty else { throw BadValue("names of services, such as lb_proxy or blue=blue_proxy") }
            guard services.updateValue(name, forKey: cluster) == nil else {
                throw BadValue("one service for each group of proxies")
            }
        }
        return services
    }

    /// Words; single and double quotes hold some together. `off` is one word that means none.
    static func command(_ text: String) throws(BadValue) -> [String] {
        var words: [String] = []
        var word = ""
        var isWord = false
        var quote: Character?
        for character in text {
            switch character {
            case quote: quote = nil
            case "\"" where quote == nil, "'" where quote == nil:
                quote = character
                isWord = true
            case " " where quote == nil, "\t" where quote == nil:
                if isWord { words.append(word) }
                (word, isWord) = ("", false)
            default:
                word.append(character)
                isWord = true
            }
        }
        guard quote == nil else { throw BadValue("words whose quotes are closed") }
        if isWord { words.append(word) }
        guard let first = words.first, !first.isEmpty else { throw BadValue("a command") }
        return words
    }
}
