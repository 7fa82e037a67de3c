// The frontend that requests come in by, plain and over TLS. Its rules stand in the order in which our own proxy
// decides: is this connection one for the host (421), is there such a host (503), which route, is the request sent
// elsewhere (301, 302, 308), is there a path (404), a task (503), one reading of the path alone (400).

import Model

struct HAProxyFrontend {
    let settings: RenderSettings
    let directory: HAProxyPath
    let names: HAProxyNames
    let routes: HAProxyRoutes
    let policies: HAProxyPolicies
    let certificates: HAProxyCertificates
    /// Hosts that are passed on are told to use https.
    let hasPassed: Bool
    let redirects: (http: HAProxyMap, https: HAProxyMap)

    /// Files that its rules look things up in.
    var files: [(name: String, map: HAProxyMap)] {
        var files = [
            ("hosts.map", names.exact), ("wildcards.map", names.wildcards), ("routes.map", routes.plain),
            ("places.map", routes.places), ("hsts.map", routes.hsts), ("policies.map", policies.map),
            ("redirects-http.map", redirects.http), ("redirects-https.map", redirects.https),
            ("shown.map", certificates.shown),
            ("covered.map", certificates.covered),
        ]
        for (index, entry) in routes.conditional.enumerated() { files.append(("routes-\(index + 1).map", entry.map)) }
        return files.filter { !$0.1.isEmpty }
    }

    private func lookUp(_ converter: HAProxyWord, _ file: String, else fallback: HAProxyWord = "") -> HAProxyWord {
        // The directory was looked at, and the names are ours.
        .joined(converter, directory.file(file).map { .path($0) } ?? "", fallback, ")")
    }

    func write(binds: [[HAProxyWord]], into writer: inout HAProxyWriter) {
        writer.section("frontend", HAProxyName("web"))
        writer.line("mode http")
        writer.line("option disable-h2-upgrade")
        for bind in binds { writer.line(bind) }
        writeIdentity(into: &writer)
        writeHost(into: &writer)
        if !certificates.isEmpty { writeAllowed(into: &writer) }
        HAProxyAnswer.unknownHost.write(into: &writer, condition: ["{ var(txn.pattern) -m str -- - }"])
        writeRoute(into: &writer)
        writeDetours(into: &writer)
        HAProxyAnswer.unknownPath.write(into: &writer, condition: ["!{ var(txn.route) -m found }"])
        writeRoot(into: &writer)
        HAProxyAnswer.noTask.write(into: &writer, condition: ["{ var(txn.backend) -m str -- - }"])
        if routes.hasStrict { writeReadings(into: &writer) }
        HAProxyAnswer.bodyTooLarge.write(
            into: &writer, condition: ["!{ var(txn.limit) -m str 0 } { req.body_size,sub(txn.limit) gt 0 }"])
        if routes.needsNames {
            // Nothing but the chain of the task's certificate could be verified.
            HAProxyAnswer.noName.write(
                into: &writer, condition: ["{ var(txn.flags) -m sub n } !{ var(txn.host) -m found }"])
        }
        writeForwarding(into: &writer)
        writeFailures(into: &writer)
        writer.line("use_backend %[var(txn.backend)]")
    }

    // MARK: What the client says

