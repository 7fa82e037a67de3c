"""The same services by a real haproxy that `interlock render haproxy` configured: the same answers as the proxy's."""

import base64
import hashlib
import pathlib
import random
import subprocess

import pytest

import extension_table as table
from harness import RawConnection, free_port, response, service
from harness.servers import program as path_of
from test_extension_nginx import (  # noqa: F401  (collected here too, with this file's target)
    test_a_cookie_keeps_its_task, test_a_header_keeps_its_task, test_all_tasks_are_used,
    test_both_kinds_of_certificates, test_client_certificates_are_demanded, test_entry_ports,
    test_handshakes_that_nobody_wants, test_old_tls_gets_nothing, test_passed_through, test_shares,
    test_the_client_certificate_is_told)

pytestmark = pytest.mark.plain


def configuration(directory):
    return str(pathlib.Path(directory) / "made" / "haproxy.cfg")


def verdict(directory):
    """What `haproxy -c` says; it must accept the configuration without a word of warning."""
    done = subprocess.run([path_of("haproxy"), "-c", "-f", configuration(directory)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr + done.stdout, done.stderr
    return done


def start_haproxy(directory, target):
    verdict(directory)
    command = [path_of("haproxy"), "-db", "-f", configuration(directory)]
    return table.program(command, target.http_port, f"{directory}/haproxy.log")


@pytest.fixture(scope="module")
def fleet():
    made = table.Fleet()
    yield made
    made.close()


@pytest.fixture(scope="module")
def haproxy(fleet, tmp_path_factory):
    directory = tmp_path_factory.mktemp("haproxy")
    ports = {"raw": free_port(), "named": free_port()}
    services, secrets = fleet.services(ports)
    target, target.said = table.render("haproxy", directory, services, secrets, tcp_ports=ports)
    with start_haproxy(directory, target):
        yield target
    assert "[ALERT]" not in (directory / "haproxy.log").read_text()


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_haproxy_answers_as_the_table_says(haproxy, fleet, row):
    if "haproxy" in row.unless:
        pytest.skip("the documents say how haproxy differs")
    table.check(haproxy, fleet, row)


# What a single request does not show; most of it is imported above.


@pytest.fixture
def target(haproxy):
    return haproxy


def test_websockets(target, fleet):
    """haproxy holds a task to the whole handshake of RFC 6455: its answer must prove that it read the key."""
    key = b"AAAAAAAAAAAAAAAAAAAAAA=="
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    fleet.backends["app-0"].play(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + proof + b"\r\n\r\nhello", table.echo_step)
    with RawConnection(target.http_port) as connection:
        connection.request(target="/app/ws", host="shop.test", headers=(
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key.decode()),
            ("Sec-WebSocket-Version", "13")))
        answer = connection.read_head()
        assert answer.status == 101 and answer.header("upgrade") == "websocket"
        assert connection.read_exactly(5) == b"hello"
        connection.send(b"\x81\x02hi")
        assert connection.read_exactly(4) == b"\x81\x02hi"


def test_a_dead_task_harms_nobody(tmp_path, backend):
    """Its share goes to the other; with both dead, the one that comes back is asked at once."""
    first, second = backend(), backend()
    # haproxy waits as long as for a connection, a second at most, before it tries the same task again.
    services = [service("web", [first, second], hosts="web.test", connect_timeout="100ms")]
    target, _ = table.render("haproxy", tmp_path, services, {})
    with start_haproxy(tmp_path, target):
        first.stop_listening()
        with RawConnection(target.http_port) as connection:
            for _ in range(20):
                connection.request()
                assert connection.read_response().status == 200
        second.close()
        with RawConnection(target.http_port) as connection:
            connection.request()
            assert connection.read_response().status == 502
        first.listen_again()
        with RawConnection(target.http_port) as connection:
            for _ in range(8):
                connection.request()
                assert connection.read_response().status == 200, "if all are out, all are tried"


def test_probes_take_a_task_out(tmp_path, backend):
    """Active health: a task that answers its probes badly gets nothing, though it would answer requests."""
    def live(status):
        return lambda request: response(status if request.target == "/live" else 200)

    good, bad = backend(default=live(204)), backend(default=live(500))
    services = [service("web", [good, bad], hosts="web.test", health_path="/live", health_interval="100ms",
                        health_rise=1, health_fall=1)]
    target, said = table.render("haproxy", tmp_path, services, {})
    assert ("warning", "web", "health_mode") in table.findings(said)
    with start_haproxy(tmp_path, target):
        table.wait_until(lambda: any(each.target == "/live" for each in bad.requests), 10, message="a probe")

        def is_out():
            count = len([each for each in bad.requests if each.target == "/"])
            with RawConnection(target.http_port) as connection:
                for _ in range(6):
                    connection.request()
                    assert connection.read_response().status == 200
            return len([each for each in bad.requests if each.target == "/"]) == count

        table.wait_until(is_out, 10, message="the bad task is out")
        probe = next(each for each in bad.requests if each.target == "/live")
        assert probe.header("host") == "web.test" and probe.header("user-agent") == "interlock"


def test_a_task_has_so_many_requests_at_once(tmp_path, backend):
    held = backend(default=lambda request: response(200, headers={"X-Seen": "1"}))
    services = [service("web", [held], hosts="web.test", max_connections=1, queue_timeout="200ms",
                        response_timeout="5s")]
    target, _ = table.render("haproxy", tmp_path, services, {})
    with start_haproxy(tmp_path, target):
        held.play(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        with RawConnection(target.http_port) as first, RawConnection(target.http_port) as second:
            first.request()
            first.read_head()
            second.request()
            answer = second.read_response()
            assert answer.status == 503 and answer.header("retry-after") == "1"


def test_labels_inject_nothing(tmp_path, backend):
    """What the mapping lets through; the rest is tried on snapshots made by hand."""
    task = backend()
    odd = "it's \\ \"$HOME\" #%[src] {x}"
    services = [
        service("web", [task], hosts="web.test"),
        service("odd name; 'x' \\ # $y", [task], hosts="odd.test", match_headers=f"X-Odd: {odd}",
                context_root="/it's;$(x)&'%22", health_path="/'\\\"?"),
        service("cookie", [task, task], hosts="cookie.test", sticky_session_cookie="a'b#$%"),
    ]
    target, said = table.render("haproxy", tmp_path, services, {})
    assert ("warning", "cookie", "sticky_session_cookie") in table.findings(said)
    with start_haproxy(tmp_path, target), RawConnection(target.http_port) as connection:
        connection.request(target="/it's;$(x)&'%22/y", host="odd.test", headers=(("X-Odd", odd),))
        assert connection.read_response().status == 200
        connection.request(target="/it's;$(x)&'%22/y", host="odd.test")
        assert connection.read_response().status == 404


def test_a_task_cannot_say_what_haproxy_says_of_itself(target, fleet):
    fleet.backends["web-0"].play(b"HTTP/1.1 503 Busy\r\nX-Interlock-Made: yes\r\nContent-Length: 0\r\n\r\n")
    with RawConnection(target.http_port) as connection:
        connection.request(host="shop.test")
        assert connection.read_response().status == 503


def test_a_wildcard_is_no_way_around_an_exact_name(tmp_path, backend):
    """haproxy prefers a certificate by its kind of key, also among lines of different hosts: none may ask for less."""
    open_task, staff_task = backend(), backend()
    secrets = {"clients.pem": table.authority().pem}
    services = [
        table.secured(secrets, "open", [open_task], table.certificate("*.shop.test"), hosts="*.shop.test"),
        table.secured(secrets, "staff", [staff_task], table.certificate("staff.shop.test", kind="rsa"),
                      hosts="staff.shop.test", ssl_client_ca="clients.pem"),
    ]
    target, _ = table.render("haproxy", tmp_path, services, secrets)
    ask = table.Row("staff", "staff.shop.test", tls=True)
    with start_haproxy(tmp_path, target):
        assert table.ask(target, table.Row("open", "a.shop.test", tls=True)).status == 200
        assert table.ask(target, table.Row("other", "staff.shop.test", sni="a.shop.test", tls=True)).status == 421
        with pytest.raises((OSError, AssertionError)):
            table.ask(target, ask)
        assert not staff_task.requests
        shown = table.Row("shown", "staff.shop.test", tls=True, certificate=True)
        assert table.ask(target, shown).status == 200 and len(staff_task.requests) == 1


def test_the_default_certificate(tmp_path, backend):
    """It is for hosts without one of their own, and never for one whose own is not there."""
    task = backend()
    secrets = {}
    services = [
        service("web", [task], hosts="web.test"),
        service("lost", [task], hosts="lost.test", ssl_cert="lost.pem"),
        table.secured(secrets, "own", [task], table.certificate("own.test"), hosts="own.test"),
    ]
    path = tmp_path / "everyone.pem"
    path.write_text(table.certificate("everyone.test").bundle)
    target, said = table.render("haproxy", tmp_path, services, secrets, settings={"INTERLOCK_DEFAULT_CERT": path})
    assert ("error", "lost", "ssl_cert") in table.findings(said)
    with start_haproxy(tmp_path, target):
        assert table.ask(target, table.Row("web", "web.test", tls=True)).status == 200
        assert table.ask(target, table.Row("own", "own.test", tls=True)).status == 200
        assert table.ask(target, table.Row("unknown", "nobody.test", tls=True)).status == 503
        count = len(task.requests)
        assert table.ask(target, table.Row("lost", "lost.test", tls=True)).status == 421
        assert len(task.requests) == count


def test_paths_and_hosts_are_read_alike(interlock, tmp_path, backend):
    """Seeded: odd paths and hosts, each by the proxy and by haproxy; status, location, task and target are the same."""
    tasks = {name: backend(default=lambda request, name=name: response(200, f"{name} {request.target}".encode()))
             for name in ("web", "app", "deep", "cut", "dots", "raw", "preview")}

    def named(name, **labels):
        return service(name, [tasks[name]], **labels)

    services = [
        named("web", hosts="a.test"), named("app", hosts="a.test,b.test", context_root="/app"),
        named("deep", hosts="a.test", context_root="/app/deep"),
        named("cut", hosts="a.test,b.test", context_root="/cut/off", context_root_rewrite=True),
        named("dots", hosts="b.test", context_root="/a.b/c"),
        named("raw", hosts="*.a.test,*.b.a.test", context_root="/w", path_policy="raw"),
        named("preview", hosts="a.test", match_headers="X-Preview: 1"),
    ]
    pieces = ["/", "/", "/", "app", "deep", "cut", "off", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "//", "%61pp",
              "w", "a.b", "c", ";", "..;", ".;x", "?", "?a=/../", "%", "%zz", "+", "/app", "/cut/off", "/app/deep",
              "%25"]
    hosts = ["a.test", "b.test", "A.TEST.", "q.a.test", "x.b.a.test", "a.test:80", "c.test", "test", ".a.test",
             "a.test..", "a.test:x", "[::1]"]
    target, _ = table.render("haproxy", tmp_path, services, {})
    proxy = interlock(services)
    draw = random.Random(20261129)

    def ask(port, method, path, host, headers):
        with RawConnection(port) as connection:
            connection.request(method, path, host, headers)
            answer = connection.read_response(method)
        return answer.status, answer.header("location"), answer.body if answer.status == 200 else b""

    with start_haproxy(tmp_path, target):
        for _ in range(600):
            request = (draw.choice(["GET", "POST", "HEAD"]),
                       "/" + "".join(draw.choice(pieces) for _ in range(draw.randint(0, 8))), draw.choice(hosts),
                       (("X-Preview", "1"),) if draw.random() < 0.2 else ())
            assert ask(proxy.port, *request) == ask(target.http_port, *request), request
