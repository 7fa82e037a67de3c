"""Bodies that would be requests: whatever goes wrong, the bytes of a body are never read as the next request.

Every body here is a complete request for /smuggled. It goes wrong in a different way each time: the task resets the
pooled connection under it, answers before it has come, or refuses it; the proxy refuses it for its size or its framing.
"""

import contextlib
import signal
import threading

import pytest

from harness import Close, ReadExactly, Release, Reset, chunked, response, service, wait_until
from rows import message

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"


def upload(method, kind, target=b"/upload", body=SMUGGLED):
    line = method.encode() + b" " + target + b" HTTP/1.1"
    if kind == "chunked":
        return message(line, b"Transfer-Encoding: chunked", body=chunked(body))
    return message(line, b"Content-Length: %d" % len(body), body=body)


def targets(task):
    return [each.target for each in task.requests]


@contextlib.contextmanager
def frozen(proxy):
    """What happens meanwhile, the proxy finds all at once and in that order."""
    proxy.send_signal(signal.SIGSTOP)
    wait_until(
        lambda: open(f"/proc/{proxy.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "T"
    )
    try:
        yield
    finally:
        proxy.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("reset", [True, False], ids=["rst", "fin"])
@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
@pytest.mark.parametrize("pipelined", [False, True], ids=["alone", "pipelined"])
def test_the_pooled_connection_is_lost_under_the_request(interlock, backend, method, kind, pipelined, reset):
    task = backend()
    leave = threading.Event()
    task.play(response(200, b"warm"), Release(leave), Reset() if reset else Close())
    proxy = interlock([service("web", [task], hosts="web.test")])
    with proxy.connect() as connection:
        connection.request(target="/warm")
        assert connection.read_response().status == 200
        with frozen(proxy):
            connection.send(upload(method, kind) + (message(b"GET /next HTTP/1.1") if pipelined else b""))
            leave.set()
            wait_until(lambda: task.connections[0].ended)
        first = connection.read_response()
        assert first.status in (200, 502)
        expected = ["/warm", *(["/upload"] if first.status == 200 else [])]
        if first.header("connection", "").lower() != "close":
            if not pipelined:
                connection.request(target="/next")
            assert connection.read_response().status == 200
            expected.append("/next")
        else:
            connection.expect_end()
    assert targets(task) == expected
    assert all(each.body == SMUGGLED for each in task.requests if each.target == "/upload")


@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 30], ids=["whole", "bytes", "pieces"])
def test_the_body_is_too_large(interlock, backend, kind, size):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_MAX_BODY_SIZE": "20"})
    data = upload("POST", kind) + SMUGGLED
    with proxy.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send_in_pieces(data, size or len(data))
        assert connection.read_response().status == 413
        connection.expect_end()
    assert proxy.get("/after").status == 200
    assert [each for each in task.requests if each.is_complete and each.target != "/after"] == []
    assert "/smuggled" not in targets(task)


@pytest.mark.parametrize("status", [200, 400, 413, 500])
@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("ends", [True, False], ids=["closes", "stays"])
@pytest.mark.parametrize("late", [True, False], ids=["late", "together"])
def test_the_task_answers_before_the_body(interlock, backend, status, kind, ends, late):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    data = upload("POST", kind, body=SMUGGLED * 3)
    head = data.index(b"\r\n\r\n") + 4
    task.play(response(status, b"early"), Close() if ends else ReadExactly(len(data) - head))
    with proxy.connect() as connection:
        connection.send(data[:head] if late else data)
        answer = connection.read_response()
        # Where the task closes over bytes it has not read, its answer may be lost to a reset.
        assert (answer.status, answer.body) == (status, b"early") or ends and not late and answer.status == 502
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if late:
                connection.send(data[head:])
            connection.send(message(b"GET /next HTTP/1.1"))
            if answer.header("connection", "").lower() == "close":
                assert connection.read_to_end() == b""
            elif connection.fill():
                assert connection.read_response().status == 200
    assert proxy.get("/after").status == 200
    assert "/smuggled" not in targets(task) and targets(task)[0] == "/upload"


def test_the_task_resets_in_the_middle_of_the_body(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    task.play(ReadExactly(10), Reset())
    body = SMUGGLED * 20_000
    with proxy.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(upload("PUT", "length", body=body))
            connection.send(message(b"GET /next HTTP/1.1"))
        with contextlib.suppress(ConnectionResetError, AssertionError):
            assert connection.read_response().status == 502
    assert proxy.get("/after").status == 200
    assert "/smuggled" not in targets(task)


@pytest.mark.parametrize(
    "tail", [b"zz\r\n", b"5\r\nhelloX\r\n", b"5;\x01\r\nhello\r\n"], ids=["size", "end", "extension"]
)
def test_the_framing_breaks_before_a_request(interlock, backend, tail):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    with proxy.connect() as connection:
        connection.send(
            message(b"POST /upload HTTP/1.1", b"Transfer-Encoding: chunked", body=chunked(b"a", last=False))
            + tail
            + SMUGGLED
        )
        assert connection.read_response().status == 400
        connection.expect_end()
    assert proxy.get("/after").status == 200
    assert "/smuggled" not in targets(task)


@pytest.mark.parametrize("answered_by", ["nobody.test", "empty.test"])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_the_proxy_answers_by_itself(interlock, backend, answered_by, kind):
    """No task is asked: the body is skipped exactly, or the connection ends."""
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test"), service("empty", [], hosts="empty.test")])
    with proxy.connect() as connection:
        connection.send(
            upload("POST", kind).replace(b"Host: web.test", b"Host: " + answered_by.encode(), 1)
            + message(b"GET /next HTTP/1.1")
        )
        answer = connection.read_response()
        assert answer.status == 503
        if answer.header("connection", "").lower() == "close":
            connection.expect_end()
        else:
            assert connection.read_response().status == 200
    assert "/smuggled" not in targets(task)


def test_a_lost_connection_does_not_lose_what_follows(interlock, backend):
    """A pipelined request behind an upload whose task went away is answered or the connection ends; nothing hangs."""
    task = backend(reads="head")
    leave = threading.Event()
    task.play(Release(leave), Reset())
    proxy = interlock([service("web", [task], hosts="web.test")])
    with proxy.connect() as connection:
        connection.send(b"PUT /upload HTTP/1.1\r\nHost: web.test\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED))
        task.wait_for_requests(1)
        with frozen(proxy):
            connection.send(SMUGGLED + message(b"GET /next HTTP/1.1"))
            leave.set()
            wait_until(lambda: task.connections[0].ended)
        first = connection.read_response()
        assert first.status in (200, 502)
        if first.header("connection", "").lower() != "close":
            assert connection.read_response().status == 200
        else:
            connection.expect_end()
    assert "/smuggled" not in targets(task)
