// The settings loader against the table: every value form, every way to be wrong, and what the operator is told.

import Model
import Telemetry
import Testing

@testable import interlock

private func load(_ environment: [String: String], files: [String: String] = [:])
    throws(SettingsError) -> Settings
{
    try SettingsLoader.load(environment: environment) { path in
        guard let content = files[path] else {
            return .failure(.init(description: "No such file or directory"))
        }
        return .success(content)
    }
}

private func message(_ environment: [String: String], files: [String: String] = [:]) -> String? {
    do throws(SettingsError) {
        _ = try load(environment, files: files)
        return nil
    } catch {
        return error.description
    }
}

@Suite struct SettingsDefaults {
    @Test func everyDefaultIsAValueOfItsOwnKind() throws {
        let settings = try load([:])
        #expect(settings.role == .allInOne)
        #expect(settings.httpListen == [ListenSetting(host: "", port: 80)])
        #expect(settings.adminListen == [ListenSetting(host: "", port: 9180)])
        #expect(settings.workerCount == nil)
        #expect(settings.maxConnections == nil)
        #expect(settings.docker == .automatic)
        #expect(settings.networks == nil)
        #expect(settings.labelPrefix == "com.docker.lb.")
        #expect(settings.pollIntervalMs == 5000)
        #expect(settings.pollIntervalBusyMs == 250)
        #expect(settings.viaName == "interlock")
        #expect(settings.showsRequestID && !settings.showsInfoHeaders && !settings.addsForwarded)
        #expect(settings.maxBodySize == 32 << 20)
        #expect(settings.headerTimeoutMs == 10_000)
        #expect(settings.responseTimeoutMs == 600_000)
        #expect(settings.tunnelTimeoutMs == 3_600_000)
        #expect(settings.drainTimeoutMs == 8000)
        #expect(settings.drainDelayMs == 0)
        #expect(settings.requestLineSize == 8192)
        #expect(settings.headSize == 32_768)
        #expect(settings.fieldCount == 128)
        #expect(settings.trustedProxies.isEmpty && settings.proxyProtocolPeers.isEmpty)
        #expect(settings.accessLog == .off && settings.accessLogPath == nil)
        #expect(settings.adminToken == nil && !settings.adminIsOpen)
        #expect(settings.stateDirectory == nil && settings.feedConnect.isEmpty && settings.manageServices == .off)
    }

    @Test func everySettingWithAGivenValueTakesItFromTheEnvironment() throws {
        for definition in SettingsTable.all where !definition.defaultText.isEmpty {
            #expect(message([definition.name: definition.defaultText]) == nil, "\(definition.name)")
            #expect(message([definition.name: ""]) == nil, "\(definition.name) empty")
        }
    }

    @Test func namesAreUniqueAndNoneIsTheFileFormOfAnother() {
        let names = SettingsTable.all.map(\.name)
        #expect(Set(names).count == names.count)
        for name in names {
            #expect(name.hasPrefix("INTERLOCK_"))
            #expect(!names.contains(name + "_FILE"))
        }
    }
}

@Suite struct SettingsValues {
    @Test(arguments: [
        ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1h", 3_600_000), ("7", 7000),
        ("1d", 86_400_000),
        ("1h2m3s4ms", 3_723_004), ("0", 0),
    ])
    func durations(_ text: String, _ expected: Int) throws {
        #expect(try SettingValue.duration(text, inMs: 0...100_000_000) == expected)
    }

    @Test(arguments: [
        "", "s", "-1", "1.5s", "10 s", "1s1m", "1s1s", "1x", "ms", "1e3", "+5", "٣s",
        "99999999999999999999",
        "9223372036854775807d", "0x10",
    ])
    func wrongDurations(_ text: String) {
        #expect(throws: BadValue.self) { try SettingValue.duration(text, inMs: 0...Int.max) }
    }

    @Test(arguments: [
        ("0", 0), ("8k", 8192), ("32m", 33_554_432), ("1g", 1 << 30), ("1KiB", 1024), ("5b", 5),
        ("2T", 2 << 40),
    ])
    func sizes(_ text: String, _ expected: Int) throws {
        #expect(try SettingValue.size(text, in: 0...Int.max) == expected)
    }

