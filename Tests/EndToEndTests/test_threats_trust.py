"""Threats 36 to 40: who may say who the client is, what a path means, and what a host name is."""

import pytest

from harness import response, service
from rows import Forward, Row, Stage, check_canonical, message, passed, play, refused

#: What nobody but the proxy may tell a task.
IDENTITY = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-Server",
    "X-Real-Ip",
    "Forwarded",
    "X-Request-Id",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-SSL-Client-Verify",
    "X-SSL-Client-S-DN",
    "Proxy",
]
LIE = "6.6.6.6"


def twins(name):
    """The spellings that a task might take for the same field."""
    return [
        name,
        name.lower(),
        name.upper(),
        name.replace("-", "_"),
        name.replace("-", "_").upper(),
        name.replace("-", "_", 1),
    ]


@pytest.fixture(scope="module")
def stage():
    made = Stage(("web.test",))
    yield made
    made.close()


def forwarded(stage, *fields, line=b"GET / HTTP/1.1", **options):
    """Sends one request, returns what the task received."""
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(message(line, *fields, **options))
        assert connection.read_response().status == 200
    (request,) = stage.requests()[before:]
    check_canonical(request)
    return request


# 36, 37, 38: identity.


@pytest.mark.parametrize("name", [spelling for each in IDENTITY for spelling in dict.fromkeys(twins(each))])
def test_36_an_untrusted_peer_cannot_say_who_it_is(stage, name):
    request = forwarded(stage, f"{name}: {LIE}".encode(), f"{name}: {LIE}, {LIE}".encode())
    assert LIE not in request.raw_head.decode("latin-1"), request.headers


def test_36_what_the_proxy_says_itself(stage):
    with stage.proxy.connect() as connection:
        connection.send(message(b"GET /p HTTP/1.1"))
        answer = connection.read_response()
        port = connection.socket.getpeername()[1]
    request = stage.requests()[-1]
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-real-ip") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == ("https" if stage.proxy.is_over_tls else "http")
    assert request.header("x-forwarded-host") == "web.test"
    assert request.header("x-forwarded-port") == str(port)
    assert not request.all("x-forwarded-prefix")
    identity = request.header("x-request-id")
    assert len(identity) == 32 and set(identity) <= set("0123456789abcdef")
    assert answer.header("x-request-id") == identity
    assert request.header("via").startswith("1.1 ")


