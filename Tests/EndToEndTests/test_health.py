"""The health of tasks, with the real binary and its labels: probes, failed requests, and what an operator sees of both.

The state machines and what a probe is are tested in process (ActiveHealthTests, PassiveHealthTests); here is what only
the whole shows: labels that reach the prober, a services file that changes under it, several workers, the admin pages.
"""

import contextlib
import socket
import threading
import time

import pytest

from harness import Close, Pause, Reset, authority, certificate, response, service, wait_until

#: As fast as labels allow.
FAST = {"health_interval": "100ms", "health_timeout": "600ms", "health_fall": "2", "health_rise": "2"}


class Task:
    """Answers probes as `probe` says and requests with its own name; counts both."""

    def __init__(self, backend, name):
        self.backend, self.name = backend(), name
        self.probe, self.request = response(200), response(200, name.encode())
        self.probes, self.requests = [], 0
        self.backend.default = self._answer

    def _answer(self, request):
        if request.header("user-agent") == "interlock":
            self.probes.append(request)
            return self.probe
        self.requests += 1
        return self.request

    @property
    def port(self):
        return self.backend.port


def upstreams(proxy, name="web"):
    found = next(each for each in proxy.api_routes()["services"] if each["name"] == name)
    return {int(each["address"].rpartition(":")[2]): each for each in found["upstreams"]}


def wait_for_health(proxy, **expected):
    """wait_for_health(proxy, healthy=[task], unhealthy=[...], unknown=[...])"""
    wanted = {task.port: health for health, tasks in expected.items() for task in tasks}
    wait_until(lambda: {port: each.get("health") for port, each in upstreams(proxy).items()} == wanted,
               message=f"{wanted}")


def ask(proxy, count):
    """Bodies, or statuses where it is not 200; a connection for each request, so that all workers have their turn."""
    answers = [proxy.get() for _ in range(count)]
    return [answer.text if answer.status == 200 else answer.status for answer in answers]


def test_probes_by_labels(interlock, backend):
    first, second = Task(backend, "first"), Task(backend, "second")
    labels = {"hosts": "web.test", "health_path": "/up?deep=1", "health_status": "204,3xx", **FAST}
    first.probe = second.probe = response(204)
    proxy = interlock([service("web", [first, second], **labels)], workers=2)
    wait_for_health(proxy, healthy=[first, second])
    # They are presumed to be well until they were probed.
    seen = wait_until(lambda: first.probes and first.probes[-1], message="a probe")
    assert (seen.method, seen.target, seen.header("host")) == ("GET", "/up?deep=1", "web.test")
    # 200 is not among the statuses.
    second.probe = response(200)
    wait_for_health(proxy, healthy=[first], unhealthy=[second])
    told = upstreams(proxy)[second.port]
    assert told["last_failure"] == "the answer's status was 200" and told["failed_at_ns"] > 1.7e18
    time.sleep(0.1)
    before = second.requests
    assert ask(proxy, 30) == ["first"] * 30 and second.requests == before
    assert proxy.metric("interlock_checked_tasks", health="unhealthy") == 1
    assert proxy.metric("interlock_checked_tasks", health="healthy") == 1
    assert proxy.metric("interlock_health_probes_total", result="status") >= 2
    second.probe = response(302)
    wait_for_health(proxy, healthy=[first, second])
    wait_until(lambda: set(ask(proxy, 4)) == {"first", "second"}, message="both answer")
    lines = [line["msg"] for line in proxy.log_lines if "health check" in line["msg"]]
    assert lines == ["task fails its health check", "task passes its health check"]


def test_a_new_task_waits_and_a_hanging_one_is_out(interlock, backend):
    old, new = Task(backend, "old"), Task(backend, "new")
    new.probe = [Pause(5), response(200)]
    labels = {"hosts": "web.test", "health_mode": "http", **FAST}
    proxy = interlock([service("web", [old], **labels)], workers=2)
    wait_for_health(proxy, healthy=[old])
    proxy.write_services([service("web", [old, new], **labels)])
    wait_until(lambda: len(upstreams(proxy)) == 2, message="the new task is there")
    # First unknown, then known to fail: nothing in both.
    assert ask(proxy, 20) == ["old"] * 20
    wait_for_health(proxy, healthy=[old], unhealthy=[new])
    assert upstreams(proxy)[new.port]["last_failure"] == "no answer within 600 ms"
    assert ask(proxy, 20) == ["old"] * 20 and new.requests == 0
    new.probe = response(200)
    wait_until(lambda: "new" in ask(proxy, 4), message="the new task answers")


