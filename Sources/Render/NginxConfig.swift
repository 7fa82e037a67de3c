// A snapshot as nginx's configuration: one main file, complete in itself, and files of certificates beside it, named
// after what is in them. It is written for nginx 1.22 with the modules that Debian gives it; what that cannot do is
// told, and what protects somebody and cannot be done leaves its route out.

import Model

public enum NginxConfig {
    /// Below the directory of the settings.
    public static let mainFile = "nginx.conf"

    public static func render(_ input: RenderInput) -> RenderOutput {
        var builder = NginxBuilder(input)
        var servers = NginxWriter(depth: 1)
        builder.writeServers(to: &servers)
        var streams = NginxWriter(depth: 1)
        builder.writeStreams(to: &streams)
        if builder.needsRefusal { builder.writeRefusal(to: &servers) }
        builder.reportOptions()
        var writer = NginxWriter()
        writer.comment("Made by interlock. What is changed here is lost with the next change of a service.")
        if !streams.bytes.isEmpty, let module = input.settings.nginx.streamModule {
            writer.line("load_module", .plain(module))
        }
        for words in input.settings.nginx.mainLines { writer.entry(words.map { .plain($0) }) }
        writer.block("events") { $0.line("worker_connections", .number(input.settings.nginx.workerConnections)) }
        writer.block("http") { writer in
            builder.writeGeneral(to: &writer)
            builder.writeGeneralMaps(to: &writer)
            writer.append(builder.maps)
            writer.append(builder.upstreams)
            writer.append(servers)
        }
        if !streams.bytes.isEmpty {
            writer.block("stream") { writer in
                builder.writeGeneralStream(to: &writer)
                writer.append(builder.streamMaps)
                writer.append(builder.streamUpstreams)
                writer.append(streams)
            }
        }
        let main = RenderedFile(path: mainFile, bytes: writer.bytes)
        return RenderOutput(files: [main] + builder.sortedFiles, diagnostics: builder.sortedDiagnostics)
    }
}

extension NginxBuilder {
    /// What holds for all servers.
    fileprivate func writeGeneral(to writer: inout NginxWriter) {
        let defaults = settings.defaults
        let plainLines: [(StaticString, StaticString)] = [
            ("access_log", "off"), ("server_tokens", "off"), ("absolute_redirect", "off"),
            ("underscores_in_headers", "off"), ("recursive_error_pages", "on"), ("default_type", "text/plain"),
            ("variables_hash_max_size", "16384"), ("variables_hash_bucket_size", "256"),
            ("server_names_hash_bucket_size", "512"), ("map_hash_bucket_size", "512"),
            ("proxy_headers_hash_max_size", "2048"), ("proxy_headers_hash_bucket_size", "128"),
            ("tcp_nodelay", "on"), ("proxy_http_version", "1.1"), ("proxy_buffering", "off"),
            ("proxy_request_buffering", "off"), ("proxy_redirect", "off"), ("proxy_pass_header", "Server"),
            ("proxy_pass_header", "Date"), ("proxy_hide_header", "x-request-id"),
            ("proxy_ssl_verify_depth", "4"),
            ("ssl_prefer_server_ciphers", "off"), ("ssl_session_tickets", "off"),
        ]
        for (name, value) in plainLines { writer.line(name, .own(value)) }
        writer.line("proxy_ssl_protocols", .own("TLSv1.2"), .own("TLSv1.3"))
        writer.line("ssl_protocols", .own("TLSv1.2"), .own("TLSv1.3"))
        writer.line(
            "ssl_ciphers",
            .joined(
                [
                    .own("ECDHE-ECDSA-AES128-GCM-SHA256"), .own("ECDHE-RSA-AES128-GCM-SHA256"),
                    .own("ECDHE-ECDSA-AES256-GCM-SHA384"), .own("ECDHE-RSA-AES256-GCM-SHA384"),
                    .own("ECDHE-ECDSA-CHACHA20-POLY1305"), .own("ECDHE-RSA-CHACHA20-POLY1305"),
                ], by: ":"))
        // A session must not carry a client from a host that asks for no certificate to one that does.
        let asks = plan.hosts.contains { $0.tls.client != nil }
        writer.line("ssl_session_cache", asks ? .own("off") : .own("shared:il_sessions:10m"))
        writer.line(
            "proxy_ignore_headers",
            [
                .own("X-Accel-Redirect"), .own("X-Accel-Expires"), .own("X-Accel-Limit-Rate"),
                .own("X-Accel-Buffering"),
                .own("X-Accel-Charset"),
            ])
        writer.line("server_names_hash_max_size", .number(Self.hashSize(plan.hosts.count)))
        writer.line("map_hash_max_size", .number(Self.hashSize(plan.hosts.count)))
        writer.line("proxy_connect_timeout", .milliseconds(defaults.connectTimeoutMs))
        writer.line("proxy_read_timeout", .milliseconds(defaults.responseTimeoutMs))
        writer.line("client_max_body_size", .number(defaults.maxBodySize))
        writeIdleTimeout(defaults.idleTimeoutMs, to: &writer)
        writeTries(defaults.retries, to: &writer)
        writer.line("client_header_timeout", .milliseconds(defaults.headerTimeoutMs))
        writer.line("keepalive_timeout", .milliseconds(defaults.keepAliveTimeoutMs))
        writer.line("large_client_header_buffers", .number(4), .own("16k"))
        writeAnswerHeaders(to: &writer)
        writeHeaders(for: NginxServer(isTLS: false, host: nil), to: &writer)
    }

