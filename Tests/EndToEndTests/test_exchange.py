"""One request and its answer: connections kept, bodies streamed both ways, what is added and what is left out."""

import hashlib
import threading

import pytest

from harness import Close, RawConnection, ReadExactly, Release, Send, chunked, response, service, wait_until
from rows import message


@pytest.fixture
def web(interlock, backend):
    """(proxy, backend) of one service."""
    task = backend()
    return interlock([service("web", [task], hosts="web.test")]), task


# Connections.


def test_connections_are_kept_on_both_sides(web):
    proxy, task = web
    with proxy.connect() as connection:
        for number in range(100):
            connection.request(target=f"/{number}")
            answer = connection.read_response()
            assert answer.status == 200 and answer.header("connection", "").lower() != "close"
    assert len(task.connections) == 1
    assert [each.target for each in task.requests] == [f"/{number}" for number in range(100)]


def test_an_upstream_connection_is_reused_by_other_clients(web):
    proxy, task = web
    for _ in range(10):
        assert proxy.get().status == 200
    assert len(task.connections) == 1


def test_connection_close_of_the_client_is_obeyed(web):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: close") + message(b"GET /never HTTP/1.1"))
        assert connection.read_response().header("connection").lower() == "close"
        connection.expect_end()
    assert proxy.get("/last").status == 200
    assert [each.target for each in task.requests] == ["/", "/last"]
    assert "close" not in task.requests[0].header("connection", "").lower()
    assert len(task.connections) == 1, "the client's close was passed on"


def test_connection_close_of_the_task_is_its_own(web):
    proxy, task = web
    task.play(response(200, b"bye", {"Connection": "close"}), Close())
    with proxy.connect() as connection:
        connection.request()
        answer = connection.read_response()
        assert answer.body == b"bye" and answer.header("connection", "").lower() != "close"
        connection.request()
        assert connection.read_response().body == b"ok"
    assert len(task.connections) == 2


def test_a_task_of_http_1_0(web):
    proxy, task = web
    task.play(response(200, b"old", version="HTTP/1.0"), Close())
    with proxy.connect() as connection:
        connection.request()
        answer = connection.read_response()
        assert (answer.version, answer.body) == ("HTTP/1.1", b"old")
        connection.request()
        assert connection.read_response().status == 200
    assert len(task.connections) == 2


@pytest.mark.parametrize("field, reused", [("timeout=1, max=100", False), ("timeout=60", True)])
def test_the_keep_alive_of_the_task_counts(web, field, reused):
    proxy, task = web
    task.play(response(200, b"ok", {"Keep-Alive": field}))
    answer = proxy.get()
    assert not answer.all("keep-alive")
    if not reused:
        wait_until(lambda: task.connections[0].ended, timeout=3, message="closed before the task's own timeout")
    assert proxy.get().status == 200
    assert len(task.connections) == (1 if reused else 2)


def test_pipelined_requests_are_answered_in_order(interlock, backend):
    slow, fast, event = backend(), backend(), threading.Event()
    proxy = interlock([service("slow", [slow], hosts="slow.test"), service("fast", [fast], hosts="fast.test")])
    slow.play(Release(event), response(200, b"slow"))
    fast.default = lambda request: response(200, request.target.encode())
    with proxy.connect() as connection:
        connection.send(
            message(b"GET /0 HTTP/1.1", host=b"slow.test")
            + b"".join(message(b"GET /%d HTTP/1.1" % number, host=b"fast.test") for number in range(1, 50))
        )
        slow.wait_for_requests(1)
        connection.expect_silence(0.1)
        event.set()
        bodies = [connection.read_response().body for _ in range(50)]
    assert bodies == [b"slow"] + [b"/%d" % number for number in range(1, 50)]


def test_pipelined_requests_with_bodies(web):
    proxy, task = web
    task.default = lambda request: response(200, request.body)
    with proxy.connect() as connection:
        connection.send(
            b"".join(
                (
                    message(b"POST / HTTP/1.1", b"Content-Length: 1", body=b"%d" % number)
                    if number % 2
                    else message(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=chunked(b"%d" % number))
                )
                for number in range(10)
            )
        )
        assert [connection.read_response().body for _ in range(10)] == [b"%d" % number for number in range(10)]


