"""Threats 46 to 48: logs that clients cannot write, tasks that fail, retries that lose or double nothing."""

import json
import re
import threading

import pytest

from harness import Close, Pause, ReadExactly, Release, Reset, Send, chunked, response, service, wait_until
from rows import message


def two_tasks(interlock, backend, environment=None, **labels):
    tasks = [backend(), backend()]
    return interlock([service("web", tasks, hosts="web.test", **labels)], environment=environment), tasks


# 46: injection.

HOSTILE = [
    ("quote", b'a"b'),
    ("escape", b"\xc2\x9b31m"),
    ("invalid-utf-8", b"\xff\xfe\xc3("),
    ("tab", b"a\tb"),
    ("backslash", b"a\\b"),
    ("percent", b"%0d%0aX"),
    ("braces", b"{{7*7}}"),
    ("high-bytes", bytes(range(0x80, 0x100))),
    ("long", b"x" * 8000),
    ("separator", "a\u2028b".encode()),
]


@pytest.mark.parametrize("kind", ["json", "clf"])
@pytest.mark.parametrize("value", [value for _, value in HOSTILE], ids=[f"46-{id}" for id, _ in HOSTILE])
def test_46_fields_in_the_access_log(interlock, backend, kind, value):
    proxy = interlock([service("web", [backend()], hosts="web.test")], environment={"INTERLOCK_ACCESS_LOG": kind})
    with proxy.connect() as connection:
        connection.send(
            message(
                b"GET /marker?x HTTP/1.1",
                b"User-Agent: " + value,
                b"Referer: " + value,
                b"Authorization: Basic c2VjcmV0",
                b"Cookie: session=c2VjcmV0",
            )
        )
        assert connection.read_response().status == 200
    (line,) = access_lines(proxy, 1)
    assert "c2VjcmV0" not in line
    assert all(0x20 <= ord(each) < 0x7F or ord(each) >= 0xA0 for each in line), line
    if kind == "json":
        record = json.loads(line)
        assert record["target"] == "/marker?x" and len(record["user_agent"]) <= 2048
    else:
        assert_common_log(line)


def access_lines(proxy, count):
    def written():
        lines = proxy.output_path.read_bytes().decode("utf-8").split("\n")[:-1]
        return lines if len(lines) >= count else None

    lines = wait_until(written, message=f"{count} lines of access log")
    assert len(lines) == count, lines
    return lines


COMMON = re.compile(
    r'^(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) '
    r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"( .*)?$'
)


def assert_common_log(line):
    match = COMMON.match(line)
    assert match, line
    return match


