// The settings of TLS and of entry ports for TCP: a part of the one table in SettingsTable.swift.

import Model
import Proxy
import Secrets

extension SettingsTable {
    static let tls: [SettingDefinition] = [
        .path(
            "INTERLOCK_SECRETS_DIR", .tls, \.secretsDirectory, default: "/run/secrets",
            """
            The directory of the files that labels name as secrets (`ssl_cert`, `ssl_key`, `ssl_client_ca`, \
            `ssl_backend_ca`). Only named files are read; they are watched.
            """
        ),
        .path(
            "INTERLOCK_CERTS_DIR", .tls, \.certificatesDirectory,
            """
            A directory of certificates that serve the hosts they are made out to: `x.pem` or `x.crt` with the key \
            in it or in `x.key`, an OCSP answer in `x.ocsp`; or certbot's `live` directory. Watched.
            """
        ),
        .file(
            "INTERLOCK_DEFAULT_CERT", .tls, \.defaultCertificate, unset: "such clients are refused",
            """
            The certificate for clients that name no host, or one without a certificate: chain, and the key if it \
            is in the same file. Watched.
            """
        ),
        .file(
            "INTERLOCK_DEFAULT_KEY", .tls, \.defaultKey, unset: "in the certificate's file",
            "The key of the default certificate. Watched."
        ),
        .file(
            "INTERLOCK_TICKET_KEY", .tls, \.ticketKey, unset: "random, of this process",
            """
            A secret of at least 16 bytes that the keys of session tickets are made from, with the time: proxies that \
            have the same resume each other's sessions. Watched.
            """
        ),
        .integer(
            "INTERLOCK_HTTPS_PUBLIC_PORT", .tls, \.httpsPublicPort, default: "443", in: 1...65_535,
            "The port that clients reach HTTPS at: redirects to https name it."
        ),
        .boolean(
            "INTERLOCK_SSL_ONLY", .tls, \.sslOnly, default: false,
            "Answer plain HTTP with a redirect to https for every host, as the label `ssl_only` does for its own."
        ),
        .choice(
            "INTERLOCK_TLS_MIN_VERSION", .tls, words: ["1.2", "1.3"], default: "1.2",
            "The lowest version of TLS that clients may use; label `ssl_min_version`."
        ) { word, settings in settings.tls.minimumVersion = word == "1.3" ? .tls13 : .tls12 },
        .cipherList(
            "INTERLOCK_TLS_CIPHERS", \.tls.ciphers, default: TLSDefaults().ciphers,
            "What is offered in TLS 1.2, in order of preference."
        ),
        .cipherList(
            "INTERLOCK_TLS_CIPHERSUITES", \.tls.cipherSuites, default: TLSDefaults().cipherSuites,
            "What is offered in TLS 1.3, in order of preference."
        ),
        .cipherList(
            "INTERLOCK_TLS_GROUPS", \.tls.groups, default: TLSDefaults().groups,
            "The groups for key exchange, in order of preference."
        ),
        .duration(
            "INTERLOCK_TLS_HELLO_TIMEOUT", .tls, \.helloTimeoutMs, default: "5s", inMs: 10...600_000,
            "From a new connection to the end of its ClientHello."
        ),
        .duration(
            "INTERLOCK_TLS_HANDSHAKE_TIMEOUT", .tls, \.handshakeTimeoutMs, default: "10s", inMs: 10...600_000,
            "From the ClientHello to the end of the handshake, with clients and with tasks."
        ),
        .integer(
            "INTERLOCK_MAX_HANDSHAKES", .tls, \.maximumHandshakes, default: "2000", in: 1...1_000_000,
            "Handshakes with clients under way at once, over all workers."
        ),
        SettingDefinition(
            "INTERLOCK_TCP_PORTS", .tls, form: "port list", default: "",
            """
            The ports that services may ask for with the label `tcp_port`: ports and ranges with commas, such as \
            `5432, 9000-9099`. The proxy's own ports are never among them. Controllers and their proxies both want it.
            """
        ) { text, settings throws(BadValue) in settings.tcpPorts = try SettingValue.ports(text) },
    ]
}

extension SettingDefinition {
    /// A file that is read when it is needed, and watched: named by a secret's name, or by its path.
    fileprivate static func file(
        _ name: String, _ section: Section, _ field: Field<String?>, unset: String, _ documentation: String
    ) -> SettingDefinition {
        // Somebody will give a key where its name belongs; it must not be shown.
        SettingDefinition(
            name, section, form: "secret's name or path", default: "", unset: unset, isSecret: true,
            namesFile: true, documentation
        ) { text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.secretReference(text)
        }
    }

    /// What it names is looked at when the TLS policy is made; here, that it is a list at all.
    fileprivate static func cipherList(
        _ name: String, _ field: Field<String>, default text: String, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, .tls, form: "OpenSSL list", default: text, documentation) {
            text, settings throws(BadValue) in
            let isList = text.utf8.count <= 4096 && text.utf8.allSatisfy { (0x21..<0x7F).contains($0) }
            guard isList, !text.hasPrefix(":"), !text.hasSuffix(":") else {
                throw BadValue("names with colons between them, as OpenSSL writes them")
            }
            settings[keyPath: field] = text
        }
    }
}
