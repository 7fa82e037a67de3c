"""Controllers and proxies as processes of their own: what a proxy is told and what not, what it does without a
controller, and what it never does."""

import json
import pathlib
import signal
import time

import pytest

from harness import authority, certificate, context, run_binary, service, wait_until
from harness.feed import ask, clients, source, status, wait_until_current

pytestmark = pytest.mark.plain


def web(*tasks, host="web.test", name="web", **labels):
    return service(name, tasks, hosts=host, **labels)


def test_a_proxy_serves_what_a_controller_says(feed, backend):
    task = backend()
    its = feed()
    controller = its.controller([web(task)])
    proxy = its.proxy(controller)
    assert proxy.get().status == 200
    [client] = wait_until_current(controller, 1)
    assert client["role"] == "proxy" and client["table_version"] == proxy.api_routes()["version"]
    controller.write_services([web(task), web(task, host="second.test", name="second")])
    proxy.wait_for_status(200, host="second.test")
    controller.write_services([web(task, host="second.test", name="second")])
    proxy.wait_for_status(503)
    assert proxy.get(host="second.test").status == 200


def test_no_services_at_all_are_served_too(feed, backend):
    """An empty table that is true, not one that an error made."""
    its = feed()
    controller = its.controller([web(backend())])
    proxy = its.proxy(controller)
    assert proxy.get().status == 200
    controller.write_services([])
    answer = proxy.wait_for_status(503, headers={"Accept": "application/json"})
    assert "unknown_host" in answer.text


def test_a_broken_file_changes_nothing(feed, backend):
    its = feed()
    controller = its.controller([web(backend())])
    proxy = its.proxy(controller)
    controller.write_services(b'{"services": [')
    controller.wait_for_log("service left out")
    wait_until(lambda: proxy.api_routes()["diagnostics"], message="people who look at a proxy are told, too")
    assert proxy.get().status == 200


def test_each_group_sees_its_own(feed, backend):
    secrets = {"app.pem": certificate("app.test").bundle, "blue.pem": certificate("blue.test").bundle}
    its = feed(clusters=["blue", "empty"])
    controller = its.controller(
        [web(backend(), host="app.test", name="app", ssl_cert="app.pem"),
         web(backend(), host="blue.test", name="blue", ssl_cert="blue.pem", service_cluster="blue")], secrets=secrets)
    default = its.proxy(controller, https=True)
    blue = its.proxy(controller, cluster="blue", https=True)
    empty = its.proxy(controller, cluster="empty")
    assert [each["name"] for each in default.api_routes()["services"]] == ["app"]
    assert [each["name"] for each in blue.api_routes()["services"]] == ["blue"]
    assert empty.api_routes()["services"] == []
    assert default.get_tls(host="app.test").status == 200 and blue.get_tls(host="blue.test").status == 200
    for proxy, foreign in ((default, "blue"), (blue, "app")):
        names = {each["name"] for each in proxy.admin("/api/certificates").json()["certificates"]}
        assert f"{foreign}.pem" not in names
        snapshot = status(proxy, "/api/snapshot")
        assert f"{foreign}.test" not in json.dumps(snapshot)
    assert {(each["cluster"], each["current"]) for each in clients(controller)} \
        == {("", True), ("blue", True), ("empty", True)}
    shown = controller.admin("/api/routes?cluster=blue").json()
    assert [each["name"] for each in shown["services"]] == ["blue"]


