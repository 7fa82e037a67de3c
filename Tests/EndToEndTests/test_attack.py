"""Corners that peers reach on purpose: bytes at the worst moment, waits that nobody ends, answers that do not fit."""

import json
import signal
import threading
import time

import pytest

from harness import Close, Pause, Release, Send, response, service, wait_until
from rows import message


def start(interlock, tasks, labels=None, **environment):
    tasks = tasks if isinstance(tasks, list) else [tasks]
    return interlock(
        [service("web", tasks, hosts="web.test", **(labels or {}))],
        environment={f"INTERLOCK_{key.upper()}": value for key, value in environment.items()},
    )


# Waits that must end.


def test_a_task_that_never_answers_an_expectation(interlock, backend):
    """The client waits for 100, the task says nothing: the task is the one that is late."""
    task = backend(reads="nothing")
    proxy = start(interlock, task, response_timeout="400ms", idle_timeout="400ms")
    with proxy.connect(timeout=5) as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
        assert connection.read_response().status == 504


def test_a_client_that_does_not_go_on_after_100(interlock, backend):
    task = backend(reads="head")
    task.play(b"HTTP/1.1 100 Continue\r\n\r\n", Pause(5))
    proxy = start(interlock, task, idle_timeout="400ms")
    with proxy.connect(timeout=3) as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
        answer = connection.read_response()
        assert [each.status for each in answer.interim] == [100]
        assert answer.status == 408
    wait_until(lambda: proxy.metric("interlock_requests_active") == 0, message="the request has ended")


# Bytes at the worst moment.


def test_an_answer_that_comes_with_the_connection(interlock, backend):
    """A task that answers before it reads: its bytes may arrive together with the news that it is connected."""
    task = backend(reads="nothing", backlog=1024)
    task.on_connect = [Send(response(503, b"busy", {"Connection": "close"}))]
    proxy = start(interlock, task, upstream_idle_timeout="0")
    for _ in range(5):
        connections = [proxy.connect(timeout=3) for _ in range(100)]
        for connection in connections:
            connection.request()
        for connection in connections:
            assert connection.read_response().status == 503
            connection.close()


