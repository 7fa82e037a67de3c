"""Threats 17 to 21: what is asked for, of whom, by which method and version."""

import pytest

from harness import service
from rows import Forward, Row, Stage, message, passed, play, refused

HOSTS = ("web.test", "other.test", "app.test")


def services(backends):
    return [
        service("web", [backends["web.test"]], hosts="web.test"),
        service("other", [backends["other.test"]], hosts="other.test"),
        service("app", [backends["app.test"]], hosts="app.test", context_root="/app"),
    ]


def target(text, **options):
    return message(b"GET " + text + b" HTTP/1.1", **options)


def version(text):
    return message(b"GET / " + text)


ROWS = [
    Row(
        "17-two-hosts-in-one-write",
        message(b"GET /a HTTP/1.1") + message(b"GET /b HTTP/1.1", host=b"other.test") + target(b"/c"),
        status=[200, 200, 200],
        closes=False,
        forwards=(
            Forward("GET /a HTTP/1.1"),
            Forward("GET /b HTTP/1.1", host="other.test"),
            Forward("GET /c HTTP/1.1"),
        ),
    ),
    Row(
        "17-a-request-inside-a-body",
        message(
            b"POST / HTTP/1.1", b"Content-Length: 47", body=b"GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n\r\n\r"
        )
        + target(b"/next"),
        status=[200, 200],
        closes=False,
        forwards=(
            Forward("POST / HTTP/1.1", body=b"GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n\r\n\r"),
            Forward("GET /next HTTP/1.1"),
        ),
    ),
    Row(
        "17-good-then-bad",
        target(b"/good") + target(b"/bad", host=b"a b"),
        status=[200, 400],
        closes=True,
        forwards=(Forward("GET /good HTTP/1.1"),),
    ),
    Row(
        "17-known-then-unknown-host",
        target(b"/good") + target(b"/x", host=b"nobody.test") + target(b"/more"),
        status=[200, 503, 200],
        closes=False,
        forwards=(Forward("GET /good HTTP/1.1"), Forward("GET /more HTTP/1.1")),
    ),
    refused("18-connect", message(b"CONNECT web.test:443 HTTP/1.1"), 405),
    refused("18-connect-origin-form", message(b"CONNECT / HTTP/1.1"), (400, 405)),
    refused("18-connect-then-bytes", message(b"CONNECT web.test:80 HTTP/1.1", body=target(b"/smuggled")), 405),
    passed("18-options-asterisk", message(b"OPTIONS * HTTP/1.1"), Forward("OPTIONS * HTTP/1.1")),
    Row(
        "18-options-asterisk-without-root-route",
        message(b"OPTIONS * HTTP/1.1", host=b"app.test"),
        status=404,
        closes=False,
        forwards=(),
    ),
    refused("18-get-asterisk", target(b"*")),
    refused("18-get-authority-form", target(b"web.test:80")),
    refused("18-get-authority-without-port", target(b"web.test")),
    refused("18-options-asterisk-and-more", message(b"OPTIONS *x HTTP/1.1")),
    passed(
        "19-absolute-form-wins-over-host", target(b"http://web.test/x", host=b"other.test"), Forward("GET /x HTTP/1.1")
    ),
    passed("19-absolute-form-other-way", target(b"http://other.test/x"), Forward("GET /x HTTP/1.1", host="other.test")),
    passed("19-absolute-form-upper-case", target(b"HTTP://WEB.TEST/X"), Forward("GET /X HTTP/1.1", host="WEB.TEST")),
    passed("19-absolute-form-port", target(b"http://web.test:80/x"), Forward("GET /x HTTP/1.1", host="web.test:80")),
    passed("19-absolute-form-empty-path", target(b"http://web.test"), Forward()),
    passed("19-absolute-form-empty-path-and-query", target(b"http://web.test?q=1"), Forward("GET /?q=1 HTTP/1.1")),
    refused("19-userinfo", target(b"http://user:pass@web.test/")),
    refused("19-userinfo-empty", target(b"http://@web.test/")),
    refused("19-userinfo-confusing", target(b"http://web.test@other.test/")),
    refused("19-no-host", target(b"http:///x")),
    refused("19-no-host-at-all", target(b"http://")),
    refused("19-absolute-form-without-host-field", target(b"http://web.test/x", host=None)),
    refused("19-bad-host-field-beside", target(b"http://web.test/x", host=b"a b")),
    refused("19-fragment", target(b"http://web.test/x#y")),
    refused("19-other-scheme", target(b"ftp://web.test/x")),
    refused("20-fragment", target(b"/a#b")),
    refused("20-space", target(b"/a b")),
    refused("20-two-spaces", b"GET  / HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    refused("20-two-spaces-before-version", b"GET /  HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    refused("20-tab-between", b"GET\t/ HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    refused("20-leading-space", b" GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    refused("20-trailing-space", b"GET / HTTP/1.1 \r\nHost: web.test\r\n\r\n"),
    refused("20-backslash", target(b"/a\\b")),
    refused("20-backslash-first", target(b"\\admin")),
    refused("20-byte-80", target(b"/\x80")),
    refused("20-byte-ff", target(b"/\xff")),
    refused("20-utf-8", target("/é".encode())),
    refused("20-nul", target(b"/\x00")),
    refused("20-control", target(b"/\x01")),
    refused("20-delete", target(b"/\x7f")),
    refused("20-in-the-query", target(b"/?a#b")),
    refused("20-utf-8-in-the-query", target("/?é".encode())),
    refused("20-no-slash", target(b"a/b")),
    refused("20-empty-target", b"GET HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    refused("20-target-above-the-limit", target(b"/" + b"a" * 9000), 414),
    refused("20-query-above-the-limit", target(b"/?" + b"a" * 9000), 414),
    refused("20-endless-target", b"GET /" + b"a" * 20_000, 414),
    refused("20-one-field-above-the-limit", message(b"GET / HTTP/1.1", b"X-Any: " + b"a" * 40_000), 431),
    refused(
        "20-fields-above-the-limit", message(b"GET / HTTP/1.1", *[b"X-%d: " % n + b"a" * 500 for n in range(100)]), 431
    ),
    refused("20-too-many-fields", message(b"GET / HTTP/1.1", *[b"X: y"] * 200), 431),
    refused("20-endless-field", b"GET / HTTP/1.1\r\nHost: web.test\r\nX: " + b"a" * 40_000, 431),
    refused("20-endless-fields", b"GET / HTTP/1.1\r\nHost: web.test\r\n" + b"X: y\r\n" * 300, 431),
    passed(
        "20-just-below-the-limits",
        message(b"GET /" + b"a" * 8000 + b" HTTP/1.1", *[b"X-%d: y" % n for n in range(100)]),
        Forward("GET /" + "a" * 8000 + " HTTP/1.1"),
    ),
    passed("20-a-head-of-31-kib", message(b"GET / HTTP/1.1", *[b"X-%d: " % n + b"a" * 3000 for n in range(10)])),
    passed("21-lower-case-is-another-method", message(b"get / HTTP/1.1"), Forward("get / HTTP/1.1")),
    passed("21-unknown-method", message(b"BREW /pot HTTP/1.1"), Forward("BREW /pot HTTP/1.1")),
    passed("21-webdav", message(b"PROPFIND /x HTTP/1.1"), Forward("PROPFIND /x HTTP/1.1")),
    passed("21-token-method", message(b"M-SEARCH / HTTP/1.1"), Forward("M-SEARCH / HTTP/1.1")),
    refused("21-method-of-4-kib", message(b"A" * 4096 + b" / HTTP/1.1"), (400, 414, 501)),
    refused("21-endless-method", b"A" * 20_000, (400, 414, 501)),
    refused("21-method-with-bracket", message(b"G(T / HTTP/1.1")),
    refused("21-method-with-colon", message(b"GET: / HTTP/1.1")),
    refused("21-method-with-nul", message(b"G\x00T / HTTP/1.1")),
    refused("21-method-with-high-byte", message(b"G\xe9T / HTTP/1.1")),
    refused("21-empty-method", message(b" / HTTP/1.1")),
    passed("21-http-1.2", version(b"HTTP/1.2"), Forward()),
    passed("21-http-1.9", version(b"HTTP/1.9"), Forward()),
    refused("21-http-2.0", version(b"HTTP/2.0"), 505),
    refused("21-http-3.0", version(b"HTTP/3.0"), 505),
    refused("21-h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    refused("21-http-01.1", version(b"HTTP/01.1")),
    refused("21-http-1.", version(b"HTTP/1.")),
    refused("21-http-1", version(b"HTTP/1")),
    refused("21-http-1.10", version(b"HTTP/1.10")),
    refused("21-http-1.1x", version(b"HTTP/1.1x")),
    refused("21-http-1,1", version(b"HTTP/1,1")),
    refused("21-lower-case-version", version(b"http/1.1")),
    refused("21-other-protocol", version(b"RTSP/1.0")),
    refused("21-http-0.9", b"GET /\r\n"),
    refused("21-http-0.9-and-fields", b"GET /\r\nHost: web.test\r\n\r\n"),
    refused("21-tls-to-a-plain-port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))),
    refused("21-ssh", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    refused("21-proxy-v1-from-anybody", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + target(b"/")),
    refused("21-proxy-v2-from-anybody", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + target(b"/")),
    passed("21-one-empty-line-before", b"\r\n" + target(b"/")),
    refused("21-bare-lf-before", b"\n" + target(b"/")),
    refused("21-many-empty-lines-before", b"\r\n" * 100 + target(b"/"), (400, 414)),
    refused("21-http-1.1-without-host", message(host=None)),
    Row("21-http-1.0-without-host", message(b"GET / HTTP/1.0", host=None), status=503, closes=True),
    Row("21-http-1.0", message(b"GET / HTTP/1.0"), status=200, closes=True, forwards=(Forward(),)),
    Row(
        "21-http-1.0-keep-alive",
        message(b"GET / HTTP/1.0", b"Connection: keep-alive"),
        status=200,
        closes=False,
        forwards=(Forward(lacks=("keep-alive",)),),
    ),
]


@pytest.fixture(scope="module")
def stage():
    made = Stage(HOSTS, services=services)
    yield made
    made.close()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_target(stage, row):
    play(stage, row)


@pytest.mark.parametrize("row", [row for row in ROWS if len(row.data) < 400], ids=str)
def test_target_byte_by_byte(stage, row):
    play(stage, row, size=1)


def test_18_options_with_absolute_form_and_no_path(stage):
    """RFC 9112 section 3.2.4 lets the last proxy ask with `*`; `/` is what the form means elsewhere."""
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(message(b"OPTIONS http://web.test HTTP/1.1"))
        assert connection.read_response().status == 200
    stage.barrier()
    (request,) = stage.requests()[before:]
    assert request.line in ("OPTIONS * HTTP/1.1", "OPTIONS / HTTP/1.1")


def test_21_http_1_0_without_host_goes_to_the_default_backend(interlock, backend):
    web, default = backend(), backend()
    proxy = interlock([service("web", [web], hosts="web.test"), service("default", [default], default_backend=True)])
    with proxy.connect() as connection:
        connection.send(message(b"GET /old HTTP/1.0", host=None))
        answer = connection.read_response()
        assert (answer.status, connection.read_to_end()) == (200, b"")
    assert default.last.line == "GET /old HTTP/1.1" and not web.requests


def test_an_answer_names_the_version_of_the_proxy(stage):
    for line in (b"GET / HTTP/1.0", b"GET / HTTP/1.1", b"GET / HTTP/1.2"):
        with stage.proxy.connect() as connection:
            connection.send(message(line, b"Connection: close"))
            assert connection.read_response().version == "HTTP/1.1"