def test_the_feeds_own_credentials_never_travel(feed, backend):
    """A label may name the controller's credential, or a copy of it under another name: neither is handed out."""
    its = feed()
    credential = its.credential("controller").read_text()
    controller = its.controller(
        [web(backend(), host="thief.test", name="thief", ssl_cert="feed-controller.pem"),
         web(backend(), host="copy.test", name="copy", ssl_cert="copy.pem"), web(backend())],
        secrets={"feed-controller.pem": credential, "copy.pem": credential},
        environment={"INTERLOCK_FEED_CREDENTIAL": "feed-controller.pem"})
    state = controller.directory / "state"
    state.mkdir()
    proxy = its.proxy(controller, https=True, environment={"INTERLOCK_STATE_DIR": str(state)})
    assert proxy.get().status == 200, "the others are served"
    problems = json.dumps(proxy.admin("/api/certificates").json()["problems"])
    assert "feed-controller.pem" in problems and "copy.pem" in problems
    key = "".join(credential.partition("BEGIN PRIVATE KEY-----")[2].split()[:2])
    # It is written a moment after it is served.
    wait_until((state / "last-good").exists)
    assert len(key) > 40 and key.encode() not in (state / "last-good").read_bytes()
    assert not proxy.admin("/api/certificates").json()["certificates"]


def test_certificates_come_by_the_feed_and_are_renewed_by_it(feed, backend):
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    its = feed()
    controller = its.controller([web(backend(), ssl_cert="web.pem")], secrets={"web.pem": old.bundle})
    proxy = its.proxy(controller, https=True)

    def serial():
        with proxy.connect_tls(tls=context(verify=False)) as connection:
            return connection.serial

    assert serial() == old.serial
    with proxy.connect_tls() as kept:
        controller.write_secret("web.pem", new.bundle)
        wait_until(lambda: serial() == new.serial)
        kept.request()
        assert kept.read_response().status == 200
    assert not list(proxy.secrets_path.iterdir()), "the proxy has no secret of its own"


def test_without_a_controller_a_proxy_starts_from_disk(feed, backend, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    made = certificate("web.test")
    its = feed()
    controller = its.controller([web(backend(), ssl_cert="web.pem")], secrets={"web.pem": made.bundle})
    settings = {"INTERLOCK_STATE_DIR": str(state)}
    proxy = its.proxy(controller, https=True, environment=settings)
    assert proxy.get_tls().status == 200
    kept = (state / "last-good").read_bytes()
    assert b"web.test" in kept and b"PRIVATE KEY" not in kept and b"BEGIN CERTIFICATE" not in kept
    assert (state / "last-good").stat().st_mode & 0o777 == 0o600
    controller.kill()
    assert proxy.get_tls().status == 200
    proxy.stop()
    again = its.proxy(controller, https=True, environment=settings)
    assert again.get_tls().status == 200
    assert source(again)["from_disk"] and not source(again)["connected"]
    # The controller comes back with something else.
    controller.write_services([web(backend(), host="other.test", ssl_cert="web.pem")])
    controller.start()
    again.wait_for_status(200, host="other.test")
    wait_until(lambda: not source(again)["from_disk"], message="what it serves is a controller's")


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "old"])
def test_what_is_damaged_on_disk_is_not_served(feed, backend, tmp_path, damage):
    state = tmp_path / "state"
    state.mkdir()
    its = feed()
    controller = its.controller([web(backend())])
    settings = {"INTERLOCK_STATE_DIR": str(state), "INTERLOCK_STATE_MAX_AGE": "1s" if damage == "old" else "1d"}
    proxy = its.proxy(controller, environment=settings)
    controller.kill()
    proxy.stop()
    file = state / "last-good"
    data = file.read_bytes()
    changed = data[:60] + bytes([data[60] ^ 1]) + data[61:]
    file.write_bytes({"cut": data[:-9], "changed": changed, "empty": b"", "old": data}[damage])
    if damage == "old":
        time.sleep(1.2)
    again = its.proxy(controller, environment=settings, wait=False)
    again.wait_for_log("last good")
    assert again.process.poll() is None
    wait_until(lambda: again.admin("/readyz").status == 503)
    controller.start()
    again.wait_ready()
    assert again.get().status == 200


