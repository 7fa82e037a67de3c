"""A service whose only task is replaced: its clients wait, and nobody gets an error."""

import contextlib
import signal
import threading
import time

import pytest

from harness import Release, Reset, response, service, wait_until
from rows import message

HOLD = {"INTERLOCK_HOLD": "20s"}


def serve(interlock, task, workers=1, environment=(), **labels):
    proxy = interlock([service("web", [task], hosts="web.test", **labels)], workers=workers,
                      environment={**HOLD, **dict(environment)})
    assert proxy.get().status == 200
    return proxy


def waiting(proxy):
    return proxy.metric("interlock_service_waiting", service="web") or 0


def wait_for_waiting(proxy, count):
    wait_until(lambda: waiting(proxy) == count, message=f"{count} requests wait")


def take_out(proxy, *services):
    """The service has no task any more."""
    version = proxy.metric("interlock_table_version")
    proxy.write_services(list(services) or [service("web", [], hosts="web.test")])
    wait_until(lambda: proxy.metric("interlock_table_version") > version)


@pytest.mark.parametrize("method, body", [("GET", b""), ("POST", b"x" * 100_000)], ids=["get", "post"])
def test_a_request_waits_for_the_next_task(interlock, backend, method, body):
    old, new = backend(), backend(default=lambda request: response(200, b"new %d" % len(request.body)))
    proxy = serve(interlock, old)
    take_out(proxy)
    with proxy.connect() as connection:
        connection.request(method, "/path?x=1", body=body)
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [new], hosts="web.test")])
        answer = connection.read_response(method)
        assert (answer.status, answer.body) == (200, b"new %d" % len(body))
        # And the connection goes on.
        connection.request()
        assert connection.read_response().body == b"new 0"
    assert [each.target for each in new.requests] == ["/path?x=1", "/"] and new.requests[0].body == body
    assert waiting(proxy) == 0
    assert proxy.metric("interlock_service_waits_total", service="web") == 1
    assert proxy.metric("interlock_service_wait_seconds_total", service="web") > 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_task_that_does_not_listen_yet_is_waited_for(interlock, backend, method):
    task = backend()
    proxy = serve(interlock, task)
    task.stop_listening()
    task.close_connections()
    with proxy.connect() as connection:
        connection.request(method, body=b"body" if method == "POST" else b"")
        wait_for_waiting(proxy, 1)
        time.sleep(0.7)
        assert waiting(proxy) == 1
        task.listen_again()
        assert connection.read_response(method).status == 200
    assert task.last.body == (b"body" if method == "POST" else b"")


def test_a_new_task_that_refuses_at_first_is_waited_for(interlock, backend):
    """The whole replacement: none, one that refuses, one that serves; over both workers."""
    old, new = backend(), backend()
    proxy = serve(interlock, old, workers=2)
    take_out(proxy)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(proxy.connect()) for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.request("POST", f"/{number}", body=b"%d" % number)
        wait_for_waiting(proxy, 20)
        new.stop_listening()
        proxy.write_services([service("web", [new], hosts="web.test")])
        wait_until(lambda: proxy.metric("interlock_upstream_failures_total", reason="connect_refused") > 0)
        new.listen_again()
        for connection in connections:
            assert connection.read_response("POST").status == 200
    assert sorted(int(each.body) for each in new.requests) == list(range(20))
    assert waiting(proxy) == 0


