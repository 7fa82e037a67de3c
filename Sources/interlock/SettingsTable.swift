// Every setting of this build, once: name, kind, default, meaning. The loader, `--help` and docs/CONFIGURATION.md are
// all made from this table. A setting that does nothing has no place here.

import Telemetry

enum SettingsTable {
    static let all: [SettingDefinition] =
        general + listeners + tls + services + feed + extensions + headers + timeouts + limits + logs + demo

    static let general: [SettingDefinition] = [
        .choice(
            "INTERLOCK_ROLE", .general, \.role, default: .allInOne,
            """
            What this process does; the same as the first argument, which goes first. `interlock` watches services \
            and proxies to them; `controller` and `proxy` share that between two processes; `extension` configures \
            another load balancer.
            """
        ),
        .automaticInteger(
            "INTERLOCK_WORKERS", .general, \.workerCount, in: 1...256,
            """
            Worker threads, each with its own listeners and connections. `auto`: one for each processor the process \
            may use.
            """
        ),
        .duration(
            "INTERLOCK_DRAIN_TIMEOUT", .general, \.drainTimeoutMs, default: "8s", inMs: 0...86_400_000,
            """
            After SIGTERM or SIGQUIT: how long requests under way may take before their connections are closed. Keep \
            it below the orchestrator's grace period (Docker: 10s).
            """
        ),
        .duration(
            "INTERLOCK_DRAIN_DELAY", .general, \.drainDelayMs, default: "0", inMs: 0...3_600_000,
            """
            After SIGTERM or SIGQUIT: how long `/readyz` already says 503 while new connections are still accepted, \
            so that a load balancer in front can look away first.
            """
        ),
    ]

    static let listeners: [SettingDefinition] = [
        .listen(
            "INTERLOCK_HTTP_LISTEN", .listeners, \.httpListen, default: ":80",
            "Where HTTP is served. Without a host: every address, IPv6 and IPv4."
        ),
        .listen(
            "INTERLOCK_HTTPS_LISTEN", .listeners, \.httpsListen, default: ":443",
            "Where HTTPS is served, and TLS is passed through. A host without a usable certificate is refused there."
        ),
        .listen(
            "INTERLOCK_ADMIN_LISTEN", .listeners, \.adminListen, default: ":9180",
            "Where `/healthz`, `/readyz`, `/metrics`, `/api` and the index page are served."
        ),
        .boolean(
            "INTERLOCK_TAKEOVER", .listeners, \.sharesListeners, default: false,
            """
            Take over ports that another proxy process of the same user holds (SO_REUSEPORT), for an update without \
            a gap: listen as soon as there are routes; at the end, leave new connections to the next process. \
            Otherwise a taken port is an error.
            """
        ),
        .blocks(
            "INTERLOCK_PROXY_PROTOCOL", .listeners, \.proxyProtocolPeers,
            """
            Peers whose connections must begin with a PROXY protocol header (version 1 or 2); its address is then \
            the client's. A header from any other peer is refused.
            """
        ),
        .duration(
            "INTERLOCK_PREFACE_TIMEOUT", .listeners, \.prefaceTimeoutMs, default: "5s", inMs: 10...600_000,
            "How long a peer may take to send its whole PROXY protocol header."
        ),
    ]

    static let services: [SettingDefinition] = [
        SettingDefinition(
            "INTERLOCK_DOCKER", .services, form: "`auto`, `off`, `unix://...` or `tcp://...`", default: "auto",
            """
            The Docker engine to watch (a Swarm manager for services). `auto`: DOCKER_HOST, or /var/run/docker.sock \
            if it is there. DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are honoured for tcp.
            """
        ) { text, settings throws(BadValue) in settings.docker = try SettingValue.docker(text) },
        .path(
            "INTERLOCK_SERVICES_FILE", .services, \.servicesFile,
            """
            A JSON file of services with labels and fixed endpoints, watched for changes; beside Docker or instead \
            of it.
            """
        ),
        SettingDefinition(
            "INTERLOCK_SERVICE_CLUSTER", .services, form: "name", default: "", unset: "the default group",
            "The proxy group this proxy belongs to: it serves the services whose `service_cluster` label says the same."
        ) { text, settings throws(BadValue) in
            settings.serviceCluster = try SettingValue.word(text, of: "one word")
        },
        SettingDefinition(
            "INTERLOCK_NETWORK", .services, form: "name list or `host`", default: "",
            unset: "found from the own container",
            """
            The Docker networks the proxy sits on, in order of preference; tasks are reached over the first they \
            share with it. `host`: none, the proxy uses the host's network.
            """
        ) { text, settings throws(BadValue) in
            settings.networks = text.lowercased() == "host" ? [] : try SettingValue.names(text)
        },
        SettingDefinition(
            "INTERLOCK_LABEL_PREFIX", .services, form: "name", default: "com.docker.lb.",
            "What the labels begin with that are read from services and containers."
        ) { text, settings throws(BadValue) in
            let prefix = try SettingValue.word(text, of: "the begin of a label's name, such as com.docker.lb.")
            settings.labelPrefix = prefix.hasSuffix(".") ? prefix : prefix + "."
        },
        .choice(
            "INTERLOCK_HOST_OWNERSHIP", .services, \.hostOwnership, default: .shared,
            """
            Whether services of several stacks may answer the same host. `shared`: they merge, with a warning. \
            `stack`: the stack that claimed it first keeps it, the others are refused.
            """
        ),
        .duration(
            "INTERLOCK_POLL_INTERVAL", .services, \.pollIntervalMs, default: "5s", inMs: 100...3_600_000,
            "How often Docker's lists are read while nothing changes; events trigger a reading at once."
        ),
        .duration(
            "INTERLOCK_POLL_INTERVAL_BUSY", .services, \.pollIntervalBusyMs, default: "250ms", inMs: 50...3_600_000,
            "How often they are read while a service is updating, or has tasks that start or stop."
        ),
    ]

