"""What an operator sees: metrics that Prometheus accepts, a table as it is served, lines that say who, what and why."""

import json
import re
import shutil
import subprocess
import threading

import pytest

from harness import Close, Release, Send, response, service, wait_until
from rows import message

JSON_LOG = {"INTERLOCK_ACCESS_LOG": "json"}


def records(proxy, count):
    """The access log as soon as it has that many lines."""

    def written():
        lines = proxy.output.splitlines()
        return [json.loads(line) for line in lines] if len(lines) >= count else None

    found = wait_until(written, message=f"{count} lines of access log")
    assert len(found) == count, found
    return found


def busy_proxy(interlock, backend):
    """A proxy that has counted a little of everything."""
    task, failing = backend(), backend()
    proxy = interlock(
        [
            service("web", [task], hosts="web.test"),
            service('odd "name"\\ ü', [failing], hosts="odd.test"),
            service("bad", [1], hosts="b d"),
        ]
    )
    task.default = lambda request: response(int(request.target[1:]), b"x" * 100)
    for status in (200, 200, 301, 404, 503):
        assert proxy.get(f"/{status}", method="POST", body=b"y" * 50).status == status
    failing.default = lambda request: [Close()]
    assert proxy.get(host="odd.test").status == 502
    assert proxy.get(host="nobody.test").status == 503
    with proxy.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert connection.read_response().status == 400
    return proxy


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_accepts_the_metrics(interlock, backend):
    proxy = busy_proxy(interlock, backend)
    answer = proxy.admin("/metrics")
    assert answer.header("content-type").startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done


def test_what_is_counted(interlock, backend):
    proxy = busy_proxy(interlock, backend)
    metrics = proxy.metrics()
    names = {name.partition("{")[0] for name in metrics}
    by_code = {
        code: proxy.metric("interlock_requests_total", service="web", code=code)
        for code in ("2xx", "3xx", "4xx", "5xx")
    }
    assert by_code == {"2xx": 2, "3xx": 1, "4xx": 1, "5xx": 1}, sorted(metrics)
    assert proxy.metric("interlock_request_duration_seconds_count", service="web") == 5
    assert 0 < proxy.metric("interlock_request_duration_seconds_sum", service="web") < 5
    assert proxy.metric("interlock_request_duration_seconds_bucket", service="web", le="+Inf") == 5
    assert sum("build_info" in name for name in names) == 1
    assert any(name.startswith("interlock_upstream_failures_total") and value >= 1 for name, value in metrics.items())
    wanted = ("connections", "retries", "bytes", "table_version", "rejected")
    for word in wanted:
        assert any(word in name for name in names), f"nothing about {word}: {sorted(names)}"