def test_a_get_that_a_dying_task_had_is_sent_to_the_next(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = serve(interlock, task)
    task.play(Release(event), Reset())
    with proxy.connect() as connection:
        connection.request(target="/again")
        task.wait_for_requests(2)
        task.stop_listening()
        event.set()
        wait_for_waiting(proxy, 1)
        task.listen_again()
        assert connection.read_response().status == 200
    assert [each.target for each in task.requests][1:] == ["/again", "/again"]


def test_a_post_that_a_dying_task_had_is_not_sent_again(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = serve(interlock, task)
    task.play(Release(event), Reset())
    with proxy.connect() as connection:
        connection.request("POST", body=b"once")
        task.wait_for_requests(2)
        event.set()
        assert connection.read_response("POST").status == 502
    assert len(task.requests) == 2


def test_what_kills_its_task_is_not_sent_for_ever(interlock, backend):
    """However long it may wait: a task sees it as often as without waiting."""
    task = backend()
    proxy = serve(interlock, task)
    task.default = lambda request: [Reset()] if request.target == "/kill" else response(200, b"ok")
    with proxy.connect() as connection:
        connection.request(target="/kill")
        assert connection.read_response().status == 502
    assert sum(each.target == "/kill" for each in task.requests) == 3


def test_the_end_of_the_time_is_503_with_retry_after(interlock, backend):
    proxy = serve(interlock, backend(), environment={"INTERLOCK_HOLD": "500ms"})
    take_out(proxy)
    began = time.monotonic()
    with proxy.connect() as connection:
        connection.request("POST", body=b"unread", headers=[("Accept", "application/json")])
        answer = connection.read_response("POST")
    assert 0.45 < time.monotonic() - began < 5
    assert answer.status == 503 and answer.json()["error"] == "hold_timeout"
    assert int(answer.header("retry-after")) > 0 and answer.header("connection") == "close"
    assert waiting(proxy) == 0


def test_zero_turns_it_off(interlock, backend):
    task = backend()
    proxy = serve(interlock, task, environment={"INTERLOCK_HOLD": "0"})
    task.stop_listening()
    task.close_connections()
    assert proxy.get().status == 502
    take_out(proxy)
    assert proxy.get().status == 503


def test_who_never_answered_is_not_waited_for(interlock, backend):
    """A service that is wrong from its first day says so at once."""
    task = backend()
    task.stop_listening()
    proxy = interlock([service("web", [task], hosts="web.test"), service("none", [], hosts="none.test")],
                      environment=HOLD)
    assert proxy.get().status == 502
    assert proxy.get(host="none.test").status == 503


def test_a_client_that_leaves_is_forgotten(interlock, backend):
    task = backend()
    proxy = serve(interlock, backend(), environment={"INTERLOCK_ACCESS_LOG": "json"})
    take_out(proxy)
    with proxy.connect() as connection:
        connection.request("POST", "/gone", body=b"x")
        wait_for_waiting(proxy, 1)
    wait_for_waiting(proxy, 0)
    proxy.write_services([service("web", [task], hosts="web.test")])
    proxy.wait_for_status(200)
    assert [each.target for each in task.requests if each.target == "/gone"] == []
    wait_until(lambda: '"outcome":"client_closed"' in proxy.output)


def test_pipelined_requests_keep_their_order(interlock, backend):
    task = backend(default=lambda request: response(200, request.target.encode()))
    proxy = serve(interlock, backend())
    take_out(proxy)
    with proxy.connect() as connection:
        connection.send(message(b"GET /1 HTTP/1.1") + message(b"GET /2 HTTP/1.1") + message(b"GET /3 HTTP/1.1"))
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [task], hosts="web.test")])
        assert [connection.read_response().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_a_body_that_comes_while_its_request_waits(interlock, backend):
    task = backend(default=lambda request: response(200, request.body))
    proxy = serve(interlock, backend())
    take_out(proxy)
    head = b"POST / HTTP/1.1\r\nHost: web.test\r\n"
    with proxy.connect() as first, proxy.connect() as second:
        first.send(head + b"Content-Length: 12\r\n\r\nhalf")
        second.send(head + b"Transfer-Encoding: chunked\r\n\r\n4\r\nha")
        wait_for_waiting(proxy, 2)
        first.send(b" and ")
        second.send(b"lf\r\n")
        proxy.write_services([service("web", [task], hosts="web.test")])
        wait_for_waiting(proxy, 0)
        first.send(b"all")
        second.send(b"3\r\nall\r\n0\r\n\r\n")
        assert first.read_response("POST").body == b"half and all"
        assert second.read_response("POST").body == b"halfall"


def test_who_waits_for_100_gets_it_from_the_task(interlock, backend):
    task = backend(reads="head")
    proxy = serve(interlock, backend())
    take_out(proxy)

    def answer(request):
        assert request.header("expect") == "100-continue"
        return [b"HTTP/1.1 100 Continue\r\n\r\n", lambda connection: connection.take(4) is not None,
                response(200, b"got")]

    task.default = answer
    with proxy.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [task], hosts="web.test")])
        connection.read_until(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(b"body")
        assert connection.read_response("POST").body == b"got"


def test_http_1_0_waits_too(interlock, backend):
    task = backend()
    proxy = serve(interlock, backend())
    take_out(proxy)
    with proxy.connect() as connection:
        connection.send(b"GET / HTTP/1.0\r\nHost: web.test\r\n\r\n")
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [task], hosts="web.test")])
        answer = connection.read_response()
        assert (answer.status, answer.body) == (200, b"ok")
        connection.expect_end()


