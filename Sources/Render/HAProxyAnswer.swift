// The answers that haproxy gives itself, in our own proxy's words: a page for people, JSON for clients that ask for it.

struct HAProxyAnswer {
    let status: Int
    let html: HAProxyWord
    let json: HAProxyWord
    /// It is worth trying again soon.
    var isPassing = false

    func write(into writer: inout HAProxyWriter, condition: [HAProxyWord]) {
        let retry: [HAProxyWord] = isPassing ? ["hdr Retry-After 1"] : []
        let start: [HAProxyWord] = ["http-request return status", .number(status)]
        writer.line(
            start + ["content-type application/json string", json, "hdr Cache-Control no-store"] + retry
                + ["if { req.hdr(accept) -m sub application/json }"] + condition)
        writer.line(
            start + ["content-type 'text/html; charset=utf-8' string", html, "hdr Cache-Control no-store"] + retry
                + (condition.isEmpty ? [] : ["if"] + condition))
    }

    static let unknownHost = HAProxyAnswer(
        status: 503,
        html: """
            '<!doctype html><html lang="en"><title>503 Service Unavailable</title><h1>503 Service Unavailable</h1>\
            <p>No service is published under this host name.</p></html>'
            """,
        json: """
            '{"status":503,"error":"unknown_host","message":"No service is published under this host name."}'
            """)
    static let unknownPath = HAProxyAnswer(
        status: 404,
        html: """
            '<!doctype html><html lang="en"><title>404 Not Found</title><h1>404 Not Found</h1>\
            <p>The host is served here, but no service is published under this path.</p></html>'
            """,
        json: """
            '{"status":404,"error":"unknown_path","message":"No service is published under this path."}'
            """)
    static let noTask = HAProxyAnswer(
        status: 503,
        html: """
            '<!doctype html><html lang="en"><title>503 Service Unavailable</title><h1>503 Service Unavailable</h1>\
            <p>The service has no task that is ready right now. Please try again shortly.</p></html>'
            """,
        json: """
            '{"status":503,"error":"no_task","message":"The service has no task that is ready right now."}'
            """,
        isPassing: true)
    static let ambiguousPath = HAProxyAnswer(
        status: 400,
        html: """
            '<!doctype html><html lang="en"><title>400 Bad Request</title><h1>400 Bad Request</h1>\
            <p>The path can be read in more than one way, so it is not forwarded.</p></html>'
            """,
        json: """
            '{"status":400,"error":"ambiguous_path","message":"The path can be read in more than one way."}'
            """)
    static let invalid = HAProxyAnswer(
        status: 400,
        html: """
            '<!doctype html><html lang="en"><title>400 Bad Request</title><h1>400 Bad Request</h1>\
            <p>The request is not valid HTTP/1.1.</p></html>'
            """,
        json: """
            '{"status":400,"error":"refused","message":"The request is not valid HTTP/1.1."}'
            """)
    static let misdirected = HAProxyAnswer(
        status: 421,
        html: """
            '<!doctype html><html lang="en"><title>421 Misdirected Request</title><h1>421 Misdirected Request</h1>\
            <p>This host is not served over this connection. Please open a new one for it.</p></html>'
            """,
        json: """
            '{"status":421,"error":"misdirected","message":"This host is not served over this connection."}'
            """)
    static let bodyTooLarge = HAProxyAnswer(
        status: 413,
        html: """
            '<!doctype html><html lang="en"><title>413 Content Too Large</title><h1>413 Content Too Large</h1>\
            <p>The body of the request is larger than this service accepts.</p></html>'
            """,
        json: """
            '{"status":413,"error":"body_too_large","message":"The body is larger than this service accepts."}'
            """)
    static let noName = HAProxyAnswer(
        status: 502,
        html: """
            '<!doctype html><html lang="en"><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>\
            <p>The request names no host that the certificate of the task could be held to.</p></html>'
            """,
        json: """
            '{"status":502,"error":"upstream_tls_verification","message":"The request names no host."}'
            """)
}