def test_changes_of_the_table_under_probes(interlock, backend):
    """Services come and go all the time; the sick task gets nothing, and no request fails."""
    well, sick = Task(backend, "well"), Task(backend, "sick")
    labels = {"hosts": "web.test", "health_path": "/", **FAST}
    sick.probe = response(500)

    def services(number):
        others = [service(f"other-{number}-{index}", [9], hosts=f"o{number}-{index}.test") for index in range(5)]
        return [service("web", [well, sick], **labels), *others]

    proxy = interlock(services(0), workers=2)
    wait_for_health(proxy, healthy=[well], unhealthy=[sick])
    time.sleep(0.1)
    before, answers, stop = sick.requests, [], threading.Event()

    def load():
        while not stop.is_set():
            answers.extend(ask(proxy, 1))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 16):
        version = proxy.api_routes()["version"]
        proxy.write_services(services(number))
        wait_until(lambda: proxy.api_routes()["version"] > version, message="the next table")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {"well"} and len(answers) > 50 and sick.requests == before
    # Without the check it is a task like any other, and not probed any more.
    proxy.write_services([service("web", [well, sick], hosts="web.test")])
    wait_until(lambda: "sick" in ask(proxy, 4), message="the sick task answers")
    wait_until(lambda: "health" not in upstreams(proxy)[sick.port], message="nothing is known")
    count = len(sick.probes)
    time.sleep(0.5)
    assert len(sick.probes) <= count + 1


def test_panic(interlock, backend):
    first, second = Task(backend, "first"), Task(backend, "second")
    proxy = interlock([service("web", [first, second], hosts="web.test", health_path="/", **FAST)])
    wait_for_health(proxy, healthy=[first, second])
    first.probe = second.probe = response(503)
    wait_for_health(proxy, unhealthy=[first, second])
    assert set(ask(proxy, 10)) == {"first", "second"}
    assert proxy.metric("interlock_service_panic", service="web") == 1
    assert proxy.metric("interlock_panic_attempts_total") >= 10
    proxy.wait_for_log("no task of the service passes its health check: all are tried")
    assert "no task passes its health check" in proxy.admin("/").text
    second.probe = response(200)
    wait_for_health(proxy, unhealthy=[first], healthy=[second])
    time.sleep(0.1)
    assert ask(proxy, 10) == ["second"] * 10
    assert proxy.metric("interlock_service_panic", service="web") is None


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_a_closed_port_and_another_port(interlock, backend, mode):
    task, other, side = Task(backend, "task"), Task(backend, "other"), Task(backend, "side")
    labels = {"hosts": "web.test", "health_mode": mode, **FAST}
    proxy = interlock([service("web", [task, other], **labels)])
    wait_for_health(proxy, healthy=[task, other])
    task.backend.stop_listening()
    wait_for_health(proxy, unhealthy=[task], healthy=[other])
    assert upstreams(proxy)[task.port]["last_failure"] == "the connection was refused"
    assert ask(proxy, 6) == ["other"] * 6
    # The port that is asked is not the one of the requests.
    proxy.write_services([service("web", [task, other], health_port=side.port, **labels)])
    wait_for_health(proxy, healthy=[task, other])
    task.backend.listen_again()
    wait_until(lambda: set(ask(proxy, 4)) == {"task", "other"}, message="both answer")


def test_probes_over_tls(interlock, backend):
    from test_tls_tasks import Task as TLSTask
    good, foreign = TLSTask(), TLSTask(certificate("else.test"))
    labels = {"hosts": "web.test", "health_path": "/up", "ssl_backend": "true", "ssl_backend_tls_verify": "required",
              "ssl_backend_ca": "ca", **FAST}
    secrets = {"ca": authority().path.read_text()}
    proxy = interlock([service("web", [good, foreign], **labels)], secrets=secrets)
    wait_for_health(proxy, healthy=[good], unhealthy=[foreign])
    assert upstreams(proxy)[foreign.port]["last_failure"] == "the task's certificate is not accepted"
    # A task counts as healthy from the start, before it was asked.
    wait_until(lambda: any(line.startswith("GET /up HTTP/1.1") for line in good.requests), message="a probe")
    assert foreign.requests == []
    assert {each["name"] for each in good.connections} == {"web.test"}
    assert [proxy.get().status for _ in range(6)] == [200] * 6
    # Plain HTTP where TLS is asked for.
    plain = Task(backend, "plain")
    proxy.write_services([service("web", [good, plain], **labels)])
    wait_until(lambda: upstreams(proxy).get(plain.port, {}).get("last_failure"), message="it is told")
    assert upstreams(proxy)[plain.port]["last_failure"] in (
        "the task does not speak TLS", "no agreement on TLS", "no TLS handshake within 600 ms")
    assert [proxy.get().status for _ in range(6)] == [200] * 6