def test_a_controller_that_is_killed_or_hangs_is_left(feed, backend):
    task = backend()
    its = feed()
    first, second = its.controller([web(task)]), its.controller([web(task)])
    proxy = its.proxy(first, second)
    followed = first if f":{first.feed_port}" in source(proxy)["controller"] else second
    other = second if followed is first else first
    followed.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        wait_until(lambda: source(proxy)["connected"] and f":{other.feed_port}" in source(proxy)["controller"], 10)
        print(f"followed another controller after {time.monotonic() - started:.2f} s")
        other.write_services([web(task, host="new.test")])
        proxy.wait_for_status(200, host="new.test")
    finally:
        followed.send_signal(signal.SIGCONT)
    followed.write_services([web(task, host="new.test")])
    other.kill()
    wait_until(lambda: source(proxy)["connected"] and f":{followed.feed_port}" in source(proxy)["controller"], 10)
    assert proxy.get(host="new.test").status == 200


def test_a_hanging_proxy_delays_nobody(feed, backend):
    task = backend()
    its = feed()
    controller = its.controller([web(task)])
    hanging, other = its.proxy(controller), its.proxy(controller)
    hanging.send_signal(signal.SIGSTOP)
    try:
        controller.write_services([web(task, host="new.test")])
        other.wait_for_status(200, host="new.test")
    finally:
        hanging.send_signal(signal.SIGCONT)
    hanging.wait_for_status(200, host="new.test", timeout=20)
    wait_until_current(controller, 2, timeout=20)


def test_a_foreign_credential_is_refused_on_both_sides(feed, backend):
    its, others = feed(), feed(name="others")
    controller = its.controller([web(backend())])
    stranger = its.proxy(controller, credential=others.credential("proxy"), wait=False)
    stranger.wait_for_log("feed: a controller cannot be followed")
    controller.wait_for_log("refused|not accepted|unknown ca|alert")
    assert source(stranger)["problem"] and not source(stranger)["connected"]
    assert stranger.admin("/readyz").status == 503 and clients(controller) == []


def test_roles_are_in_the_certificate(feed, backend):
    its = feed()
    controller = its.controller([web(backend())])
    for role, words in (("controller", "proxy"), ("extension", "proxy")):
        done = run_binary(words, environment={
            "INTERLOCK_FEED_CONNECT": f"127.0.0.1:{controller.feed_port}",
            "INTERLOCK_FEED_CREDENTIAL": str(its.credential(role)), "INTERLOCK_HTTP_LISTEN": "127.0.0.1:0",
            "INTERLOCK_ADMIN_LISTEN": "off"})
        assert done.returncode == 2 and "INTERLOCK_FEED_CREDENTIAL" in done.stderr and role in done.stderr, done.stderr
    done = run_binary("proxy", environment={"INTERLOCK_FEED_CREDENTIAL": str(its.credential("proxy"))})
    assert done.returncode == 2 and "INTERLOCK_FEED_CONNECT" in done.stderr
    done = run_binary("controller", environment={"INTERLOCK_DOCKER": "off"})
    assert done.returncode == 2 and "INTERLOCK_FEED_CREDENTIAL is not set" in done.stderr, done.stderr


