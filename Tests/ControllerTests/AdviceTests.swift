// Commands that people copy into a shell: exact, each once, and never with a word that somebody else could have made
// up.

import Discovery
import Docker
import Model
import Testing

@testable import Controller

private func need(_ names: String...) -> SecretNeed {
    SecretNeed(reference: SecretReference(names: names), service: "web")
}

private func secret(_ name: String) -> SwarmSecret { SwarmSecret(id: "i", name: name) }

@Suite struct AdviceTests {
    @Test func secretsThatAreNotAttached() {
        let commands = Advice.commands(
            secrets: [need("a"), need("b", "shop_b"), need("c"), need("c"), need("d")], files: ["a"],
            existing: [secret("a"), secret("shop_b"), secret("c")], service: "lb_controller")
        #expect(
            commands == [
                "docker service update --secret-add shop_b lb_controller",
                "docker service update --secret-add c lb_controller", "docker secret create d FILE",
                "docker service update --secret-add d lb_controller",
            ])
        // Where secrets cannot be listed, the plain name is as good as any.
        #expect(
            Advice.commands(secrets: [need("b", "shop_b")], files: [], existing: nil, service: "") == [
                "docker service update --secret-add b <controller service>"
            ])
        #expect(
            Advice.commands(secrets: [need("b", "shop_b")], files: ["shop_b"], existing: nil, service: "") == [])
    }

    @Test func networksThatAreNotShared() {
        func network(_ name: String, isShared: Bool) -> NetworkNeed {
            NetworkNeed(service: "web", id: "n", name: name, isShared: isShared)
        }
        let needs = [network("a", isShared: true), network("b", isShared: false), network("b", isShared: false)]
        #expect(
            Advice.commands(networks: needs, service: "lb_proxy") == [
                "docker service update --network-add b lb_proxy"
            ])
    }

    @Test(arguments: [
        "", "-a", "--secret-rm=x", "a b", "a;b", "a\nb", "$(id)", "`id`", "a'", "a\"", "a|b", "é", "a/b", "../a",
        "a\u{0}",
        ".a", String(repeating: "a", count: 256),
    ])
    func whatIsNoNameIsInNoCommand(_ name: String) {
        #expect(!Advice.isName(name))
        let commands = Advice.commands(secrets: [need(name)], files: [], existing: [], service: "lb")
        #expect(commands.allSatisfy { $0.hasPrefix("# \"") && !$0.contains("\n") })
        #expect(
            Advice.commands(secrets: [need("a")], files: [], existing: nil, service: name).first?.hasSuffix(
                "<controller service>") == true)
    }

    @Test func namesAreNames() {
        for name in ["a", "A1", "shop_web.v2-x", String(repeating: "a", count: 255)] { #expect(Advice.isName(name)) }
    }
}
