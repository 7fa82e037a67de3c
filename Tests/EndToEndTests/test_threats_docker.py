"""Threats 49 and 50: an engine that misbehaves, and labels written by somebody who means harm.

The engine is scripted, everything behind it is real: its answers become routes, and requests show which. What counts
in all of these tests: the last good table stays, and nobody but the service concerned is touched.
"""

import json
import random
import threading
import time

import pytest

from harness import Release, response, service, wait_until
from swarm import Swarm

pytestmark = pytest.mark.plain


@pytest.fixture
def swarm(engine, interlock):
    """`web.test` on 127.0.0.11; not started yet."""
    made = Swarm(engine, interlock)
    made.backend("127.0.0.11")
    engine.add_service("web", hosts="web.test", port=made.port)
    made.task("web", "127.0.0.11", id="web-1")
    yield made
    made.close()


# 49: events.

EVENTS = [
    ("cut-in-a-string", b'{"Type":"service","Action":"upd'),
    ("cut-in-an-escape", b'{"Type":"serv\\u00'),
    ("deep", b"[" * 100_000),
    ("no-object", b'"service"'),
    ("not-utf-8", b'{"Type":"\xff\xfe"}'),
    ("nul", b"\x00\x00"),
    ("ten-megabytes", b'{"Type":"service","Actor":{"Attributes":{"x":"' + b"x" * (10 << 20) + b'"}}}'),
    ("of-next-year", b'{"Type":"service","timeNano":1826899200000000000}'),
    ("of-1970", b'{"Type":"service","timeNano":1}'),
    ("before-time", b'{"Type":"service","timeNano":-9223372036854775808}'),
    ("beyond-time", b'{"Type":"service","timeNano":99999999999999999999999999}'),
]


@pytest.mark.parametrize("line", [line for _, line in EVENTS], ids=[f"49-{id}" for id, _ in EVENTS])
def test_49_an_event_is_a_hint_whatever_it_says(swarm, line):
    swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    swarm.task("web", "127.0.0.12", slot=2)
    swarm.engine.emit(line)
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12")
    # And the stream is read on.
    swarm.engine.add_service("api", hosts="api.test", port=swarm.port)
    swarm.task("api", "127.0.0.13")
    swarm.engine.emit()
    swarm.wait_for("api.test", "127.0.0.13")
    lag = swarm.proxy.metric("interlock_docker_event_lag_seconds")
    assert lag is None or lag >= 0


def test_49_an_event_stream_that_is_cut_in_an_event(swarm):
    swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    swarm.task("web", "127.0.0.12", slot=2)
    swarm.engine.cut_events(b'{"Type":"service","Actor":{"ID":"')
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12")
    wait_until(lambda: swarm.engine.listener_count == 1, message="events are listened to again")


# 49: labels.

HOSTILE = [
    ("crlf", "hosts", "a.test\r\nX-Evil: 1"),
    ("crlf-in-a-path", "context_root", "/a\r\nX-Evil: 1"),
    ("nul", "hosts", "a\0.test"),
    ("quotes", "hosts", "\"';--<script>alert(1)</script>"),
    ("template", "hosts", "{{.Host}}.test"),
    ("template-in-a-path", "context_root", "/{{range $i := .}}{{end}}"),
    ("nginx", "context_root", "/; } server { listen 81;"),
    ("regex-bomb", "hosts", "(a+)+$"),
    ("regex-bomb-in-a-path", "context_root", "/(" + "(a*)*" * 1000 + ")"),
    ("many-hosts", "hosts", "a.test," * 100_000),
    ("many-labels", "hosts", "a." * 100_000 + "test"),
    ("number", "port", "9" * 100_000),
    ("negative", "retries", "-1"),
    ("duration", "response_timeout", "1h" * 50_000),
    ("megabytes", "hosts", "x" * (10 << 20)),
    ("megabytes-of-an-unknown-name", "x" * (1 << 20), "x" * (9 << 20)),
    ("escapes", "hosts", "\x1b[2J\u202e.test"),
]


