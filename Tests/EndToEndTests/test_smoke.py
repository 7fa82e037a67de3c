"""The shortest way through everything: a services file, a request, an answer, a change, a stop."""

import signal

from harness import get, response, run_binary, service


def test_a_request_reaches_its_backend_and_comes_back(interlock, backend):
    web = backend(default=lambda request: response(200, b"hello", {"X-Backend": "web"}))
    proxy = interlock([service("web", [web], hosts="web.test")])
    answer = proxy.get("/a?b=c")
    assert (answer.status, answer.body, answer.header("x-backend")) == (200, b"hello", "web")
    assert web.last.line == "GET /a?b=c HTTP/1.1"
    assert web.last.header("host") == "web.test"
    assert web.last.header("x-forwarded-for") == "127.0.0.1"
    assert web.last.header("x-forwarded-proto") == "http"


def test_unknown_host_unknown_path_and_no_endpoint(interlock, backend):
    web = backend()
    proxy = interlock([
        service("web", [web], hosts="web.test", context_root="/app"),
        service("empty", [], hosts="empty.test"),
    ])
    assert proxy.get("/", host="nobody.test").status == 503
    assert proxy.get("/other").status == 404
    assert proxy.get("/app").status == 200
    answer = proxy.get("/", host="empty.test")
    assert answer.status == 503 and answer.header("retry-after")


def test_the_services_file_is_watched(interlock, backend):
    first = backend(default=lambda _: response(200, b"first"))
    second = backend(default=lambda _: response(200, b"second"))
    proxy = interlock([service("web", [first], hosts="web.test")])
    assert proxy.get().body == b"first"
    proxy.write_services([service("web", [second], hosts="web.test"), service("new", [first], hosts="new.test")])
    proxy.wait_for_status(200, host="new.test")
    assert proxy.get().body == b"second"


def test_admin_pages_answer(interlock, backend):
    web = backend()
    proxy = interlock([service("web", [web], hosts="web.test")])
    proxy.get()
    assert proxy.admin("/healthz").status == 200
    assert "web.test" in str(proxy.api_routes())
    assert any(name.startswith("interlock_") for name in proxy.metrics())


def test_sigterm_ends_it_with_status_zero(interlock, backend):
    proxy = interlock([service("web", [backend()], hosts="web.test")])
    assert proxy.stop(signal.SIGTERM) == 0


def test_help_and_version():
    shown = run_binary("--help")
    assert shown.returncode == 0 and "INTERLOCK_HTTP_LISTEN" in shown.stdout + shown.stderr
    assert run_binary("version").returncode == 0


def test_an_unknown_setting_is_named_with_its_nearest():
    shown = run_binary(environment={"INTERLOCK_HTTP_LISTN": ":1"})
    assert shown.returncode == 2
    assert "INTERLOCK_HTTP_LISTN" in shown.stderr and "INTERLOCK_HTTP_LISTEN" in shown.stderr


def test_two_proxies_do_not_share_a_port(interlock, backend):
    web = backend()
    proxy = interlock([service("web", [web], hosts="web.test")])
    second = interlock(
        [service("web", [web], hosts="web.test")], wait=False,
        environment={"INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{proxy.port}"})
    assert second.wait(10) == 2
    assert get(proxy.port).status == 200
