"""Threats 14 to 16 and 22: tasks that attack, answers out of time, expectations and upgrades."""

import select
import threading

import pytest

from harness import (
    Close,
    Pause,
    ProtocolViolation,
    ReadExactly,
    Release,
    Reset,
    Send,
    ShutdownWrite,
    chunked,
    response,
    service,
    wait_until,
)
from rows import message

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def web(interlock, backend):
    """(proxy, backend) of one service."""
    task = backend()
    return interlock([service("web", [task], hosts="web.test")]), task


# 14: an answer that does not wait for the request's body.


def test_14_early_answer_ends_the_connection_or_drains(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(response(403, b"no"))
    with proxy.connect() as connection:
        connection.send(message(b"POST /up HTTP/1.1", b"Content-Length: 1000000"))
        connection.send(b"x" * 1000)
        answer = connection.read_response()
        assert (answer.status, answer.body) == (403, b"no")
        # Whether it drains or closes: bytes of the body are never taken for a request.
        try:
            connection.send(b"GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n")
            connection.expect_silence(0.2)
        except (ProtocolViolation, BrokenPipeError, ConnectionResetError) as end:
            assert "got FIN" in str(end) or not isinstance(end, ProtocolViolation), end
    first = task.connections[0]
    assert proxy.get("/next").status == 200
    assert task.last.target == "/next" and task.last.connection is not first, "an undrained connection was used again"
    assert not any(each.target == "/smuggled" for each in task.requests)
    wait_until(lambda: first.ended, message="the undrained upstream connection is closed")


def test_14_early_answer_to_a_body_that_then_arrives(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(response(200, b"early"), ReadExactly(100_000))
    with proxy.connect() as connection:
        connection.send(message(b"POST /up HTTP/1.1", b"Content-Length: 100000"))
        assert connection.read_response().body == b"early"


# 15: expectations and interim answers.


def test_15_expect_continue_is_passed_on_and_answered(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(b"HTTP/1.1 100 Continue\r\n\r\n", ReadExactly(5), response(200, b"thanks"))
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
        assert connection.read_head().status == 100
        assert task.requests[0].header("expect").lower() == "100-continue"
        connection.send(b"hello")
        assert connection.read_response().body == b"thanks"
    assert bytes(task.connections[0].received).endswith(b"hello")


def test_15_expect_continue_refused_by_the_task(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(response(417, b"no"), Close())
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
        answer = connection.read_response()
        assert (answer.status, answer.interim) == (417, [])


def test_15_expect_without_body(web):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Expect: 100-continue"))
        assert connection.read_response().status == 200


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"x", b'100-continue="a"'])
def test_15_unknown_expectation_is_417(web, value):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Expect: " + value, b"Content-Length: 0"))
        assert connection.read_response().status == 417
    assert not task.requests


def test_15_expect_in_http_1_0_is_ignored(web):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 2", body=b"hi"))
        answer = connection.read_response()
        assert (answer.status, answer.interim) == (200, [])
    assert task.last.body == b"hi"


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_15_interim_answers_reach_http_1_1_clients(web, status):
    proxy, task = web
    task.play(b"HTTP/1.1 %d Early\r\nLink: </a.css>\r\n\r\n" % status, response(200, b"final"))
    answer = proxy.get()
    assert (answer.status, answer.body) == (200, b"final")
    # A 100 that nobody waits for may be left out; all others are for the client to see.
    assert [each.status for each in answer.interim] in ([status], [] if status == 100 else [status])


@pytest.mark.parametrize("status", [100, 103])
def test_15_interim_answers_are_kept_from_http_1_0_clients(web, status):
    proxy, task = web
    task.play(b"HTTP/1.1 %d Early\r\n\r\n" % status, response(200, b"final"))
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.0"))
        answer = connection.read_response()
        assert (answer.status, answer.interim, answer.body) == (200, [], b"final")


def test_15_a_flood_of_interim_answers_is_cut_off(web):
    proxy, task = web
    flood = Send(b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * 1000 + b"\r\n\r\n")
    task.play(*[flood] * 5000, response(200, b"late"))
    with proxy.connect() as connection:
        connection.request()
        try:
            answer = connection.read_response()
            assert answer.status == 502, answer
        except (ProtocolViolation, ConnectionResetError):
            pass  # some were passed on, then the connection ended
        assert len(connection.all_received) < 1_000_000
    assert proxy.get().status == 200


# 16: answers that break the rules.

BAD_ANSWERS = [
    ("both-lengths", HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunked-then-length", HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("two-lengths", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("length-list", HEAD + b"Content-Length: 2, 3\r\n\r\nok!"),
    ("bad-length", HEAD + b"Content-Length: +2\r\n\r\nok"),
    ("unknown-coding", HEAD + b"Transfer-Encoding: gzip\r\n\r\nok"),
    ("coding-list", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("junk-before-status", b"junk" + HEAD + b"Content-Length: 2\r\n\r\nok"),
    ("not-http", b"220 mail.test ESMTP\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    ("html-without-head", b"<html>hello</html>"),
    ("http-2-version", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no-status", b"HTTP/1.1 \r\nContent-Length: 0\r\n\r\n"),
    ("status-of-two-digits", b"HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n"),
    ("status-of-four-digits", b"HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n"),
    ("status-0xx", b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"),
    ("status-with-sign", b"HTTP/1.1 +20 No\r\nContent-Length: 0\r\n\r\n"),
    ("bare-lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("bare-lf-in-a-field", HEAD + b"X: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
    ("bare-cr-in-a-field", HEAD + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
    ("nul-in-a-field", HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    ("nul-in-reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n"),
    ("bare-cr-in-reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    ("folded-field", HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("space-before-colon", HEAD + b"Content-Length : 0\r\n\r\n"),
    ("field-without-colon", HEAD + b"NoColon\r\nContent-Length: 0\r\n\r\n"),
    ("empty-name", HEAD + b": x\r\nContent-Length: 0\r\n\r\n"),
    ("head-too-large", HEAD + b"X: " + b"y" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n"),
    ("endless-head", HEAD + b"X: " + b"y" * 1_000_000),
    ("too-many-fields", HEAD + b"X: y\r\n" * 2000 + b"Content-Length: 0\r\n\r\n"),
    ("endless-status-line", b"HTTP/1.1 200 " + b"y" * 1_000_000),
    ("tls-record", b"\x15\x03\x01\x00\x02\x02\x46"),
    ("101-nobody-asked-for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
]


@pytest.mark.parametrize("answer", [answer for _, answer in BAD_ANSWERS], ids=[f"16-{id}" for id, _ in BAD_ANSWERS])
def test_16_a_bad_answer_is_502_and_poisons_nothing(web, answer):
    proxy, task = web
    for _ in range(4):
        task.play(Send(answer), Pause(0.02), Close())  # also for every retry
    task.default = lambda request: response(200, request.target.encode())
    with proxy.connect() as connection:
        connection.request("POST", "/bad", body=b"x")
        assert connection.read_response().status == 502
    task._scripts.clear()
    assert [proxy.get(f"/{number}").body for number in range(3)] == [b"/0", b"/1", b"/2"]
    spoiled = {each.connection for each in task.requests if each.target == "/bad"}
    wait_until(lambda: all(each.ended for each in spoiled), message="the connections of bad answers are closed")


TRUNCATED = [
    ("length-cut-short", HEAD + b"Content-Length: 10\r\n\r\nhalf"),
    ("no-last-chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"half", last=False)),
    ("chunk-cut-short", HEAD + b"Transfer-Encoding: chunked\r\n\r\na\r\nhalf"),
    ("last-chunk-without-end", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n"),
    ("bad-chunk-size", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nXYZ\r\n"),
    ("bad-chunk-end", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalfXX0\r\n\r\n"),
]


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["fin", "rst"])
@pytest.mark.parametrize("answer", [answer for _, answer in TRUNCATED], ids=[f"16-{id}" for id, _ in TRUNCATED])
def test_16_a_truncated_answer_never_looks_whole(web, answer, end):
    proxy, task = web
    task.play(Send(answer), Pause(0.02), end)
    task.default = lambda request: response(200, request.target.encode())
    with proxy.connect() as connection:
        connection.request(target="/cut")
        with pytest.raises((ProtocolViolation, ConnectionResetError)):
            # 502 is right only if nothing of the answer had been sent on.
            assert connection.read_response().status != 502, ProtocolViolation("502")
            raise AssertionError(f"a truncated answer was completed: {connection.all_received!r}")
    assert proxy.get("/next").body == b"/next"


def test_16_a_truncated_answer_before_any_byte_of_it_is_502(web):
    proxy, task = web
    for _ in range(4):
        task.play(Send(b"HTTP/1.1 200 OK\r\nContent-Le"), Pause(0.02), Close())
    answer = proxy.get(method="POST")
    assert answer.status == 502


@pytest.mark.parametrize("status", [204, 304])
def test_16_answers_without_body(web, status):
    proxy, task = web
    task.play(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nX-Mark: 1\r\n\r\n" % status)
    with proxy.connect() as connection:
        connection.request()
        answer = connection.read_response()
        assert (answer.status, answer.header("x-mark"), answer.body) == (status, "1", b"")
        assert answer.header("content-length") == (None if status == 204 else "5")
        assert not answer.all("transfer-encoding")
        connection.request(target="/next")
        assert connection.read_response().body == b"ok"


def test_16_head_keeps_the_length_and_has_no_body(web):
    proxy, task = web
    task.play(HEAD + b"Content-Length: 12345\r\n\r\n")
    with proxy.connect() as connection:
        connection.request("HEAD")
        answer = connection.read_response("HEAD")
        assert (answer.status, answer.header("content-length")) == (200, "12345")
        connection.request(target="/next")
        assert connection.read_response().body == b"ok"


@pytest.mark.parametrize(
    "method, answer",
    [
        ("HEAD", HEAD + b"Content-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", HEAD + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ],
    ids=[
        "16-head-with-body",
        "16-204-with-body",
        "16-304-with-body",
        "16-an-answer-nobody-asked-for",
        "16-an-answer-behind-chunks",
    ],
)
def test_16_bytes_after_the_answer_end_the_upstream_connection(web, method, answer):
    proxy, task = web
    task.play(answer)
    with proxy.connect() as connection:
        connection.request(method)
        assert connection.read_response(method).body in (b"", b"ok")
        connection.request(target="/next")
        assert connection.read_response().body == b"ok"
    first, second = [each.connection for each in task.requests]
    assert first is not second, "a connection with bytes nobody asked for was used again"
    wait_until(lambda: first.ended)


def test_16_an_answer_before_any_request_ends_the_connection(web):
    """A task that talks while its connection is idle: those bytes are never the next client's answer."""
    proxy, task = web
    task.play(response(200, b"first"), Pause(0.05), HEAD + b"Content-Length: 4\r\n\r\nevil")
    assert proxy.get().body == b"first"
    wait_until(lambda: task.connections[0].ended, message="the idle connection that spoke is closed")
    assert proxy.get().body == b"ok"


def test_16_close_delimited_answer(web):
    proxy, task = web
    task.play(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end", Close())
    with proxy.connect() as connection:
        connection.request()
        answer = connection.read_response()
        assert (answer.framing, answer.body) == ("chunked", b"until the end")
        connection.request(target="/next")
        assert connection.read_response().status == 200


def test_16_close_delimited_answer_to_http_1_0(web):
    proxy, task = web
    task.play(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Close())
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.0", b"Connection: keep-alive"))
        answer = connection.read_response()
        assert (answer.framing, answer.body) == ("close", b"until the end")


def test_16_a_close_delimited_answer_that_is_reset_never_looks_whole(web):
    proxy, task = web
    task.play(Send(b"HTTP/1.1 200 OK\r\n\r\nhalf"), Pause(0.05), Reset())
    with proxy.connect() as connection:
        connection.request()
        with pytest.raises((ProtocolViolation, ConnectionResetError)):
            connection.read_response()


# 22: upgrades.

UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

NO_UPGRADES = [
    ("22-without-connection", b"GET / HTTP/1.1", UPGRADE[1:]),
    ("22-post", b"POST / HTTP/1.1", (*UPGRADE, b"Content-Length: 0")),
    ("22-http-1.0", b"GET / HTTP/1.0", UPGRADE),
    ("22-wrong-version", b"GET / HTTP/1.1", (*UPGRADE[:2], b"Sec-WebSocket-Version: 12", UPGRADE[3])),
    ("22-without-version", b"GET / HTTP/1.1", (*UPGRADE[:2], UPGRADE[3])),
    ("22-without-key", b"GET / HTTP/1.1", UPGRADE[:3]),
    (
        "22-h2c",
        b"GET / HTTP/1.1",
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    ),
    (
        "22-h2c-among-others",
        b"GET / HTTP/1.1",
        (b"Connection: Upgrade", b"Upgrade: h2c, websocket", b"HTTP2-Settings: AAMA"),
    ),
]


@pytest.mark.parametrize("line, fields", [row[1:] for row in NO_UPGRADES], ids=[row[0] for row in NO_UPGRADES])
def test_22_what_is_no_upgrade_is_forwarded_without_the_offer(web, line, fields):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(line, *fields))
        assert connection.read_response().status == 200
    request = task.last
    assert "h2c" not in str(request.all("upgrade")).lower() and not request.all("http2-settings"), request.headers
    if b"h2c, websocket" not in b"".join(fields):
        assert not request.all("upgrade"), request.headers
        assert "upgrade" not in str(request.all("connection")).lower(), request.headers


def test_22_bytes_sent_before_101_are_held(interlock, backend):
    task, event = backend(reads="head"), threading.Event()
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(Release(event), SWITCHED, ReadExactly(5), b"world")
    with proxy.connect() as connection:
        connection.send(message(b"GET /ws HTTP/1.1", *UPGRADE, body=b"early"))
        request = task.wait_for_requests(1)[0]
        assert request.header("upgrade").lower() == "websocket" and request.header("connection").lower() == "upgrade"
        # The task has the head and nothing else; the early bytes are given every chance to follow it.
        waiting = task.connections[0].socket
        assert not select.select([waiting], [], [], 0.2)[0], "bytes passed before 101"
        event.set()
        answer = connection.read_response()
        assert answer.status == 101 and answer.header("upgrade").lower() == "websocket"
        assert answer.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert connection.read_exactly(5) == b"world"
    assert bytes(task.connections[0].received).endswith(b"\r\n\r\nearly")


@pytest.mark.parametrize("status", [200, 403, 426])
def test_22_another_answer_stays_http(web, status):
    proxy, task = web
    task.play(response(status, b"no tunnel"))
    with proxy.connect() as connection:
        connection.send(message(b"GET /ws HTTP/1.1", *UPGRADE))
        answer = connection.read_response()
        assert (answer.status, answer.body) == (status, b"no tunnel")
        connection.request(target="/next")
        assert connection.read_response().status == 200
    assert [each.target for each in task.requests] == ["/ws", "/next"]


def test_22_early_bytes_and_no_101_never_reach_the_task_as_bytes_of_a_tunnel(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(response(403, b"no"))
    with proxy.connect() as connection:
        connection.send(message(b"GET /ws HTTP/1.1", *UPGRADE, body=b"\x81\x85frame"))
        assert connection.read_response().status == 403
        assert connection.read_response().status == 400  # the frame is no request
        connection.expect_end()
    assert b"frame" not in bytes(task.connections[0].received)


def test_22_the_tunnel_passes_half_closes(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(SWITCHED, ReadExactly(4), lambda connection: not connection.fill(), b"last words", ShutdownWrite())
    with proxy.connect() as connection:
        connection.send(message(b"GET /ws HTTP/1.1", *UPGRADE))
        assert connection.read_response().status == 101
        connection.send(b"ping")
        connection.shutdown_write()
        assert connection.read_to_end() == b"last words"


def test_22_an_upgraded_connection_never_returns_to_the_pool(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(SWITCHED, ReadExactly(4), b"pong")
    with proxy.connect() as connection:
        connection.send(message(b"GET /ws HTTP/1.1", *UPGRADE))
        assert connection.read_response().status == 101
        connection.send(b"ping")
        assert connection.read_exactly(4) == b"pong"
    wait_until(lambda: task.connections[0].ended)
    assert proxy.get("/next").status == 200 and task.last.connection is task.connections[1]