@pytest.mark.parametrize("label, value", [row[1:] for row in HOSTILE], ids=[f"49-{row[0]}" for row in HOSTILE])
def test_49_labels_that_mean_harm_harm_nobody(swarm, label, value):
    labels = {"hosts": "bad.test", "port": str(swarm.port), "ssl_only": "false"} | {label: value}
    swarm.engine.add_service("bad", created=0, **labels)
    swarm.task("bad", "127.0.0.12")
    proxy = swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    wait_until(lambda: swarm.findings("bad"), message="the bad service is told")
    assert all(len(each["value"].encode()) <= 400 for each in swarm.findings("bad"))
    answer = proxy.get("/", "web.test")
    assert answer.header("x-evil") is None and answer.text == "127.0.0.11"
    # What is told of it is whole: JSON is JSON, metrics are lines, a log's line is one.
    assert len(proxy.admin("/api/routes").body) < 100_000
    assert not any("\r" in line or "\x1b" in line for line in proxy.admin("/metrics").text.split("\n"))
    assert proxy.metric("interlock_service_finding", service="bad") >= 1
    page = proxy.admin("/").text
    assert "<script>alert" not in page and "\r\nX-Evil" not in page
    told = [line for line in proxy.log.splitlines() if "bad" in line]
    assert told and all(json.loads(line) and len(line) < 4096 for line in told)
    # The label is mended, and the service is there.
    swarm.engine.add_service("bad", hosts="bad.test", port=swarm.port)
    swarm.engine.emit()
    swarm.wait_for("bad.test", "127.0.0.12")
    wait_until(lambda: not swarm.findings("bad"), message="nothing is told any more")


def test_49_an_update_to_bad_labels_keeps_the_labels_before(swarm):
    swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    good = {"hosts": "web.test", "port": swarm.port}
    swarm.engine.add_service("web", hosts="(a+)+$", port=swarm.port, previous=good)
    swarm.engine.emit()
    wait_until(lambda: swarm.findings("web"), message="it is told")
    swarm.is_unmoved(0.3)
    assert any("before its last update" in each["message"] for each in swarm.findings("web"))


def test_49_an_element_that_makes_no_sense_takes_no_other_with_it(swarm):
    services = list(swarm.engine.services.values())
    odd = [{"ID": 7}, [], None, "x", {"ID": "y", "Spec": {"Labels": {"com.docker.lb.hosts": 5}}}, {}]
    swarm.engine.fail("/services", json.dumps(odd[:3] + services + odd[3:]).encode())
    tasks = list(swarm.engine.tasks.values())
    strange = dict(tasks[0], ID="strange", Status={"State": "dreaming"})
    homeless = dict(tasks[0], ID="homeless", NetworksAttachments=[{"Network": {}, "Addresses": ["nowhere", ""]}])
    swarm.engine.fail("/tasks", json.dumps([strange, None] + tasks + [homeless, 7]).encode())
    swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    assert len(swarm.findings("Docker")) >= 5


# 49: who owns a host.


def test_49_a_host_that_several_services_claim(swarm):
    engine = swarm.engine
    # The oldest decides what holds for all, whatever the order of the list; who differs is told.
    for name, age in (("middle", 5), ("youngest", 9), ("oldest", 1)):
        engine.add_service(name, stack=name, created=age, hosts="shared.test", context_root="/app", port=swarm.port,
                           context_root_rewrite=str(name == "oldest").lower())
    for address, name in (("127.0.0.12", "oldest"), ("127.0.0.13", "middle"), ("127.0.0.14", "youngest")):
        swarm.task(name, address)
    proxy = swarm.start()
    swarm.wait_for("shared.test", "127.0.0.12", "127.0.0.13", "127.0.0.14", target="/app/x")
    assert {each.target for each in swarm.tasks["127.0.0.13"].requests} == {"/x"}
    for name in ("middle", "youngest"):
        assert {each["label"] for each in swarm.findings(name)} == {"context_root_rewrite", "hosts"}
        assert proxy.metric("interlock_service_finding", service=name, label="hosts", severity="warning") == 1
    assert swarm.findings("oldest") == []
    assert proxy.metric("interlock_diagnostics", severity="warning") >= 4
    before = proxy.api_routes()
    # The other way around it is the same list: nothing is published.
    engine.reverses = True
    lists = proxy.metric("interlock_docker_lists_total", scope="all")
    engine.emit()
    wait_until(lambda: proxy.metric("interlock_docker_lists_total", scope="all") > lists, message="a list was read")
    assert proxy.metric("interlock_table_version") == before["version"]
    assert proxy.api_routes()["routes"] == before["routes"]