def test_gauges_come_down_again(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = interlock([service("web", [task], hosts="web.test")])
    gauge = next(
        name for name in proxy.metrics() if re.match(r"interlock_(client_)?connections(_active|_open)?(\{|$)", name)
    )
    task.play(Release(event), response(200))
    with proxy.connect() as connection:
        connection.request()
        task.wait_for_requests(1)
        assert proxy.metrics()[gauge] == 1
        event.set()
        assert connection.read_response().status == 200
    wait_until(lambda: proxy.metrics()[gauge] == 0)


def test_a_removed_service_has_no_series(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test"), service("gone", [task], hosts="gone.test")])
    proxy.get(host="gone.test")
    wait_until(lambda: any('"gone"' in name for name in proxy.metrics()))
    proxy.write_services([service("web", [task], hosts="web.test")])
    proxy.wait_for_status(503, host="gone.test")
    wait_until(lambda: not any('"gone"' in name for name in proxy.metrics()), message="no series of a removed service")


def test_api_routes_shows_the_table_and_what_was_refused(interlock, backend):
    task = backend()
    proxy = interlock(
        [
            service("web", [task], hosts="web.test,*.web.test", context_root="/app"),
            service("broken", [task], hosts="web.test", context_root="nonsense"),
            service("typo", [task], hosts="typo.test", labels={"com.docker.lb.context_rot": "/x"}),
        ]
    )
    shown = json.dumps(proxy.api_routes())
    for wanted in ("web.test", "*.web.test", "/app", task.address, "broken", "nonsense", "context_rot", "context_root"):
        assert wanted in shown, f"{wanted} is not in {shown}"


def test_admin_knows_its_paths_and_methods(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test")])
    assert proxy.admin("/nothing").status == 404
    assert proxy.admin("/metrics", method="POST").status == 405
    assert proxy.admin("/healthz", method="HEAD").status == 200
    assert proxy.admin("/").status == 200
    # A page in a browser must not be able to read it by another name for this address.
    assert (
        proxy.admin("/api/routes", headers={"Origin": "http://evil.test"}).header("access-control-allow-origin") is None
    )


def test_a_line_for_a_request(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment=JSON_LOG)
    answer = proxy.get("/a?b=c", method="POST", body=b"12345", headers={"User-Agent": "test/1", "Referer": "http://r/"})
    (record,) = records(proxy, 1)
    assert (
        record
        | {
            "client": "127.0.0.1",
            "method": "POST",
            "host": "web.test",
            "target": "/a?b=c",
            "version": "HTTP/1.1",
            "status": 200,
            "outcome": "ok",
            "request_id": answer.header("x-request-id"),
            "service": "web",
            "upstream": task.address,
            "attempts": 1,
            "bytes_in": 5,
            "bytes_out": 2,
            "user_agent": "test/1",
            "referer": "http://r/",
            "scheme": "http",
        }
        == record
    )
    assert (
        0 <= record["connect_ms"] <= record["duration_ms"] < 5000 and 0 < record["upstream_ms"] <= record["duration_ms"]
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record["ts"])


@pytest.mark.parametrize(
    "target, host, status, outcome",
    [
        ("/", "nobody.test", 503, "unknown_host"),
        ("/x", "app.test", 404, "unknown_path"),
        ("/", "empty.test", 503, "no_task"),
        ("/x/../../y", "web.test", 400, None),
        ("/a#b", "web.test", 400, "bad_target"),
    ],
)
def test_a_line_for_what_the_proxy_answered_itself(interlock, backend, target, host, status, outcome):
    task = backend()
    proxy = interlock(
        [
            service("web", [task], hosts="web.test"),
            service("empty", [], hosts="empty.test"),
            service("app", [task], hosts="app.test", context_root="/app"),
        ],
        environment=JSON_LOG,
    )
    answer = proxy.get(target, host=host)
    (record,) = records(proxy, 1)
    assert (answer.status, record["status"]) == (status, status)
    assert record["outcome"] == outcome or outcome is None and "path" in record["outcome"]
    assert record["attempts"] == 0 and not record.get("upstream")
    assert record["request_id"] == answer.header("x-request-id")


def test_a_line_for_a_client_that_went_away(interlock, backend):
    task, event = backend(), threading.Event()
    proxy = interlock([service("web", [task], hosts="web.test")], environment=JSON_LOG)
    task.play(Release(event))
    with proxy.connect() as connection:
        connection.request()
        task.wait_for_requests(1)
        connection.reset()
    (record,) = records(proxy, 1)
    event.set()
    assert (record["status"], record["outcome"]) == (499, "client_closed")


def test_a_line_for_a_truncated_answer(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment=JSON_LOG)
    task.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Close())
    with proxy.connect() as connection:
        connection.request()
        with pytest.raises((AssertionError, ConnectionResetError)):
            connection.read_response()
    (record,) = records(proxy, 1)
    assert (record["status"], record["outcome"], record["bytes_out"]) == (200, "response_truncated", 4)


def test_a_line_in_common_log_format(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_ACCESS_LOG": "clf"})
    proxy.get("/a?b", headers={"User-Agent": "test/1"})
    line = wait_until(lambda: proxy.output)
    assert re.match(
        r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b HTTP/1\.1" 200 2 "-?" "test/1"',
        line,
    )


def test_a_trusted_request_id_is_in_the_line(interlock, backend):
    proxy = interlock(
        [service("web", [backend()], hosts="web.test")],
        environment={**JSON_LOG, "INTERLOCK_TRUSTED_PROXIES": "127.0.0.1/32"},
    )
    wanted = "0123456789abcdef0123456789abcdef"
    with proxy.connect() as connection:
        connection.send(
            message(b"GET / HTTP/1.1", b"X-Request-Id: " + wanted.encode(), b"X-Forwarded-For: 203.0.113.9")
        )
        assert connection.read_response().header("x-request-id") == wanted
    (record,) = records(proxy, 1)
    assert record["request_id"] == wanted


def test_every_log_line_is_json(interlock, backend):
    proxy = busy_proxy(interlock, backend)
    proxy.write_services(b"{")
    proxy.wait_for_log("services")
    proxy.stop()
    lines = proxy.log.splitlines()
    assert len(proxy.log_lines) == len(lines), [line for line in lines if not line.startswith("{")]
    assert all({"ts", "level", "msg"} <= set(line) for line in proxy.log_lines)
