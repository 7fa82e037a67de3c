"""max_connections: what a task has to do at once, counted at the task, and who waits for a place, and how long."""

import contextlib
import socket
import threading
import time

import pytest

from harness import Release, free_port, response, service, wait_until
from rows import message


class Counting:
    """A backend's default behaviour that counts how many requests it deals with at the same time."""

    def __init__(self, seconds):
        self.seconds, self.lock = seconds, threading.Lock()
        self.now = self.most = self.total = 0

    def __call__(self, request):
        with self.lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return response(200, request.target.encode())


def waiting(proxy):
    return proxy.metric("interlock_service_waiting", service="web") or 0


def wait_for_waiting(proxy, count):
    wait_until(lambda: waiting(proxy) == count, message=f"{count} requests wait")


def ask_often(proxy, clients, times, method="GET"):
    """So many clients at once, each with so many requests on one connection; returns the statuses."""
    statuses, faults = [], []

    def run(number):
        try:
            with proxy.connect(timeout=30) as connection:
                for turn in range(times):
                    connection.request(method, f"/{number}/{turn}", body=b"x" * 2000 if method == "POST" else b"")
                    answer = connection.read_response(method)
                    assert answer.status != 200 or answer.body == f"/{number}/{turn}".encode()
                    statuses.append(answer.status)
        except Exception as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    return statuses


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_task_ever_has_more(interlock, backend, workers, method):
    counts = [Counting(0.005), Counting(0.005)]
    tasks = [backend(default=each) for each in counts]
    proxy = interlock([service("web", tasks, hosts="web.test", max_connections=3)], workers=workers)
    statuses = ask_often(proxy, clients=30, times=8, method=method)
    assert statuses == [200] * 240
    assert [each.most for each in counts] == [3, 3], "it must be reached, and never passed"
    assert sum(each.total for each in counts) == 240
    wait_for_waiting(proxy, 0)
    assert proxy.metric("interlock_service_waits_total", service="web") > 0


def test_the_count_survives_swaps(interlock, backend):
    """Tables come and go under load; the count stays with the task."""
    count = Counting(0.01)
    web = service("web", [backend(default=count)], hosts="web.test", max_connections=2)
    proxy = interlock([web], workers=2)
    ended = threading.Event()

    def swap():
        number = 0
        while not ended.is_set():
            number += 1
            proxy.write_services([web, service(f"other{number}", [], hosts=f"other{number}.test")])
            time.sleep(0.05)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        statuses = ask_often(proxy, clients=10, times=20)
    finally:
        ended.set()
        swapping.join()
    assert statuses == [200] * 200 and count.most == 2
    assert proxy.metric("interlock_worker_table_swaps_total") > 10


def open_requests(proxy, stack, task, count, target="/busy"):
    """So many requests under way at the task, which answers none of them until the event is set."""
    event = threading.Event()
    before = len(task.requests)
    for _ in range(count):
        task.play(Release(event), response(200, b"at last"))
    connections = [stack.enter_context(proxy.connect()) for _ in range(count)]
    for connection in connections:
        connection.request(target=target)
    task.wait_for_requests(before + count)
    return event, connections


def test_in_the_order_they_came(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1)])
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        others = [stack.enter_context(proxy.connect()) for _ in range(10)]
        for number, connection in enumerate(others):
            connection.request(target=f"/{number}")
            wait_for_waiting(proxy, number + 1)
        event.set()
        for connection in busy + others:
            assert connection.read_response().status == 200
    assert [each.target for each in task.requests] == ["/busy"] + [f"/{number}" for number in range(10)]


def test_who_waits_too_long_is_told(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1, queue_timeout="300ms")])
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        late = stack.enter_context(proxy.connect())
        began = time.monotonic()
        late.request("POST", body=b"unread", headers=[("Accept", "application/json")])
        answer = late.read_response("POST")
        assert 0.25 < time.monotonic() - began < 5
        assert answer.status == 503 and answer.json()["error"] == "queue_timeout"
        assert int(answer.header("retry-after")) > 0
        event.set()
        assert busy[0].read_response().status == 200
        busy[0].request()
        assert busy[0].read_response().status == 200


def test_zero_does_not_wait(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1, queue_timeout="0")])
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        began = time.monotonic()
        assert proxy.get().status == 503
        assert time.monotonic() - began < 1
        event.set()
        assert busy[0].read_response().status == 200


def test_the_setting_holds_where_no_label_does(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1)],
                      environment={"INTERLOCK_QUEUE_TIMEOUT": "200ms"})
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        assert proxy.get().status == 503
        event.set()
        assert busy[0].read_response().status == 200


def test_a_client_that_leaves_frees_its_place_and_its_turn(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1)])
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        impatient = stack.enter_context(proxy.connect())
        impatient.request(target="/impatient")
        wait_for_waiting(proxy, 1)
        patient = stack.enter_context(proxy.connect())
        patient.request(target="/patient")
        wait_for_waiting(proxy, 2)
        impatient.close()
        wait_for_waiting(proxy, 1)
        busy[0].reset()
        assert patient.read_response().status == 200
        event.set()
    assert [each.target for each in task.requests] == ["/busy", "/patient"]