def test_bytes_behind_an_answer_that_fills_a_read_exactly(interlock, backend):
    """What a task sends behind its answer is never taken for the answer to the next request."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 32726\r\n\r\n"
    body = b"x" * 32726
    assert len(head + body) == 32768
    task, may_send = backend(), threading.Event()
    task.play(Release(may_send), Send(head + body + response(200, b"stolen")), Pause(1))
    proxy = start(interlock, task)
    with proxy.connect() as connection:
        connection.request()
        task.wait_for_requests()
        # The proxy finds everything at once, however the kernel cuts it.
        proxy.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        may_send.set()
        time.sleep(0.3)
        proxy.send_signal(signal.SIGCONT)
        assert connection.read_response().body == body
        connection.request()
        assert connection.read_response().body == b"ok"


def test_interim_answers_larger_than_the_scratch(interlock, backend):
    """Heads that do not fit are an error, never forwarded in part."""
    field = b"X-Fill: " + b"f" * 8000 + b"\r\n"
    interim = b"HTTP/1.1 103 Early Hints\r\n" + field * 7 + b"\r\n"
    task = backend()
    task.play(response(200, b"y" * 3_000_000))
    task.play(Send(interim * 3 + b"HTTP/1.1 200 OK\r\n" + field * 7 + b"Content-Length: 2\r\n\r\nok"))
    proxy = start(interlock, task)
    with proxy.connect() as connection:
        connection.request()
        assert len(connection.read_response().body) == 3_000_000
        connection.request()
        answer = connection.read_response()
        assert answer.status in (200, 502)
        if answer.status == 200:
            assert answer.body == b"ok" and len(answer.interim) == 3
            assert all(len(each.all("x-fill")) == 7 for each in answer.interim)


# Slow, but not too slow.


def test_a_task_that_reads_late(interlock, backend):
    """A task that does not read for a while slows its client down and nothing else."""
    task = backend(reads="head")
    task.play(Pause(7), lambda connection: connection.take(40_000_000) is not None, response(200, b"all"))
    proxy = start(interlock, task, max_body_size="1g")
    with proxy.connect(timeout=30) as connection:
        connection.request(method="POST", body=b"z" * 40_000_000)
        answer = connection.read_response()
        assert (answer.status, answer.body) == (200, b"all")


@pytest.mark.parametrize("keeps", [b"keep-alive", b"close"])
def test_a_slow_reader_gets_the_end_of_its_answer(interlock, backend, keeps):
    """The minimum progress holds for the last bytes of an answer too, when the task has long finished."""
    body = bytes(range(256)) * 4096 * 8
    task = backend(default=lambda _: response(200, body))
    proxy = start(interlock, task, keepalive_timeout="700ms", idle_timeout="700ms")
    with proxy.connect(receive_buffer=4096, timeout=60) as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: " + keeps))
        received = bytearray()
        while len(received) <= len(body) and (data := connection.socket.recv(16384)):
            received += data
            time.sleep(0.003)
        assert len(received) > len(body), f"cut after {len(received)} bytes"


# What the log says of attempts.


def test_times_of_a_request_that_was_tried_twice(interlock, backend):
    closing, gone = backend(), backend()
    closing.default = lambda _: [Close()]
    gone.stop_listening()
    proxy = start(interlock, [closing, gone], {"retries": "3"}, access_log="json")
    for _ in range(4):
        assert proxy.get().status == 502

    def lines():
        return [each for text in (proxy.output, proxy.log) for each in text.splitlines() if '"outcome"' in each]

    wait_until(lambda: len(lines()) >= 4, message="four lines in the access log")
    for line in lines():
        for name, value in json.loads(line).items():
            assert not isinstance(value, (int, float)) or value < 1e12 or name == "ts", line


def test_retry_on_passes_on_the_answer_of_the_only_task(interlock, backend):
    task = backend(default=lambda _: response(500, b"mine"))
    proxy = start(interlock, task, {"retry_on": "500"})
    for _ in range(3):
        answer = proxy.get()
        assert (answer.status, answer.body) == (500, b"mine")


def test_a_connection_that_waits_after_an_error_is_idle(interlock, backend):
    """It is the first to go when room is needed, and a drain does not wait for it."""
    task = backend()
    proxy = start(interlock, task)
    task.stop_listening()
    with proxy.connect() as connection:
        connection.request()
        assert connection.read_response().status == 502
        wait_until(lambda: proxy.metric("interlock_client_connections_idle") == 1, message="one idle connection")


def test_a_tunnel_to_a_client_that_does_not_read_ends(interlock, backend):
    """What is blocked is without traffic too."""
    task = backend(reads="head")
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    task.play(switched, Send(b"x" * 30_000_000))
    proxy = start(interlock, task, {"tunnel_timeout": "700ms"})
    with proxy.connect(receive_buffer=4096) as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"))
        wait_until(lambda: proxy.metric("interlock_tunnels_total") == 1, message="the tunnel is open")
        wait_until(lambda: proxy.metric("interlock_tunnels") == 0, timeout=5, message="the tunnel has ended")


def test_connections_that_wait_when_a_drain_begins_are_served(interlock, backend):
    """They are established for their clients: closing the listener would reset them."""
    proxy = start(interlock, backend())
    proxy.get()
    proxy.send_signal(signal.SIGSTOP)
    connections = [proxy.connect() for _ in range(300)]
    for connection in connections:
        connection.request()
    proxy.send_signal(signal.SIGTERM)
    proxy.send_signal(signal.SIGCONT)
    for connection in connections:
        assert connection.read_response().status == 200
        connection.close()
    assert proxy.wait() == 0


def test_bytes_that_came_before_the_request_are_not_its_answer(interlock, backend):
    """A task speaks unasked on an idle connection at the moment in which a request takes it."""
    task = backend()
    may_send = threading.Event()
    task.play(response(200, b"first"), Release(may_send), response(200, b"stolen"), Pause(1))
    proxy = start(interlock, task)
    with proxy.connect() as connection:
        connection.request()
        assert connection.read_response().body == b"first"
        time.sleep(0.1)
        proxy.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        connection.request()
        time.sleep(0.1)
        may_send.set()
        time.sleep(0.2)
        proxy.send_signal(signal.SIGCONT)
        assert connection.read_response().body == b"ok"
