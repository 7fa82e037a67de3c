"""What lies on the operator's side of the wall: the admin acts as browsers would send them, the state directory as
others may leave it, and credentials that expire, break or are renewed under a running process.
"""

import os
import shutil
import signal
import socket
import time

import pytest

from harness import certificate, run_binary, service, wait_until
from harness.feed import ask, clients, source, status
from harness.feed_client import FeedSigner

pytestmark = pytest.mark.plain


def web(*tasks, host="web.test", name="web", **labels):
    return service(name, tasks, hosts=host, **labels)


# The acts.


def raw(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1])


def test_no_browser_acts(feed, backend, tmp_path):
    """What a page of some site can make a browser on this machine send; a name rebound to 127.0.0.1; other methods."""
    state = tmp_path / "state"
    state.mkdir()
    its, task = feed(), backend()
    controller = its.controller([web(task)], environment={
        "INTERLOCK_STATE_DIR": str(state), "INTERLOCK_ADMIN_OPEN": "true"})
    controller.write_services([web(task, host="other.test")])
    wait_until(lambda: len(status(controller, "/api/history")["configurations"]) == 2)
    first = status(controller, "/api/history")["configurations"][-1]["number"]

    def send(method="POST", path=f"/api/rollback/{first}", host="localhost", *lines, body=""):
        head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines])
        return raw(controller.admin_port, (head + "\r\n\r\n" + body).encode())

    path = f"/api/rollback/{first}"
    form = "Content-Type: application/x-www-form-urlencoded"
    for lines in (["Origin: https://evil.test"], ["Origin: null"], ["origin:http://localhost"],
                  ["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-origin"], ["Origin: http://127.0.0.1"],
                  ["Via: 1.1 x"], ["X-Forwarded-For: ::1"], ["Forwarded: for=::1"], ["Origin:"],
                  ["Origin: x", "Authorization: Bearer "]):
        assert send("POST", path, "localhost", *lines, "Content-Length: 0") in (401, 403), lines
    for host in ("evil.test", "localhost.evil.test", f"evil.test:{controller.admin_port}", "127.0.0.1.nip.io",
                 "[::1].evil.test", "0x7f.1"):
        assert send("POST", path, host, "Content-Length: 0") in (400, 401, 403), host
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post"):
        assert send(method, path) in (400, 405, 501), method
        assert send(method, "/api/resume") in (400, 405, 501), method
    assert send("POST", path, "localhost", "Transfer-Encoding: chunked", body="0\r\n\r\n") == 413
    assert send("POST", path, "localhost", form, "Content-Length: 3", body="a=b") == 413
    for odd in ("/api/rollback/+1", "/api/rollback/01", "/api/rollback/-1", "/api/rollback/1/", "/api/rollback/",
                "/api/rollback/99999999999999999999", "/api/rollback/%31", "//api/resume", "/api/./resume",
                "/api/resume/"):
        assert send("POST", odd, "localhost", "Content-Length: 0") in (400, 404), odd
    assert status(controller, "/api/history")["pin"] is None
    assert send("POST", path, "127.0.0.1", "Content-Length: 0") == 200
    assert status(controller, "/api/history")["pin"]["number"] == first


@pytest.mark.parametrize(
    "path", ["api/feed", "", "/ HTTP/1.1", "/x\r\nX: y", "/\t", "/é", "/a b", "http://evil.test/"])
def test_status_takes_paths_only(feed, backend, path):
    controller = feed().controller([web(backend())])
    done = ask(controller, "status", path)
    assert done.returncode == 2 and "is no path" in done.stderr, done
    assert "\n" not in done.stderr.strip()


def test_status_of_what_is_not_there(feed, backend):
    controller = feed().controller([web(backend())])
    assert ask(controller, "status", "/nowhere").returncode == 1
    assert ask(controller, "status", "/../../etc/passwd").returncode == 1
    assert ask(controller, "status", "/api/snapshot?cluster=none").returncode == 1
    controller.kill()
    done = ask(controller, "status")
    assert done.returncode == 1 and "INTERLOCK_ADMIN_LISTEN" in done.stderr


