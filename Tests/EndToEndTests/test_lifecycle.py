"""Starting, draining and stopping: nothing that was accepted is lost, and what cannot start says why in one line."""

import contextlib
import re
import signal
import socket
import threading
import time

import pytest

from harness import RawConnection, Release, response, run_binary, service, wait_until
from rows import message


def start(interlock, task, **environment):
    return interlock(
        [service("web", [task], hosts="web.test")],
        environment={f"INTERLOCK_{key.upper()}": value for key, value in environment.items()},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_drain_finishes_what_is_under_way(interlock, backend, number):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task)
    with proxy.connect() as busy, proxy.connect() as idle:
        idle.request(target="/idle")
        assert idle.read_response().status == 200
        task.play(Release(event), response(200, b"finished"))
        busy.request(target="/busy")
        task.wait_for_requests(2)
        proxy.send_signal(number)
        idle.expect_end()
        wait_until(lambda: refuses(proxy.port), message="the listener is closed")
        assert proxy.process.poll() is None
        event.set()
        answer = busy.read_response()
        assert (answer.body, answer.header("connection").lower()) == (b"finished", "close")
        busy.expect_end()
    assert proxy.wait(10) == 0


def refuses(port):
    try:
        RawConnection(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_readyz_says_draining_before_the_listener_closes(interlock, backend):
    task = backend()
    proxy = start(interlock, task, drain_delay="1s")
    proxy.send_signal(signal.SIGTERM)
    wait_until(lambda: proxy.admin("/readyz").status == 503, timeout=0.9)
    assert proxy.admin("/healthz").status == 200
    assert proxy.get().status == 200, "it stopped serving before the delay was over"
    assert proxy.wait(10) == 0


def test_drain_has_a_deadline(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task, drain_timeout="500ms")
    task.play(Release(event))
    with proxy.connect() as connection:
        connection.request()
        task.wait_for_requests(1)
        began = time.monotonic()
        assert proxy.stop(timeout=10) == 0
        assert 0.4 < time.monotonic() - began < 5
    event.set()


def test_a_second_signal_ends_it_at_once(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = start(interlock, task, drain_timeout="60s")
    task.play(Release(event))
    with proxy.connect() as connection:
        connection.request()
        task.wait_for_requests(1)
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(proxy.port))
        proxy.send_signal(signal.SIGTERM)
        proxy.wait(3)
    event.set()


def test_drain_closes_a_tunnel_at_the_deadline(interlock, backend):
    task, event = backend(reads="head"), threading.Event()
    proxy = start(interlock, task, drain_timeout="500ms")
    task.play(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", Release(event))
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"))
        assert connection.read_response().status == 101
        proxy.send_signal(signal.SIGTERM)
        connection.expect_end()
    event.set()
    assert proxy.wait(10) == 0


def test_requests_during_the_drain_of_a_kept_connection_end_it(interlock, backend):
    """A request that crosses the signal on its way is answered, and told that the connection ends."""
    task, event = backend(), threading.Event()
    proxy = start(interlock, task)
    task.play(Release(event), response(200, b"first"))
    with proxy.connect() as connection:
        connection.send(message(b"GET /1 HTTP/1.1") + message(b"GET /2 HTTP/1.1"))
        task.wait_for_requests(1)
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(proxy.port))
        event.set()
        first = connection.read_response()
        assert first.body == b"first"
        if first.header("connection", "").lower() != "close":
            assert connection.read_response().header("connection").lower() == "close"
        connection.expect_end()
    assert proxy.wait(10) == 0


def test_a_taken_port_is_exit_2(interlock, backend):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for setting in ("INTERLOCK_HTTP_LISTEN", "INTERLOCK_ADMIN_LISTEN"):
            proxy = interlock([], wait=False, environment={setting: f"127.0.0.1:{port}"})
            assert proxy.wait(10) == 2
            assert str(port) in proxy.log and re.search("in use|holds the port", proxy.log)


@pytest.mark.parametrize(
    "environment, named",
    [
        ({"INTERLOCK_WORKERS": "many"}, "INTERLOCK_WORKERS"),
        ({"INTERLOCK_WORKERS": "0"}, "INTERLOCK_WORKERS"),
        ({"INTERLOCK_HTTP_LISTEN": "nonsense:port"}, "INTERLOCK_HTTP_LISTEN"),
        ({"INTERLOCK_HEADER_TIMEOUT": "-1s"}, "INTERLOCK_HEADER_TIMEOUT"),
        ({"INTERLOCK_MAX_BODY_SIZE": "12 parsecs"}, "INTERLOCK_MAX_BODY_SIZE"),
        ({"INTERLOCK_TRUSTED_PROXIES": "10.0.0.0/33"}, "INTERLOCK_TRUSTED_PROXIES"),
        ({"INTERLOCK_SERVICES_FILE": "/nowhere/services.json"}, "/nowhere/services.json"),
        ({"INTERLOCK_WORKERS_FILE": "/nowhere/workers"}, "/nowhere/workers"),
        ({"INTERLOCK_DOCKER": "ftp://x"}, "INTERLOCK_DOCKER"),
        ({"INTERLOCK_VIAA": "x"}, "INTERLOCK_VIA"),
        ({"INTERLOCK_ACCESS_LOG": "xml"}, "INTERLOCK_ACCESS_LOG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_setting_is_exit_2_with_one_clear_line(environment, named):
    done = run_binary(
        environment={
            "INTERLOCK_DOCKER": "off",
            "INTERLOCK_HTTP_LISTEN": "127.0.0.1:0",
            "INTERLOCK_ADMIN_LISTEN": "off",
            **environment,
        },
        timeout=10,
    )
    assert done.returncode == 2, done
    assert named in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_without_any_source_of_services_it_does_not_start():
    done = run_binary(
        environment={
            "INTERLOCK_DOCKER": "unix:///nowhere/docker.sock",
            "INTERLOCK_HTTP_LISTEN": "127.0.0.1:0",
            "INTERLOCK_ADMIN_LISTEN": "off",
        },
        timeout=10,
    )
    assert done.returncode == 2 and "/nowhere/docker.sock" in done.stderr


def test_a_missing_docker_socket_does_not_matter_beside_a_services_file(interlock, backend):
    proxy = start(interlock, backend(), docker="unix:///nowhere/docker.sock")
    assert proxy.get().status == 200


def test_settings_come_from_files_too(interlock, backend, tmp_path):
    (tmp_path / "via").write_text("from-a-file\n")
    proxy = start(interlock, backend(), via_file=str(tmp_path / "via"))
    assert proxy.get().header("via") == "1.1 from-a-file"


def test_sighup_reopens_the_access_log(interlock, backend, tmp_path):
    path = tmp_path / "access.log"
    proxy = start(interlock, backend(), access_log="json", access_log_path=str(path))
    proxy.get("/one")
    wait_until(lambda: "/one" in path.read_text())
    path.rename(tmp_path / "access.log.1")
    proxy.send_signal(signal.SIGHUP)
    wait_until(path.exists)
    proxy.get("/two")
    wait_until(lambda: "/two" in path.read_text())
    assert "/two" not in (tmp_path / "access.log.1").read_text()


def test_healthcheck_follows_the_instance(interlock, backend):
    proxy = start(interlock, backend())
    environment = {"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{proxy.admin_port}"}
    assert run_binary("healthcheck", environment=environment).returncode == 0
    proxy.stop()
    assert run_binary("healthcheck", environment=environment).returncode == 1


def test_a_port_is_free_again_after_a_stop(interlock, backend):
    proxy = start(interlock, backend())
    with contextlib.closing(proxy.connect()) as connection:
        connection.request()
        assert connection.read_response().status == 200
        assert proxy.stop() == 0
    port, proxy.port = proxy.port, proxy.port
    proxy._spawn()
    proxy.wait_ready()
    assert proxy.port == port and proxy.get().status == 200
