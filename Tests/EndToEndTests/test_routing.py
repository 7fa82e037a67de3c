"""From a host and a path to a task: what the services file says is what is served, and a bad file loses nothing."""

import collections
import json
import os
import threading

import pytest

from harness import Release, get, response, service, wait_until, write_atomically


def named(backend, *names):
    """Backends that answer with their names."""
    made = {}
    for name in names:
        made[name] = backend(default=lambda request, name=name: response(200, name.encode()))
    return made


def test_default_backend_answers_what_nobody_claims(interlock, backend):
    tasks = named(backend, "web", "default")
    proxy = interlock(
        [
            service("web", [tasks["web"]], hosts="web.test", context_root="/app"),
            service("default", [tasks["default"]], default_backend=True),
        ]
    )
    assert proxy.get("/", host="anybody.test").body == b"default"
    assert proxy.get("/app").body == b"web"
    assert proxy.get("/other", host="web.test").status == 404


def test_unknown_host_is_503_and_unknown_path_404(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test", context_root="/app")])
    with proxy.connect() as connection:
        for target, host, status in (
            ("/", "nobody.test", 503),
            ("/", "web.test", 404),
            ("/apple", "web.test", 404),
            ("/app", "web.test", 200),
            ("/app/", "web.test", 200),
            ("/app?x", "web.test", 200),
        ):
            connection.request(target=target, host=host)
            assert connection.read_response().status == status, target


def test_no_task_is_503_with_retry_after(interlock):
    proxy = interlock([service("web", [], hosts="web.test")])
    answer = proxy.get()
    assert answer.status == 503 and int(answer.header("retry-after")) > 0


def test_the_longest_prefix_wins_by_segments(interlock, backend):
    tasks = named(backend, "root", "a", "ab", "b")
    proxy = interlock(
        [
            service("root", [tasks["root"]], hosts="web.test"),
            service("a", [tasks["a"]], hosts="web.test", context_root="/a"),
            service("ab", [tasks["ab"]], hosts="web.test", context_root="/a/b/"),
            service("b", [tasks["b"]], hosts="web.test", context_root="/b"),
        ]
    )
    for target, name in {
        "/": "root",
        "/a": "a",
        "/a/": "a",
        "/a/x": "a",
        "/ab": "root",
        "/a/b": "ab",
        "/a/b/c": "ab",
        "/a/bc": "a",
        "/b": "b",
        "/c/a/b": "root",
        "/a?/b": "a",
    }.items():
        assert proxy.get(target).body.decode() == name, target


def test_round_robin_is_even(interlock, backend):
    tasks = [backend() for _ in range(4)]
    proxy = interlock([service("web", tasks, hosts="web.test")])
    with proxy.connect() as connection:
        for _ in range(100):
            connection.request()
            assert connection.read_response().status == 200
    assert [len(task.requests) for task in tasks] == [25] * 4


def test_services_of_one_host_and_path_merge_by_tasks(interlock, backend):
    blue, green = [backend() for _ in range(4)], [backend()]
    proxy = interlock([service("blue", blue, hosts="web.test"), service("green", green, hosts="web.test")])
    for _ in range(50):
        assert proxy.get().status == 200
    assert sum(len(task.requests) for task in blue) == 40 and len(green[0].requests) == 10


def test_context_root_rewrite(interlock, backend):
    task = backend()
    proxy = interlock([service("app", [task], hosts="web.test", context_root="/app", context_root_rewrite=True)])
    for target, seen in {"/app/": "/", "/app/x/y?z=/app": "/x/y?z=/app", "/app/app/": "/app/"}.items():
        assert proxy.get(target).status == 200
        assert task.last.target == seen and task.last.header("x-forwarded-prefix") == "/app"


@pytest.mark.parametrize(
    "services, host, reason",
    [
        ([service("bad", [1], hosts="we b.test")], "we b.test", "hosts"),
        ([service("bad", [1], hosts="bad.test", context_root="no-slash")], "bad.test", "context_root"),
        ([service("bad", [1], hosts="bad.test", default_backend="perhaps")], "bad.test", "default_backend"),
    ],
    ids=["host", "context-root", "boolean"],
)
def test_a_bad_label_harms_its_own_service_only(interlock, backend, services, host, reason):
    good = backend()
    proxy = interlock([service("good", [good], hosts="web.test"), *services])
    assert proxy.get().status == 200
    if " " not in host:
        assert proxy.get(host=host).status == 503
    shown = json.dumps(proxy.api_routes())
    assert reason in shown and "bad" in shown


def test_a_label_that_restricts_and_is_not_enforced_unroutes_its_service(interlock, backend):
    open_task, closed_task = backend(), backend()
    proxy = interlock(
        [
            service("open", [open_task], hosts="web.test"),
            service("closed", [closed_task], hosts="closed.test", ip_allow="10.0.0.0/8", basic_auth="users"),
        ]
    )
    assert proxy.get().status == 200
    assert proxy.get(host="closed.test").status in (401, 403, 503) and not closed_task.requests


# The services file changes.

BAD_FILES = {
    "empty": b"",
    "cut": b'{"services": [{"name": "web"',
    "array": b"[]",
    "null": b"null",
    "number": b'{"services": 1}',
    "bytes": b"\xff\xfe",
    "deep": b"{" * 100_000,
    "deep-arrays": b'{"services":' + b"[" * 100_000,
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_content_keeps_the_last_good(interlock, backend, content):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    proxy.write_services(content)
    proxy.wait_for_log(r'"level":"(error|warning|warn)".*services')
    assert proxy.get().status == 200
    proxy.write_services([service("web", [task], hosts="web.test"), service("new", [task], hosts="new.test")])
    proxy.wait_for_status(200, host="new.test")


@pytest.mark.parametrize(
    "entry",
    [{"name": 1}, {"name": "bad", "endpoints": ["nonsense"]}, {"name": "bad", "labels": []}, 7, {"endpoints": []}],
    ids=["name", "endpoint", "labels", "number", "no-name"],
)
def test_a_bad_entry_harms_no_other(interlock, backend, entry):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    good = [service("web", [task], hosts="web.test"), service("new", [task], hosts="new.test")]
    proxy.write_services(json.dumps({"services": [*good, entry]}))
    proxy.wait_for_status(200, host="new.test")
    assert proxy.get().status == 200
    assert any(each["severity"] == "error" for each in proxy.api_routes()["diagnostics"]), proxy.api_routes()


def test_a_bad_file_at_the_start_is_exit_2_with_one_clear_line(interlock):
    proxy = interlock(b"{", wait=False)
    assert proxy.wait(10) == 2
    assert "services.json" in proxy.log


def test_a_removed_file_keeps_the_last_good(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    os.unlink(proxy.services_path)
    proxy.wait_for_log(r'"level":"(error|warning|warn)".*services')
    assert proxy.get().status == 200
    proxy.write_services([service("new", [task], hosts="new.test")])
    proxy.wait_for_status(200, host="new.test")
    assert proxy.get(host="web.test").status == 503


def test_a_file_written_in_place_is_seen(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    text = json.dumps({"services": [service("new", [task], hosts="new.test")]})
    with open(proxy.services_path, "w", encoding="ascii") as file:
        for start in range(0, len(text), 40):
            file.write(text[start : start + 40])
            file.flush()
    proxy.wait_for_status(200, host="new.test")


def test_a_mounted_config_is_seen_through_its_symbolic_link(interlock, backend, tmp_path):
    """Kubernetes and Docker configs change by swapping a link to a directory."""
    task = backend()
    for version, host in (("1", "one.test"), ("2", "two.test")):
        (tmp_path / version).mkdir()
        write_atomically(str(tmp_path / version / "services.json"), [service("web", [task], hosts=host)])
    link = tmp_path / "current"
    link.symlink_to("1")
    proxy = interlock(None, environment={"INTERLOCK_SERVICES_FILE": link / "services.json"})
    assert proxy.get(host="one.test").status == 200
    (tmp_path / "next").symlink_to("2")
    os.replace(tmp_path / "next", link)
    proxy.wait_for_status(200, host="two.test")


def test_an_emptied_file_takes_everything_out(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test")])
    proxy.write_services([])
    proxy.wait_for_status(503)


def test_a_request_under_way_ends_as_it_began(interlock, backend):
    """Its task leaves the table while it answers: the answer is still delivered, the connection is not used again."""
    old, new, event = backend(), backend(), threading.Event()
    proxy = interlock([service("web", [old], hosts="web.test")])
    old.play(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfirs", Release(event), b"t ok")
    with proxy.connect() as connection:
        connection.request()
        connection.read_head()
        proxy.write_services([service("web", [new], hosts="web.test"), service("mark", [new], hosts="mark.test")])
        proxy.wait_for_status(200, host="mark.test")
        event.set()
        assert connection.read_exactly(8) == b"first ok"
        connection.request()
        assert connection.read_response().status == 200
    assert len(old.requests) == 1 and new.requests
    wait_until(lambda: not old.open_connections, message="connections to a task that left are closed")


def test_a_task_that_left_gets_nothing_more_and_one_that_came_does(interlock, backend):
    tasks = [backend() for _ in range(3)]
    proxy = interlock([service("web", tasks[:2], hosts="web.test")])
    for _ in range(10):
        assert proxy.get().status == 200
    counts = collections.Counter({index: len(task.requests) for index, task in enumerate(tasks)})
    assert counts == {0: 5, 1: 5, 2: 0}
    proxy.write_services(
        [service("web", tasks[1:], hosts="web.test"), service("mark", [], hosts="mark.test", context_root="/m")]
    )
    proxy.wait_for_status(404, host="mark.test")
    for _ in range(10):
        assert proxy.get().status == 200
    assert [len(task.requests) for task in tasks] == [5, 10, 5]


def test_several_listeners_serve_the_same(interlock, backend):
    from harness import free_port

    task, second = backend(), free_port()
    proxy = interlock([service("web", [task], hosts="web.test")], wait=False)
    proxy.kill()
    proxy.extra["INTERLOCK_HTTP_LISTEN"] = f"127.0.0.1:{proxy.port},127.0.0.1:{second}"
    proxy._spawn()
    proxy.wait_ready()
    assert get(proxy.port).status == get(second).status == 200
    assert [each.header("x-forwarded-port") for each in task.requests] == [str(proxy.port), str(second)]


def test_more_workers_than_one(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], workers=4)
    assert all(proxy.get().status == 200 for _ in range(100))
    proxy.write_services([service("new", [task], hosts="new.test")])
    proxy.wait_for_status(200, host="new.test")
    # Every worker has the new table once it is published.
    wait_until(lambda: all(proxy.get(host="new.test").status == 200 for _ in range(40)))
    assert all(proxy.get(host="web.test").status == 503 for _ in range(40))
