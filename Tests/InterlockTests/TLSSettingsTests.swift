// The settings of TLS and of entry ports: their values, how they can be wrong, and what they become.

import Discovery
import Kernel
import Model
import Proxy
import Secrets
import Testing

@testable import interlock

private func load(_ environment: [String: String]) throws(SettingsError) -> Settings {
    try SettingsLoader.load(environment: environment) { path in
        .failure(.init(description: "nobody should read \(path)"))
    }
}

private func message(_ environment: [String: String]) -> String? {
    do throws(SettingsError) {
        _ = try load(environment)
        return nil
    } catch {
        return error.description
    }
}

@Suite struct TLSSettingsTests {
    @Test func defaults() throws {
        let settings = try load([:])
        #expect(settings.httpsListen == [ListenSetting(host: "", port: 443)])
        #expect(settings.httpsPublicPort == 443 && !settings.sslOnly)
        #expect(settings.secretPlaces == SecretPlaces(secretsDirectory: "/run/secrets"))
        #expect(settings.tls == TLSDefaults())
        #expect(settings.helloTimeoutMs == 5000 && settings.handshakeTimeoutMs == 10_000)
        #expect(settings.maximumHandshakes == 2000)
        #expect(settings.tcpPorts.isEmpty)
    }

    @Test func valuesReachTheProxyTheMappingAndTheSecrets() throws {
        let settings = try load([
            "INTERLOCK_HTTP_LISTEN": "127.0.0.1:8080", "INTERLOCK_HTTPS_LISTEN": "127.0.0.1:8443,[::1]:8444",
            "INTERLOCK_ADMIN_LISTEN": ":9000", "INTERLOCK_HTTPS_PUBLIC_PORT": "9443", "INTERLOCK_SSL_ONLY": "on",
            "INTERLOCK_TCP_PORTS": "9000-9010, 5432", "INTERLOCK_TLS_MIN_VERSION": "1.3",
            "INTERLOCK_TLS_CIPHERS": "ECDHE-RSA-AES128-GCM-SHA256",
            "INTERLOCK_TLS_CIPHERSUITES": "TLS_AES_128_GCM_SHA256", "INTERLOCK_TLS_GROUPS": "X25519",
            "INTERLOCK_TLS_HELLO_TIMEOUT": "1s", "INTERLOCK_TLS_HANDSHAKE_TIMEOUT": "2s",
            "INTERLOCK_MAX_HANDSHAKES": "50", "INTERLOCK_SECRETS_DIR": "/secrets", "INTERLOCK_CERTS_DIR": "/certs",
            "INTERLOCK_DEFAULT_CERT": "web_default.pem", "INTERLOCK_DEFAULT_KEY": "/keys/default.key",
            "INTERLOCK_TICKET_KEY": "tickets",
        ])
        let proxy = try ProxySettings(settings, descriptorLimit: 4096)
        #expect(proxy.httpsListen.map { "\($0)" } == ["127.0.0.1:8443", "[::1]:8444"])
        #expect(proxy.httpsPublicPort == 9443 && proxy.sslOnly)
        #expect(proxy.tcpPorts == [5432...5432, 9000...9010])
        #expect(proxy.tls.minimumVersion == .tls13 && proxy.tls.ciphers == "ECDHE-RSA-AES128-GCM-SHA256")
        #expect(proxy.tls.cipherSuites == "TLS_AES_128_GCM_SHA256" && proxy.tls.groups == "X25519")
        #expect(proxy.helloTimeoutMs == 1000 && proxy.handshakeTimeoutMs == 2000 && proxy.maximumHandshakes == 50)
        let mapping = ControlPlane.mapping(settings)
        #expect(mapping.tcpPorts == proxy.tcpPorts && mapping.ownPorts == [8080, 8443, 8444, 9000, 9190])
        #expect(
            settings.secretPlaces
                == SecretPlaces(
                    secretsDirectory: "/secrets", certificatesDirectory: "/certs",
                    defaultCertificate: "web_default.pem", defaultKey: "/keys/default.key", ticketKey: "tickets"))
        #expect(try load(["INTERLOCK_HTTPS_LISTEN": "off"]).httpsListen.isEmpty)
    }

    @Test(
        arguments: [
            ("5432", [5432...5432]), ("9000-9099", [9000...9099]), ("2, 1", [1...2]), ("1-3,2-5,7", [1...5, 7...7]),
            ("65535,1", [1...1, 65535...65535]), ("1-65535", [1...65535]), ("10-20, 12", [10...20]), ("5 - 6", [5...6]),
        ] as [(String, [ClosedRange<UInt16>])])
    func ports(_ text: String, _ expected: [ClosedRange<UInt16>]) throws {
        #expect(try SettingValue.ports(text) == expected)
    }

    @Test(arguments: ["0", "65536", "1-", "-1", "2-1", "1-2-3", "a", ",", "1;2", "0-5", "1--2", "+1", "http"])
    func wrongPorts(_ text: String) {
        #expect(throws: BadValue.self) { try SettingValue.ports(text) }
    }

    @Test(arguments: [
        (
            "INTERLOCK_TCP_PORTS", "http",
            "INTERLOCK_TCP_PORTS=\"http\": must be ports from 1 to 65535 and ranges such as 9000-9099, separated by"
                + " commas"
        ),
        ("INTERLOCK_TLS_MIN_VERSION", "1.1", "INTERLOCK_TLS_MIN_VERSION=\"1.1\": must be 1.2 or 1.3"),
        (
            "INTERLOCK_TLS_CIPHERS", "A B",
            "INTERLOCK_TLS_CIPHERS=\"A B\": must be names with colons between them, as OpenSSL writes them"
        ),
        (
            "INTERLOCK_HTTPS_PUBLIC_PORT", "0",
            "INTERLOCK_HTTPS_PUBLIC_PORT=\"0\": must be a whole number from 1 to 65535"
        ),
        (
            "INTERLOCK_TLS_HELLO_TIMEOUT", "0",
            "INTERLOCK_TLS_HELLO_TIMEOUT=\"0\": must be a duration from 10ms to 10m, such as 500ms, 10s or 1m30s"
        ),
        (
            "INTERLOCK_HTTPS_LISTEN", ":80",
            "INTERLOCK_HTTPS_LISTEN=\":80\": is also in INTERLOCK_HTTP_LISTEN; must be another port"
        ),
        (
            "INTERLOCK_ADMIN_LISTEN", ":443",
            "INTERLOCK_ADMIN_LISTEN=\":443\": is also in INTERLOCK_HTTPS_LISTEN; must be another port"
        ),
        (
            "INTERLOCK_DEFAULT_KEY", "key",
            "INTERLOCK_DEFAULT_KEY: there is no INTERLOCK_DEFAULT_CERT that it belongs to"
        ),
    ])
    func oneClearLine(_ name: String, _ value: String, _ expected: String) {
        #expect(message([name: value]) == expected)
    }

    @Test(arguments: ["INTERLOCK_DEFAULT_CERT", "INTERLOCK_DEFAULT_KEY", "INTERLOCK_TICKET_KEY"])
    func aKeyInsteadOfItsNameIsNotShown(_ name: String) {
        let shown = message([name: "-----BEGIN PRIVATE KEY-----\nMIIhidden\n-----END PRIVATE KEY-----"])
        #expect(
            shown == "\(name): must be the name of a file in INTERLOCK_SECRETS_DIR, or an absolute path"
                + " (the value is not shown)")
        #expect(message([name: "../x"]) != nil && message([name: "a/b"]) != nil && message([name: ".."]) != nil)
    }

    @Test(arguments: [
        ("INTERLOCK_TLS_CIPHERS", "NONE-OF-THESE", "no cipher match"),
        (
            "INTERLOCK_TLS_CIPHERS", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GMC-SHA256",
            "-GMC-SHA256\" is not known"
        ),
        ("INTERLOCK_TLS_CIPHERSUITES", "TLS_AES_128_GCM_SHA256:TLS_AES_1_GCM", ""),
        ("INTERLOCK_TLS_GROUPS", "X25519:prime257v1", ""),
    ])
    func aListThatOpenSSLCannotUseIsNamedAtTheStart(_ name: String, _ value: String, _ reason: String) throws {
        let settings = try load([name: value, "INTERLOCK_HTTPS_LISTEN": "off"])
        let failure = #expect(throws: Interlock.Failure.self) { try ProxySettings(settings, descriptorLimit: 4096) }
        #expect(failure?.status == 2)
        #expect(failure?.line.hasPrefix("interlock: \(name)=\"\(value)\": OpenSSL cannot use it: ") == true)
        #expect(failure?.line.contains(reason) == true && failure?.line.contains("\n") == false)
    }

    @Test(arguments: ["ECDHE+AESGCM:!aNULL", "HIGH:@STRENGTH", "ECDHE-RSA-AES128-GCM-SHA256"])
    func listsInOpenSSLsOwnWords(_ ciphers: String) throws {
        let settings = try load(["INTERLOCK_TLS_CIPHERS": ciphers])
        #expect(try ProxySettings(settings, descriptorLimit: 4096).tls.ciphers == ciphers)
    }

    @Test func theFileFormIsTheFileItself() throws {
        let settings = try load([
            "INTERLOCK_DEFAULT_CERT_FILE": "/run/secrets/cert", "INTERLOCK_TICKET_KEY_FILE": "/run/secrets/tickets",
        ])
        #expect(settings.defaultCertificate == "/run/secrets/cert" && settings.ticketKey == "/run/secrets/tickets")
        #expect(
            message(["INTERLOCK_TICKET_KEY": "a", "INTERLOCK_TICKET_KEY_FILE": "/b"])
                == "INTERLOCK_TICKET_KEY and INTERLOCK_TICKET_KEY_FILE are both set: set one of them")
        #expect(message(["INTERLOCK_DEFAULT_CERT_FILE": "relative/path"]) != nil)
    }
}