def test_49_two_services_with_the_same_vip(swarm):
    engine = swarm.engine
    for name in ("one", "two"):
        engine.add_service(name, hosts=f"{name}.test", port=swarm.port, backend_mode="vip", vip="127.0.0.20")
        swarm.engine.add_task(name, "127.0.0.21")
    backend = swarm.backend("127.0.0.20")
    swarm.start()
    swarm.wait_for("one.test", "127.0.0.20")
    swarm.wait_for("two.test", "127.0.0.20")
    # Two upstreams, though one address: what is pooled for one is not used for the other.
    assert all(len({each.header("host") for each in connection.requests}) <= 1 for connection in backend.connections)
    engine.remove_service("one")
    engine.emit()
    swarm.wait_for("one.test", 503)
    swarm.wait_for("two.test", "127.0.0.20")


# 49: lists.

FAULTS = [503, 500, 404, 400, "silence", b"", b"[{", b"{}", b"<html>", b"[]]", b"null x"]


@pytest.mark.parametrize("path", ["/services", "/tasks", "/nodes"])
@pytest.mark.parametrize("fault", FAULTS, ids=[f"49-{each!r}" for each in FAULTS])
def test_49_a_list_that_fails_changes_nothing(swarm, path, fault):
    engine, proxy = swarm.engine, swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    with engine.changes():
        swarm.task("web", "127.0.0.12", slot=2)
        swarm.engine.set_task("web-1", desired="shutdown", state="shutdown")
        engine.fail(path, fault)
    asked = engine.count(path)
    engine.emit()
    wait_until(lambda: engine.count(path) > asked, message="it is asked")
    if fault != "silence":
        wait_until(lambda: proxy.metric("interlock_docker_connected") == 0, message="the failure is told")
        assert proxy.metric("interlock_docker_list_failures_total") >= 1
    swarm.is_unmoved(0.2)
    assert proxy.admin("/readyz").status == 200
    engine.heal()
    swarm.wait_for("web.test", "127.0.0.12")
    wait_until(lambda: proxy.metric("interlock_docker_connected") == 1, message="the engine answers again")


def test_49_a_manager_that_is_behind(swarm):
    engine, proxy = swarm.engine, swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    with engine.changes():
        old = json.dumps(list(engine.services.values())).encode()
        engine.add_service("web", hosts="web.test,new.test", port=swarm.port)
    engine.emit()
    swarm.wait_for("new.test", "127.0.0.11")
    # An older state answers now: the service is there, at a version that is gone by.
    engine.fail("/services", old)
    engine.emit()
    wait_until(lambda: proxy.metric("interlock_docker_lists_stale_total") >= 2, message="it is found out")
    swarm.is_unmoved(0.5, "new.test")
    engine.heal()
    wait_until(lambda: proxy.metric("interlock_docker_connected") == 1, message="the new state is back")
    swarm.is_unmoved(0.2, "new.test")
    # If it stays so, that is how the cluster is now.
    engine.fail("/services", old)
    engine.emit()
    swarm.wait_for("new.test", 503, timeout=30)
    assert swarm.answers("web.test") == {"127.0.0.11"}


