// Settings of controllers, proxies and extensions: what is read, and what is said about what cannot be.

import Support
import Testing

@testable import interlock

@Suite struct FeedSettingsTests {
    private func load(_ variables: [String: String]) throws -> Settings {
        try SettingsLoader.load(environment: variables)
    }

    private func message(_ variables: [String: String]) -> String? {
        do {
            _ = try load(variables)
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test func controllersHaveAPortOrTheUsualOne() throws {
        let settings = try load(["INTERLOCK_FEED_CONNECT": " tasks.lb_controller, 10.0.0.5:9191 ,[::1],[::1]:1,"])
        #expect(
            settings.feedConnect == [
                ListenSetting(host: "tasks.lb_controller", port: 9190), ListenSetting(host: "10.0.0.5", port: 9191),
                ListenSetting(host: "::1", port: 9190), ListenSetting(host: "::1", port: 1),
            ])
        for bad in [":9190", "a:0", "a b", ","] {
            #expect(message(["INTERLOCK_FEED_CONNECT": bad])?.hasPrefix("INTERLOCK_FEED_CONNECT") == true, "\(bad)")
        }
    }

    @Test func proxyServicesByGroup() throws {
        #expect(try load(["INTERLOCK_PROXY_SERVICE": "lb_proxy"]).proxyServices == ["": "lb_proxy"])
        #expect(
            try load(["INTERLOCK_PROXY_SERVICE": "lb_proxy, blue=blue_proxy"]).proxyServices
                == ["": "lb_proxy", "blue": "blue_proxy"])
        #expect(message(["INTERLOCK_PROXY_SERVICE": "a,b"])?.contains("one service for each group") == true)
        #expect(message(["INTERLOCK_PROXY_SERVICE": "blue="])?.contains("names of services") == true)
    }

    @Test(arguments: [
        ("nginx -t -c {}", ["nginx", "-t", "-c", "{}"]), ("sh -c 'a; b' \"c d\"", ["sh", "-c", "a; b", "c d"]),
        ("x ''", ["x", ""]), ("off", ["off"]),
    ])
    func commandsAreWords(_ text: String, _ words: [String]) throws {
        #expect(try load(["INTERLOCK_EXTENSION_RELOAD": text]).extensionReload == words)
    }

    @Test func aCommandWhoseQuotesStayOpenIsNone() {
        #expect(message(["INTERLOCK_EXTENSION_CHECK": "sh -c 'a"])?.contains("quotes are closed") == true)
    }

    @Test func whatIsManaged() throws {
        #expect(try load(["INTERLOCK_MANAGE_SERVICES": "true"]).manageServices == .secrets)
        #expect(try load(["INTERLOCK_MANAGE_SERVICES": "proxy"]).manageServices == .secretsAndNetworks)
        #expect(message(["INTERLOCK_MANAGE_SERVICES": "yes"])?.contains("false, true or proxy") == true)
    }

    @Test func theOperatorsOwnSecretsAreKnownByName() throws {
        let folder = try makeFolder()
        try writeFile("\(folder)/admin_token", "token")
        let settings = try load([
            "INTERLOCK_FEED_CREDENTIAL": "feed.pem", "INTERLOCK_TICKET_KEY": "/run/secrets/tickets",
            "INTERLOCK_ADMIN_TOKEN_FILE": "\(folder)/admin_token",
        ])
        #expect(settings.reservedSecrets == ["feed.pem", "tickets", "admin_token"])
    }

    @Test(arguments: [
        (["proxy"], Role.proxy), (["controller"], .controller), (["extension", "haproxy"], .balancerExtension),
        (["rollback", "3"], .rollback), (["resume"], .resume), (["status", "/api/feed"], .status),
    ])
    func rolesAsWords(_ words: [String], _ role: Role) throws {
        #expect(try Arguments(parsing: words).request == .role(role))
    }

    @Test func wordsOfRoles() throws {
        #expect(try Arguments(parsing: ["rollback", "12"]).number == 12)
        #expect(try Arguments(parsing: ["extension", "exec", "--", "a", "--b"]).command == ["a", "--b"])
        #expect(try Arguments(parsing: ["extension", "exec"]).extensionKind == .exec)
        for bad in [["rollback"], ["rollback", "x"], ["rollback", "0"], ["extension", "f5"], ["proxy", "now"]] {
            #expect(throws: Arguments.UsageError.self) { try Arguments(parsing: bad) }
        }
    }
}