def test_an_upgrade_waits_too(interlock, backend):
    task = backend(reads="head")
    proxy = serve(interlock, backend())
    take_out(proxy)
    task.default = [b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello"]
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"))
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [task], hosts="web.test")])
        assert connection.read_response().status == 101
        assert connection.read_exactly(5) == b"hello"


# The table changes while a request waits.


def test_the_service_goes_away(interlock, backend):
    other = backend()
    proxy = serve(interlock, backend())
    take_out(proxy)
    with proxy.connect() as connection:
        connection.request(headers=[("Accept", "application/json")])
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("other", [other], hosts="other.test")])
        answer = connection.read_response()
        assert answer.status == 503 and answer.json()["error"] == "unknown_host"
        connection.request(host="other.test")
        assert connection.read_response().status == 200


@pytest.mark.parametrize("before, after, path, seen", [
    ({}, {"context_root": "/app", "context_root_rewrite": "true"}, "/app/x?q", ("/x?q", "/app")),
    ({"context_root": "/app", "context_root_rewrite": "true"}, {}, "/app/x?q", ("/app/x?q", None)),
    ({"context_root": "/app", "context_root_rewrite": "true"}, {"context_root": "/app", "context_root_rewrite": "true"},
     "/app/x?q", ("/x?q", "/app")),
    ({"context_root": "/a", "context_root_rewrite": "true"}, {"context_root": "/a/b", "context_root_rewrite": "true"},
     "/a/b/c", ("/c", "/a/b")),
], ids=["prefix", "none", "same", "longer"])
def test_the_host_moves_to_another_service(interlock, backend, before, after, path, seen):
    task = backend()
    old = backend()
    proxy = interlock([service("web", [old], hosts="web.test", **before)], environment=HOLD)
    assert proxy.get(path).status == 200
    take_out(proxy, service("web", [], hosts="web.test", **before))
    with proxy.connect() as connection:
        connection.request("POST", path, body=b"body", headers=[("X-Forwarded-Prefix", "/lie"), ("X-Own", "kept")])
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("green", [task], hosts="web.test", **after)])
        assert connection.read_response("POST").status == 200
    request = task.last
    assert (request.target, request.header("x-forwarded-prefix"), request.body) == (*seen, b"body")
    assert (request.header("x-own"), request.header("host")) == ("kept", "web.test")
    assert len(request.all("x-forwarded-for")) == 1 and len(request.all("via")) == 1


@pytest.mark.plain
def test_the_host_is_for_https_only_now(interlock, backend):
    proxy = serve(interlock, backend())
    take_out(proxy)
    with proxy.connect() as connection:
        connection.request("POST", "/x?y", body=b"unread")
        wait_for_waiting(proxy, 1)
        proxy.write_services([service("web", [backend()], hosts="web.test", ssl_only="true")])
        answer = connection.read_response("POST")
        assert (answer.status, answer.header("location")) == (308, "https://web.test/x?y")
        connection.expect_end()
    assert waiting(proxy) == 0