def test_36_request_ids_differ(stage):
    assert len({forwarded(stage).header("x-request-id") for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "value",
    [
        b"X-Forwarded-For, X-Real-Ip, x-forwarded-proto, close",
        b"x-forwarded-FOR,X-REAL-IP",
        b"X-Request-Id, Via",
        b"X-Forwarded-Host, X-Forwarded-Port",
    ],
)
def test_37_connection_cannot_name_away_what_the_proxy_says(stage, value):
    request = forwarded(stage, b"Connection: " + value, b"X-Forwarded-For: 6.6.6.6")
    assert request.header("x-forwarded-for") == "127.0.0.1"
    for name in ("x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id", "via"):
        assert request.header(name), f"{name} was named away: {request.headers}"


def test_37_connection_cannot_name_away_framing(stage):
    request = forwarded(
        stage,
        b"Connection: Host, Content-Length, Transfer-Encoding, X-Mine",
        b"X-Mine: 1",
        b"Content-Length: 5",
        line=b"POST / HTTP/1.1",
        body=b"hello",
    )
    assert (request.header("host"), request.header("content-length"), request.body) == ("web.test", "5", b"hello")
    assert not request.all("x-mine")


@pytest.mark.parametrize(
    "fields, gone",
    [
        ((b"Connection: X-Mine", b"X-Mine: 1"), "x-mine"),
        ((b"X-Mine: 1", b"Connection: close, X-MINE"), "x-mine"),
        ((b"X-Mine: 1", b"Connection: a", b"Connection: x-mine"), "x-mine"),
        ((b"Keep-Alive: timeout=5",), "keep-alive"),
        ((b"Proxy-Connection: keep-alive",), "proxy-connection"),
        ((b"TE: gzip",), "te"),
        ((b"Upgrade: foo",), "upgrade"),
        ((b"HTTP2-Settings: AAMA", b"Connection: HTTP2-Settings"), "http2-settings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_37_fields_of_the_hop_stay_on_the_hop(stage, fields, gone):
    assert not forwarded(stage, *fields).all(gone)


def test_37_te_trailers_is_passed_on(stage):
    request = forwarded(stage, b"TE: trailers, deflate;q=0.5", b"Connection: TE")
    assert request.header("te") == "trailers" and "te" in request.header("connection").lower()


@pytest.mark.parametrize(
    "name",
    [
        "Content_Length",
        "Transfer_Encoding",
        "transfer_ENCODING",
        "X_Forwarded_For",
        "X_REAL_IP",
        "X-Forwarded_Proto",
        "Client_Cert",
        "Proxy_Connection",
        "Keep_Alive",
    ],
)
def test_37_an_underscore_twin_of_a_managed_name_is_dropped(stage, name):
    request = forwarded(stage, f"{name}: 7".encode())
    assert not request.all(name), request.headers
    assert request.body == b"" and request.header("host") == "web.test"


def test_37_other_underscore_names_pass(stage):
    assert forwarded(stage, b"My_Field: 1").header("my_field") == "1"


def test_38_a_list_of_addresses_becomes_one(stage):
    request = forwarded(
        stage,
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2",
        b"X-Forwarded-For: 3.3.3.3",
        b"X_Forwarded_For: 4.4.4.4",
        b"x-real-ip: 5.5.5.5",
    )
    assert request.all("x-forwarded-for") == ["127.0.0.1"] and request.all("x-real-ip") == ["127.0.0.1"]


# The same from a peer that is trusted.


@pytest.fixture(scope="module")
def trusted():
    made = Stage(("web.test",), environment={"INTERLOCK_TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8,2001:db8::/32"})
    yield made
    made.close()


@pytest.mark.parametrize(
    "sent, chain, real",
    [
        ([b"1.1.1.1"], "1.1.1.1, 127.0.0.1", "1.1.1.1"),
        ([b"9.9.9.9, 1.1.1.1, 10.0.0.7"], "9.9.9.9, 1.1.1.1, 10.0.0.7, 127.0.0.1", "1.1.1.1"),
        ([b"9.9.9.9", b"1.1.1.1", b"10.1.2.3"], "9.9.9.9, 1.1.1.1, 10.1.2.3, 127.0.0.1", "1.1.1.1"),
        ([b"10.0.0.1, 10.0.0.2"], "10.0.0.1, 10.0.0.2, 127.0.0.1", "10.0.0.1"),
        ([b"2001:db8:1::1, 2001:db8::2"], "2001:db8:1::1, 2001:db8::2, 127.0.0.1", "2001:db8:1::1"),
        ([b"2620:fe::9, 2001:db8::2"], "2620:fe::9, 2001:db8::2, 127.0.0.1", "2620:fe::9"),
        ([], "127.0.0.1", "127.0.0.1"),
    ],
    ids=["one", "past-trusted", "three-fields", "all-trusted", "all-trusted-v6", "v6", "none"],
)
def test_36_a_trusted_peer_is_believed(trusted, sent, chain, real):
    request = forwarded(trusted, *[b"X-Forwarded-For: " + each for each in sent])
    values = ", ".join(request.all("x-forwarded-for"))
    assert (values.replace(",", ", ").replace("  ", " "), request.header("x-real-ip")) == (chain, real)


@pytest.mark.parametrize("junk", [b"unknown", b"1.1.1.1.1", b"evil\"<script>", b"300.1.1.1", b"_hidden", b"1.1.1.1;x"])
def test_36_junk_in_a_trusted_chain_ends_the_walk(trusted, junk):
    request = forwarded(trusted, b"X-Forwarded-For: 9.9.9.9, " + junk + b", 10.0.0.7")
    # The walk never goes past what is no address to the one a client could have written before it.
    assert request.header("x-real-ip") in ("10.0.0.7", "127.0.0.1")


def test_36_other_fields_of_a_trusted_peer_are_kept(trusted):
    request = forwarded(
        trusted,
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: public.test",
        b"X-Forwarded-Port: 8443",
        b"X-Request-Id: 0123456789abcdef0123456789abcdef",
    )
    assert request.header("x-forwarded-proto") == "https"
    assert request.header("x-forwarded-host") == "public.test"
    assert request.header("x-forwarded-port") == "8443"
    assert request.header("x-request-id") == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "name", ["Forwarded", "X_Forwarded_For", "X-FORWARDED_FOR", "Client-Cert", "X-SSL-Client-Verify", "Proxy"]
)
def test_36_some_fields_are_removed_even_from_a_trusted_peer(trusted, name):
    assert LIE not in forwarded(trusted, f"{name}: {LIE}".encode()).raw_head.decode()


@pytest.mark.parametrize("value", [b"x", b"0123456789abcdef0123456789abcdeg", b"a" * 5000, b"a b", b"\xff"])
def test_36_a_bad_request_id_of_a_trusted_peer_is_replaced(trusted, value):
    identity = forwarded(trusted, b"X-Request-Id: " + value).header("x-request-id")
    assert len(identity) <= 128 and identity.isascii() and identity.isprintable() and " " not in identity


# 39: paths.

PATH_SERVICES = ("web.test", "admin.test", "api.test")


def path_services(backends):
    """One host: / is open, /admin is another service, /api is stripped, /raw takes everything as it comes."""
    return [
        service("web", [backends["web.test"]], hosts="web.test,admin.test,api.test"),
        service("admin", [backends["admin.test"]], hosts="web.test", context_root="/admin"),
        service("api", [backends["api.test"]], hosts="web.test", context_root="/api", context_root_rewrite=True),
        service("raw", [backends["api.test"]], hosts="web.test", context_root="/raw", path_policy="raw"),
    ]


@pytest.fixture(scope="module")
def paths():
    made = Stage(PATH_SERVICES, services=path_services)
    yield made
    made.close()


def path(id, target, expected=None, status=200):
    """`expected`: (service, target at the task) or None if it is refused."""
    return pytest.param(target, expected, status, id=f"39-{id}")


@pytest.mark.parametrize(
    "target, expected, status",
    [
        path("plain", b"/x", ("web", "/x")),
        path("admin", b"/admin", ("admin", "/admin")),
        path("admin-below", b"/admin/x", ("admin", "/admin/x")),
        path("segment-aware", b"/administrator", ("web", "/administrator")),
        path("prefix-is-case-sensitive", b"/Admin", ("web", "/Admin")),
        path("rewrite", b"/api/x?y=1", ("api", "/x?y=1")),
        path("rewrite-root", b"/api/", ("api", "/")),
        path("rewrite-segment-aware", b"/apis", ("web", "/apis")),
        path("query-is-no-path", b"/x?/admin/../..", ("web", "/x?/admin/../..")),
        path("encoded-letter-elsewhere", b"/%78", ("web", "/%78")),
        path("encoded-reserved-kept", b"/a%3Fb%23c%20d", ("web", "/a%3Fb%23c%20d")),
        path("utf-8", b"/caf%C3%A9", ("web", "/caf%C3%A9")),
        path("dots-in-names", b"/..x/x../...", ("web", "/..x/x../...")),
        path("dots-inside-one-route", b"/admin/a/../b", ("admin", "/admin/a/../b")),
        path("double-slash-inside-one-route", b"/a//b", ("web", "/a//b")),
        path("leaves-the-root", b"/..", None, 400),
        path("leaves-the-root-deep", b"/a/../../b", None, 400),
        path("leaves-the-root-encoded", b"/%2e%2e/admin", None, 400),
        path("into-admin-by-dots", b"/x/../admin", None, 400),
        path("into-admin-by-encoded-dots", b"/x/%2e%2e/admin", None, 400),
        path("into-admin-by-half-encoded-dots", b"/x/.%2E/admin", None, 400),
        path("into-admin-by-a-dot", b"/./admin", None, 400),
        path("into-admin-by-letters", b"/%61dmin", None, 400),
        path("into-admin-by-double-slash", b"//admin", None, 400),
        path("into-admin-by-encoded-slash", b"/%2fadmin", None, 400),
        path("into-admin-by-encoded-backslash", b"/%5cadmin", None, 400),
        path("out-of-admin-by-dots", b"/admin/..", None, 400),
        path("out-of-admin-by-dots-slash", b"/admin/../x", None, 400),
        path("out-of-admin-by-encoded-slash", b"/admin%2f..", None, 400),
        path("out-of-admin-by-mixed-case", b"/admin%2F..%2f", None, 400),
        path("admin-by-encoded-slash", b"/admin%2fx", None, 400),
        path("out-of-api-by-encoded-backslash", b"/api/..%5cadmin", None, 400),
        path("strip-to-another-resource", b"/api../x", ("web", "/api../x")),
        path("strip-dots", b"/api/../x", None, 400),
        path("strip-inside", b"/api/a/../x", ("api", "/a/../x")),
        path("strip-encoded-root", b"/%61pi/x", None, 400),
        path("strip-double-slash", b"/api//x", None, (200, 400)),
        path("semicolon", b"/api;/admin", ("web", "/api;/admin")),
        path("admin-dot", b"/admin/.", ("admin", "/admin/.")),
        path("encoded-nul", b"/admin%00", None, (200, 400)),
        path("overlong-utf-8-slash", b"/admin%c0%af..", ("web", "/admin%c0%af..")),
        path("overlong-utf-8-dot", b"/x/%c0%ae%c0%ae/admin", ("web", "/x/%c0%ae%c0%ae/admin")),
        path("double-encoded", b"/%252e%252e/admin", ("web", "/%252e%252e/admin")),
        path("bad-percent", b"/%zz", None, (200, 400)),
        path("cut-percent", b"/x%2", None, (200, 400)),
        path("raw-as-it-comes", b"/raw/x%2f..%2Fy", ("api", "/raw/x%2f..%2Fy")),
        path("raw-leaves-nothing-out", b"/raw/./%61", ("api", "/raw/./%61")),
    ],
)
def test_39_path(paths, target, expected, status):
    before = len(paths.requests())
    with paths.proxy.connect() as connection:
        connection.send(message(b"GET " + target + b" HTTP/1.1"))
        answer = connection.read_response()
    assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
    paths.barrier()
    seen = paths.requests()[before:]
    if expected is None:
        # Where either answer is right, what is forwarded is at least what came in.
        assert all(each.target.encode() in (target, target.removeprefix(b"/api")) for each in seen)
        assert bool(seen) == (answer.status == 200)
        return
    (request,) = seen
    name, wanted = expected
    assert request.target == wanted
    assert request.connection.backend is paths.backends[f"{name}.test"]
    if name == "api" and not target.startswith(b"/raw"):
        assert request.header("x-forwarded-prefix") == "/api"


@pytest.mark.parametrize("method, status", [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308)])
def test_39_the_bare_root_of_a_rewrite_is_redirected(paths, method, status):
    before = len(paths.requests())
    with paths.proxy.connect() as connection:
        connection.request(method, "/api?x=1")
        answer = connection.read_response(method)
    assert answer.status == status and answer.header("location").endswith("/api/?x=1"), answer
    paths.barrier()
    assert len(paths.requests()) == before


# 40: hosts.


def host_services(backends):
    return [
        service("web", [backends["web.test"]], hosts="web.test, xn--bcher-kva.test,127.0.0.1,[::1]"),
        service("wild", [backends["a.wild.test"]], hosts="*.wild.test"),
        service("deep", [backends["a.deep.wild.test"]], hosts="*.deep.wild.test"),
        service("exact", [backends["exact.wild.test"]], hosts="Exact.Wild.Test."),
    ]


@pytest.fixture(scope="module")
def hosts():
    made = Stage(("web.test", "a.wild.test", "a.deep.wild.test", "exact.wild.test"), services=host_services)
    yield made
    made.close()


def host(id, text, expected, status=200):
    return pytest.param(text, expected, status, id=f"40-{id}")


@pytest.mark.parametrize(
    "text, expected, status",
    [
        host("plain", b"web.test", "web.test"),
        host("upper-case", b"WEB.Test", "web.test"),
        host("trailing-dot", b"web.test.", "web.test"),
        host("port", b"web.test:8080", "web.test"),
        host("trailing-dot-and-port", b"web.test.:80", "web.test"),
        host("empty-port", b"web.test:", "web.test"),
        host("punycode", b"xn--bcher-kva.test", "web.test"),
        host("punycode-upper-case", b"XN--BCHER-KVA.test", "web.test"),
        host("ipv4", b"127.0.0.1:80", "web.test"),
        host("ipv6", b"[::1]:80", "web.test"),
        host("ipv6-without-port", b"[::1]", "web.test"),
        host("wildcard", b"x.wild.test", "a.wild.test"),
        host("wildcard-two-labels", b"a.b.wild.test", "a.wild.test"),
        host("wildcard-upper-case", b"X.WILD.test:80", "a.wild.test"),
        host("longest-wildcard", b"x.deep.wild.test", "a.deep.wild.test"),
        host("wildcard-not-itself", b"wild.test", None, 503),
        host("the-deep-one-belongs-to-the-shallow", b"deep.wild.test", "a.wild.test"),
        host("exact-beats-wildcard", b"exact.wild.test", "exact.wild.test"),
        host("below-exact-is-wildcard", b"x.exact.wild.test", "a.wild.test"),
        host("suffix-without-dot", b"xwild.test", None, 503),
        host("other-suffix", b"web.test.evil", None, 503),
        host("other-prefix", b"evilweb.test", None, 503),
        host("empty", b"", None, (400, 503)),
        host("lone-port", b":80", None, 400),
        host("bad-port", b"web.test:80x", None, 400),
        host("port-too-large", b"web.test:65536", None, 400),
        host("two-ports", b"web.test:80:80", None, 400),
        host("comma-list", b"web.test, exact.wild.test", None, 400),
        host("comma-without-space", b"web.test,exact.wild.test", None, 400),
        host("path-inside", b"web.test/admin", None, 400),
        host("query-inside", b"web.test?x", None, 400),
        host("fragment-inside", b"web.test#x", None, 400),
        host("userinfo-inside", b"user@web.test", None, 400),
        host("scheme-inside", b"http://web.test", None, 400),
        host("space-inside", b"web.test exact.wild.test", None, 400),
        host("tab-inside", b"web.\ttest", None, 400),
        host("backslash-inside", b"web.test\\x", None, 400),
        host("percent", b"web%2etest", None, (400, 503)),
        host("utf-8", "bücher.test".encode(), None, 400),
        host("above-255-bytes", b"a." * 200 + b"wild.test", None, (400, 503)),
        host("leading-dot", b".wild.test", None, (400, 503)),
        host("two-dots", b"x..wild.test", None, (400, 503)),
        host("only-a-dot", b".", None, (400, 503)),
        host("two-trailing-dots", b"web.test..", None, (400, 503)),
        host("a-literal-wildcard", b"*.wild.test", None, (400, 503)),
        host("open-bracket", b"[::1", None, 400),
        host("bad-ipv6", b"[zz::1]", None, (400, 503)),
        host("ipv6-without-brackets", b"::1", None, 400),
        host("quote", b'"web.test"', None, 400),
        host("angle-brackets", b"<script>", None, 400),
    ],
)
def test_40_host(hosts, text, expected, status):
    before = len(hosts.requests())
    with hosts.proxy.connect() as connection:
        connection.send(message(host=text))
        answer = connection.read_response()
    assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
    hosts.barrier()
    seen = hosts.requests()[before:]
    if expected is None:
        assert not seen
    else:
        (request,) = seen
        assert request.connection.backend is hosts.backends[expected]
        assert request.header("host") == text.decode()


@pytest.mark.parametrize(
    "row",
    [
        refused("40-duplicate", message(b"GET / HTTP/1.1", b"Host: web.test")),
        refused("40-duplicate-that-differs", message(b"GET / HTTP/1.1", b"Host: exact.wild.test")),
        refused("40-duplicate-in-another-case", message(b"GET / HTTP/1.1", b"hOST: exact.wild.test")),
        refused("40-duplicate-in-1.0", message(b"GET / HTTP/1.0", b"Host: web.test")),
        refused("40-missing", message(host=None)),
        Row("40-missing-in-1.0", message(b"GET / HTTP/1.0", host=None), status=503),
        passed(
            "40-host-is-not-the-first-field",
            message(b"GET / HTTP/1.1", b"X: y", b"HOST: web.test", host=None),
            Forward(),
        ),
    ],
    ids=str,
)
def test_40_host_fields(hosts, row):
    play(hosts, row)


def test_40_host_is_the_first_field_at_the_task(hosts):
    assert forwarded(hosts, b"X: y", b"Host: web.test", host=None).headers[0][0].lower() == "host"


def test_40_the_page_for_an_unknown_host_shows_nothing_of_it(hosts):
    with hosts.proxy.connect() as connection:
        connection.send(message(b"GET /<b>path</b> HTTP/1.1", b"Accept: text/html", host=b"nobody-here.test"))
        answer = connection.read_response()
    assert answer.status in (400, 503)
    assert b"<b>" not in answer.body and b"nobody-here" not in answer.body


def test_answers_of_two_services_never_mix(hosts):
    for name, backend in hosts.backends.items():
        backend.default = lambda request, name=name: response(200, name.encode())
    with hosts.proxy.connect() as connection:
        names = list(hosts.backends) * 25
        connection.send(b"".join(message(host=name.encode()) for name in names))
        assert [connection.read_response().body.decode() for _ in names] == names
