"""Under load: tables swapped, connections by the thousand, bodies of a gigabyte; nothing fails and nothing piles up.

The load generator and the fast backend are the C programs of Benchmarks/versus; they check every answer.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import ReadExactly, RawConnection, free_port, response, service, wait_until
from rows import message

pytestmark = pytest.mark.load

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "Benchmarks" / "versus"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The directory with `backend` and `load`."""
    if not COMPILER:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("programs")
    for name in ("backend", "load"):
        subprocess.run([COMPILER, "-O2", "-o", str(directory / name), str(PROGRAMS / f"{name}.c")], check=True)
    return directory


@pytest.fixture
def fast_backend(programs):
    """A port where the C backend answers 1 KiB, or 1 MiB at /1m, and swallows uploads."""
    port = free_port()
    process = subprocess.Popen([str(programs / "backend"), str(port)])
    wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)
    yield port
    process.kill()
    process.wait()


class Load:
    """The load generator as a process: `finish()` returns its counts."""

    def __init__(self, programs, port, connections, requests, *arguments):
        self.process = subprocess.Popen(
            [str(programs / "load"), str(port), str(connections), str(requests), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, timeout=110):
        output, errors = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, errors
        counts = json.loads(output)
        assert counts["errors"] == 0, (counts, errors)
        return counts


def get_small(programs, proxy, requests, connections=64):
    return Load(programs, proxy.port, connections, requests, "get", "/1k", "1024")


def test_no_leak_after_100_000_requests(programs, fast_backend, interlock):
    proxy = interlock([service("web", [fast_backend], hosts="web.test")])
    get_small(programs, proxy, 10_000).finish()
    wait_until(lambda: proxy.metric("interlock_client_connections") in (0, None))
    descriptors, resident = settled_descriptors(proxy), proxy.resident_size()
    counts = get_small(programs, proxy, 100_000).finish()
    assert counts["connections_opened"] == 64, "connections were closed under load"
    wait_until(lambda: settled_descriptors(proxy) <= descriptors, message="descriptors come back")
    assert proxy.resident_size() - resident < 2 * MEBIBYTE
    assert proxy.metric("interlock_requests_total", service="web", code="2xx") == 110_000


def settled_descriptors(proxy):
    """Open descriptors once idle upstream connections had their time."""
    count = [proxy.descriptors()]

    def unchanged():
        count.append(proxy.descriptors())
        return len(count) > 20 and len(set(count[-20:])) == 1

    wait_until(unchanged, timeout=20, interval=0.05)
    return count[-1]


def test_no_leak_by_connections_and_errors(programs, interlock, backend):
    """Requests that end in every bad way, again and again."""
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])

    def spoil():
        for data in (
            b"",
            b"GET / HT",
            b"\xff" * 100,
            message(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"half"),
            message(host=b"nobody.test"),
            message(b"GET / HTTP/1.1", b"X: " + b"y" * 40_000),
            message(),
        ):
            connection = proxy.connect()
            connection.send(data)
            connection.reset()
        with proxy.connect() as connection:
            connection.request()
            assert connection.read_response().status == 200
            connection.reset()

    for _ in range(20):
        spoil()
    descriptors, resident = settled_descriptors(proxy), proxy.resident_size()
    for _ in range(200):
        spoil()
    assert settled_descriptors(proxy) <= descriptors + 1
    assert proxy.resident_size() - resident < 2 * MEBIBYTE


