"""The same services by the proxy and by a real nginx that `interlock render nginx` configured: the same answers."""

import base64
import collections
import os
import pathlib
import socket
import ssl

import pytest

import extension_table as table
from harness import RawConnection, TLSConnection, certificate, context, free_port, service
from harness.servers import program as path_of


@pytest.fixture(scope="module")
def fleet():
    made = table.Fleet()
    yield made
    made.close()


def start_nginx(directory, target):
    """nginx in the foreground; as root, since its parts meet at sockets in the test's own directory."""
    made = pathlib.Path(directory) / "made"
    user = "user root; " if os.geteuid() == 0 else ""
    command = [path_of("nginx"), "-c", str(made / "nginx.conf"), "-g",
               f"{user}daemon off; pid {directory}/nginx.pid; error_log stderr notice;"]
    return table.program(command, target.http_port, f"{directory}/nginx.log")


@pytest.fixture(scope="module")
def nginx(fleet, tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    ports = {"raw": free_port(), "named": free_port()}
    services, secrets = fleet.services(ports)
    target, target.said = table.render("nginx", directory, services, secrets, tcp_ports=ports)
    with start_nginx(directory, target):
        yield target
    log = (directory / "nginx.log").read_text()
    assert "[alert]" not in log and "[emerg]" not in log, log


@pytest.fixture
def proxy(fleet, interlock):
    ports = {"raw": free_port(), "named": free_port()}
    services, secrets = fleet.services(ports)
    running = interlock(services, https=True, secrets=secrets, environment={
        "INTERLOCK_TCP_PORTS": ",".join(map(str, ports.values())),
        "INTERLOCK_HTTPS_PUBLIC_PORT": table.PUBLIC_HTTPS_PORT})
    return table.Target("interlock", running.port, running.https_port, ports)


pytestmark = pytest.mark.plain


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_nginx_answers_as_the_table_says(nginx, fleet, row):
    if "nginx" in row.unless:
        pytest.skip("the documents say how nginx differs")
    table.check(nginx, fleet, row)


def test_the_proxy_answers_as_the_table_says(proxy, fleet):
    """All rows by one process: what is special is the other program."""
    wrong = {}
    for row in table.ROWS:
        if "interlock" in row.unless:
            continue
        try:
            table.check(proxy, fleet, row)
        except AssertionError as error:
            wrong[row.name] = str(error)
    assert not wrong, wrong


# What a single request does not show; each by both.


@pytest.fixture(params=["interlock", "nginx"])
def target(request):
    return request.getfixturevalue("proxy" if request.param == "interlock" else "nginx")


def test_shares(target):
    counts = collections.Counter(each.partition("-")[0] for each in table.answers(target, "weights.test", 200))
    # nginx has a turn for each of its workers, of which each connection meets one.
    assert abs(counts["blue"] - 120) <= 6, counts


@pytest.mark.parametrize("host", ["least.test", "random.test"])
def test_all_tasks_are_used(target, host):
    assert len(set(table.answers(target, host, 60))) == 2


def test_a_cookie_keeps_its_task(target):
    def cookie(index):
        return (("Cookie", f"SESS-ID=x; other-sess-id=y{index}; sess-id=user{index % 20} ; z=1"),)

    found = table.answers(target, "sticky.test", 60, cookie)
    assert found[:20] == found[20:40] == found[40:] and len(set(found)) > 1
    assert len(set(table.answers(target, "sticky.test", 60))) == 3, "without the cookie all tasks are used"


def test_a_header_keeps_its_task(target):
    found = table.answers(target, "hashed.test", 40, lambda index: (("X-Key", f"key{index % 20}"),))
    assert found[:20] == found[20:] and len(set(found)) > 1
    assert len(set(table.answers(target, "hashed.test", 60))) == 3


def test_handshakes_that_nobody_wants(target):
    assert table.refused(target, "nobody.test") == "unrecognized_name"
    # A host without a certificate is never shown another's.
    assert table.refused(target, "weights.test") == "unrecognized_name"
    assert table.refused(target, None) in ("unrecognized_name", "missing_extension")


def test_client_certificates_are_demanded(target, fleet):
    before = len(fleet.requests_of("client"))
    foreign = certificate("stranger")
    for shown in (None, foreign):
        try:
            with TLSConnection(target.https_port, "client.test", tls=context(certificate=shown)) as connection:
                connection.request(host="client.test")
                assert connection.read_response().status in (400, 403, 495, 496)
        except (ssl.SSLError, ConnectionError, AssertionError) as error:
            assert "status" not in str(error)
    assert len(fleet.requests_of("client")) == before


def test_the_client_certificate_is_told(target, fleet):
    row = next(each for each in table.ROWS if each.name == "client-certificate")
    table.check(target, fleet, row)
    told = fleet.requests_of("client")[-1].header("client-cert")
    assert told == f":{base64.b64encode(certificate('client', usage='clientAuth').der).decode()}:"


def test_old_tls_gets_nothing(target, fleet):
    before = len(fleet.requests_of("modern"))
    old = context(maximum=ssl.TLSVersion.TLSv1_2)
    try:
        with TLSConnection(target.https_port, "modern.test", tls=old) as connection:
            connection.request(host="modern.test")
            assert connection.read_response().status == 421
    except (ssl.SSLError, ConnectionError):
        pass
    assert len(fleet.requests_of("modern")) == before


def test_both_kinds_of_certificates(target):
    for kind, ciphers in (("rsa", "ECDHE-RSA-AES128-GCM-SHA256"), ("p256", "ECDHE-ECDSA-AES128-GCM-SHA256")):
        made = context(ciphers=ciphers, maximum=ssl.TLSVersion.TLSv1_2)
        with TLSConnection(target.https_port, "two.test", tls=made) as connection:
            expected = certificate("two.test", kind="rsa") if kind == "rsa" else certificate("two.test")
            assert connection.certificate == expected.der


def ask_tls(port, name, host=None):
    with TLSConnection(port, name) as connection:
        connection.request(host=host or name)
        return connection.read_response().body.decode()


def test_passed_through(target, fleet):
    assert ask_tls(target.https_port, "pass.test") == "pass.test"
    assert ask_tls(target.https_port, "any.pass.test") == "any.pass.test"
    assert ask_tls(target.https_port, "announced.test") == "announced.test"
    head = fleet.announced.headers[-1].split()
    assert head[:3] == [b"PROXY", b"TCP4", b"127.0.0.1"] and int(head[4]) > 0


def test_entry_ports(target):
    with socket.create_connection(("127.0.0.1", target.tcp_ports["raw"]), 10) as stream:
        stream.settimeout(10)
        assert stream.recv(3, socket.MSG_WAITALL) == b"raw"
        stream.sendall(b"there and back")
        assert stream.recv(14, socket.MSG_WAITALL) == b"there and back"
    plain = socket.create_connection(("127.0.0.1", target.tcp_ports["named"]), 10)
    with context().wrap_socket(plain, server_hostname="mqtt.test") as stream:
        assert stream.recv(5) == b"named"
        stream.sendall(b"echo")
        assert stream.recv(4) == b"echo"
    assert ask_tls(target.tcp_ports["named"], "pass.test") == "pass.test"
    assert table.refusal(target.tcp_ports["named"], "nobody.test", context(verify=False)) == "unrecognized_name"


def test_websockets(target, fleet):
    task = fleet.backends["app-0"]
    task.play(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
              table.echo_step)
    with RawConnection(target.http_port) as connection:
        connection.request(target="/app/ws", host="shop.test", headers=(
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Version", "13")))
        answer = connection.read_head()
        assert answer.status == 101 and answer.header("upgrade") == "websocket"
        assert connection.read_exactly(5) == b"hello"
        connection.send(b"\x81\x02hi")
        assert connection.read_exactly(4) == b"\x81\x02hi"
    assert task.last.header("upgrade") == "websocket" and task.last.header("connection").lower() == "upgrade"


def test_a_dead_task_harms_nobody(fleet, tmp_path, backend):
    """Passive health: its share goes to the other; with both dead, the one that comes back is asked again."""
    first, second = backend(), backend()
    target, _ = table.render("nginx", tmp_path, [service("web", [first, second], hosts="web.test")], {})
    with start_nginx(tmp_path, target):
        first.stop_listening()
        with RawConnection(target.http_port) as connection:
            for _ in range(20):
                connection.request()
                assert connection.read_response().status == 200
        second.close()
        with RawConnection(target.http_port) as connection:
            for _ in range(8):
                connection.request()
                assert connection.read_response().status == 502
        first.listen_again()
        with RawConnection(target.http_port) as connection:
            for _ in range(8):
                connection.request()
                assert connection.read_response().status == 200, "the last one is never out"


def test_hostile_labels_are_only_texts(tmp_path, backend):
    """What labels may say at its worst: nginx accepts the file, and each value is only itself."""
    task, evil = backend(), free_port()
    inject = f'x";}}server{{listen 127.0.0.1:{evil};return 200;}}#'
    value = "'\"\\${host};{}$(id)`~^|*"
    services = [
        service("header", [task], hosts="a.test", match_headers=f"X-A: {inject}".replace(";", "")),
        service("value", [task], hosts="b.test", match_headers=f"X-B: {value.replace(';', '')}"),
        service("path", [task], hosts="c.test", context_root="/'$host|(a)[b]{2}^~*+\"", context_root_rewrite=True),
        service("cookie", [task], hosts="d.test", sticky_session_cookie="$a|b^c.d*e"),
        service("redirect", [task], hosts="e.test", redirects="e.test,https://e.test/$host$request_uri'x"),
        service("hash", [task], hosts="f.test", lb="hash:header:x.$%y"),
        service("methods", [task], hosts="g.test", match_methods="$A|.*"),
        service(inject, [task], hosts="h.test"), service("default", [task], hosts="default"),
        service("include", [task], hosts="include,hostnames,volatile"),
        service("good", [task], hosts="good.test"),
    ]
    secrets = {}
    services.append(table.secured(secrets, "tls", [task], certificate("default"), hosts="default"))
    target, said = table.render("nginx", tmp_path, services, secrets)
    with start_nginx(tmp_path, target):
        def status(host, path="/", headers=()):
            with RawConnection(target.http_port) as connection:
                connection.request(host=host, target=path, headers=headers)
                return connection.read_response().status

        assert status("good.test") == status("h.test") == status("default") == status("include") == 200
        assert status("b.test", headers=(("X-B", value.replace(";", "")),)) == 200, said
        assert status("b.test", headers=(("X-B", "x"),)) == 404
        assert status("d.test", headers=(("Cookie", "$a|b^c.d*e=1"),)) == 200
        path = "/'$host|(a)[b]{2}^~*+\""
        assert status("c.test", path + "/z") == 200 and task.last.target == "/z"
        assert task.last.header("x-forwarded-prefix") == path
        assert status("g.test") == 404
        with RawConnection(target.http_port) as connection:
            connection.request(host="e.test", target="/y")
            answer = connection.read_response()
            # The mapping may refuse such a target; if it does not, it is kept to the letter.
            assert answer.status in (200, 302)
            if answer.status == 302:
                assert answer.header("location") == "https://e.test/$host$request_uri'x/y"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", evil), 1)


def test_what_cannot_be_done_is_told(tmp_path, backend):
    task = backend()
    services = [
        service("probed", [task], hosts="a.test", health_path="/up", slow_start="5s", hold="5s", max_connections=3),
        service("announced", [task], hosts="b.test", proxy_protocol="v1"),
        service("spoofed", [task], hosts="c.test", match_headers="X-Forwarded-For: 1.2.3.4"),
        service("mixed-a", [task], hosts="d.test", response_timeout="5s"),
        service("mixed-b", [backend()], hosts="d.test", response_timeout="6s"),
        service("mixed-c", [backend()], hosts="d.test", ssl_backend=True),
    ]
    target, said = table.render("nginx", tmp_path, services, {})
    assert table.findings(said) >= {
        ("warning", "probed", "health_mode"), ("warning", "probed", "slow_start"), ("warning", "probed", "hold"),
        ("warning", "probed", "max_connections"), ("error", "announced", "proxy_protocol"),
        ("error", "spoofed", "match_headers"), ("warning", "mixed-b", "response_timeout"),
        ("error", "mixed-c", "ssl_backend")}, said
    with start_nginx(tmp_path, target):
        with RawConnection(target.http_port) as connection:
            for host, status in (("a.test", 200), ("b.test", 503), ("c.test", 404), ("d.test", 200)):
                connection.request(host=host, headers=(("X-Forwarded-For", "1.2.3.4"),))
                assert connection.read_response().status == status, host


def test_a_default_certificate_and_a_default_backend(tmp_path, backend):
    default, named = backend(), backend()
    secrets = {"everyone.pem": certificate("everyone.test").bundle}
    services = [service("rest", [default], default_backend=True),
                table.secured(secrets, "named", [named], certificate("named.test"), hosts="named.test")]
    target, _ = table.render("nginx", tmp_path, services, secrets, settings={"INTERLOCK_DEFAULT_CERT": "everyone.pem"})
    with start_nginx(tmp_path, target):
        trusting = context(verify=False)
        for host, task in (("any.test", default), ("named.test", named)):
            count = len(task.requests)
            with TLSConnection(target.https_port, host, tls=trusting) as connection:
                connection.request(host=host)
                assert connection.read_response().status == 200 and len(task.requests) == count + 1
        with TLSConnection(target.https_port, "any.test", tls=trusting) as connection:
            assert connection.certificate == certificate("everyone.test").der
        with RawConnection(target.http_port) as connection:
            connection.request(host="whatever.test")
            assert connection.read_response().status == 200