    /// A power of two with room to spare.
    static func hashSize(_ count: Int) -> Int {
        var size = 2048
        while size < count * 4 { size *= 2 }
        return size
    }

    fileprivate mutating func writeGeneralMaps(to writer: inout NginxWriter) {
        // The only text in which a dollar is no variable's.
        writer.block("geo", .own("$il_dollar")) { $0.line("default", .own("$")) }
        map(
            "$request_uri", "$il_challenge", "0",
            [
                ("~^/[.]well-known/acme-challenge/[A-Za-z0-9_-]+(?:[?]|$)", "1")
            ], to: &writer)
        map(
            "$il_challenge:$request_method", "$il_insecure", "308",
            [
                ("~^1", ""), ("~^0:(?:GET|HEAD)$", "301"),
            ], to: &writer)
        // What servers may read as another path than nginx does: back strokes; dot segments beside escaped strokes.
        map(
            "$request_uri", "$il_odd_path", "0",
            [
                ("~*^[^?]*(?:[\\\\]|%5C)", "1"),
                ("~*^(?=[^?]*%2F)[^?]*(?:/|%2F)(?:[.]|%2E){1,2}(?:/|%2F|;|[?]|$)", "1"),
                ("~*^[^?]*(?:/|%2F)(?:[.]|%2E){1,2};", "1"),
            ], to: &writer)
        map("$http_upgrade", "$il_upgrade", "$http_upgrade", [("~*h2c", "")], to: &writer)
        map("$il_upgrade", "$il_connection", "upgrade", [("", "")], to: &writer)
        map("$il_upgrade", "$il_upgrades", "1", [("", "0")], to: &writer)
        // The host that a request was routed by, with the port that the client wrote.
        map(
            "$host $http_host", "$il_authority", "$host",
            [
                ("~*^([^ ]+) (?<il_host_field>\\1[.]?(?::[0-9]*)?)$", "$il_host_field")
            ], to: &writer)
        if let name = settings.defaults.viaName {
            writer.block("map", .own("$http_via"), .own("$il_via")) { writer in
                writer.line("default", .joined(.own("$http_via, 1.1 "), .literal(name)))
                writer.entry(.own(""), .joined(.own("1.1 "), .literal(name)))
            }
        }
        if plan.hosts.contains(where: { $0.tls.client != nil }) { writeClientCertificateMap(to: &writer) }
        if !settings.httpsListen.isEmpty { writeShown(to: &writer) }
    }

    private func map(
        _ source: StaticString, _ name: StaticString, _ standard: StaticString,
        _ entries: [(StaticString, StaticString)], to writer: inout NginxWriter
    ) {
        writer.block("map", .own(source), .own(name)) { writer in
            writer.line("default", .own(standard))
            for (key, value) in entries { writer.entry(.own(key), .own(value)) }
        }
    }

    /// RFC 9440 wants the certificate's base64 in one line; nginx has it in lines of 64, and can only put pieces
    /// together. One of more than 96 lines (4.5 KiB) is not told; that it was verified, and its name, are.
    private func writeClientCertificateMap(to writer: inout NginxWriter) {
        map("$ssl_client_verify", "$il_verified", "", [("SUCCESS", "$ssl_client_raw_cert")], to: &writer)
        let lines = (1...96).map { NginxName("line", $0) }
        var pattern: [NginxWord] = [.own("~^-+BEGIN CERTIFICATE-+\\n")]
        for (index, line) in lines.enumerated() {
            let group = NginxWord.joined(.own("(?<"), .name(line), .own(">[A-Za-z0-9+/=]+)\\n"))
            pattern.append(index == 0 ? group : .joined(.own("(?:"), group, .own(")?")))
        }
        pattern.append(.own("-+END CERTIFICATE-+\\n?$"))
        writer.block("map", .own("$il_verified"), .own("$il_client_cert")) { writer in
            writer.line("default", .own(""))
            writer.entry(
                .joined(pattern, by: ""), .joined(.own(":"), .joined(lines.map { .variable($0) }, by: ""), .own(":")))
        }
    }
}