def test_49_a_service_that_flaps_ten_times_a_second(swarm):
    engine, proxy = swarm.engine, swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    before, began = proxy.metrics(), time.monotonic()
    stop = threading.Event()

    def flap():
        while not stop.is_set():
            with engine.changes():
                engine.add_service("flap", hosts="flap.test", port=swarm.port)
                swarm.task("flap", "127.0.0.12")
            engine.emit()
            # Not in step with the lists.
            time.sleep(0.05 * random.uniform(0.5, 1.5))
            with engine.changes():
                engine.remove_service("flap")
            engine.emit()
            time.sleep(0.05 * random.uniform(0.5, 1.5))

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        swarm.is_unmoved(4)
        seen = set()
        for _ in range(1000):
            seen |= swarm.answers("flap.test")
            if len(seen) > 1:
                break
            time.sleep(0.02)
        assert seen <= {"127.0.0.12", 503} and len(seen) == 2, seen
    finally:
        stop.set()
        thread.join()
    lists = proxy.metric("interlock_docker_lists_total", scope="all")
    count = lists - before['interlock_docker_lists_total{scope="all"}']
    assert 4 <= count <= 3 + 5 * (time.monotonic() - began), f"{count} lists"
    swarm.wait_for("flap.test", 503)
    swarm.wait_for("web.test", "127.0.0.11")


def test_49_ten_thousand_tasks(swarm):
    engine = swarm.engine
    for number in range(200):
        name = f"many-{number}"
        engine.add_service(name, hosts=f"{name}.test", port=swarm.port, replicas=50)
        for slot in range(50):
            engine.add_task(name, f"127.{1 + number}.1.{slot}", slot=slot)
    proxy = swarm.start()
    swarm.wait_for("web.test", "127.0.0.11", timeout=60)
    assert proxy.metric("interlock_tasks", state="ready") == 10_001
    # One task of ten thousand comes, and others go, without anybody noticing.
    swarm.task("web", "127.0.0.12", slot=2)
    engine.emit()
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12", timeout=60)
    with engine.changes():
        for number in range(200):
            engine.remove_service(f"many-{number}")
    engine.emit()
    swarm.wait_for("many-7.test", 503, timeout=60)
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12")
    assert proxy.metric("interlock_tasks", state="ready") == 2


# 49: addresses.


def test_49_an_address_that_another_task_takes_at_once(swarm):
    engine = swarm.engine
    engine.add_service("other", hosts="other.test", port=swarm.port)
    swarm.task("other", "127.0.0.12", id="other-1")
    proxy = swarm.start()
    with proxy.connect() as web, proxy.connect() as other:
        def ask(connection, host):
            connection.request("GET", "/", host)
            answer = connection.read_response("GET")
            return answer.text if answer.status == 200 else answer.status

        swarm.wait_for("web.test", "127.0.0.11")
        swarm.wait_for("other.test", "127.0.0.12")
        for _ in range(20):
            # They change places: four tasks, two addresses, no moment in between.
            with engine.changes():
                swap = dict(engine.tasks)
                for id, task in swap.items():
                    engine.remove_task(id)
                    address = task["NetworksAttachments"][0]["Addresses"][0].split("/")[0]
                    engine.add_task("other" if task["ServiceID"] == "id-web" else "web", address)
                expected = "127.0.0.12" if ask(web, "web.test") == "127.0.0.11" else "127.0.0.11"
            engine.emit()
            wait_until(lambda: ask(web, "web.test") == expected, message=f"web is at {expected}")
            assert ask(other, "other.test") != expected
    # No connection was ever used for both: what was pooled for a task went with it.
    for address in ("127.0.0.11", "127.0.0.12"):
        hosts = [{each.header("host") for each in one.requests} for one in swarm.tasks[address].connections]
        assert all(len(each) <= 1 for each in hosts), hosts
        assert {"web.test"} in hosts and {"other.test"} in hosts


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_49_a_task_that_goes_in_the_middle_of_an_answer(swarm, framing):
    engine = swarm.engine
    engine.add_service("other", hosts="other.test", port=swarm.port)
    proxy = swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    backend, release = swarm.tasks["127.0.0.11"], threading.Event()
    begin, middle, end = b"A" * 5000, b"B" * 5000, b"C" * 5000
    head = {"length": b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n",
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "until-close": b"HTTP/1.0 200 OK\r\n\r\n"}[framing]

    def framed(data, last=b""):
        return b"%x\r\n%s\r\n%s" % (len(data), data, last) if framing == "chunked" else data

    def script(request):
        if request.target != "/slow":
            return response(200, request.header("host").encode())
        steps = [head + framed(begin), Release(release), framed(middle), framed(end, b"0\r\n\r\n")]
        return steps + ([lambda connection: False] if framing == "until-close" else [])

    backend.default = script
    with proxy.connect() as slow:
        slow.request("GET", "/slow", "web.test")
        backend.wait_for_requests(1, complete=True)
        wait_until(lambda: any(each.target == "/slow" for each in backend.requests), message="the slow one is there")
        # The task is gone, and its address is another service's.
        with engine.changes():
            engine.remove_task("web-1")
            engine.add_task("other", "127.0.0.11", id="other-1")
        engine.emit()
        swarm.wait_for("other.test", "other.test")
        swarm.wait_for("web.test", 503)
        for _ in range(20):
            assert swarm.answers("other.test") == {"other.test"}
        release.set()
        answer = slow.read_response("GET")
        assert answer.status == 200 and answer.body == begin + middle + end
        # The connection of the task that is gone serves nobody else.
        (old,) = [each for each in backend.connections if any(one.target == "/slow" for one in each.requests)]
        wait_until(lambda: old.ended, message="the old connection is closed")
        assert {each.header("host") for each in old.requests} == {"web.test"}
        slow.request("GET", "/", "other.test")
        assert slow.read_response("GET").text == "other.test"