    static let headers: [SettingDefinition] = [
        .blocks(
            "INTERLOCK_TRUSTED_PROXIES", .headers, \.trustedProxies,
            """
            Peers whose `X-Forwarded-*` and `X-Request-Id` headers are believed and extended. Everyone else's are \
            removed.
            """
        ),
        .boolean(
            "INTERLOCK_FORWARDED", .headers, \.addsForwarded, default: false,
            "Send a `Forwarded` header (RFC 7239) to tasks beside `X-Forwarded-*`."
        ),
        SettingDefinition(
            "INTERLOCK_VIA", .headers, form: "name or `off`", default: "interlock",
            "The name in the `Via` header of requests and answers; `off` writes none."
        ) { text, settings throws(BadValue) in
            let expectation = "off, or a name of letters, digits and any of !#$%&'*+-.^_`|~"
            let name = try SettingValue.word(text, of: expectation)
            let isToken = name.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
            guard isToken else { throw BadValue(expectation) }
            settings.viaName = name.lowercased() == "off" ? nil : name
        },
        .boolean(
            "INTERLOCK_REQUEST_ID", .headers, \.showsRequestID, default: true,
            "Show the request's id to the client as `x-request-id`. Tasks always get it."
        ),
        .boolean(
            "INTERLOCK_INFO_HEADERS", .headers, \.showsInfoHeaders, default: false,
            "Show `x-proxy-id`, `x-server-info`, `x-upstream-addr` and `x-upstream-response-time` in answers."
        ),
        .choice(
            "INTERLOCK_UNDERSCORE_HEADERS", .headers, words: ["pass", "drop"], default: "pass",
            """
            Request headers with an underscore in their name. Twins of headers that the proxy manages are removed in \
            any case.
            """
        ) { word, settings in settings.dropsUnderscoreNames = word == "drop" },
    ]

    static let timeouts: [SettingDefinition] = [
        .duration(
            "INTERLOCK_HEADER_TIMEOUT", .timeouts, \.headerTimeoutMs, default: "10s", inMs: 10...3_600_000,
            "From a request's first byte (or a new connection) to the end of its head; then 408."
        ),
        .duration(
            "INTERLOCK_KEEPALIVE_TIMEOUT", .timeouts, \.keepAliveTimeoutMs, default: "60s", inMs: 10...86_400_000,
            "How long a client's connection may wait for its next request."
        ),
        .duration(
            "INTERLOCK_CONNECT_TIMEOUT", .timeouts, \.connectTimeoutMs, default: "2s", inMs: 10...600_000,
            "For a connection to a task; label `connect_timeout`."
        ),
        .duration(
            "INTERLOCK_RESPONSE_TIMEOUT", .timeouts, \.responseTimeoutMs, default: "600s", inMs: 10...86_400_000,
            "For the next byte of a task's answer; then 504 or the end of the connection; label `response_timeout`."
        ),
        .duration(
            "INTERLOCK_IDLE_TIMEOUT", .timeouts, \.idleTimeoutMs, default: "60s", inMs: 0...86_400_000,
            """
            A client that sends a body must send at least 1 KiB in each such window, one that receives must take as \
            much; 0 is off; label `idle_timeout`. Nothing limits the time of a whole body.
            """
        ),
        .duration(
            "INTERLOCK_TUNNEL_TIMEOUT", .timeouts, \.tunnelTimeoutMs, default: "1h", inMs: 10...2_592_000_000,
            "How long an upgraded connection (WebSocket) may be silent in both directions; label `tunnel_timeout`."
        ),
        .duration(
            "INTERLOCK_HOLD", .timeouts, \.holdMs, default: "30s", inMs: 0...3_600_000,
            """
            How long a request waits for a task of a service that had one within the last minute and has none now, as \
            while its only replica is replaced; then 503. 0 is off; label `hold`.
            """
        ),
        .duration(
            "INTERLOCK_QUEUE_TIMEOUT", .timeouts, \.queueTimeoutMs, default: "30s", inMs: 0...3_600_000,
            """
            How long a request waits for its turn while all tasks of a service with the label `max_connections` are \
            full; then 503. 0 does not wait; label `queue_timeout`.
            """
        ),
        .duration(
            "INTERLOCK_UPSTREAM_IDLE_TIMEOUT", .timeouts, \.upstreamIdleTimeoutMs, default: "4s", inMs: 0...3_600_000,
            """
            How long a connection to a task is kept for reuse; a shorter `Keep-Alive: timeout=` of the task counts. \
            Many servers close at 5s; 0 never reuses.
            """
        ),
    ]