@pytest.mark.parametrize("kind", ["json", "clf"])
@pytest.mark.parametrize(
    "data",
    [
        b"GET /a\x1b[31mb HTTP/1.1\r\nHost: web.test\r\n\r\n",
        b'GET /a"b HTTP/1.1\r\nHost: we"b.test\r\n\r\n',
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GE\"T / HTTP/1.1\r\nHost: web.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: web.test\r\nUser-Agent: a\x00b\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
    ids=["46-escape-in-target", "46-quotes", "46-bytes", "46-method", "46-nul", "46-tls"],
)
def test_46_a_refused_request_is_one_clean_line(interlock, backend, kind, data):
    proxy = interlock([service("web", [backend()], hosts="web.test")], environment={"INTERLOCK_ACCESS_LOG": kind})
    with proxy.connect() as connection:
        connection.send(data)
        assert connection.read_response().status in (400, 503)
    (line,) = access_lines(proxy, 1)
    assert line.isprintable(), repr(line)
    if kind == "json":
        record = json.loads(line)
        assert record["status"] in (400, 503) and record["outcome"] not in ("", "ok")
    else:
        assert assert_common_log(line)[4] in ("400", "503")
    assert proxy.log.replace("\n", "").isprintable()


def test_46_metrics_do_not_grow_with_what_clients_send(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test")])
    proxy.get()
    proxy.get(host="first.test")
    before = set(proxy.metrics())
    for number in range(200):
        with proxy.connect() as connection:
            connection.send(
                message(b"M%d /p%d HTTP/1.1" % (number, number), b"X%d: y" % number, host=b"h%d.test" % number)
            )
            assert connection.read_response().status == 503
    with proxy.connect() as connection:
        connection.request("BREW")
        assert connection.read_response().status == 200
    assert len(set(proxy.metrics()) - before) < 20, sorted(set(proxy.metrics()) - before)


# 47: tasks that fail.


def outcome_of(proxy, **options):
    """The answer, and the outcome that its line in the access log names."""
    answer = proxy.get(**options)
    record = wait_until(lambda: [json.loads(line) for line in proxy.output.splitlines()][-1])
    return answer, record


JSON_LOG = {"INTERLOCK_ACCESS_LOG": "json"}


def test_47_refused(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment=JSON_LOG)
    task.stop_listening()
    answer, record = outcome_of(proxy)
    assert (answer.status, record["status"], record["outcome"]) == (502, 502, "connect_refused")
    assert proxy.metric("interlock_upstream_failures_total", reason="connect_refused") >= 1


@pytest.mark.parametrize(
    "steps, outcome",
    [
        ((Reset(),), ("upstream_reset",)),
        ((Close(),), ("upstream_closed_early", "upstream_reset")),
        ((Send(b"HTTP/1.1 200 OK\r\nX: y"), Pause(0.02), Reset()), ("upstream_reset",)),
        ((Send(b"HTTP/1.1 200 OK\r\nX: y"), Pause(0.02), Close()), ("upstream_closed_early",)),
        ((Send(b"HTTP/1.1 2x0 OK\r\n\r\n"),), ("bad_response",)),
        ((Send(b"\x15\x03\x03\x00\x02\x02\x28"), Pause(0.02), Close()), ("bad_response",)),
    ],
    ids=["47-reset", "47-closed", "47-reset-in-head", "47-closed-in-head", "47-bad-head", "47-tls-alert"],
)
def test_47_before_an_answer_began(interlock, backend, steps, outcome):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment=JSON_LOG)
    for _ in range(4):
        task.play(*steps)
    answer, record = outcome_of(proxy, method="POST", body=b"x")
    assert answer.status == 502 and record["outcome"] in outcome, record
    assert len(task.requests) == 1, "a POST was sent twice"
    assert record["service"] == "web" and record["upstream"] == task.address


def test_47_in_the_middle_of_an_answer(interlock, backend):
    """No second answer behind the first half, no retry, and the next request is served."""
    proxy, tasks = two_tasks(interlock, backend)
    for task in tasks:
        task.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Pause(0.02), Reset())
    with proxy.connect() as connection:
        connection.request()
        assert connection.read_head().status == 200
        with pytest.raises((AssertionError, ConnectionResetError)):
            connection.read_exactly(10)
        assert bytes(connection.buffer) in (b"half", b"")
    assert sum(len(task.requests) for task in tasks) == 1


@pytest.mark.parametrize(
    "accept, kind",
    [
        (None, "text/"),
        (b"*/*", None),
        (b"text/html,application/xhtml+xml", "text/html"),
        (b"application/json", "application/json"),
        (b"text/plain", "text/plain"),
        (b"application/vnd.api+json", None),
    ],
)
def test_47_pages_for_people_and_programs(interlock, backend, accept, kind):
    proxy = interlock([service("web", [], hosts="web.test")])
    with proxy.connect() as connection:
        connection.send(message(b"GET / HTTP/1.1", *([b"Accept: " + accept] if accept else [])))
        answer = connection.read_response()
    assert answer.status == 503 and answer.header("retry-after").isdecimal()
    assert "no-store" in answer.header("cache-control")
    content = answer.header("content-type")
    assert kind is None or content.startswith(kind), content
    assert answer.header("x-request-id") in answer.text
    if content.startswith("application/json"):
        assert answer.json()["status"] == 503
    assert answer.header("date")


# 48: retries.


def test_48_connect_failures_are_retried_elsewhere_for_any_method(interlock, backend):
    proxy, (good, bad) = two_tasks(interlock, backend)
    bad.stop_listening()
    for number in range(10):
        with proxy.connect() as connection:
            connection.request("POST", f"/{number}", body=b"only once")
            assert connection.read_response().status == 200
    assert [each.target for each in good.requests] == [f"/{number}" for number in range(10)]
    assert {each.body for each in good.requests} == {b"only once"}
    # After a few failures in a row the task is left alone for a while.
    assert 1 <= proxy.metric("interlock_retries_total") <= 5


def test_48_a_post_is_not_replayed_once_bytes_left(interlock, backend):
    proxy, tasks = two_tasks(interlock, backend)
    for task in tasks:
        task.play(Reset())
    assert proxy.get(method="POST", body=b"pay 100").status == 502
    assert sum(len(task.requests) for task in tasks) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH", "BREW", "get"])
