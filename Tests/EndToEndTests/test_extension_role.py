"""`interlock extension` as a process that follows a controller: it has a credential and no Docker, gives each snapshot
to a command or to a real nginx or haproxy, and what worked stays in force when something does not."""

import json
import os
import signal
import socket
import subprocess

import pytest

from harness import certificate, free_port, get, service, wait_until
from harness.feed import clients, source, status
from harness.servers import program as path_of

pytestmark = pytest.mark.plain


def balancer(extension):
    """How the other load balancer does; without a problem there is none in it."""
    return {"problem": "", **extension.admin("/api/feed").json()["balancer"]}


def web(task, host="web.test", name="web", **labels):
    return service(name, [task], hosts=host, **labels)


def test_a_command_gets_each_snapshot(feed, backend, tmp_path):
    its, task = feed(), backend()
    controller = its.controller([web(task, ssl_cert="web.pem")], secrets={"web.pem": certificate("web.test").bundle})
    document = tmp_path / "snapshot.json"
    write = f"cat > {document}.new && mv {document}.new {document}"
    extension = its.extension(controller, words=["exec", "--", "sh", "-c", write])

    def hosts():
        return {route["host"] for route in json.loads(document.read_text())["routes"]}

    wait_until(lambda: hosts() == {"web.test"})
    told = json.loads(document.read_text())
    assert told["interlock_snapshot"] == 1 and told["services"][0]["name"] == "web"
    assert "PRIVATE KEY" not in document.read_text()
    controller.write_services([web(task, host="other.test")])
    wait_until(lambda: hosts() == {"other.test"})
    [client] = clients(controller)
    assert client["role"] == "extension" and client["current"]
    assert balancer(extension)["problem"] == "" and balancer(extension)["applied"] >= 2
    assert status(extension, "/api/snapshot")["routes"][0]["host"] == "other.test"


def test_a_command_that_fails_is_told_and_tried_again(feed, backend, tmp_path):
    its = feed()
    controller = its.controller([web(backend())])
    gate = tmp_path / "gate"
    program = f"cat > /dev/null; test -e {gate} || {{ echo closed >&2; exit 3; }}"
    extension = its.extension(controller, words=["exec", "--", "sh", "-c", program])
    wait_until(lambda: "closed" in balancer(extension)["problem"])
    assert extension.metric("interlock_extension_problem") == 1
    gate.touch()
    wait_until(lambda: not balancer(extension)["problem"], 20)
    assert extension.metric("interlock_extension_failures_total") >= 1


class Balancer:
    """nginx or haproxy in front of what an extension writes: started once there is a configuration."""

    def __init__(self, kind, extension, directory, port):
        self.kind, self.extension, self.directory, self.port = kind, extension, directory, port
        self.process = None

    def start(self):
        main = self.directory / ("nginx.conf" if self.kind == "nginx" else "haproxy.cfg")
        wait_until(main.exists, 20, message=f"{main} is written")
        if self.kind == "nginx":
            user = "user root; " if os.geteuid() == 0 else ""
            command = [path_of("nginx"), "-c", main, "-g", f"{user}daemon off; pid {self.directory}.pid;"]
        else:
            command = [path_of("haproxy"), "-W", "-db", "-f", main, "-p", f"{self.directory}.pid"]
        self.process = subprocess.Popen([str(each) for each in command], stdin=subprocess.DEVNULL)
        wait_until(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, 20)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


@pytest.fixture(params=["nginx", "haproxy"])
def balanced(request, feed, tmp_path):
    """balanced(services, **options of the controller) -> (controller, extension, balancer), all running."""
    running = []

    def make(services, **options):
        its = feed(name=f"feed{len(running)}")
        controller = its.controller(services, **options)
        directory, port, tls_port = tmp_path / f"made{len(running)}", free_port(), free_port()
        directory.mkdir()
        signal_number = "HUP" if request.param == "nginx" else "USR2"
        # Before the program runs there is nothing to reload.
        reload = f"sh -c 'test ! -e {directory}.pid || kill -{signal_number} $(cat {directory}.pid)'"
        extension = its.extension(controller, words=[request.param], environment={
            "INTERLOCK_EXTENSION_DIRECTORY": str(directory), "INTERLOCK_EXTENSION_RELOAD": reload,
            "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{port}", "INTERLOCK_HTTPS_LISTEN": f"127.0.0.1:{tls_port}"})
        made = Balancer(request.param, extension, directory, port)
        running.append(made)
        made.start()
        return controller, extension, made

    yield make
    for each in running:
        each.stop()


def ask(made, host="web.test", target="/"):
    return get(made.port, target, host=host)


def test_a_real_load_balancer_follows(balanced, backend):
    first, second = backend(), backend()
    controller, extension, made = balanced([web(first)])
    assert ask(made).status == 200 and first.requests
    controller.write_services([web(first), web(second, host="second.test", name="second", context_root="/app")])
    wait_until(lambda: ask(made, "second.test", "/app/x").status == 200, 20)
    assert ask(made, "second.test", "/other").status == 404
    assert balancer(extension)["problem"] == "" and made.kind == balancer(extension)["kind"]
    controller.write_services([web(second)])
    wait_until(lambda: ask(made, "second.test").status == 503, 20)
    count = len(second.requests)
    assert ask(made).status == 200 and len(second.requests) == count + 1


def test_hostile_labels_do_not_stop_it(balanced, backend):
    task = backend()
    controller, extension, made = balanced([web(task)])
    controller.write_services([
        web(task), web(task, host="x.test", name="x", context_root="/a;}'\"$(id)\n#"),
        web(task, host="y.test", name="y", sticky_session_cookie="a;b$c{}"), web(task, host="late.test", name="late")])
    wait_until(lambda: ask(made, "late.test").status == 200, 20)
    assert ask(made).status == 200 and balancer(extension)["problem"] == ""


def test_keys_only_if_the_controller_says_so(balanced, backend):
    made_out = certificate("web.test")
    services, secrets = [web(backend(), ssl_cert="web.pem")], {"web.pem": made_out.bundle}
    _, extension, made = balanced(services, secrets=secrets)
    held = b"".join(path.read_bytes() for path in made.directory.rglob("*") if path.is_file())
    assert b"PRIVATE KEY" not in held
    assert "web.pem" in extension.admin("/api/routes").text
    made.stop()
    made.process = None
    _, _, other = balanced(services, secrets=secrets, environment={"INTERLOCK_EXTENSION_KEYS": "true"})
    files = [path for path in other.directory.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert files and all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_without_a_controller_a_services_file_will_do(interlock, backend, tmp_path):
    directory, port = tmp_path / "made", free_port()
    directory.mkdir()
    interlock([web(backend())], role="extension", arguments=["nginx"], environment={
        "INTERLOCK_EXTENSION_DIRECTORY": str(directory), "INTERLOCK_EXTENSION_RELOAD": "off",
        "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{port}"})
    wait_until(lambda: "web.test" in "".join(path.read_text() for path in directory.rglob("*.conf")), 20)


def test_it_needs_its_own_credential(feed, backend):
    its = feed()
    controller = its.controller([web(backend())])
    extension = its.extension(
        controller, words=["exec", "--", "true"], wait=False,
        environment={"INTERLOCK_FEED_CREDENTIAL": str(its.credential("proxy"))})
    assert extension.wait() == 2 and "extension" in extension.log
    assert source(its.extension(controller, words=["exec", "--", "true"]))["connected"]