@pytest.mark.parametrize("way", ["reset", "close", "silence", "port"])
def test_failed_requests_take_a_task_out(interlock, backend, way):
    bad, good = Task(backend, "bad"), Task(backend, "good")
    bad.request = {"reset": [Reset()], "close": [Close()], "silence": [Pause(1), response(200)]}.get(way, [Close()])
    if way == "port":
        bad.backend.stop_listening()
    labels = {"hosts": "web.test", "max_fails": "2", "fail_timeout": "1500ms", "response_timeout": "200ms"}
    proxy = interlock([service("web", [bad, good], **labels)])
    answers = ask(proxy, 20)
    # Silence is not tried again: the task may be at work.
    assert answers.count(504) == (2 if way == "silence" else 0)
    assert set(answers) - {504} == {"good"}
    assert bad.requests == (0 if way == "port" else 2)
    wait_until(lambda: upstreams(proxy)[bad.port].get("avoided_by_workers") == 1, message="it is told")
    reasons = {"reset": "reset", "close": "closed_early", "silence": "response_timeout", "port": "connect_refused"}
    assert upstreams(proxy)[bad.port]["last_failure"] == reasons[way]
    assert proxy.metric("interlock_tasks_avoided") == 1 and proxy.metric("interlock_task_avoidances_total") == 1
    # After the time one request tries it, and it is back.
    bad.request = response(200, b"bad")
    if way == "port":
        bad.backend.listen_again()
    wait_until(lambda: "bad" in ask(proxy, 2), message="it is tried")
    assert sorted(ask(proxy, 10)) == ["bad"] * 5 + ["good"] * 5
    wait_until(lambda: proxy.metric("interlock_tasks_avoided") == 0, message="it is told")


def test_the_last_task_is_never_taken_out(interlock, backend):
    task = Task(backend, "task")
    task.request = [Close()]
    proxy = interlock([service("web", [task], hosts="web.test", max_fails="1", fail_timeout="1h")])
    assert ask(proxy, 10) == [502] * 10
    assert proxy.metric("interlock_task_avoidances_total") == 0
    task.request = response(200, b"task")
    assert ask(proxy, 5) == ["task"] * 5


def test_a_task_that_never_stops_talking_holds_up_no_probe_of_others(interlock, backend):
    """Interim answers without an end, as fast as they are read."""
    other = Task(backend, "other")
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    ends = threading.Event()

    def talk(server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=pour, args=(connection,), daemon=True).start()

    def pour(connection):
        with connection, contextlib.suppress(OSError):
            while not ends.is_set():
                connection.sendall(flood)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=talk, args=(server,), daemon=True).start()
        proxy = interlock([
            service("loud", [server.getsockname()[1]], hosts="loud.test", **FAST, health_mode="http"),
            service("web", [other], hosts="web.test", health_path="/", **FAST)])
        try:
            wait_for_health(proxy, healthy=[other])
            for status, health in ((500, "unhealthy"), (200, "healthy"), (500, "unhealthy")):
                other.probe = response(status)
                wait_for_health(proxy, **{health: [other]})
            wait_until(lambda: proxy.metric("interlock_health_probes_total", result="bad_response") >= 2)
        finally:
            ends.set()


def test_tasks_that_hang_hold_up_no_probe_of_others(interlock, backend):
    """However many tasks a service has, and however long it lets them think about a probe."""
    other = Task(backend, "other")
    with socket.create_server(("0.0.0.0", 0), backlog=2048) as server:
        port = server.getsockname()[1]
        silent = [f"127.0.{index // 250 + 1}.{index % 250 + 1}:{port}" for index in range(1500)]
        proxy = interlock([
            service("silent", silent, hosts="silent.test", health_interval="100ms", health_timeout="1h",
                    health_mode="http"),
            service("web", [other], hosts="web.test", health_path="/", **FAST)])
        wait_for_health(proxy, healthy=[other])
        time.sleep(1)
        for status, health in ((500, "unhealthy"), (200, "healthy")):
            other.probe = response(status)
            wait_for_health(proxy, **{health: [other]})