def test_48_only_idempotent_methods_are_replayed(interlock, backend, method):
    proxy, tasks = two_tasks(interlock, backend)
    for task in tasks:
        task.play(Close())
    assert proxy.get(method=method).status == 502
    assert sum(len(task.requests) for task in tasks) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_48_a_reused_connection_that_the_task_closed_is_retried(interlock, backend, method):
    """The classic race: the request is on its way when the task closes an idle connection."""
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    assert proxy.get("/warm").status == 200
    task.play(Close())
    body = b"x" * 100 if method == "PUT" else b""
    answer = proxy.get("/again", method=method, body=body)
    assert answer.status == 200
    assert [each.target for each in task.requests] == ["/warm", "/again", "/again"]
    assert task.requests[0].connection is task.requests[1].connection is not task.requests[2].connection
    assert task.requests[2].body == body and task.requests[2].method == method


def test_48_a_large_body_is_not_replayed(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    assert proxy.get("/warm").status == 200
    task.play(ReadExactly(200_000), Close())
    task.default = lambda request: response(200, b"twice")
    assert proxy.get("/big", method="PUT", body=b"x" * 200_000).status == 502
    assert [each.target for each in task.requests] == ["/warm", "/big"]


def test_48_a_chunked_body_is_replayed_whole_or_not_at_all(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")])
    assert proxy.get("/warm").status == 200
    task.play(Close())
    answer = proxy.get("/again", method="PUT", headers={"Transfer-Encoding": "chunked"}, body=chunked(b"he", b"llo"))
    bodies = [each.body for each in task.requests[1:]]
    assert (answer.status, bodies) in ((200, [b"hello", b"hello"]), (502, [b"hello"]))


def test_48_no_retry_once_an_answer_began(interlock, backend):
    proxy, tasks = two_tasks(interlock, backend)
    for task in tasks:
        task.play(Send(b"HTTP/1.1 200 OK\r\n"), Pause(0.02), Close())
    answer = proxy.get()
    assert answer.status == 502
    assert sum(len(task.requests) for task in tasks) == 1


def test_48_attempts_are_bounded(interlock, backend):
    tasks = [backend() for _ in range(6)]
    proxy = interlock([service("web", tasks, hosts="web.test", retries=2)], environment=JSON_LOG)
    for task in tasks:
        task.default = lambda request: [Close()]
    answer, record = outcome_of(proxy)
    assert answer.status == 502
    assert sum(len(task.requests) for task in tasks) <= 3 and record["attempts"] <= 3


def test_48_retries_zero(interlock, backend):
    proxy, (good, bad) = two_tasks(interlock, backend, retries=0)
    bad.stop_listening()
    statuses = [proxy.get().status for _ in range(10)]
    assert set(statuses) == {200, 502} and proxy.metric("interlock_retries_total") == 0, statuses
    assert len(good.requests) == statuses.count(200)


def test_48_a_lost_request_leaves_nothing_to_the_next(interlock, backend):
    """Answers of a task that was given up never reach the next client on any connection."""
    task, event = backend(), threading.Event()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_RESPONSE_TIMEOUT": "200ms"})
    task.default = lambda request: response(200, request.target.encode())
    task.play(Release(event), response(200, b"for the first client only"))
    assert proxy.get("/first").status == 504
    event.set()
    assert [proxy.get(f"/{number}").body for number in range(5)] == [b"/%d" % number for number in range(5)]


def test_48_many_clients_each_get_their_own_answer(interlock, backend):
    """Tasks that close, reset and answer at random beside each other: no answer ever reaches another client."""
    tasks = [backend() for _ in range(3)]

    def default(request):
        number = int(request.target[1:])
        if number % 13 == 0:
            return [Close()]
        if number % 17 == 0:
            return [Reset()]
        return [response(200, request.target.encode(), {"X-Number": number}), *([Close()] if number % 5 == 0 else [])]

    for task in tasks:
        task.default = default
    proxy = interlock([service("web", tasks, hosts="web.test")])
    wrong = []

    def client(start):
        with proxy.connect() as connection:
            for number in range(start, start + 100):
                connection.request(target=f"/{number}")
                answer = connection.read_response()
                fails = number % 13 == 0 or number % 17 == 0
                if answer.status != (502 if fails else 200) or not fails and answer.body != b"/%d" % number:
                    wrong.append((number, answer))

    threads = [threading.Thread(target=client, args=(1000 * index + 1,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