    static let limits: [SettingDefinition] = [
        .size(
            "INTERLOCK_REQUEST_LINE_SIZE", .limits, \.requestLineSize, default: "8k", in: 256...65_536,
            "The longest request line; a longer one is answered 414."
        ),
        .size(
            "INTERLOCK_HEAD_SIZE", .limits, \.headSize, default: "32k", in: 1024...262_144,
            "The largest head (request line and headers) of a request, then 431; and of an answer, then 502."
        ),
        .integer(
            "INTERLOCK_FIELD_COUNT", .limits, \.fieldCount, default: "128", in: 8...1024,
            "The most header fields of a message, trailers likewise; 431 or 502 beyond."
        ),
        SettingDefinition(
            "INTERLOCK_MAX_BODY_SIZE", .limits, form: "size", default: "32m",
            "The largest request body, then 413; 0 is no limit; label `max_body_size`."
        ) { text, settings throws(BadValue) in
            settings.maxBodySize = UInt64(try SettingValue.size(text, in: 0...(1 << 50)))
        },
        .automaticInteger(
            "INTERLOCK_MAX_CONNECTIONS", .limits, \.maxConnections, in: 1...10_000_000,
            """
            Client connections at once, over all workers. At the limit idle ones go first, then accepting pauses. \
            `auto`: what the limit of open files allows with one task connection for each.
            """
        ),
        .integer(
            "INTERLOCK_MAX_CONNECTIONS_PER_CLIENT", .limits, \.maxConnectionsPerClient, default: "0",
            in: 0...10_000_000,
            "Connections of one client address at once; 0 is no limit. Mind clients behind one address."
        ),
        .integer(
            "INTERLOCK_MAX_REQUESTS_PER_CONNECTION", .limits, \.maxRequestsPerConnection, default: "100000",
            in: 0...1_000_000_000,
            "After that many requests a client's connection is closed in the orderly way; 0 is no limit."
        ),
        .integer(
            "INTERLOCK_UPSTREAM_IDLE_CONNECTIONS", .limits, \.upstreamIdleConnections, default: "256", in: 0...65_536,
            "Idle connections kept for reuse, for each worker and task."
        ),
        .integer(
            "INTERLOCK_RETRIES", .limits, \.retryCount, default: "2", in: 0...7,
            "Attempts beyond the first, each on another task where there is one; label `retries`."
        ),
        .size(
            "INTERLOCK_RETRY_BUFFER_SIZE", .limits, \.retryBufferSize, default: "16k", in: 0...1_048_576,
            "How much of a request's body is kept for another attempt; a request that sent more is not tried again."
        ),
    ]

    static let logs: [SettingDefinition] = [
        .choice(
            "INTERLOCK_LOG_LEVEL", .logs, words: LogLevel.allCases.map(\.name), default: "info",
            "What is logged to standard error, as JSON lines."
        ) { word, settings in settings.logLevel = LogLevel(name: word) ?? .info },
        .choice(
            "INTERLOCK_ACCESS_LOG", .logs, \.accessLog, default: .off,
            "A line for each request: `json`, or `clf` (Apache's combined format with fields added at the end)."
        ),
        SettingDefinition(
            "INTERLOCK_ACCESS_LOG_PATH", .logs, form: "path or `-`", default: "-",
            "Where the access log goes; `-` is standard output. SIGHUP opens the file again."
        ) { text, settings throws(BadValue) in
            settings.accessLogPath = text == "-" ? nil : try SettingValue.path(text)
        },
        SettingDefinition(
            "INTERLOCK_ADMIN_TOKEN", .logs, form: "secret", default: "", isSecret: true,
            """
            Opens `/` and `/api` of the admin listener to `Authorization: Bearer <token>`. Without it they answer \
            loopback peers only.
            """
        ) { text, settings throws(BadValue) in
            settings.adminToken = try SettingValue.word(text, of: "1 to 255 printable ASCII characters without spaces")
        },
        .boolean(
            "INTERLOCK_ADMIN_OPEN", .logs, \.adminIsOpen, default: false,
            "Open `/` and `/api` of the admin listener to everybody."
        ),
    ]

    static let demo: [SettingDefinition] = [
        .listen(
            "INTERLOCK_DEMO_LISTEN", .demo, \.demoListen, default: ":8080",
            "Where `interlock demo-backend` serves; `--listen` goes first."
        ),
        SettingDefinition(
            "INTERLOCK_DEMO_NAME", .demo, form: "name", default: "", unset: "the host's name",
            "What it calls itself in its answers; `--name` goes first."
        ) { text, settings throws(BadValue) in settings.demoName = try SettingValue.word(text, of: "one word") },
    ]
}