def test_a_controller_tells_what_its_settings_name_in_vain(feed, backend, tmp_path):
    """Proxies never learn of it, so nobody else can."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "broken.pem").write_text("no certificate")
    its = feed()
    controller = its.controller([web(backend())], environment={
        "INTERLOCK_CERTS_DIR": str(certificates), "INTERLOCK_DEFAULT_CERT": "none.pem",
        "INTERLOCK_TICKET_KEY": str(tmp_path / "tickets"), "INTERLOCK_SECRETS_DIR": str(tmp_path)})
    its.proxy(controller)

    def problems():
        return {each["certificate"]: each["problem"] for each in status(controller, "/api/certificates")["problems"]}

    wait_until(lambda: problems() == {
        "none.pem": "missing", str(tmp_path / "tickets"): "ticket_key", f"{certificates}/broken.pem": "unusable"})
    wait_until(lambda: controller.log.count("secret not to be had") == 3)
    (certificates / "broken.pem").unlink()
    (tmp_path / "tickets").write_bytes(b"x" * 48)
    wait_until(lambda: problems() == {"none.pem": "missing"})


def test_the_stack_files_give_proxies_what_they_want():
    """What a proxy has to be allowed itself, beside its controller."""
    docker = pathlib.Path(__file__).parents[2] / "docker"
    for name in ("stack.yaml", "stack-host.yaml"):
        controller, proxy = (docker / name).read_text().split("\n  proxy:\n", 1)
        for part in (controller, proxy):
            assert "INTERLOCK_TCP_PORTS: ${INTERLOCK_TCP_PORTS:-}" in part, name


def test_start_order_is_free(feed, backend):
    its = feed()
    controller = its.controller([web(backend())])
    controller.kill()
    proxy = its.proxy(controller, wait=False)
    wait_until(lambda: proxy.admin("/readyz").status == 503)
    controller.start()
    proxy.wait_ready()
    assert proxy.get().status == 200


def test_history_rollback_and_resume(feed, backend, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    task, other = backend(), backend()
    its = feed()
    controller = its.controller([web(task)], environment={"INTERLOCK_STATE_DIR": str(state)})
    proxy = its.proxy(controller)
    [first] = status(controller, "/api/history")["configurations"]
    controller.write_services([web(task, host="moved.test")])
    proxy.wait_for_status(200, host="moved.test")
    newest = status(controller, "/api/history")["configurations"][0]
    assert newest["number"] > first["number"] and "web" in newest["cause"] and newest["difference"], newest
    assert ask(controller, "rollback", 999).returncode == 1
    done = ask(controller, "rollback", first["number"])
    assert done.returncode == 0, done.stderr
    proxy.wait_for_status(200, host="web.test")
    proxy.wait_for_status(503, host="moved.test")
    assert controller.metric("interlock_configuration_pinned") == 1
    # Endpoints stay live under the pin, and labels do not.
    controller.write_services([web(other, host="third.test")])
    wait_until(lambda: proxy.get(host="web.test").status == 200 and other.requests)
    assert proxy.get(host="third.test").status == 503
    # It survives the controller.
    controller.stop()
    controller.start()
    assert status(controller, "/api/history")["pin"]["number"] == first["number"]
    proxy.wait_for_status(200, host="web.test")
    done = ask(controller, "resume")
    assert done.returncode == 0, done.stderr
    proxy.wait_for_status(200, host="third.test")
    proxy.wait_for_status(503, host="web.test")
    assert controller.metric("interlock_configuration_pinned") == 0
    assert ask(proxy, "rollback", 1).returncode == 1, "a proxy has no history"


def test_an_all_in_one_starts_from_disk_when_docker_is_away(interlock, backend, engine, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    settings = {"INTERLOCK_DOCKER": "unix:///nowhere/docker.sock", "INTERLOCK_STATE_DIR": str(state)}
    proxy = interlock([web(backend())], environment=settings)
    assert proxy.get().status == 200
    wait_until(lambda: (state / "last-good").exists())


@pytest.mark.load
def test_ten_thousand_services(feed, backend):
    """Build, send and apply are measured; the figures are shown with -rP."""
    task = backend()
    services = [web(task, host=f"h{index}.test", name=f"s{index}") for index in range(10_000)]
    its = feed()
    controller = its.controller(services)
    proxy = its.proxy(controller, timeout=60)
    assert proxy.get(host="h9999.test").status == 200
    received = source(proxy)["received_bytes"]
    services[5000] = web(task, host="changed.test", name="s5000")
    started = time.monotonic()
    controller.write_services(services)
    proxy.wait_for_status(200, host="changed.test", timeout=30)
    took = time.monotonic() - started
    more = source(proxy)["received_bytes"] - received
    print(f"one change of 10,000 services: {took:.2f} s from the file to the answer, {more} of {received} bytes sent")
    assert more < received / 10