def test_49_two_tasks_in_a_slot(swarm):
    engine = swarm.engine
    swarm.start()
    swarm.wait_for("web.test", "127.0.0.11")
    # start-first: the new one runs just before the old one is told to stop.
    new = swarm.task("web", "127.0.0.12", desired="ready", state="ready", slot=1)
    engine.emit()
    swarm.is_unmoved(0.3)
    engine.set_task(new, desired="running", state="running")
    engine.emit()
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12")
    engine.set_task("web-1", desired="shutdown")
    engine.emit()
    swarm.wait_for("web.test", "127.0.0.12")
    before = len(swarm.tasks["127.0.0.11"].requests)
    for _ in range(20):
        assert swarm.answers("web.test") == {"127.0.0.12"}
    assert len(swarm.tasks["127.0.0.11"].requests) == before


# 50: labels as an attack.


@pytest.fixture
def teams(engine, interlock):
    """admin.test is the team's `admin` (oldest, on .11 and .15); a younger, untrusted stack is on .12."""
    made = Swarm(engine, interlock, environment={"INTERLOCK_HOST_OWNERSHIP": "stack"})
    made.backend("127.0.0.11")
    engine.add_service("admin", stack="team", created=10, hosts="admin.test,*.admin.test", port=made.port)
    made.task("admin", "127.0.0.11", id="admin-1")
    made.backend("127.0.0.12")
    yield made
    made.close()


CLAIMS = [
    ("the-host", {"hosts": "admin.test"}, "/"),
    ("in-capitals", {"hosts": "ADMIN.Test."}, "/"),
    ("with-a-port", {"hosts": "admin.test:80"}, "/"),
    ("a-path-of-it", {"hosts": "admin.test", "context_root": "/login"}, "/login"),
    ("a-path-rewritten", {"hosts": "admin.test", "context_root": "/login", "context_root_rewrite": "true"}, "/login"),
    ("by-passthrough", {"hosts": "admin.test", "ssl_passthrough": "true"}, "/"),
    ("by-redirects", {"hosts": "admin.test", "redirects": "http://admin.test,http://mine.test"}, "/"),
    ("a-redirect-of-it-alone", {"hosts": "mine.test", "redirects": "http://admin.test,http://mine.test"}, "/"),
    ("among-its-own", {"hosts": "mine.test,admin.test"}, "/"),
    ("the-wildcard", {"hosts": "*.admin.test"}, "/"),
]