    @Test(arguments: ["", "k", "-1", "1.5m", "1 k", "1p", "9999999999g", "0x1"])
    func wrongSizes(_ text: String) {
        #expect(throws: BadValue.self) { try SettingValue.size(text, in: 0...Int.max) }
    }

    @Test(arguments: [
        ("off", [ListenSetting]()), (":80", [ListenSetting(host: "", port: 80)]),
        ("*:80", [ListenSetting(host: "", port: 80)]),
        (
            "127.0.0.1:80, [::1]:80,",
            [ListenSetting(host: "127.0.0.1", port: 80), ListenSetting(host: "::1", port: 80)]
        ),
        ("localhost:0", [ListenSetting(host: "localhost", port: 0)]),
    ])
    func listenLists(_ text: String, _ expected: [ListenSetting]) throws {
        #expect(try SettingValue.listenList(text) == expected)
    }

    @Test(arguments: [
        "", ",", "80", ":", ":65536", ":-1", ":+80", "::1:80", "[::1]", "[127.0.0.1]:80", "[::1:80",
        "a b:80",
        ":80,:80",
        "http://x:80", "1.2.3.4:8o",
    ])
    func wrongListenLists(_ text: String) {
        #expect(throws: BadValue.self) { try SettingValue.listenList(text) }
    }

    @Test(arguments: [
        ("auto", DockerSource.automatic), ("OFF", .off),
        ("unix:///var/run/docker.sock", .address("unix:///var/run/docker.sock")),
        ("tcp://manager:2376", .address("tcp://manager:2376")),
    ])
    func dockerAddresses(_ text: String, _ expected: DockerSource) throws {
        #expect(try SettingValue.docker(text) == expected)
    }

    @Test(arguments: ["docker", "unix://relative", "tcp://", "ftp://x", "tcp://a b"])
    func wrongDockerAddresses(_ text: String) {
        #expect(throws: BadValue.self) { try SettingValue.docker(text) }
    }

    @Test func listenAddressesBecomeSocketAddresses() throws {
        #expect(try ListenSetting(host: "", port: 80).resolved().map { "\($0)" } == ["[::]:80"])
        #expect(
            try ListenSetting(host: "127.0.0.1", port: 80).resolved().map { "\($0)" } == ["127.0.0.1:80"])
        #expect(try ListenSetting(host: "::1", port: 80).resolved().map { "\($0)" } == ["[::1]:80"])
        #expect(ListenSetting(host: "::1", port: 80).description == "[::1]:80")
    }

    @Test func valuesLandInTheirFields() throws {
        let settings = try load([
            "INTERLOCK_WORKERS": "3", "INTERLOCK_HTTP_LISTEN": "127.0.0.1:8000",
            "INTERLOCK_ADMIN_LISTEN": "off",
            "INTERLOCK_TRUSTED_PROXIES": "10.0.0.0/8, ::1", "INTERLOCK_PROXY_PROTOCOL": "192.0.2.1",
            "INTERLOCK_VIA": "off", "INTERLOCK_NETWORK": "web, backend",
            "INTERLOCK_LABEL_PREFIX": "org.example",
            "INTERLOCK_LOG_LEVEL": "Debug", "INTERLOCK_ACCESS_LOG": "json",
            "INTERLOCK_ACCESS_LOG_PATH": "/tmp/a",
            "INTERLOCK_MAX_BODY_SIZE": "0", "INTERLOCK_MAX_CONNECTIONS": "77",
            "INTERLOCK_TAKEOVER": "yes",
            "INTERLOCK_UNDERSCORE_HEADERS": "drop", "INTERLOCK_HOST_OWNERSHIP": "stack",
            "INTERLOCK_ROLE": "check",
            "INTERLOCK_ADMIN_TOKEN": " s3cret ", "INTERLOCK_SERVICES_FILE": "/etc/services.json",
            "INTERLOCK_DRAIN_DELAY": "3", "PATH": "/bin", "DOCKER_HOST": "tcp://m:2376",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": "/certs",
        ])
        #expect(settings.workerCount == 3)
        #expect(settings.httpListen == [ListenSetting(host: "127.0.0.1", port: 8000)])
        #expect(settings.adminListen.isEmpty)
        #expect(settings.trustedProxies.map { "\($0)" } == ["10.0.0.0/8", "::1/128"])
        #expect(settings.proxyProtocolPeers.map { "\($0)" } == ["192.0.2.1/32"])
        #expect(settings.viaName == nil)
        #expect(settings.networks == ["web", "backend"])
        #expect(settings.labelPrefix == "org.example.")
        #expect(settings.logLevel == .debug)
        #expect(settings.accessLog == .json && settings.accessLogPath == "/tmp/a")
        #expect(settings.maxBodySize == 0)
        #expect(settings.maxConnections == 77)
        #expect(settings.sharesListeners && settings.dropsUnderscoreNames)
        #expect(settings.hostOwnership == .stack)
        #expect(settings.role == .check)
        #expect(settings.adminToken == "s3cret")
        #expect(settings.servicesFile == "/etc/services.json")
        #expect(settings.drainDelayMs == 3000)
        #expect(
            settings.dockerEnvironment
                == DockerEnvironment(host: "tcp://m:2376", verifiesTLS: true, certificatePath: "/certs"))
        #expect(try load(["INTERLOCK_NETWORK": "host"]).networks == [])
    }
}