WEBSOCKET = message(
    b"GET /ws HTTP/1.1",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    host=b"ws.test",
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def echo(connection):
    """A step of the backend: sends back what comes until the end."""
    start = len(connection.received)
    while connection.fill():
        connection.socket.sendall(bytes(connection.received[start:]))
        start = len(connection.received)
    return False


def swapping(programs, fast_backend, interlock, backend, seconds, interval, others):
    """Load, an open WebSocket, and a services file that changes all the while. Returns the number of swaps."""
    tunnel = backend(reads="head")
    tunnel.default = lambda request: [SWITCHED, echo]
    steady = [service("web", [fast_backend], hosts="web.test"), service("ws", [tunnel], hosts="ws.test")]
    proxy = interlock(steady)
    with proxy.connect() as socket_client:
        socket_client.send(WEBSOCKET)
        assert socket_client.read_response().status == 101
        # About 2,500 requests a second even on a slow machine; finished by count, bounded by the swaps below.
        load = get_small(programs, proxy, int(seconds * 2500), connections=32)
        swaps, until = 0, time.monotonic() + seconds
        while time.monotonic() < until or load.process.poll() is None:
            swaps += 1
            proxy.write_services(
                steady
                + [
                    service(f"s{number}", [fast_backend], hosts=f"h{number}.test", context_root=f"/v{swaps}")
                    for number in range(others)
                ]
            )
            wait_until(
                lambda: proxy.get(f"/v{swaps}", host="h0.test").status == 200,
                timeout=30,
                message=f"table {swaps} is served",
            )
            socket_client.send(b"ping %d" % swaps)
            assert socket_client.read_exactly(len(b"ping %d" % swaps)) == b"ping %d" % swaps
            time.sleep(interval)
        counts = load.finish()
        assert counts["connections_opened"] == 32, "a swap closed a connection"
        socket_client.send(b"still here")
        assert socket_client.read_exactly(10) == b"still here"
    return swaps


def test_table_swaps_under_load(programs, fast_backend, interlock, backend):
    assert swapping(programs, fast_backend, interlock, backend, seconds=8, interval=0.3, others=200) >= 5


@pytest.mark.long
def test_table_swaps_under_load_for_longer(programs, fast_backend, interlock, backend):
    assert swapping(programs, fast_backend, interlock, backend, seconds=40, interval=2, others=10_000) >= 10


def test_good_requests_beside_hostile_ones(programs, fast_backend, interlock):
    """A mix of attacks while a keep-alive load runs: no good request is lost."""
    proxy = interlock([service("web", [fast_backend], hosts="web.test")])
    load = get_small(programs, proxy, 20_000)
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            for data in (
                b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                b"\x16\x03\x01" + b"\x00" * 500,
                b"GET /" + b"a" * 20_000,
                message(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"zz\r\n"),
                b"P",
            ):
                connection = proxy.connect()
                try:
                    connection.send(data)
                except OSError:
                    pass
                connection.reset()
            stop.wait(0.005)

    attackers = [threading.Thread(target=attack) for _ in range(2)]
    for each in attackers:
        each.start()
    try:
        counts = load.finish()
    finally:
        stop.set()
        for each in attackers:
            each.join(10)
    assert counts["connections_opened"] == 64


def test_many_large_bodies_with_flat_memory(programs, fast_backend, interlock):
    proxy = interlock([service("web", [fast_backend], hosts="web.test")])
    Load(programs, proxy.port, 16, 100, "get", "/1m", str(MEBIBYTE)).finish()
    Load(programs, proxy.port, 16, 100, "put", "/up", str(MEBIBYTE)).finish()
    resident = proxy.resident_size()
    Load(programs, proxy.port, 16, 600, "get", "/1m", str(MEBIBYTE)).finish()
    Load(programs, proxy.port, 16, 600, "put", "/up", str(MEBIBYTE)).finish()
    assert proxy.resident_size() - resident < 16 * MEBIBYTE


@pytest.mark.long
def test_one_gibibyte_up_and_down_with_flat_memory(interlock, backend):
    piece, count = b"x" * MEBIBYTE, 1024
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_MAX_BODY_SIZE": "2g"})
    proxy.get()
    resident, largest = proxy.resident_size(), 0

    def swallow(connection):
        # Some of it came with the head.
        left = MEBIBYTE * count - (len(connection.received) - connection.position)
        while left:
            data = connection.socket.recv(min(left, MEBIBYTE))
            assert data, f"the upload ended {left} bytes early"
            left -= len(data)
        return True

    task.play(swallow, response(200, b"thanks"))
    with proxy.connect(timeout=100) as connection:
        connection.send(message(b"PUT / HTTP/1.1", b"Content-Length: %d" % (MEBIBYTE * count)))
        for _ in range(count):
            connection.send(piece)
            largest = max(largest, proxy.resident_size())
        assert connection.read_response().status == 200

    def stream(connection):
        for _ in range(count):
            connection.socket.sendall(piece)
        return True

    task.play(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MEBIBYTE * count), stream)
    with proxy.connect(timeout=100) as connection:
        connection.request()
        connection.read_head()
        left = MEBIBYTE * count - len(connection.buffer)
        while left:
            data = connection.socket.recv(min(left, MEBIBYTE))
            assert data, f"the download ended {left} bytes early"
            left -= len(data)
            largest = max(largest, proxy.resident_size())
    assert largest - resident < 16 * MEBIBYTE, f"{(largest - resident) / MEBIBYTE:.1f} MiB for one body"


def test_a_slow_reader_of_a_large_answer_costs_bounded_memory(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    proxy.get()
    resident = proxy.resident_size()
    task.play(ReadExactly(0), b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n" + b"x" * 50_000_000)
    with RawConnection(proxy.port, receive_buffer=4096) as connection:
        connection.request()
        connection.read_head()
        # The task's 50 MB stand against the proxy's limit; what it took is in its counters.
        wait_until(lambda: proxy.get("/beside").status == 200)
        assert proxy.resident_size() - resident < 4 * MEBIBYTE
        connection.reset()