def test_a_request_in_the_smallest_pieces(web):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send_in_pieces(
            message(b"POST /x HTTP/1.1", b"Transfer-Encoding: chunked", body=chunked(b"hel", b"lo")), 1
        )
        assert connection.read_response().status == 200
    assert task.last.body == b"hello"


def test_an_answer_in_the_smallest_pieces(web):
    proxy, task = web
    whole = response(200, length=False, headers={"Transfer-Encoding": "chunked"}) + chunked(b"hel", b"lo")
    task.play(Send(whole, size=1, pause=0.0005))
    answer = proxy.get()
    assert answer.body == b"hello"


def test_a_head_in_pieces_leaves_nothing_to_the_next_answer(interlock, backend):
    """What was looked at of one answer's head says nothing about the next answer on the same connection."""
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_RESPONSE_TIMEOUT": "3s"})
    for size in (20, 100, 300, 500):
        task.play(Send(response(200, b"ok", {"X-Long": "b" * 600}), size=size, pause=0.02))
        assert proxy.get("/long").body == b"ok"
        task.play(response(200, b"x" * 2000))
        assert proxy.get("/short").body == b"x" * 2000
        task.play(Send(response(200, length=False) + b"until the end"), Close())
        assert proxy.get("/close").body == b"until the end"


# Bodies.


def digest(data):
    return hashlib.sha256(data).hexdigest()


BIG = bytes(range(256)) * 40_000  # 10 MB


@pytest.mark.parametrize("size", [0, 1, 1000, 4096, 65535, 65536, 262144, 262145, len(BIG)])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_bodies_up_and_down(web, kind, size):
    proxy, task = web
    data = BIG[:size]
    pieces = [data[start : start + 70_000] for start in range(0, size, 70_000)]
    if kind == "length":
        task.default = lambda request: response(200, request.body)
        sent, headers = data, {"Content-Length": size}
    else:
        task.default = lambda request: [
            response(200, length=False, headers={"Transfer-Encoding": "chunked"}),
            chunked(*pieces),
        ]
        sent, headers = chunked(*pieces), {"Transfer-Encoding": "chunked"}
    with proxy.connect() as connection:
        for _ in range(2):
            # What does not fit both sockets is sent while the answer is read.
            request = message(b"POST /echo HTTP/1.1", *[f"{key}: {value}".encode() for key, value in headers.items()])
            sender = threading.Thread(target=connection.send, args=(request + sent,))
            sender.start()
            answer = connection.read_response()
            sender.join(20)
            assert digest(answer.body) == digest(data)
            assert answer.framing == kind
    assert [digest(each.body) for each in task.requests] == [digest(data)] * 2


def test_a_body_is_streamed_and_not_collected(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(
        ReadExactly(5),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        ReadExactly(5),
        b"6\r\nsecond\r\n0\r\n\r\n",
    )
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"hello"))
        connection.read_head()
        assert b"first" in connection.read_until(b"first\r\n")
        connection.send(b"world")
        assert b"second" in connection.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("label, size, status", [("1k", 1024, 200), ("1k", 1025, 413), ("0", 100_000, 200)])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_the_largest_body(interlock, backend, kind, label, size, status):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_MAX_BODY_SIZE": label})
    data = b"x" * size
    with proxy.connect() as connection:
        if kind == "length":
            connection.send(message(b"POST / HTTP/1.1", b"Content-Length: %d" % size, body=data))
        else:
            connection.send(
                message(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=chunked(data[:600], data[600:]))
            )
        assert connection.read_response().status == status
        if status == 413:
            assert connection.read_to_end() == b""
    whole = [each for each in task.requests if each.is_complete]
    assert [len(each.body) for each in whole] == ([size] if status == 200 else [])