@Suite struct SettingsErrors {
    @Test(arguments: [
        (
            "INTERLOCK_WORKERS", "many",
            "INTERLOCK_WORKERS=\"many\": must be auto, or a whole number from 1 to 256"
        ),
        (
            "INTERLOCK_WORKERS", "0",
            "INTERLOCK_WORKERS=\"0\": must be auto, or a whole number from 1 to 256"
        ),
        (
            "INTERLOCK_HEADER_TIMEOUT", "soon",
            "INTERLOCK_HEADER_TIMEOUT=\"soon\": must be a duration from 10ms to 1h, such as 500ms, 10s or 1m30s"
        ),
        (
            "INTERLOCK_HEAD_SIZE", "1",
            "INTERLOCK_HEAD_SIZE=\"1\": must be a size from 1k to 256k, such as 8k, 32m or 1g"
        ),
        (
            "INTERLOCK_FORWARDED", "maybe",
            "INTERLOCK_FORWARDED=\"maybe\": must be true or false (also 1, 0, yes, no, on, off)"
        ),
        ("INTERLOCK_ACCESS_LOG", "xml", "INTERLOCK_ACCESS_LOG=\"xml\": must be off, json or clf"),
        (
            "INTERLOCK_TRUSTED_PROXIES", "10.0.0.0/33",
            "INTERLOCK_TRUSTED_PROXIES=\"10.0.0.0/33\": must be addresses or CIDR blocks such as 10.0.0.0/8 or"
                + " 2001:db8::/32, separated by commas"
        ),
        (
            "INTERLOCK_VIA", "a b",
            "INTERLOCK_VIA=\"a b\": must be off, or a name of letters, digits and any of !#$%&'*+-.^_`|~"
        ),
        (
            "INTERLOCK_ADMIN_TOKEN", "top secret",
            "INTERLOCK_ADMIN_TOKEN: must be 1 to 255 printable ASCII characters without spaces (the value is not shown)"
        ),
        (
            "INTERLOCK_HTTP_LISTN", ":1",
            "INTERLOCK_HTTP_LISTN: no such setting; did you mean INTERLOCK_HTTP_LISTEN?"
        ),
        (
            "INTERLOCK_HTTP_LITSEN", ":1",
            "INTERLOCK_HTTP_LITSEN: no such setting; did you mean INTERLOCK_HTTP_LISTEN?"
        ),
        (
            "INTERLOCK_ZEBRA_CROSSING_COLOUR", "1",
            "INTERLOCK_ZEBRA_CROSSING_COLOUR: no such setting; the nearest is INTERLOCK_ACCESS_LOG"
        ),
        (
            "INTERLOCK_FEED_LISTEN", "9190",
            "INTERLOCK_FEED_LISTEN=\"9190\": must be off, or addresses such as :80, 127.0.0.1:80 or [::1]:80, "
                + "separated by commas"
        ),
        (
            "DOCKER_HOST", "swarm",
            "DOCKER_HOST=\"swarm\": must be an address such as unix:///var/run/docker.sock or"
                + " tcp://manager:2376 (or set INTERLOCK_DOCKER)"
        ),
        (
            "INTERLOCK_REQUEST_LINE_SIZE", "64k",
            "INTERLOCK_REQUEST_LINE_SIZE: must not be larger than INTERLOCK_HEAD_SIZE"
        ),
        (
            "INTERLOCK_POLL_INTERVAL_BUSY", "6s",
            "INTERLOCK_POLL_INTERVAL_BUSY: must not be longer than INTERLOCK_POLL_INTERVAL"
        ),
        (
            "INTERLOCK_ADMIN_LISTEN", ":80",
            "INTERLOCK_ADMIN_LISTEN=\":80\": is also in INTERLOCK_HTTP_LISTEN; must be another port"
        ),
        (
            "INTERLOCK_VIA", "a\u{1B}[2J\nb",
            "INTERLOCK_VIA=\"a\\u{1b}[2J\\nb\": must be off, or a name of letters, digits and any of !#$%&'*+-.^_`|~"
        ),
    ])
    func oneClearLine(_ name: String, _ value: String, _ expected: String) {
        let shown = message([name: value])
        #expect(shown == expected)
        #expect(shown?.contains("\n") == false)
    }

