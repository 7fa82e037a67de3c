"""A second process takes over the ports of the first (INTERLOCK_TAKEOVER): while it starts it is sent nothing, and as
the first one leaves, no connection is refused, reset or left without its answer."""

import ctypes
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from harness import RawConnection, get, response, service, wait_until

SHARED = {"INTERLOCK_TAKEOVER": "true"}


class Newcomers:
    """Clients that come without a pause, each with a connection of its own, until the block ends."""

    def __init__(self, port, threads=4):
        self.port, self.bodies, self.failures = port, [], []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self):
        # A bounded rate: each connection leaves an entry in the tables of the machine.
        while not self._end.wait(0.004):
            try:
                answer = get(self.port, host="web.test", timeout=10)
                self.bodies.append(answer.body)
                if answer.status != 200:
                    self.failures.append((time.time(), answer))
            except (OSError, AssertionError) as error:
                self.failures.append((time.time(), repr(error)))


def start_second(interlock, task, first, workers=1, **environment):
    """Beside the first one, on its ports; without a task it has no services file."""
    return interlock(
        [service("web", [task], hosts="web.test")] if task else None, wait=False, workers=workers, environment={
            **SHARED, "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{first.port}",
            "INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{first.admin_port}", **environment})


@pytest.fixture(params=["steered", "migrated"])
def kernel(request):
    """`migrated`: in a network of its own whose kernel moves handshakes from a listener that closes to the next one."""
    if request.param == "steered":
        yield request.param
        return
    if os.geteuid() != 0:
        pytest.skip("only root can make a network namespace")
    libc, new_network = ctypes.CDLL(None, use_errno=True), 0x40000000
    with open("/proc/thread-self/ns/net", encoding="ascii") as before:
        assert libc.unshare(new_network) == 0, os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1", encoding="ascii")
            yield request.param
        finally:
            assert libc.setns(before.fileno(), new_network) == 0, os.strerror(ctypes.get_errno())


def test_no_new_connection_is_lost_on_the_way_to_the_second_process(kernel, interlock, backend):
    old, new = backend(default=lambda _: response(200, b"old")), backend(default=lambda _: response(200, b"new"))
    first = interlock([service("web", [old], hosts="web.test")], environment=SHARED, workers=2)
    assert ("tcp_migrate_req is 1" in first.admin("/").text) == (kernel == "migrated")
    with Newcomers(first.port) as clients:
        wait_until(lambda: len(clients.bodies) > 100)
        second = start_second(interlock, new, first, workers=2)
        wait_until(lambda: clients.bodies[-20:].count(b"new") > 3, 15, message="both answer")
        first.send_signal(signal.SIGTERM)
        assert first.wait(15) == 0
        count = len(clients.bodies)
        wait_until(lambda: len(clients.bodies) > count + 100)
    assert not clients.failures, (len(clients.failures), len(clients.bodies), clients.failures[:5])
    assert set(clients.bodies[count + 10:]) == {b"new"}
    # What steered connections away is gone with the first process: a third one takes over in the same way.
    with Newcomers(first.port) as clients:
        third = start_second(interlock, old, first, workers=2)
        wait_until(lambda: clients.bodies[-20:].count(b"old") > 3, 15, message="both answer")
        assert second.stop() == 0
        count = len(clients.bodies)
        wait_until(lambda: len(clients.bodies) > count + 100)
    assert not clients.failures, (len(clients.failures), len(clients.bodies), clients.failures[:5])
    assert third.process.poll() is None


def test_kept_connections_end_with_an_answer(interlock, backend):
    """Who asks again within a second of the end is answered and told that the connection ends: nobody meets a reset."""
    task = backend()
    first = interlock([service("web", [task], hosts="web.test")], environment=SHARED)
    second = start_second(interlock, task, first)
    wait_until(lambda: "routes published" in second.log)
    kept = [RawConnection(first.port) for _ in range(8)]
    for connection in kept:
        connection.request(host="web.test")
        assert connection.read_response().status == 200
    first.send_signal(signal.SIGTERM)
    ended = set()
    deadline = time.monotonic() + 10
    while first.process.poll() is None and time.monotonic() < deadline:
        for connection in kept:
            if connection in ended:
                continue
            connection.request(host="web.test")
            answer = connection.read_response()
            assert answer.status == 200, answer
            if (answer.header("connection") or "").lower() == "close":
                ended.add(connection)
        time.sleep(0.1)
    assert first.wait(10) == 0
    assert ended, "no answer said that its connection ends"
    for connection in kept:
        connection.close()


def test_a_process_without_a_table_is_sent_nothing(interlock, backend):
    """It knows no host yet: its answers would all be 503. It listens with its first table, and not before."""
    task = backend()
    first = interlock([service("web", [task], hosts="web.test")], environment=SHARED)
    second = start_second(interlock, None, first, INTERLOCK_DOCKER="tcp://127.0.0.1:1")
    wait_until(lambda: "started" in second.log, 15, message="the second one runs")
    for _ in range(60):
        assert get(first.port, host="web.test").status == 200
        assert get(first.admin_port, "/readyz").status == 200


def test_the_admin_port_is_answered_by_who_stays(interlock, backend):
    task = backend()
    first = interlock([service("web", [task], hosts="web.test")], environment={
        **SHARED, "INTERLOCK_DRAIN_DELAY": "2s", "INTERLOCK_ADMIN_OPEN": "true"})
    second = start_second(interlock, task, first)
    wait_until(lambda: "routes published" in second.log)
    assert "takeover    handshakes under way" in first.admin("/").text
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining" in first.log)
    # The first process says 503; a balancer that asks now hears of the one that serves.
    assert [get(first.admin_port, "/readyz").status for _ in range(30)] == [200] * 30
    assert first.process.poll() is None
    assert first.wait(15) == 0
    assert get(first.admin_port, "/readyz").status == 200