    /// What a client says about itself is gone before anything is asked of the request.
    private func writeIdentity(into writer: inout HAProxyWriter) {
        writer.line("http-request set-var(txn.id) uuid,regsub(-,,g)")
        writer.line("http-after-response set-header x-request-id %[var(txn.id)]")
        let names: HAProxyWord = """
            '^(forwarded|x[-_]forwarded[-_].*|x[-_]real[-_]ip|x[-_]request[-_]id|client[-_]cert([-_]chain)?\
            |x[-_]ssl[-_]client([-_].*)?|proxy|content_length|transfer_encoding|keep_alive|proxy[-_]connection\
            |http2[-_]settings)$'
            """
        writer.line("http-request del-header", names, "-m reg")
        // What our own parser refuses and haproxy's lets pass.
        let refuse: HAProxyWord = "http-request set-var(txn.invalid) bool(true) if"
        writer.line(refuse, "HTTP_1.1 !{ req.hdr(host) -m found }")
        writer.line(refuse, #"{ url -m reg '[#\\]' }"#)
        writer.line(
            refuse, "{ req.hdr(host) -m found } !{ req.hdr(host) -m reg",
            #"""
            '^([A-Za-z0-9_~-]+([.][A-Za-z0-9_~-]+)*[.]?|\[[0-9A-Fa-f:.]+\])?(:[0-9]{0,5})?$'
            """#, "}")
        HAProxyAnswer.invalid.write(into: &writer, condition: ["{ var(txn.invalid) -m bool }"])
    }

    private func writeHost(into writer: inout HAProxyWriter) {
        writer.line("http-request set-var(txn.host) 'req.hdr(host),host_only,lower,regsub([.]$,)'")
        writer.line("http-request set-var(txn.path) path")
        writer.line("http-request set-var(txn.target) str(/)")
        writer.line("http-request set-var(txn.target) pathq if { pathq -m found }")
        writer.line("http-request set-uri %[var(txn.target)] if { url,lower -m beg http: https: }")
        writeNames("txn.host", "txn.pattern", [], &writer)
        if !policies.map.isEmpty {
            writer.line(
                "http-request set-var(txn.policy)",
                .joined("var(txn.pattern),", lookUp("map_str(", "policies.map", else: ",none")))
        }
    }

    private func writeNames(
        _ name: HAProxyWord, _ pattern: HAProxyWord, _ condition: [HAProxyWord], _ writer: inout HAProxyWriter
    ) {
        guard let exact = directory.file("hosts.map"), let wildcards = directory.file("wildcards.map") else { return }
        names.write(
            "http-request", name: name, pattern: pattern, exact: exact, wildcards: wildcards, into: &writer,
            condition: condition)
    }

    /// What the handshake allowed must do for the host of the request.
    private func writeAllowed(into writer: inout HAProxyWriter) {
        guard !policies.map.isEmpty || !certificates.shown.isEmpty else { return }
        writer.line("http-request set-var(txn.name) 'ssl_fc_sni,lower,regsub([.]$,)' if { ssl_fc }")
        writeNames("txn.name", "txn.asked", ["{ ssl_fc }"], &writer)
        let refuse: HAProxyWord = "http-request set-var(txn.misdirected) bool(true) if { ssl_fc }"
        if !policies.map.isEmpty {
            writer.line(
                "http-request set-var(txn.served)",
                .joined("var(txn.asked),", lookUp("map_str(", "policies.map", else: ",none")), "if { ssl_fc }")
            writer.line(refuse, "!{ var(txn.policy),strcmp(txn.served) eq 0 }")
            writer.line(refuse, "{ var(txn.policy) -m str closed passed }")
            policies.writeDemands { writer.line([refuse] + $0) }
        }
        if !certificates.shown.isEmpty {
            let isOther: HAProxyWord = "{ var(txn.host) -m found } !{ var(txn.host),strcmp(txn.name) eq 0 }"
            writer.line(
                "http-request set-var(txn.shown)", .joined("var(txn.asked),", lookUp("map_str(", "shown.map")),
                "if { ssl_fc }", isOther)
            writer.line("http-request set-var(txn.parent) var(txn.host),field(2,.,0) if { var(txn.shown) -m found }")
            let covers = lookUp("map_str(", "covered.map")
            writer.line(
                refuse, "{ var(txn.shown) -m found } !{", .joined("var(txn.shown),concat(/,txn.host),", covers),
                "-m found } !{", .joined("var(txn.shown),concat(/*.,txn.parent),", covers), "-m found }")
        }
        HAProxyAnswer.misdirected.write(into: &writer, condition: ["{ var(txn.misdirected) -m bool }"])
    }

    // MARK: The route

    private func writeRoute(into writer: inout HAProxyWriter) {
        writer.line("http-request set-var(txn.key) var(txn.pattern),concat(,txn.path,/)")
        if !routes.plain.isEmpty {
            writer.line(
                "http-request set-var(txn.route)", .joined("var(txn.key),", lookUp("map_beg(", "routes.map")))
        }
        var conditions: [[HAProxyWord]] = []
        for (index, entry) in routes.conditional.enumerated() {
            conditions.append(entry.conditions.write(number: index + 1, into: &writer))
        }
        // What goes first is looked up last, and may replace what is as long.
        for index in routes.conditional.indices.reversed() {
            writer.line("http-request unset-var(txn.other)")
            writer.line(
                [
                    "http-request set-var(txn.other)",
                    .joined("var(txn.key),", lookUp("map_beg(", "routes-\(index + 1).map")), "if",
                ] + conditions[index])
            writer.line("http-request set-var(txn.length) int(0)")
            writer.line("http-request set-var(txn.length) var(txn.route),field(1,:),add(0)")
            writer.line(
                "http-request set-var(txn.route) var(txn.other) if { var(txn.other),field(1,:),sub(txn.length) ge 0 }")
        }
        writer.line("http-request set-var(txn.length) var(txn.route),field(1,:)")
        writer.line("http-request set-var(txn.flags) var(txn.route),field(2,:)")
        writer.line("http-request set-var(txn.segments) var(txn.route),field(3,:)")
        writer.line("http-request set-var(txn.limit) var(txn.route),field(5,:)")
        writer.line("http-request set-var(txn.backend) var(txn.route),field(6,:)")
        guard !routes.hsts.isEmpty else { return }
        writer.line(
            "http-request set-var(txn.hsts)",
            .joined("var(txn.route),field(4,:),", lookUp("map_str(", "hsts.map")), "if { ssl_fc }")
        writer.line(
            "http-after-response set-header Strict-Transport-Security %[var(txn.hsts)] if { var(txn.hsts) -m found }")
    }

    // MARK: Elsewhere

    private func writeDetours(into writer: inout HAProxyWriter) {
        if hasPassed {
            // Nothing but TLS reaches their tasks.
            HAProxyAnswer.misdirected.write(
                into: &writer, condition: ["{ var(txn.policy) -m str passed } !{ var(txn.host) -m found }"])
            writeToHTTPS(["{ var(txn.policy) -m str passed }"], &writer)
        }
        if !redirects.https.isEmpty {
            writer.line(
                "http-request set-var(txn.away)",
                .joined("var(txn.pattern),", lookUp("map_str(", "redirects-https.map")), "if { ssl_fc }")
        }
        let isOther: HAProxyWord = "!{ path -m reg '^/[.]well-known/acme-challenge/[A-Za-z0-9_-]+$' }"
        if !redirects.http.isEmpty {
            writer.line(
                "http-request set-var(txn.away)",
                .joined("var(txn.pattern),", lookUp("map_str(", "redirects-http.map")), "if !{ ssl_fc }",
                isOther)
        }
        if !redirects.http.isEmpty || !redirects.https.isEmpty {
            writer.line(
                "http-request return status 302 hdr Location %[var(txn.away)]%[var(txn.target)]",
                "hdr Cache-Control no-store if { var(txn.away) -m found }")
        }
        let isBound: HAProxyWord = settings.isSSLOnly ? "" : "{ var(txn.flags) -m sub t }"
        let isBare: [HAProxyWord] = ["!{ ssl_fc }", isBound, isOther]
        HAProxyAnswer.misdirected.write(into: &writer, condition: isBare + ["!{ var(txn.host) -m found }"])
        writeToHTTPS(isBare, &writer)
    }

    private func writeToHTTPS(_ condition: [HAProxyWord], _ writer: inout HAProxyWriter) {
        let port: HAProxyWord =
            settings.publicHTTPSPort == 443 ? "" : .joined(":", .number(Int(settings.publicHTTPSPort)))
        let location = HAProxyWord.joined("https://%[var(txn.host)]", port, "%[var(txn.target)]")
        writeMoved(location, condition, &writer)
    }

    /// 301 for GET and HEAD; 308 keeps the method.
    private func writeMoved(_ location: HAProxyWord, _ condition: [HAProxyWord], _ writer: inout HAProxyWriter) {
        for (status, methods) in [(301, "{ method -m str GET HEAD }"), (308, "")] as [(Int, HAProxyWord)] {
            writer.line(
                ["http-request return status", .number(status), "hdr Location", location, "hdr Cache-Control no-store"]
                    + ["if", methods] + condition)
        }
    }

    /// The bare root of a route that is stripped: relative links of its documents need the slash.
    private func writeRoot(into writer: inout HAProxyWriter) {
        guard !routes.strippedCounts.isEmpty else { return }
        writer.line("http-request set-var(txn.query) 'var(txn.target),regsub(^[^?]*,)'")
        writeMoved(
            "%[var(txn.path)]/%[var(txn.query)]",
            ["{ var(txn.flags) -m sub w } { var(txn.path),length,sub(txn.length) eq 0 }"], &writer)
    }

    // MARK: The readings of a path

    /// A path that servers may read in other ways must lead to the same place in all of them. haproxy normalises where
    /// the request stands, so it is put there again. (Some versions take one normaliser for another if a condition
    /// follows; so none does. A plain path stays as it is.)
    private func writeReadings(into writer: inout HAProxyWriter) {
        let isTwisted: HAProxyWord = "{ var(txn.path) -m reg '[%\\\\]|//|/[.]' }"
        let place: HAProxyWord = "concat(,txn.reading,/),"
        writer.line("http-request set-var(txn.place)", .joined("var(txn.key),", lookUp("map_beg(", "places.map")))
        writer.line("http-request normalize-uri percent-decode-unreserved")
        writer.line("http-request normalize-uri path-strip-dot")
        writer.line("http-request normalize-uri path-strip-dotdot")
        for index in 0..<3 {
            if index == 1 {
                // As those read it who take an escaped slash, or a backslash, for a slash.
                writer.line(
                    #"http-request set-var(txn.slashed) 'path,regsub("%2f|%5c|\\\\",/,gi),regsub(/+,/,g)' if"#,
                    isTwisted)
                writer.line("http-request set-path %[var(txn.slashed)] if", isTwisted)
            } else if index == 2 {
                // As those who go on to remove dot segments, with their parameters.
                writer.line(
                    #"http-request set-path '%[path,regsub("/([.][.]?);[^/]*","/\1",g)]' if"#, isTwisted)
                writer.line("http-request normalize-uri path-strip-dot")
                writer.line("http-request normalize-uri path-strip-dotdot")
            }
            writer.line("http-request set-var(txn.reading) path if", isTwisted)
            writer.line(
                "http-request set-var(txn.read)",
                .joined("var(txn.pattern),", place, lookUp("map_beg(", "places.map", else: ",-")), "if", isTwisted)
            let refuse: HAProxyWord = "http-request set-var(txn.ambiguous) bool(true) if"
            writer.line(refuse, isTwisted, "!{ var(txn.read),strcmp(txn.place) eq 0 }")
            if index != 1 { writer.line(refuse, isTwisted, "{ var(txn.reading) -m reg '^/[.][.](/|$)' }") }
        }
        HAProxyAnswer.ambiguousPath.write(
            into: &writer, condition: ["{ var(txn.ambiguous) -m bool } !{ var(txn.flags) -m sub r }"])
        writer.line("http-request set-pathq %[var(txn.target)] if { var(txn.target) -m reg '[%\\\\]|//|/[.]' }")
    }

    // MARK: On the way to the task

    private func writeForwarding(into writer: inout HAProxyWriter) {
        for count in routes.strippedCounts {
            let isStripped: [HAProxyWord] = [
                "if { var(txn.flags) -m sub w } { var(txn.segments) -m str", .number(count), "}",
            ]
            writer.line(
                ["http-request set-header X-Forwarded-Prefix", .joined("%[path,field(1,/,", .number(count + 1), ")]")]
                    + isStripped)
            writer.line(
                ["http-request set-path", .joined("/%[path,field(", .number(count + 2), ",/,0)]")] + isStripped)
        }
        writer.line("http-request disable-l7-retry unless { method -m str GET HEAD OPTIONS TRACE PUT DELETE }")
        writer.line("http-request set-header X-Forwarded-For %[src]")
        writer.line("http-request set-header X-Real-IP %[src]")
        writer.line("http-request set-header X-Forwarded-Proto http unless { ssl_fc }")
        writer.line("http-request set-header X-Forwarded-Proto https if { ssl_fc }")
        writer.line("http-request set-header X-Forwarded-Host %[req.hdr(host)] if { req.hdr(host) -m found }")
        writer.line("http-request set-header X-Forwarded-Port %[dst_port]")
        writer.line("http-request set-header x-request-id %[var(txn.id)]")
        if let name = settings.defaults.viaName.flatMap({ HAProxyName($0) }) {
            writer.line("http-request add-header Via", .joined("'1.1 ", .name(name), "'"))
            writer.line("http-response add-header Via", .joined("'1.1 ", .name(name), "'"))
        }
        guard policies.asksForCertificates else { return }
        let isShown: HAProxyWord = "if { ssl_fc } { ssl_c_used }"
        writer.line("http-request set-header Client-Cert :%[ssl_c_der,base64]:", isShown)
        writer.line("http-request set-header X-SSL-Client-Verify SUCCESS", isShown)
        writer.line("http-request set-header X-SSL-Client-S-DN '%[ssl_c_s_dn(,0,rfc2253)]'", isShown)
        for (name, demand) in policies.demands where demand.authorities != nil && !demand.isRequired {
            writer.line(
                "http-request set-header X-SSL-Client-Verify NONE if { ssl_fc } !{ ssl_c_used }",
                "{ var(txn.policy) -m str",
                .name(name), "}")
        }
    }

    /// haproxy answers 503 where a task could not be reached, as for a queue that was too long; the first is 502.
    private func writeFailures(into writer: inout HAProxyWriter) {
        writer.line(
            "http-error status 503 content-type 'text/html; charset=utf-8' string",
            """
            '<!doctype html><html lang="en"><title>Not available</title><h1>Not available</h1>\
            <p>The task of the service could not be reached in time.</p></html>'
            """, "hdr Cache-Control no-store hdr X-Interlock-Made yes")
        writer.line("http-response del-header X-Interlock-Made")
        let isMade: HAProxyWord = "if { res.hdr(x-interlock-made) -m found }"
        writer.line("http-after-response set-status 502", isMade, "!{ var(txn.flags) -m sub q }")
        writer.line("http-after-response set-header Retry-After 1", isMade, "{ var(txn.flags) -m sub q }")
        writer.line("http-after-response del-header X-Interlock-Made")
    }
}