def test_an_upgraded_connection_keeps_its_place(interlock, backend):
    task = backend()
    task.default = lambda request: ([b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"]
                                    if request.header("upgrade") else response(200, b"ok"))
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1)])
    with proxy.connect() as tunnel, proxy.connect() as other:
        tunnel.send(message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"))
        assert tunnel.read_response().status == 101
        other.request()
        wait_for_waiting(proxy, 1)
        tunnel.close()
        assert other.read_response().status == 200


@pytest.mark.parametrize("what", ["another task", "a higher limit", "no limit"])
def test_a_new_table_wakes_them(interlock, backend, what):
    task, more = backend(), backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1)], workers=2)
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        others = [stack.enter_context(proxy.connect()) for _ in range(3)]
        for connection in others:
            connection.request()
        wait_for_waiting(proxy, 3)
        proxy.write_services([{
            "another task": service("web", [task, more], hosts="web.test", max_connections=1),
            "a higher limit": service("web", [task], hosts="web.test", max_connections=4),
            "no limit": service("web", [task], hosts="web.test"),
        }[what]])
        for connection in others:
            assert connection.read_response().status == 200
        event.set()
        assert busy[0].read_response().status == 200


def test_a_task_that_is_lost_gives_its_places_back(interlock, backend):
    """Its requests go to the other one as far as there are places, and wait for the rest."""
    first, second = backend(), backend(default=Counting(0.05))
    proxy = interlock([service("web", [first, second], hosts="web.test", max_connections=2)], workers=2)
    assert {proxy.get().status for _ in range(4)} == {200}
    first.stop_listening()
    first.close_connections()
    assert ask_often(proxy, clients=12, times=4) == [200] * 48
    assert second.default.most == 2


def test_other_services_do_not_wait(interlock, backend):
    task, free = backend(), backend()
    proxy = interlock([service("web", [task], hosts="web.test", max_connections=1),
                       service("free", [free], hosts="free.test")])
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, task, 1)
        waiter = stack.enter_context(proxy.connect())
        waiter.request()
        wait_for_waiting(proxy, 1)
        assert {proxy.get(host="free.test").status for _ in range(20)} == {200}
        event.set()
        assert waiter.read_response().status == 200


def test_a_queue_becomes_a_hold_and_back(interlock, backend):
    """All tasks go away while requests wait for their turn, and a new one has fewer places than there are requests."""
    count = Counting(0.02)
    old, new = backend(), backend(default=count)
    proxy = interlock([service("web", [old], hosts="web.test", max_connections=1)], workers=2)
    with contextlib.ExitStack() as stack:
        event, busy = open_requests(proxy, stack, old, 1)
        others = [stack.enter_context(proxy.connect()) for _ in range(10)]
        for connection in others:
            connection.request("POST", body=b"body")
        wait_for_waiting(proxy, 10)
        proxy.write_services([service("web", [], hosts="web.test", max_connections=1)])
        wait_until(lambda: proxy.metric("interlock_tasks", state="ready") == 0)
        event.set()
        assert busy[0].read_response().status == 200
        assert waiting(proxy) == 10
        proxy.write_services([service("web", [new], hosts="web.test", max_connections=1)])
        for connection in others:
            assert connection.read_response("POST").status == 200
    assert count.most == 1 and count.total == 10
    assert proxy.metric("interlock_service_waits_total", service="web") == 10


# TCP connections.


@contextlib.contextmanager
def listening(port=0):
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        yield server


@pytest.mark.plain
def test_tcp_connections_wait_for_their_turn(interlock):
    port = free_port()
    with listening() as server:
        proxy = interlock([service("web", [server.getsockname()[1]], tcp_port=port, max_connections=1)],
                          environment={"INTERLOCK_TCP_PORTS": str(port)})
        first = socket.create_connection(("127.0.0.1", port), 10)
        task, _ = server.accept()
        second = socket.create_connection(("127.0.0.1", port), 10)
        second.sendall(b"early")
        wait_for_waiting(proxy, 1)
        first.close()
        assert task.recv(10) == b""
        task.close()
        task, _ = server.accept()
        task.settimeout(10)
        assert task.recv(10) == b"early"
        task.sendall(b"late")
        assert second.recv(10) == b"late"


@pytest.mark.plain
def test_tcp_connections_are_held(interlock):
    port = free_port()
    with listening() as server:
        task_port = server.getsockname()[1]
        proxy = interlock([service("web", [task_port], tcp_port=port)],
                          environment={"INTERLOCK_TCP_PORTS": str(port)})
        with socket.create_connection(("127.0.0.1", port), 10):
            server.accept()[0].close()
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(10)
        client.sendall(b"early")
        wait_for_waiting(proxy, 1)
        with listening() as new:
            proxy.write_services([service("web", [new.getsockname()[1]], tcp_port=port)])
            task, _ = new.accept()
            task.settimeout(10)
            assert task.recv(10) == b"early"
            task.sendall(b"late")
            assert client.recv(10) == b"late"
            task.close()