# The state directory.


def spoil(path, how, spare):
    """Puts something else in the place of a file."""
    data = path.read_bytes() if path.exists() else b""
    if path.exists():
        path.unlink()
    if how == "symlink":
        spare.write_bytes(data)
        path.symlink_to(spare)
    elif how == "dangling":
        path.symlink_to(spare / "nowhere")
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how == "writable":
        path.write_bytes(data)
        path.chmod(0o666)
    elif how == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
        path.chmod(0o600)
    elif how == "foreign":
        path.write_bytes(data)
        path.chmod(0o600)
        os.chown(path, 12345, 12345)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


WAYS = ["symlink", "dangling", "fifo", "directory", "writable", "huge", "foreign", "socket"]


@pytest.mark.parametrize("how", WAYS)
def test_a_last_good_that_others_may_have_made_is_not_served(feed, backend, tmp_path, how):
    state = tmp_path / "state"
    state.mkdir()
    its = feed()
    controller = its.controller([web(backend())])
    settings = {"INTERLOCK_STATE_DIR": str(state)}
    proxy = its.proxy(controller, environment=settings)
    wait_until((state / "last-good").exists)
    controller.kill()
    proxy.stop()
    if how == "foreign" and os.geteuid() != 0:
        pytest.skip("needs root")
    spoil(state / "last-good", how, tmp_path / "spare")
    again = its.proxy(controller, environment=settings, wait=False)
    wait_until(lambda: again.admin("/readyz").status == 503)
    again.wait_for_log("last good snapshot on disk cannot be used" if how != "missing" else "started")
    assert again.get(host="web.test").status == 503
    controller.start()
    again.wait_ready()
    assert again.get().status == 200
    assert again.stop() == 0
    if how != "directory":
        assert (state / "last-good").is_file() and not (state / "last-good").is_symlink()
        assert (state / "last-good").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["history", "pin"])
def test_what_others_leave_as_a_controllers_file_stops_nothing(feed, backend, tmp_path, name, how):
    state = tmp_path / "state"
    state.mkdir()
    its, task = feed(), backend()
    settings = {"INTERLOCK_STATE_DIR": str(state)}
    if how == "foreign" and os.geteuid() != 0:
        pytest.skip("needs root")
    spoil(state / name, how, tmp_path / "spare")
    controller = its.controller([web(task)], environment=settings)
    proxy = its.proxy(controller)
    assert proxy.get().status == 200
    assert controller.has_grown_by_less_than(256 << 20)
    assert controller.stop() == 0


