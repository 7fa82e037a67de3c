"""Threats 23 and 24: peers that are slow on purpose, and more of them than there are descriptors.

Deadlines are fractions of a second here; what is tested is that each has an end, and that others are served.
"""

import contextlib
import os
import resource
import threading
import time

import pytest

from harness import Pause, RawConnection, Release, Send, binary_path, response, service, wait_until
from rows import message

SHORT = "400ms"


def start(interlock, task, **environment):
    return interlock(
        [service("web", [task], hosts="web.test")],
        environment={f"INTERLOCK_{key.upper()}": value for key, value in environment.items()},
    )


def cpu_seconds(proxy):
    fields = open(f"/proc/{proxy.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "head",
    [b"", b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: web.test\r\nX-"],
    ids=["23-nothing", "23-one-byte", "23-half-a-line", "23-half-a-head"],
)
def test_23_a_head_that_does_not_come(interlock, backend, head):
    task = backend()
    proxy = start(interlock, task, header_timeout=SHORT)
    with proxy.connect() as connection:
        connection.send(head)
        if head:
            assert connection.read_response().status == 408
        connection.expect_end()
    assert not task.requests


def test_23_one_byte_at_a_time_does_not_move_the_deadline(interlock, backend):
    task = backend()
    proxy = start(interlock, task, header_timeout="1s")
    started = time.monotonic()
    with proxy.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: web.test\r\nX-Slow: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < started + 20:
                connection.send(b"x")
                time.sleep(0.05)
    assert time.monotonic() - started < 10
    assert not task.requests


def test_23_an_idle_connection_is_closed_without_a_word(interlock, backend):
    proxy = start(interlock, backend(), keepalive_timeout=SHORT)
    with proxy.connect() as connection:
        connection.request()
        assert connection.read_response().status == 200
        connection.expect_end()


def test_23_a_body_that_stops(interlock, backend):
    task = backend()
    proxy = start(interlock, task, idle_timeout=SHORT)
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 100000", body=b"x" * 5000))
        assert connection.read_response().status == 408
        connection.expect_end()
    wait_until(lambda: task.connections[0].ended, message="the upstream connection is closed")
    assert not task.requests[0].is_complete


def test_23_a_body_below_the_minimum_rate(interlock, backend):
    task = backend()
    proxy = start(interlock, task, idle_timeout=SHORT)
    started = time.monotonic()
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 100000"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < started + 20 and connection.is_open(0.02):
                connection.send(b"x")
                if connection.buffer:
                    break
    assert time.monotonic() - started < 10
    wait_until(lambda: task.connections[0].ended)


def test_23_a_slow_body_above_the_minimum_rate_may_take_its_time(interlock, backend):
    task = backend()
    proxy = start(interlock, task, idle_timeout=SHORT)
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 51200"))
        for _ in range(25):  # twice the idle timeout and more in all
            connection.send(b"x" * 2048)
            time.sleep(0.05)
        assert connection.read_response().status == 200
    assert len(task.last.body) == 51200


def test_23_a_client_that_never_reads(interlock, backend):
    task = backend(default=lambda request: response(200, b"x" * 16_000_000))
    proxy = start(interlock, task, idle_timeout=SHORT)
    before = proxy.resident_size()
    connections = [RawConnection(proxy.port, receive_buffer=4096) for _ in range(20)]
    try:
        for connection in connections:
            connection.request()
        wait_until(lambda: len(task.requests) == 20)
        assert proxy.resident_size() - before < 40_000_000, "answers pile up for clients that do not read"
        wait_until(lambda: not task.open_connections, timeout=15, message="clients that never read are cut")
    finally:
        for connection in connections:
            connection.close()


def test_23_a_slow_reader_slows_its_task_and_nobody_else(interlock, backend):
    task = backend()
    proxy = start(interlock, task)
    task.play(response(200, b"x" * 30_000_000))
    with RawConnection(proxy.port, receive_buffer=4096) as slow:
        slow.request(target="/big")
        slow.read_head()
        assert all(proxy.get("/quick").status == 200 for _ in range(50))
        started = time.monotonic()
        while len(slow.buffer) < 200_000 and time.monotonic() < started + 10:
            slow.fill()
        assert task.open_connections, "the task was let go before its answer was taken"


def test_23_a_half_closed_client_is_still_answered(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task)
    task.play(Release(event), response(200, b"late"))
    with proxy.connect() as connection:
        connection.request()
        connection.shutdown_write()
        task.wait_for_requests(1)
        event.set()
        assert connection.read_response().body == b"late"
        connection.expect_end()


def test_23_half_a_request_and_fin(interlock, backend):
    task = backend()
    proxy = start(interlock, task)
    with proxy.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: web")
        connection.shutdown_write()
        rest = connection.read_to_end()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400")
    assert not task.requests


def test_23_half_a_body_and_fin(interlock, backend):
    task = backend()
    proxy = start(interlock, task)
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 100", body=b"half"))
        connection.shutdown_write()
        rest = connection.read_to_end()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400")
    wait_until(lambda: task.connections and task.connections[0].ended, message="the task sees the end")
    assert not any(each.is_complete for each in task.requests)


def test_23_a_client_that_goes_away_ends_the_work_of_its_task(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task)
    task.play(
        Release(event), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"), *[Send(b"x" * 1_000_000)] * 50
    )
    connection = proxy.connect()
    connection.request()
    task.wait_for_requests(1)
    connection.reset()
    event.set()
    wait_until(lambda: task.connections[0].ended, message="the upstream connection of a lost client is closed")


def test_23_a_task_that_does_not_answer(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task, response_timeout=SHORT)
    task.play(Release(event))
    answer = proxy.get()
    event.set()
    assert answer.status == 504
    wait_until(lambda: task.connections[0].ended)


def test_23_a_task_that_stops_in_the_middle(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task, response_timeout=SHORT)
    task.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Release(event))
    with proxy.connect() as connection:
        connection.request()
        with pytest.raises((AssertionError, ConnectionResetError)):
            connection.read_response()
        assert connection.ended or not connection.is_open()
    event.set()


