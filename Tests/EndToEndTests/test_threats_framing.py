"""Threats 1 to 13: bodies with more than one length, fields that are not fields, chunks that are not chunks.

Every refused row is sent twice, whole and byte by byte: what a message means may not depend on how it was cut.
"""

import pytest

from harness import wait_until
from rows import Forward, Row, Stage, message, passed, play, refused

POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def post(*fields, body=b"", line=POST):
    return message(line, *fields, body=body)


def posted(body=b"hello", **options):
    return Forward("POST / HTTP/1.1", body=body, **options)


def length(value):
    return post(b"Content-Length:" + value, body=b"hello")


def coding(value):
    return post(b"Transfer-Encoding:" + value, body=HELLO)


def chunks(body, **options):
    return post(CHUNKED, body=body, **options)


LENGTHS = [
    refused("01-length-then-chunked", post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED)),
    refused("01-chunked-then-length", post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED)),
    refused("01-get-with-both", message(b"GET / HTTP/1.1", CHUNKED, b"Content-Length: 0", body=b"0\r\n\r\n")),
    refused("01-length-zero-and-chunked", post(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n")),
    refused("01-both-in-odd-case", post(b"cOnTeNt-LeNgTh: 5", b"TRANSFER-encoding: chunked", body=HELLO)),
    refused(
        "01-length-and-unknown-coding", post(b"Content-Length: 5", b"Transfer-Encoding: x", body=b"hello"), (400, 501)
    ),
    refused("02-two-lengths", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    refused("02-two-lengths-one-zero", post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello")),
    refused("02-list-of-lengths", length(b" 5, 6")),
    refused(
        "02-three-lengths-last-differs",
        post(b"Content-Length: 5", b"Content-Length: 5", b"Content-Length: 4", body=b"hello"),
    ),
    refused("03-plus", length(b" +5")),
    refused("03-minus", length(b" -1")),
    refused("03-minus-zero", length(b" -0")),
    refused("03-hexadecimal", length(b" 0x5")),
    refused("03-underscore", length(b" 5_0")),
    refused("03-two-numbers", length(b" 5 6")),
    refused("03-inner-tab", length(b" 5\t5")),
    refused("03-empty", length(b"")),
    refused("03-blank", length(b"   ")),
    refused("03-trailing-comma", length(b" 5,")),
    refused("03-leading-comma", length(b" ,5")),
    refused("03-semicolon", length(b" 5;")),
    refused("03-decimal-point", length(b" 5.0")),
    refused("03-exponent", length(b" 5e0")),
    refused("03-letters", length(b" five")),
    refused("03-vertical-tab", length(b" \x0b5")),
    refused("03-form-feed", length(b" 5\x0c")),
    refused("03-nul", length(b" 5\x00")),
    refused("03-no-break-space", length(b" \xa05")),
    refused("03-arabic-digit", length(b" \xd9\xa5")),
    refused("03-two-to-the-64", length(b" 18446744073709551616")),
    refused("03-two-to-the-64-plus-5", length(b" 18446744073709551621")),
    refused("03-hundred-digits", length(b" " + b"9" * 100)),
]

CODINGS = [
    refused("04-xchunked", coding(b" xchunked"), (400, 501)),
    refused("04-chunked-identity", coding(b" chunked, identity"), (400, 501)),
    refused("04-identity", coding(b" identity"), (400, 501)),
    refused("04-gzip", coding(b" gzip"), (400, 501)),
    refused("04-gzip-chunked", coding(b" gzip, chunked"), (400, 501)),
    refused("04-parameter", coding(b" chunked;a=b"), (400, 501)),
    refused("04-vertical-tab", coding(b" \x0bchunked")),
    refused("04-form-feed", coding(b" \x0cchunked")),
    refused("04-nul", coding(b" chunked\x00")),
    refused("04-folded", coding(b"\r\n chunked")),
    refused("04-leading-comma", coding(b" ,chunked"), (400, 501)),
    refused("04-trailing-comma", coding(b" chunked,"), (400, 501)),
    refused("04-twice-in-a-list", coding(b" chunked, chunked"), (400, 501)),
    refused("04-two-fields", post(CHUNKED, CHUNKED, body=HELLO)),
    refused("04-two-fields-identity", post(CHUNKED, b"Transfer-Encoding: identity", body=HELLO), (400, 501)),
    refused("04-a0-before", coding(b" \xa0chunked"), (400, 501)),
    refused("04-a0-after", coding(b" chunked\xa0"), (400, 501)),
    refused("04-empty", coding(b""), (400, 501)),
    refused("04-quoted", coding(b' "chunked"'), (400, 501)),
    refused("04-line-separator", coding(b" chunked\x85"), (400, 501)),
    refused("05-chunked-in-1.0", post(CHUNKED, line=b"POST / HTTP/1.0", body=HELLO)),
]

FIELDS = [
    refused("06-space-before-colon", post(b"Content-Length : 5", body=b"hello")),
    refused("06-tab-before-colon", post(b"Transfer-Encoding\t: chunked", body=HELLO)),
    refused("06-space-before-colon-of-any-field", message(b"GET / HTTP/1.1", b"X-Any : 1")),
    refused("06-leading-space", message(b"GET / HTTP/1.1", b"X: y", b" Content-Length: 5")),
    refused("06-leading-space-on-the-first-field", message(b"GET / HTTP/1.1", b" Content-Length: 5", host=None)),
    refused("07-empty-name", message(b"GET / HTTP/1.1", b":x")),
    refused("07-no-colon", message(b"GET / HTTP/1.1", b"NoColonHere")),
    *[
        refused(f"07-name-with-{byte:02x}", message(b"GET / HTTP/1.1", b"na" + bytes([byte]) + b"me: x"))
        for byte in b'\x00\x01\x08\x0b\x0c\x1b\x7f\x80\xa0\xe9\xff (),/;<=>?@[\\]{}"'
    ],
    refused("07-name-of-bytes-above-127", message(b"GET / HTTP/1.1", "Ünïcode: x".encode())),
    *[
        refused(f"08-value-with-{byte:02x}", message(b"GET / HTTP/1.1", b"X-Any: a" + bytes([byte]) + b"b"))
        for byte in b"\x00\x01\x07\x08\x0b\x0c\x1b\x1f\x7f"
    ],
    refused("08-bare-cr", message(b"GET / HTTP/1.1", b"X-Any: a\rContent-Length: 5")),
    refused("08-bare-cr-at-the-end", message(b"GET / HTTP/1.1", b"X-Any: a\r")),
    refused("08-bare-lf", message(b"GET / HTTP/1.1", b"X-Any: a\nContent-Length: 5")),
    refused("08-folded-by-space", message(b"GET / HTTP/1.1", b"X-Any: a\r\n b")),
    refused("08-folded-by-tab", message(b"GET / HTTP/1.1", b"X-Any: a\r\n\tb")),
    refused("08-folded-to-nothing", message(b"GET / HTTP/1.1", b"X-Any: a\r\n ")),
    refused("08-nul-in-host", message(host=b"web.test\x00.evil.test")),
    refused("09-lf-after-request-line", b"GET / HTTP/1.1\nHost: web.test\r\n\r\n"),
    refused("09-lf-after-field", b"GET / HTTP/1.1\r\nHost: web.test\nX: y\r\n\r\n"),
    refused("09-lf-as-empty-line", b"GET / HTTP/1.1\r\nHost: web.test\r\n\n"),
    refused("09-lf-everywhere", b"GET / HTTP/1.1\nHost: web.test\n\n"),
    refused("09-cr-alone-after-request-line", b"GET / HTTP/1.1\rHost: web.test\r\n\r\n"),
    refused("09-cr-cr-lf", b"GET / HTTP/1.1\r\r\nHost: web.test\r\n\r\n"),
]

#: The head of these is good, so it may be on its way when the fault in the body is seen.
CHUNKS = [
    refused(id, chunks(body), may_begin=True)
    for id, body in [
        ("09-lf-after-chunk-size", b"5\nhello\r\n0\r\n\r\n"),
        ("09-lf-after-chunk-data", b"5\r\nhello\n0\r\n\r\n"),
        ("09-lf-after-last-chunk", b"5\r\nhello\r\n0\n\r\n"),
        ("09-lf-as-end", b"5\r\nhello\r\n0\r\n\n"),
        ("09-lf-after-trailer", b"5\r\nhello\r\n0\r\nX: y\n\r\n"),
        ("10-hexadecimal-prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("10-space-after-size", b"5 \r\nhello\r\n0\r\n\r\n"),
        ("10-space-before-size", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("10-tab-before-size", b"\t5\r\nhello\r\n0\r\n\r\n"),
        ("10-plus", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("10-minus", b"-1\r\nhello\r\n0\r\n\r\n"),
        ("10-underscore", b"5_\r\nhello\r\n0\r\n\r\n"),
        ("10-17-digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("10-17-digits-overflow", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("10-letter-g", b"G\r\nhello\r\n0\r\n\r\n"),
        ("10-empty-size", b"\r\nhello\r\n0\r\n\r\n"),
        ("10-no-crlf-after-data", b"5\r\nhello0\r\n\r\n"),
        ("10-one-byte-too-many", b"5\r\nhelloX\r\n0\r\n\r\n"),
        ("10-two-bytes-too-many", b"5\r\nhelloXY\r\n0\r\n\r\n"),
        ("10-cr-cr-after-data", b"5\r\nhello\r\r\n0\r\n\r\n"),
        ("10-nul-in-size", b"5\x00\r\nhello\r\n0\r\n\r\n"),
        ("10-negative-last", b"5\r\nhello\r\n-0\r\n\r\n"),
        ("11-crlf-in-quotes", b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'),
        ("11-lf-in-extension", b"5;a=\nb\r\nhello\r\n0\r\n\r\n"),
        ("11-bare-cr-in-extension", b"5;a=\rb\r\nhello\r\n0\r\n\r\n"),
        ("11-control-in-extension", b"5;a=\x01\r\nhello\r\n0\r\n\r\n"),
        ("11-nul-in-extension", b"5;a=\x00\r\nhello\r\n0\r\n\r\n"),
        ("11-unbalanced-quote", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
        ("11-above-4-kib", b"5;a=" + b"b" * 5000 + b"\r\nhello\r\n0\r\n\r\n"),
        ("11-many-small", b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 2000 + b"0\r\n\r\n"),
        ("11-bad-extension-of-last-chunk", b"5\r\nhello\r\n0;a=\x01\r\n\r\n"),
        ("12-trailer-without-colon", b"5\r\nhello\r\n0\r\nNoColon\r\n\r\n"),
        ("12-trailer-space-before-colon", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
        ("12-trailer-folded", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("12-trailer-nul", b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n"),
    ]
] + [
    refused(id, chunks(body), (400, 431), may_begin=True)
    for id, body in [
        ("12-too-many-trailers", b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        ("12-trailers-too-large", b"5\r\nhello\r\n0\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"),
    ]
]

PASSED = [
    passed("02-or-folded", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), posted()),
    passed("03-leading-zeros", length(b" 0005"), posted(has={"content-length": "5"})),
    passed("03-spaces-around", length(b"   5  "), posted(has={"content-length": "5"})),
    passed("03-no-space", length(b"5"), posted(has={"content-length": "5"})),
    passed("03-zero", post(b"Content-Length: 0"), posted(b"", has={"content-length": "0"})),
    passed(
        "04-any-case", post(b"transfer-encoding: CHUNKED", body=HELLO), posted(has={"transfer-encoding": "chunked"})
    ),
    passed(
        "06-underscore-length",
        message(b"GET / HTTP/1.1", b"Content_Length: 5"),
        Forward(lacks=("content_length", "content-length")),
    ),
    passed(
        "06-underscore-encoding",
        message(b"GET / HTTP/1.1", b"Transfer_Encoding: chunked"),
        Forward(lacks=("transfer_encoding", "transfer-encoding")),
    ),
    passed("06-underscore-host", message(b"GET / HTTP/1.1", b"_Host: other.test"), Forward(has={"_host": None})),
    passed(
        "07-every-token-character",
        message(b"GET / HTTP/1.1", b"!#$%&'*+-.^`|~09AZaz: x"),
        Forward(has={"!#$%&'*+-.^`|~09azaz": "x"}),
    ),
    passed("08-tab-inside", message(b"GET / HTTP/1.1", b"X-Any: a\tb"), Forward(has={"x-any": "a\tb"})),
    passed("08-obs-text", message(b"GET / HTTP/1.1", b"X-Any: \x80\xe9\xff"), Forward(has={"x-any": "\x80\xe9\xff"})),
    passed("08-empty-value", message(b"GET / HTTP/1.1", b"X-Any:"), Forward(has={"x-any": ""})),
    passed("08-tabs-around", message(b"GET / HTTP/1.1", b"X-Any:\t a \t"), Forward(has={"x-any": "a"})),
    passed("10-many-chunks", chunks(b"1\r\nh\r\n2\r\nel\r\n002\r\nlo\r\n000\r\n\r\n"), posted()),
    passed(
        "10-upper-and-lower-case", chunks(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), posted(b"0123456789" * 2)
    ),
    passed("10-empty-body", chunks(b"0\r\n\r\n"), posted(b"")),
    passed("11-extension", chunks(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), posted()),
    passed("11-quoted-extension", chunks(b'5;a="b;c \\" d"\r\nhello\r\n0\r\n\r\n'), posted()),
    passed(
        "11-signed-chunks",
        chunks((b"400;chunk-signature=" + b"f" * 64 + b"\r\n" + b"x" * 1024 + b"\r\n") * 64 + b"0\r\n\r\n"),
        posted(b"x" * 65536),
    ),
    passed(
        "12-trailer-announced",
        post(CHUNKED, b"Trailer: X-Sum", body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
        posted(trailers=b"X-Sum: 1\r\n"),
    ),
    passed("12-trailer-not-announced", chunks(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), posted(trailers=b"")),
    *[
        passed(
            f"12-trailer-{name.decode().lower()}",
            post(CHUNKED, b"Trailer: " + name, body=b"5\r\nhello\r\n0\r\n" + name + b": 5\r\n\r\n"),
            posted(trailers=b""),
        )
        for name in (
            b"Content-Length",
            b"Transfer-Encoding",
            b"Host",
            b"Authorization",
            b"Content-Type",
            b"Cookie",
            b"X-Forwarded-For",
            b"Connection",
            b"Content-Encoding",
            b"Expect",
            b"TE",
            b"Trailer",
            b"Content_Length",
            b"X_Forwarded_For",
            b"Proxy",
        )
    ],
]

#: A body where none is usual: consumed exactly, and the request behind it is intact.
BODIES = [
    Row(
        f"13-{method.decode().lower()}-{kind}-then-another",
        message(method + b" /first HTTP/1.1", field, body=body) + message(b"GET /second HTTP/1.1"),
        status=[200, 200],
        closes=False,
        forwards=(Forward(f"{method.decode()} /first HTTP/1.1", body=b"hello"), Forward("GET /second HTTP/1.1")),
    )
    for method in (b"GET", b"OPTIONS", b"DELETE", b"PATCH", b"PUT", b"POST")
    for kind, field, body in (("length", b"Content-Length: 5", b"hello"), ("chunked", CHUNKED, HELLO))
]

REFUSED = LENGTHS + CODINGS + FIELDS + CHUNKS


@pytest.fixture(scope="module")
def stage():
    made = Stage()
    yield made
    made.close()


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_refused(stage, row):
    play(stage, row)


@pytest.mark.parametrize("row", [row for row in REFUSED if len(row.data) < 400], ids=str)
def test_refused_byte_by_byte(stage, row):
    play(stage, row, size=1)


@pytest.mark.parametrize("row", PASSED + BODIES, ids=str)
def test_passed(stage, row):
    play(stage, row)


@pytest.mark.parametrize("row", [row for row in PASSED + BODIES if len(row.data) < 400], ids=str)
def test_passed_byte_by_byte(stage, row):
    play(stage, row, size=1)


def test_03_tab_before_the_number_is_white_space_or_refused(stage):
    """RFC 9110 counts HTAB as OWS; a stricter reader may refuse. Nobody may read another number."""
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(length(b"\t5"))
        answer = connection.read_response()
    stage.barrier()
    seen = stage.requests()[before:]
    assert (answer.status, [each.body for each in seen]) in ((400, []), (200, [b"hello"]))


def test_05_http_1_0_body_without_length_is_no_body(stage):
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.0"))
        assert connection.read_response().status == 200
        assert connection.read_to_end() == b""
    stage.barrier()
    (request,) = stage.requests()[before:]
    assert request.body == b"" and request.header("content-length", "0") == "0"
    assert not request.all("transfer-encoding")


def test_11_empty_extension_is_dropped_or_refused(stage):
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(chunks(b"5;\r\nhello\r\n0\r\n\r\n"))
        answer = connection.read_response()
    stage.barrier()
    whole = [each.body for each in stage.requests()[before:] if each.is_complete]
    assert (answer.status, whole) in ((400, []), (200, [b"hello"]))


def test_13_head_with_a_body_then_another(stage):
    before = len(stage.requests())
    with stage.proxy.connect() as connection:
        connection.send(message(b"HEAD /first HTTP/1.1", b"Content-Length: 5", body=b"hello"))
        connection.send(message(b"GET /second HTTP/1.1"))
        first = connection.read_response("HEAD")
        assert (first.status, first.header("content-length"), first.body) == (200, "2", b"")
        assert connection.read_response().body == b"ok"
    wait_until(lambda: len(stage.requests()) == before + 2)
    first, second = stage.requests()[before:]
    assert (first.line, first.body) == ("HEAD /first HTTP/1.1", b"hello")
    assert (second.line, second.body) == ("GET /second HTTP/1.1", b"")


def test_a_declared_length_above_the_limit_is_413_before_any_byte(stage):
    play(stage, refused("413", post(b"Content-Length: 9223372036854775807"), 413))