    @Test func aLongValueIsShortened() {
        let shown = message(["INTERLOCK_WORKERS": String(repeating: "9", count: 100_000)])
        #expect(shown.map { $0.count < 300 } == true)
    }
}

@Suite struct SettingsFiles {
    @Test(arguments: [
        ("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("", nil), ("\n", nil),
    ])
    func oneLineEndIsTrimmed(_ content: String, _ expected: String?) throws {
        let settings = try load(
            ["INTERLOCK_ADMIN_TOKEN_FILE": "/run/secrets/t"], files: ["/run/secrets/t": content])
        #expect(settings.adminToken == expected)
    }

    @Test func everySettingCanComeFromAFile() {
        for definition in SettingsTable.all where !definition.defaultText.isEmpty {
            let shown = message(
                [definition.name + "_FILE": "/f"], files: ["/f": definition.defaultText + "\n"])
            #expect(shown == nil, "\(definition.name)")
        }
        #expect(message(["INTERLOCK_SERVICES_FILE_FILE": "/f"], files: ["/f": "/etc/x.json"]) == nil)
    }

    @Test func bothFormsAtOnceAreRefused() {
        #expect(
            message(["INTERLOCK_VIA": "a", "INTERLOCK_VIA_FILE": "/f"], files: ["/f": "b"])
                == "INTERLOCK_VIA and INTERLOCK_VIA_FILE are both set: set one of them")
        #expect(message(["INTERLOCK_VIA": "", "INTERLOCK_VIA_FILE": "/f"], files: ["/f": "b"]) == nil)
    }

    @Test func whatIsWrongNamesTheFile() {
        #expect(
            message(["INTERLOCK_VIA_FILE": "/nowhere"])
                == "INTERLOCK_VIA_FILE=\"/nowhere\": No such file or directory")
        #expect(
            message(["INTERLOCK_WORKERS_FILE": "/f"], files: ["/f": "x\n"])
                == "INTERLOCK_WORKERS_FILE=\"/f\": \"x\": must be auto, or a whole number from 1 to 256")
        let secret = message(["INTERLOCK_ADMIN_TOKEN_FILE": "/f"], files: ["/f": "very hidden\n\n"])
        #expect(secret?.contains("INTERLOCK_ADMIN_TOKEN_FILE=\"/f\"") == true)
        #expect(secret?.contains("hidden") == false)
    }

    @Test func theRealReaderReportsWhatTheSystemSays() {
        #expect(
            SettingsLoader.readFile("/nonexistent/x")
                == .failure(.init(description: "No such file or directory")))
        #expect(SettingsLoader.readFile("/") == .failure(.init(description: "Is a directory")))
        #expect(SettingsLoader.readFile("/dev/null") == .success(""))
        #expect(
            SettingsLoader.readFile("/dev/zero") == .failure(.init(description: "is larger than 1 MiB")))
        #expect(SettingsLoader.processEnvironment()["PATH"] != nil)
    }
}