@pytest.mark.parametrize("labels, path", [row[1:] for row in CLAIMS], ids=[f"50-{row[0]}" for row in CLAIMS])
def test_50_another_teams_host_is_not_to_be_had(teams, labels, path):
    engine = teams.engine
    engine.add_service("evil", stack="untrusted", created=50, port=teams.port, **labels)
    teams.task("evil", "127.0.0.12")
    proxy = teams.start()
    for host in ("admin.test", "sub.admin.test"):
        teams.wait_for(host, "127.0.0.11", target=path)
        for _ in range(20):
            assert teams.answers(host, target=path) == {"127.0.0.11"}
    if "mine.test" in labels["hosts"]:
        teams.wait_for("mine.test", "127.0.0.12")
    # The alarm, until it gives up.
    wait_until(lambda: teams.findings("evil"), message="the claim is told")
    if labels["hosts"] != "mine.test":
        assert any("belongs to stack team" in each["message"] for each in teams.findings("evil"))
        assert proxy.metric("interlock_service_finding", service="evil", severity="error") >= 1
    assert teams.findings("admin") == []
    engine.add_service("evil", stack="untrusted", created=50, port=teams.port, hosts="mine.test")
    engine.emit()
    teams.wait_for("mine.test", "127.0.0.12")
    wait_until(lambda: not teams.findings("evil"), message="nothing is told any more")


def test_50_a_host_stays_with_its_team_through_updates(teams):
    engine = teams.engine
    engine.add_service("evil", stack="untrusted", created=50, port=teams.port, hosts="admin.test")
    teams.task("evil", "127.0.0.12")
    teams.start()
    teams.wait_for("admin.test", "127.0.0.11")
    good = {"hosts": "admin.test", "port": teams.port}
    # Every kind of deploy: labels, replaced tasks, no task at all, labels that cannot be read.
    engine.add_service("admin", stack="team", port=teams.port, hosts="admin.test", retries=1)
    engine.emit()
    teams.is_unmoved(0.3, "admin.test")
    engine.set_task("admin-1", desired="shutdown", state="shutdown")
    engine.emit()
    teams.wait_for("admin.test", 503)
    for _ in range(20):
        assert teams.answers("admin.test") == {503}
    teams.task("admin", "127.0.0.15")
    engine.emit()
    teams.wait_for("admin.test", "127.0.0.15")
    engine.add_service("admin", stack="team", port=teams.port, hosts="bad host", previous=good)
    engine.emit()
    wait_until(lambda: teams.findings("admin"), message="the bad label is told")
    teams.is_unmoved(0.3, "admin.test", "127.0.0.15")
    # The team's second service may have it too; who takes it over is who is left.
    engine.add_service("admin2", stack="team", created=90, port=teams.port, hosts="admin.test")
    teams.task("admin2", "127.0.0.16")
    engine.emit()
    teams.wait_for("admin.test", "127.0.0.15", "127.0.0.16")
    with engine.changes():
        engine.remove_service("admin")
        engine.remove_service("admin2")
    engine.emit()
    teams.wait_for("admin.test", "127.0.0.12")
    wait_until(lambda: not teams.findings("evil"), message="nothing is told any more")


def test_50_the_default_backend_belongs_to_a_team(teams):
    engine = teams.engine
    engine.add_service("fallback", stack="team", created=11, port=teams.port, default_backend="true")
    teams.task("fallback", "127.0.0.15")
    engine.add_service("evil", stack="untrusted", created=50, port=teams.port, default_backend="true")
    teams.task("evil", "127.0.0.12")
    teams.start()
    teams.wait_for("unclaimed.test", "127.0.0.15", count=20)
    assert any("belongs to stack team" in each["message"] for each in teams.findings("evil"))


def test_50_a_services_file_keeps_its_hosts_when_it_is_written_anew(engine, interlock, backend):
    """What the operator has written is older than any service, whenever it was written last."""
    own = backend(lambda request: response(200, b"file"))
    other = backend(lambda request: response(200, b"swarm"), host="127.0.0.11")
    engine.add_service("other", stack="other", hosts="web.test,other.test", port=other.port)
    engine.add_task("other", "127.0.0.11")
    proxy = interlock([service("own", [own], hosts="web.test")],
                      environment=engine.environment | {"INTERLOCK_HOST_OWNERSHIP": "stack"})
    wait_until(lambda: proxy.get(host="other.test").text == "swarm")
    for number in range(3):
        assert proxy.get().text == "file"
        version = proxy.api_routes()["version"]
        proxy.write_services([service("own", [own], hosts="web.test", retries=str(number))])
        wait_until(lambda seen=version: proxy.api_routes()["version"] > seen)
    assert [each["service"] for each in proxy.api_routes()["diagnostics"]] == ["other"]