def test_many_publications_meanwhile(interlock, backend):
    """Tables come and go while a request waits, and none stays because of it."""
    task = backend()
    proxy = serve(interlock, backend())
    with proxy.connect() as connection:
        take_out(proxy)
        connection.request(target="/patient")
        wait_for_waiting(proxy, 1)
        for number in range(5):
            take_out(proxy, service("web", [], hosts="web.test"), service(f"n{number}", [], hosts=f"n{number}.test"))
            assert waiting(proxy) == 1
        proxy.write_services([service("web", [task], hosts="web.test")])
        assert connection.read_response().status == 200
    assert proxy.metric("interlock_service_waits_total", service="web") == 1


@pytest.mark.parametrize("comes_back", [True, False], ids=["served", "told"])
def test_a_drain_lets_them_wait_and_tells_them_in_time(interlock, backend, comes_back):
    task = backend()
    proxy = serve(interlock, backend(), environment={"INTERLOCK_DRAIN_TIMEOUT": "2s"})
    take_out(proxy)
    with proxy.connect() as connection:
        connection.request()
        wait_for_waiting(proxy, 1)
        proxy.send_signal(signal.SIGTERM)
        if comes_back:
            time.sleep(0.3)
            proxy.write_services([service("web", [task], hosts="web.test")])
        answer = connection.read_response()
        assert answer.status == (200 if comes_back else 503)
        assert answer.header("connection") == "close"
        connection.expect_end()
    assert proxy.wait(10) == 0


def test_no_more_than_a_thousand_wait(interlock, backend):
    proxy = serve(interlock, backend(), environment={"INTERLOCK_HOLD": "120s"})
    take_out(proxy)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(proxy.connect(timeout=60)) for _ in range(1000)]
        for connection in connections:
            connection.request()
        wait_until(lambda: waiting(proxy) == 1000, timeout=60)
        memory = proxy.resident_size()
        with proxy.connect() as late:
            late.request(headers=[("Accept", "application/json")])
            answer = late.read_response()
            assert answer.status == 503 and answer.json()["error"] == "queue_full" and answer.header("retry-after")
        # All of them are woken at once.
        proxy.write_services([service("web", [], hosts="moved.test")])
        for connection in connections:
            assert connection.read_response().status == 503
    wait_for_waiting(proxy, 0)
    assert memory < 200 << 20, f"{memory} bytes for 1,000 waiting requests"


def test_services_without_tasks_leave_room_for_the_others(interlock, backend):
    """Twenty connections are allowed; those that wait, of two services, never take more than ten of them."""
    tasks = {name: backend() for name in ("one", "two", "well")}
    services = [service(name, [task], hosts=f"{name}.test") for name, task in tasks.items()]
    proxy = interlock(services, environment={**HOLD, "INTERLOCK_MAX_CONNECTIONS": "20"})
    assert all(proxy.get(host=f"{name}.test").status == 200 for name in tasks)
    take_out(proxy, *(service(name, [], hosts=f"{name}.test") for name in ("one", "two")), services[2])
    with contextlib.ExitStack() as stack:
        refused = 0
        for number in range(16):
            connection = stack.enter_context(proxy.connect())
            connection.request(host="one.test" if number % 2 else "two.test", headers=[("Accept", "application/json")])
            if number < 10:
                wait_until(lambda: sum(proxy.metric("interlock_service_waiting", service=name) or 0
                                       for name in ("one", "two")) == number + 1)
                continue
            answer = connection.read_response()
            assert (answer.status, answer.json()["error"]) == (503, "queue_full")
            refused += 1
        assert refused == 6
        assert proxy.get(host="well.test").status == 200