def test_the_state_directory_goes_away_under_way(feed, backend, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    its, task = feed(), backend()
    controller = its.controller([web(task)])
    proxy = its.proxy(controller, environment={"INTERLOCK_STATE_DIR": str(state)})
    wait_until((state / "last-good").exists)
    shutil.rmtree(state)
    controller.write_services([web(task, host="new.test")])
    proxy.wait_for_status(200, host="new.test")
    proxy.wait_for_log("last good snapshot cannot be saved")
    state.mkdir()
    controller.write_services([web(task, host="newer.test")])
    proxy.wait_for_status(200, host="newer.test")
    wait_until((state / "last-good").exists)


# Credentials.


def test_an_expired_credential_serves_what_is_on_disk(feed, backend, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    its = feed()
    path = tmp_path / "credential.pem"
    signer = FeedSigner(its.credential("ca"))
    controller = its.controller([web(backend())])
    settings = {"INTERLOCK_STATE_DIR": str(state)}
    proxy = its.proxy(controller, environment=settings)
    wait_until((state / "last-good").exists)
    proxy.stop()
    signer.credential(path, days=(-9, -1))
    again = its.proxy(controller, credential=path, environment=settings)
    assert again.get().status == 200 and source(again)["from_disk"]
    again.wait_for_log("the feed credential has expired")
    controller.wait_for_log("expired; make a new one")
    again.wait_for_log("refused this credential: certificate expired")
    # Renewed in its place: no restart, no signal.
    signer.credential(path)
    wait_until(lambda: source(again)["connected"], 15)
    again.stop()


@pytest.mark.parametrize("signals", [True, False], ids=["hup", "unasked"])
def test_a_credential_is_replaced_under_a_running_process(feed, backend, tmp_path, signals):
    """By garbage, by another role's, by a pipe: the one before stays. By a renewed one: it is used."""
    its = feed()
    files = {role: tmp_path / f"{role}.pem" for role in ("controller", "proxy")}
    for role, path in files.items():
        path.write_bytes(its.credential(role).read_bytes())
    controller = its.controller([web(backend())], environment={"INTERLOCK_FEED_CREDENTIAL": str(files["controller"])})
    proxy = its.proxy(controller, credential=files["proxy"])

    def replace(role, content):
        draft = tmp_path / "draft"
        draft.write_bytes(content)
        os.replace(draft, files[role])
        if signals:
            {"controller": controller, "proxy": proxy}[role].send_signal(signal.SIGHUP)

    for role, running in (("controller", controller), ("proxy", proxy)):
        for content in (b"", b"garbage\x00\xff", its.credential("extension").read_bytes()):
            replace(role, content)
            running.wait_for_log("feed credential cannot be read again")
    time.sleep(0.5)
    assert proxy.get().status == 200 and source(proxy)["connected"]
    assert run_binary("feed-init", "--directory", str(its.directory), "--renew").returncode == 0
    for role, running in (("controller", controller), ("proxy", proxy)):
        replace(role, its.credential(role).read_bytes())
        running.wait_for_log("the feed credential was renewed", timeout=15)
    assert source(proxy)["connected"] and proxy.get().status == 200
    late = its.proxy(controller)
    assert late.get().status == 200 and len(clients(controller)) == 2


def test_a_pipe_in_the_place_of_a_credential_stops_nothing(feed, backend, tmp_path):
    its, task = feed(), backend()
    path = tmp_path / "proxy.pem"
    path.write_bytes(its.credential("proxy").read_bytes())
    controller = its.controller([web(task)])
    proxy = its.proxy(controller, credential=path)
    path.unlink()
    os.mkfifo(path)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log("feed credential cannot be read again")
    path.unlink()
    path.write_bytes(its.credential("proxy").read_bytes())
    assert proxy.get().status == 200
    assert proxy.stop(timeout=10) == 0


def test_certificates_on_disk_survive_a_renewed_credential(feed, backend, tmp_path):
    """They are sealed with the credential's key: with the new one once it is there, not with the one of the start."""
    state = tmp_path / "state"
    state.mkdir()
    its = feed()
    path = tmp_path / "proxy.pem"
    path.write_bytes(its.credential("proxy").read_bytes())
    secrets = {"web.pem": certificate("web.test").bundle}
    controller = its.controller([web(backend(), ssl_cert="web.pem")], secrets=secrets)
    settings = {"INTERLOCK_STATE_DIR": str(state)}
    proxy = its.proxy(controller, credential=path, https=True, environment=settings)
    assert proxy.get_tls().status == 200
    wait_until((state / "last-good").exists)
    assert run_binary("feed-init", "--directory", str(its.directory), "--renew").returncode == 0
    path.write_bytes(its.credential("proxy").read_bytes())
    before = (state / "last-good").read_bytes()
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log("the feed credential was renewed")
    wait_until(lambda: (state / "last-good").read_bytes() != before)
    controller.kill()
    proxy.kill()
    again = its.proxy(controller, credential=path, https=True, environment=settings)
    assert again.get_tls().status == 200 and source(again)["from_disk"]