def test_23_a_slow_task_above_the_timeout_between_bytes_may_take_its_time(interlock, backend):
    task = backend()
    proxy = start(interlock, task, response_timeout=SHORT)
    task.play(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", Send(b"x" * 20, size=2, pause=0.1))
    assert proxy.get().body == b"x" * 20


def test_23_a_task_that_cannot_be_reached_in_time(interlock):
    # 192.0.2.0/24 is never routed on; where it is refused at once the answer is 502.
    proxy = interlock(
        [service("web", ["192.0.2.1:80"], hosts="web.test")],
        environment={"INTERLOCK_CONNECT_TIMEOUT": "200ms", "INTERLOCK_RETRIES": "0"},
    )
    assert proxy.get(timeout=5).status in (502, 504)


def test_23_a_silent_tunnel_ends(interlock, backend):
    task = backend(reads="head")
    proxy = start(interlock, task, tunnel_timeout=SHORT)
    task.play(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Pause(20))
    with proxy.connect() as connection:
        connection.send(
            message(
                b"GET /ws HTTP/1.1",
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert connection.read_response().status == 101
        connection.expect_end()


def test_23_server_sent_events_flow_at_once(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task)
    task.play(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"9\r\ndata: 1\n\n\r\n",
        Release(event),
        b"9\r\ndata: 2\n\n\r\n0\r\n\r\n",
    )
    with proxy.connect() as connection:
        connection.request()
        connection.read_head()
        assert b"data: 1" in connection.read_until(b"\n\n\r\n")
        event.set()
        assert b"data: 2" in connection.read_until(b"\n\n\r\n")


@pytest.mark.plain
@pytest.mark.parametrize(
    "preface",
    [b"", b"PRO", b"PROXY TCP4 1.2.3.4 ", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01"],
    ids=["23-nothing", "23-v1-begun", "23-v1-half", "23-v2-half"],
)
def test_23_a_proxy_header_that_stalls(interlock, backend, preface):
    task = backend()
    proxy = start(interlock, task, preface_timeout=SHORT, proxy_protocol="127.0.0.0/8")
    with proxy.connect() as connection:
        connection.send(preface)
        connection.expect_end()
    assert not task.requests


# 24: many.


@pytest.mark.plain
def test_24_idle_connections_cost_little(interlock, backend):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(2000, hard // 4)
    proxy = start(interlock, backend())
    proxy.get()
    before = proxy.resident_size()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(contextlib.closing(proxy.connect())) for _ in range(count)]
        for connection in connections:
            connection.request()
            assert connection.read_response().status == 200
        grown = proxy.resident_size() - before
        assert grown < count * 8192, f"{grown / count:.0f} bytes for an idle connection"
        for connection in connections:
            connection.reset()


def test_24_at_the_limit_of_connections_idle_ones_go_first(interlock, backend):
    proxy = start(interlock, backend(), max_connections="20")
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(contextlib.closing(proxy.connect())) for _ in range(20)]
        for connection in idle:
            connection.request()
            assert connection.read_response().status == 200
        for _ in range(5):
            assert proxy.get(timeout=5).status == 200, "a new client found no place beside idle ones"
        open_ones = sum(connection.is_open(0.01) for connection in idle)
        assert 10 <= open_ones < 20


@pytest.mark.plain
def test_24_at_the_limit_of_connections_busy_ones_stay(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task, max_connections="4")
    for _ in range(4):
        task.play(Release(event), response(200, b"busy"))
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(contextlib.closing(proxy.connect())) for _ in range(4)]
        for connection in busy:
            connection.request()
        task.wait_for_requests(4)
        late = stack.enter_context(contextlib.closing(proxy.connect()))
        late.request()
        spent = cpu_seconds(proxy)
        with contextlib.suppress(TimeoutError, AssertionError):
            late.timeout = 1.0
            assert late.read_response().status == 503  # or it waits for its turn
        assert cpu_seconds(proxy) - spent < 0.5, "it spins at the limit"
        event.set()
        assert [connection.read_response().body for connection in busy] == [b"busy"] * 4
        for connection in busy:
            connection.close()
    wait_until(lambda: proxy.get().status == 200)


def test_24_few_descriptors(interlock, backend):
    """The descriptor limit is lowered below what clients want: accepting pauses, nothing spins, nothing dies."""
    task = backend()
    proxy = start(interlock, task)
    used = proxy.descriptors()
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(60):
            connection = stack.enter_context(contextlib.closing(proxy.connect(timeout=2.0)))
            connection.request()
            connections.append(connection)
        spent, began = cpu_seconds(proxy), time.monotonic()
        for connection in connections:
            with contextlib.suppress(TimeoutError, ConnectionResetError, AssertionError):
                connection.read_response()
            if time.monotonic() - began > 4:
                break
        elapsed = time.monotonic() - began
        assert cpu_seconds(proxy) - spent < 0.5 * elapsed + 0.3, "it spins for want of descriptors"
        assert proxy.process.poll() is None
    wait_until(
        lambda: proxy.get(timeout=2).status == 200, timeout=15, message="it serves again once descriptors are free"
    )


def test_24_a_low_limit_of_descriptors_is_lived_with(interlock, backend, tmp_path):
    """With 128 descriptors, 500 clients that keep their connections: every one of them is answered."""
    binary = tmp_path / "limited"
    binary.write_text(f'#!/bin/sh\nulimit -n 128\nexec "{binary_path()}" "$@"\n')
    binary.chmod(0o755)
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], binary=str(binary))
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            connection = stack.enter_context(contextlib.closing(proxy.connect()))
            connection.request()
            assert connection.read_response().status == 200
        assert proxy.descriptors() <= 128


def test_24_connections_of_one_client_are_limited(interlock, backend):
    proxy = start(interlock, backend(), max_connections_per_client="3")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(contextlib.closing(proxy.connect())) for _ in range(3)]
        for connection in held:
            connection.request()
            assert connection.read_response().status == 200
        # The fourth is reset, before or after its connect has returned, or told why.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), proxy.connect() as fourth:
            fourth.request()
            rest = fourth.read_to_end()
            assert rest == b"" or rest.split(b" ", 2)[1] in (b"429", b"503"), rest
        with contextlib.closing(RawConnection(proxy.port, source="127.0.0.9")) as other:
            other.request()
            assert other.read_response().status == 200
        held[0].reset()
    wait_until(lambda: proxy.get().status == 200)


def test_requests_of_one_connection_are_limited(interlock, backend):
    proxy = start(interlock, backend(), max_requests_per_connection="3")
    with proxy.connect() as connection:
        for number in range(3):
            connection.request()
            answer = connection.read_response()
            assert answer.status == 200
            assert (answer.header("connection", "").lower() == "close") == (number == 2)
        connection.expect_end()