def test_413_can_be_read_though_the_client_goes_on_sending(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test")], environment={"INTERLOCK_MAX_BODY_SIZE": "1k"})
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 40000") + b"x" * 40_000)
        assert connection.read_response().status == 413
        assert connection.read_to_end() == b""


def test_trailers_of_the_answer_reach_who_asked_for_them(web):
    proxy, task = web
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunked(
        b"hello", trailers=b"X-Sum: 1\r\nContent-Length: 3\r\n"
    )
    for fields, trailers in (((b"TE: trailers", b"Connection: TE"), [("X-Sum", "1")]), ((), [])):
        task.play(whole)
        with proxy.connect() as connection:
            connection.send(message(b"GET / HTTP/1.1", *fields))
            answer = connection.read_response()
        assert (answer.body, answer.trailers) == (b"hello", trailers)


def test_a_chunked_answer_to_an_http_1_0_client(web):
    proxy, task = web
    task.play(response(200, length=False, headers={"Transfer-Encoding": "chunked"}), chunked(b"hel", b"lo"))
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.0", b"Connection: keep-alive"))
        answer = connection.read_response()
        assert (answer.framing, answer.body) == ("close", b"hello")


# Fields.


def test_fields_of_the_answer(web):
    proxy, task = web
    task.play(
        response(
            200,
            b"ok",
            [
                ("X-Mine", "1"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
                ("Connection", "X-Hop"),
                ("X-Hop", "secret"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authenticate", "Basic"),
                ("Upgrade", "h2c"),
                ("X-Empty", ""),
            ],
        )
    )
    answer = proxy.get()
    assert (
        answer.header("x-mine") == "1" and answer.all("set-cookie") == ["a=1", "b=2"] and answer.header("x-empty") == ""
    )
    for name in ("x-hop", "keep-alive", "upgrade"):
        assert not answer.all(name), f"{name} was passed on"
    assert answer.header("via").startswith("1.1 ") and answer.header("date")
    assert len(answer.header("x-request-id")) == 32


def test_date_is_kept_or_added(web):
    proxy, task = web
    task.play(response(200, b"", {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}))
    assert proxy.get().header("date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert proxy.get().header("date").endswith(" GMT")


def test_server_of_the_task_is_kept(web):
    proxy, task = web
    task.play(response(200, b"", {"Server": "mine/1"}))
    assert proxy.get().header("server") == "mine/1"
    assert not proxy.get().all("x-upstream-addr")


@pytest.mark.parametrize(
    "status", [200, 201, 203, 206, 226, 300, 302, 307, 400, 401, 404, 410, 418, 429, 500, 503, 599]
)
def test_every_status_is_passed_on(web, status):
    proxy, task = web
    task.play(response(status, b"body of %d" % status, reason="My Reason"))
    answer = proxy.get()
    assert (answer.status, answer.reason, answer.body) == (status, "My Reason", b"body of %d" % status)


def test_via_has_a_name_or_none(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_VIA": "off"})
    assert not proxy.get(headers={"Via": "1.0 fred"}).all("via")
    assert task.last.all("via") == ["1.0 fred"]
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_VIA": "edge-7"})
    assert proxy.get(headers={"Via": "1.0 fred"}).header("via") == "1.1 edge-7"
    assert ", ".join(task.last.all("via")) == "1.0 fred, 1.1 edge-7"


def test_info_headers(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_INFO_HEADERS": "true"})
    answer = proxy.get()
    assert answer.header("x-upstream-addr") == task.address
    for name in ("x-proxy-id", "x-server-info", "x-upstream-response-time"):
        assert answer.header(name)


def test_forwarded_when_wanted(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_FORWARDED": "true"})
    proxy.get(headers={"Forwarded": "for=6.6.6.6"})
    value = task.last.header("forwarded").lower()
    assert "for=127.0.0.1" in value and "proto=http" in value and "6.6.6.6" not in value


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
def test_max_forwards(web, method):
    proxy, task = web
    with proxy.connect() as connection:
        connection.send(message(method.encode() + b" / HTTP/1.1", b"Max-Forwards: 5"))
        assert connection.read_response().status == 200
        assert task.last.header("max-forwards") == "4"
        connection.send(message(method.encode() + b" / HTTP/1.1", b"Max-Forwards: 0", b"Cookie: secret"))
        answer = connection.read_response()
        assert answer.status in (200, 204, 405) and b"secret" not in answer.body
    assert len(task.requests) == 1


def test_max_forwards_of_other_methods_is_left_alone(web):
    proxy, task = web
    assert proxy.get(headers={"Max-Forwards": "0"}).status == 200
    assert task.last.header("max-forwards") == "0"


def test_ipv6_clients(interlock, backend):
    task = backend()
    try:
        proxy = interlock([service("web", [task], hosts="web.test")], listen_host="::1")
    except OSError:
        pytest.skip("no IPv6 on loopback")
    assert proxy.get().status == 200
    assert (task.last.header("x-forwarded-for"), task.last.header("x-real-ip")) == ("::1", "::1")


@pytest.mark.plain
def test_ipv4_clients_of_a_dual_stack_listener_are_unmapped(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], wait=False)
    proxy.kill()
    proxy.extra["INTERLOCK_HTTP_LISTEN"] = f":{proxy.port}"
    port = proxy.port
    proxy._spawn()
    proxy.wait_ready()
    with RawConnection(port) as connection:
        connection.request()
        assert connection.read_response().status == 200
    assert task.last.header("x-forwarded-for") == "127.0.0.1"


# PROXY protocol in.

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.plain
@pytest.mark.parametrize(
    "preface, address",
    [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN whatever is here\r\n", "127.0.0.1"),
        (V2 + b"\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb", "203.0.113.7"),
        (V2 + b"\x21\x11\x00\x13\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb\x04\x00\x04abcd", "203.0.113.7"),
        (V2 + b"\x20\x00\x00\x00", "127.0.0.1"),
        (V2 + b"\x21\x00\x00\x00", "127.0.0.1"),
    ],
    ids=["v1", "v1-v6", "v1-unknown", "v1-unknown-more", "v2", "v2-tlv", "v2-local", "v2-unspec"],
)
@pytest.mark.parametrize("size", [0, 1], ids=["whole", "bytes"])
def test_proxy_protocol(interlock, backend, preface, address, size):
    task = backend()
    proxy = interlock(
        [service("web", [task], hosts="web.test")], environment={"INTERLOCK_PROXY_PROTOCOL": "127.0.0.0/8"}
    )
    with proxy.connect() as connection:
        data = preface + message()
        connection.send_in_pieces(data, size or len(data))
        assert connection.read_response().status == 200
    assert task.last.header("x-forwarded-for") == address == task.last.header("x-real-ip")


@pytest.mark.plain
@pytest.mark.parametrize(
    "preface",
    [
        b"",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
        b"PROXY TCP4 203.0.113.777 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 2001:db8::7 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 99999 443\r\n",
        b"PROXY TCP5 203.0.113.7 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\n",
        b"PROXY  TCP4 203.0.113.7 192.0.2.1 56324 443\r\n",
        b"PROXY " + b"x" * 200 + b"\r\n",
        V2 + b"\x31\x11\x00\x0c" + bytes(12),
        V2 + b"\x22\x11\x00\x0c" + bytes(12),
        V2 + b"\x21\x11\x00\x04" + bytes(4),
        V2 + b"\x21\x41\x00\x0c" + bytes(12),
        V2 + b"\x21\x11\xff\xff" + bytes(3000),
    ],
    ids=[
        "none",
        "v1-short",
        "v1-address",
        "v1-family",
        "v1-port",
        "v1-protocol",
        "v1-lf",
        "v1-spaces",
        "v1-long",
        "v2-version",
        "v2-command",
        "v2-short",
        "v2-family",
        "v2-too-long",
    ],
)
def test_a_bad_proxy_header_ends_the_connection(interlock, backend, preface):
    task = backend()
    proxy = interlock(
        [service("web", [task], hosts="web.test")],
        environment={"INTERLOCK_PROXY_PROTOCOL": "127.0.0.0/8", "INTERLOCK_PREFACE_TIMEOUT": "500ms"},
    )
    with proxy.connect() as connection:
        connection.send(preface + message())
        try:
            rest = connection.read_to_end()
        except ConnectionResetError:
            rest = b""
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400"), rest
    assert not task.requests
