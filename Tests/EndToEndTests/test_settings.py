"""Every setting and every label of a service that shapes traffic has the effect it is documented with."""

import socket
import struct
import threading
import time

import pytest

from harness import Close, Release, Send, get, response, run_binary, service, wait_until
from rows import message


@pytest.fixture
def start(interlock, backend):
    """start(labels={...}, SETTING="value") -> (proxy, backend) of one service."""

    def make(labels=None, task=None, **settings):
        task = task or backend()
        environment = {f"INTERLOCK_{key}": value for key, value in settings.items()}
        return interlock([service("web", [task], hosts="web.test", **(labels or {}))], environment=environment), task

    return make


# Settings.


@pytest.mark.parametrize("mode, kept", [("pass", True), ("drop", False)])
def test_underscore_headers(start, mode, kept):
    proxy, task = start(UNDERSCORE_HEADERS=mode)
    proxy.get(headers={"My_Field": "1", "My-Field": "2"})
    assert (task.last.all("my_field"), task.last.header("my-field")) == (["1"] if kept else [], "2")


def test_request_id_can_be_hidden(start):
    proxy, task = start(REQUEST_ID="false")
    assert not proxy.get().all("x-request-id")
    assert len(task.last.header("x-request-id")) == 32


@pytest.mark.parametrize(
    "setting, data, status",
    [
        ("REQUEST_LINE_SIZE", b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: web.test\r\n\r\n", 414),
        ("HEAD_SIZE", message(b"GET / HTTP/1.1", b"X: " + b"a" * 1100), 431),
        ("FIELD_COUNT", message(b"GET / HTTP/1.1", *[b"X: y"] * 10), 431),
    ],
)
def test_limits_of_a_request(start, setting, data, status):
    small = {"REQUEST_LINE_SIZE": "256", "HEAD_SIZE": "1k", "FIELD_COUNT": "8"}[setting]
    for value, wanted in ((small, status), (None, 200)):
        proxy, _ = start(**({"REQUEST_LINE_SIZE": "256", setting: value} if value else {}))
        with proxy.connect() as connection:
            connection.send(data)
            assert connection.read_response().status == wanted


@pytest.mark.parametrize(
    "setting, value, fields",
    [("HEAD_SIZE", "1k", {"X-Long": "a" * 1100}), ("FIELD_COUNT", "8", [(f"X-{number}", "y") for number in range(20)])],
)
def test_limits_of_an_answer(start, setting, value, fields):
    proxy, task = start(**{"REQUEST_LINE_SIZE": "256", setting: value})
    task.play(response(200, b"ok", fields))
    assert proxy.get(method="POST").status == 502


def test_upstream_connections_are_closed_when_idle_too_long(start):
    proxy, task = start(UPSTREAM_IDLE_TIMEOUT="300ms")
    assert proxy.get().status == 200
    wait_until(lambda: task.connections[0].ended == "closed", timeout=3)


@pytest.mark.parametrize("setting", ["UPSTREAM_IDLE_TIMEOUT", "UPSTREAM_IDLE_CONNECTIONS"])
def test_upstream_connections_can_be_used_once(start, setting):
    proxy, task = start(**{setting: "0"})
    for _ in range(3):
        assert proxy.get().status == 200
    assert len(task.connections) == 3


def test_the_retry_buffer_bounds_what_is_replayed(start):
    proxy, task = start(RETRY_BUFFER_SIZE="0")
    assert proxy.get("/warm").status == 200
    task.play(Close())
    assert proxy.get("/again", method="PUT", body=b"x" * 100).status == 502


def test_an_unrelated_label_prefix_is_not_ours(interlock, backend):
    task = backend()
    proxy = interlock(
        [service("web", [task], {"org.example.hosts": "web.test"}), service("other", [task], hosts="other.test")],
        environment={"INTERLOCK_LABEL_PREFIX": "org.example."},
    )
    assert (proxy.get().status, proxy.get(host="other.test").status) == (200, 503)


def test_service_clusters_are_kept_apart(interlock, backend):
    task = backend()
    services = [
        service("blue", [task], hosts="blue.test", service_cluster="blue"),
        service("none", [task], hosts="none.test"),
    ]
    for cluster, statuses in (("blue", (200, 503)), (None, (503, 200))):
        proxy = interlock(services, environment={"INTERLOCK_SERVICE_CLUSTER": cluster})
        assert (proxy.get(host="blue.test").status, proxy.get(host="none.test").status) == statuses


def test_takeover_shares_the_port(interlock, backend):
    old, new = backend(default=lambda _: response(200, b"old")), backend(default=lambda _: response(200, b"new"))
    first = interlock([service("web", [old], hosts="web.test")], environment={"INTERLOCK_TAKEOVER": "true"})
    second = interlock(
        [service("web", [new], hosts="web.test")],
        wait=False,
        environment={"INTERLOCK_TAKEOVER": "true", "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{first.port}"},
    )
    second.wait_ready()
    assert first.stop() == 0
    assert get(first.port).body == b"new"


def test_the_admin_token(start):
    proxy, _ = start(ADMIN_TOKEN="let-me-in-please")
    statuses = [
        proxy.admin("/api/routes", headers=headers).status
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer let-me-in-please"})
    ]
    # Loopback is trusted by itself.
    assert statuses[2] == 200 and statuses[0] in (200, 401)
    assert proxy.admin("/metrics").status == 200
    assert "let-me-in-please" not in proxy.log


def test_a_secret_is_not_shown_by_help_or_errors():
    done = run_binary(environment={"INTERLOCK_ADMIN_TOKEN": "not for\teyes", "INTERLOCK_DOCKER": "off"})
    assert done.returncode == 2 and "eyes" not in done.stdout + done.stderr


# Labels of a service.


def test_label_response_timeout(start):
    proxy, task = start({"response_timeout": "300ms"})
    event = threading.Event()
    task.play(Release(event))
    began = time.monotonic()
    assert proxy.get().status == 504
    assert 0.2 < time.monotonic() - began < 5
    event.set()


def test_label_idle_timeout(start):
    proxy, task = start({"idle_timeout": "300ms"})
    with proxy.connect() as connection:
        connection.send(message(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"half"))
        assert connection.read_response().status == 408


def test_label_tunnel_timeout(start, backend):
    proxy, task = start({"tunnel_timeout": "300ms"}, task=backend(reads="head"))
    task.play(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        lambda connection: connection.fill(),
    )
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"))
        assert connection.read_response().status == 101
        connection.expect_end()


@pytest.mark.parametrize("label, status", [("1k", 413), ("2k", 200), ("0", 200)])
def test_label_max_body_size(start, label, status):
    proxy, _ = start({"max_body_size": label}, MAX_BODY_SIZE="1500")
    assert proxy.get(method="POST", body=b"x" * 1600).status == status


def test_label_retry_on(interlock, backend):
    bad, good = backend(default=lambda _: response(503, b"bad")), backend()
    proxy = interlock([service("web", [bad, good], hosts="web.test", retry_on="503")])
    assert [proxy.get().status for _ in range(6)] == [200] * 6
    assert bad.requests, "the bad task was never tried"
    # Not for what is not idempotent, and not where it was not asked for.
    assert sorted({proxy.get(method="POST").status for _ in range(6)}) == [200, 503]
    proxy = interlock([service("web", [bad, good], hosts="web.test")])
    assert sorted({proxy.get().status for _ in range(6)}) == [200, 503]


def test_label_retry_on_gives_the_last_answer_when_nothing_is_left(interlock, backend):
    tasks = [backend(default=lambda _: response(503, b"all bad")) for _ in range(2)]
    proxy = interlock([service("web", tasks, hosts="web.test", retry_on="503")])
    answer = proxy.get()
    assert (answer.status, answer.body) == (503, b"all bad")


def v1(connection_port, proxy_port):
    return f"PROXY TCP4 127.0.0.1 127.0.0.1 {connection_port} {proxy_port}\r\n".encode()


def v2(connection_port, proxy_port):
    return (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
        + bytes([127, 0, 0, 1] * 2)
        + struct.pack("!HH", connection_port, proxy_port)
    )


@pytest.mark.plain
@pytest.mark.parametrize("version, header", [("v1", v1), ("v2", v2)])
def test_label_proxy_protocol(start, backend, version, header):
    """Exact to the byte, at the start of every connection, and connections are not shared between clients."""
    task = backend(reads="nothing")
    proxy, _ = start({"proxy_protocol": version}, task=task)
    for index in range(2):
        with proxy.connect() as connection:
            connection.request(target=f"/{index}")
            port = connection.socket.getsockname()[1]
            wanted = header(port, proxy.port) + f"GET /{index} HTTP/1.1\r\n".encode()
            task.wait_for_connections(index + 1)
            wait_until(lambda: b"\r\n\r\n" in bytes(task.connections[index].received)[len(wanted) :])
            assert bytes(task.connections[index].received).startswith(wanted)


def test_label_connect_timeout_and_retry_elsewhere(interlock, backend):
    """A task that swallows connections is given up in time, and another one answers."""
    good = backend()
    # A listener whose queue is full: further connects hang.

    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(full.getsockname())
    proxy = interlock([service("web", [good, full.getsockname()[1]], hosts="web.test", connect_timeout="300ms")])
    began = time.monotonic()
    assert [proxy.get(method="POST", body=b"once").status for _ in range(4)] == [200] * 4
    assert time.monotonic() - began < 5
    assert len(good.requests) == 4
    for each in [*waiting, full]:
        each.close()


def test_send_is_not_delayed(start):
    """Small pieces of an answer are passed on at once, one by one."""
    proxy, task = start()
    event = threading.Event()
    task.play(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Send(b"a"), Release(event), Send(b"bc"))
    with proxy.connect() as connection:
        connection.request()
        connection.read_head()
        assert connection.read_exactly(1) == b"a"
        event.set()
        assert connection.read_exactly(2) == b"bc"
