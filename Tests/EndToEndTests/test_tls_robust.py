"""TLS under pressure: idle connections that cost little, floods of half handshakes, and keys that stay inside."""

import contextlib
import os
import resource
import socket
import ssl
import struct
import threading
import time

import pytest

from harness import (Authority, RawConnection, authority, certificate, context, refusal,
                     run_binary, secured, service, wait_until)
from harness.hello import hello_record, read_answer, server_name

HELLO = hello_record(server_name(b"web.test"))


def start(interlock, backend, environment=None, **options):
    secrets = {}
    services = [secured(secrets, "web", [backend()], certificate("web.test"), hosts="web.test")]
    return interlock(services, secrets=secrets, https=True, environment=environment, **options)


def cpu_seconds(proxy):
    fields = open(f"/proc/{proxy.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.load
def test_idle_connections_cost_little(interlock, backend):
    """What TLS costs a connection that waits: the session and the keys, and no buffer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count, tls = 1000, context()
    proxy = start(interlock, backend)
    with contextlib.ExitStack() as stack:
        def open_one():
            connection = stack.enter_context(contextlib.closing(proxy.connect_tls(tls=tls)))
            connection.request()
            assert connection.read_response().status == 200
            return connection

        for _ in range(20):
            open_one()
        before = proxy.resident_size()
        connections = [open_one() for _ in range(count)]
        grown = proxy.resident_size() - before
        print(f"{grown / count:.0f} bytes for an idle TLS connection")
        assert grown < count * 24_000, f"{grown / count:.0f} bytes for an idle TLS connection"
        for connection in connections[::50]:
            connection.request()
            assert connection.read_response().status == 200
        for connection in connections:
            connection.reset()
    wait_until(lambda: proxy.metric("interlock_client_connections") in (0, None))


@pytest.mark.load
def test_a_flood_of_half_handshakes(interlock, backend):
    """Two thousand clients send a hello, get the server's flight, and say no more. Others are served all the while."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    proxy = start(interlock, backend, {"INTERLOCK_TLS_HANDSHAKE_TIMEOUT": "3s", "INTERLOCK_MAX_HANDSHAKES": "500"})
    proxy.get_tls()
    before, descriptors = proxy.resident_size(), proxy.descriptors()
    kept = proxy.connect_tls()
    slowest, stop, counts, wrong = [0.0], threading.Event(), [0, 0], []

    def traffic():
        try:
            while not stop.is_set():
                began = time.monotonic()
                kept.request()
                assert kept.read_response().status == 200
                assert proxy.get().status == 200
                slowest[0] = max(slowest[0], time.monotonic() - began)
                counts[0] += 1
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(repr(error))

    beside = threading.Thread(target=traffic)
    beside.start()
    held = []
    try:
        for number in range(2000):
            connection = socket.create_connection(("127.0.0.1", proxy.https_port), 10)
            connection.sendall(HELLO if number % 4 else HELLO[:40])
            held.append(connection)
        grown = proxy.resident_size() - before
        assert grown < 100 << 20, f"{grown >> 20} MiB for 2,000 half handshakes"
        # New TLS clients find a place, at once or when the deadline has made some.
        wait_until(lambda: proxy.get_tls(timeout=5).status == 200, timeout=20)
        counts[1] = 1
    finally:
        stop.set()
        beside.join(20)
        for connection in held:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    assert not wrong, wrong
    assert counts[0] > 20 and counts[1] and slowest[0] < 5, (counts, slowest)
    kept.close()
    wait_until(lambda: proxy.descriptors() <= descriptors + 2, timeout=15)
    print(f"{counts[0]} requests beside the flood, the slowest {slowest[0] * 1000:.0f} ms; {grown >> 10} KiB")


def test_half_handshakes_end_by_themselves(interlock, backend):
    proxy = start(interlock, backend, {"INTERLOCK_TLS_HANDSHAKE_TIMEOUT": "500ms",
                                       "INTERLOCK_TLS_HELLO_TIMEOUT": "500ms"})
    descriptors, spent = proxy.descriptors(), cpu_seconds(proxy)
    held = [RawConnection(proxy.https_port) for _ in range(50)]
    for number, connection in enumerate(held):
        connection.send(HELLO if number % 2 else b"\x16")
    wait_until(lambda: proxy.descriptors() <= descriptors, timeout=10, message="half handshakes are closed")
    assert cpu_seconds(proxy) - spent < 2
    for connection in held:
        connection.close()


def test_errors_of_one_connection_are_not_another_s(interlock, backend):
    """OpenSSL's queue of errors belongs to a thread: what one connection left there must not end the next."""
    proxy = start(interlock, backend)
    with proxy.connect_tls() as good:
        for number in range(30):
            with RawConnection(proxy.https_port) as bad:
                if number % 3 == 0:
                    bad.send(HELLO)
                    read_answer(bad)
                    bad.send(b"\x16\x03\x03\x00\x05hello")
                elif number % 3 == 1:
                    bad.send(HELLO + b"\x17\x03\x03\x00\x05hello")
                else:
                    bad.send(HELLO)
                    read_answer(bad)
                    bad.send(b"\x15\x03\x03\x00\x02\x02\x28")
                good.request()
                assert good.read_response().status == 200
        with proxy.connect_tls() as broken:
            # A record that was not encrypted by the client, in the middle of a session.
            raw = socket.socket(fileno=os.dup(broken.socket.fileno()))
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            raw.close()
            broken.timeout = 5
            with contextlib.suppress(OSError, AssertionError):
                broken.read_to_end()
        for _ in range(5):
            good.request()
            assert good.read_response().status == 200


def test_failures_are_counted_and_logged_once_in_a_while(interlock, backend):
    proxy = start(interlock, backend)
    for _ in range(60):
        refusal(proxy.https_port, "nobody.test")
    for _ in range(5):
        refusal(proxy.https_port, tls=context(verify=False, maximum=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA"))
    found = {name: value for name, value in proxy.metrics().items() if "handshake_failures" in name and value}
    assert sum(found.values()) == 65 and sorted(found.values()) == [5, 60], found
    lines = [line for line in proxy.log.splitlines() if "nobody.test" in line or "unrecognized" in line]
    assert len(lines) <= 25, f"{len(lines)} lines in the log, written by strangers"


def test_handshakes_are_counted(interlock, backend):
    proxy = start(interlock, backend)
    for _ in range(5):
        proxy.get_tls()
    assert proxy.metric("interlock_tls_handshakes_total", version="1.3", result="full") == 5
    assert proxy.metric("interlock_entry_connections_total", entry="https") == 5
    wait_until(lambda: proxy.metric("interlock_tls_handshakes_active") == 0)


# Keys stay inside.


def test_no_key_is_ever_said(interlock, backend, tmp_path):
    """Everything the process says, at its most talkative, in good times and bad: not one line of a key in it."""
    shown, default, key = certificate("web.test", kind="rsa", fresh=True), certificate("d.test", fresh=True), "ab" * 48
    directory = tmp_path / "certs"
    directory.mkdir()
    own = certificate("own.test", fresh=True)
    (directory / "own.pem").write_text(own.bundle)
    secrets = {"default.pem": default.bundle, "ticket.key": key, "ca.pem": authority().pem,
               "web.pem": shown.bundle, "broken.pem": shown.key, "torn.pem": shown.key[:-100]}
    services = [
        service("web", [backend()], hosts="web.test", ssl_cert="web.pem"),
        service("broken", [backend()], hosts="broken.test", ssl_cert="broken.pem"),
        service("torn", [backend()], hosts="torn.test", ssl_cert="torn.pem"),
        service("own", [backend()], hosts="own.test", ssl_client_ca="torn.pem", ssl_client_auth="required"),
    ]
    proxy = interlock(services, secrets=secrets, https=True, environment={
        "INTERLOCK_DEFAULT_CERT": "default.pem", "INTERLOCK_TICKET_KEY": "ticket.key", "INTERLOCK_LOG_LEVEL": "debug",
        "INTERLOCK_CERTS_DIR": str(directory), "INTERLOCK_ACCESS_LOG": "json", "INTERLOCK_ADMIN_OPEN": "true"})
    for host in ("web.test", "broken.test", "torn.test", "own.test", "nobody.test"):
        refusal(proxy.https_port, host)
        proxy.get(host=host)
    proxy.write_secret("web.pem", shown.key)
    proxy.wait_for_log(r"web\.pem")
    pages = ("/", "/metrics", "/api/routes", "/api/certificates", "/api", "/readyz", "/healthz")
    said = [proxy.admin(path).text for path in pages]
    said.append(run_binary("--help").stdout)
    proxy.stop()
    said += [proxy.log, proxy.output]
    for certificate_ in (shown, default, own):
        for part in certificate_.secret_parts():
            assert not any(part in text for text in said), "a part of a private key was said"
    assert not any(key in text for text in said), "the ticket key was said"
    assert not any("PRIVATE KEY" in text for text in said)
    # The bytes on disk beside the log: nothing was written anywhere.
    written = {path.name for path in proxy.directory.rglob("*") if path.is_file()}
    assert written <= {"services.json", "stderr.log", "stdout.log", *secrets}, written


def test_no_core_and_no_key_in_the_environment(interlock, backend):
    """Secrets come by file; the command line and the environment hold names only."""
    proxy = start(interlock, backend)
    for part in certificate("web.test").secret_parts():
        for file in ("environ", "cmdline"):
            assert part.encode() not in open(f"/proc/{proxy.process.pid}/{file}", "rb").read()


@pytest.mark.parametrize("mode", [0o644, 0o604])
def test_a_key_that_everybody_may_read_is_served(interlock, backend, mode):
    """Docker mounts secrets 0444: that is no reason to refuse them."""
    secrets = {}
    services = [secured(secrets, "web", [backend()], certificate("web.test"), hosts="web.test")]
    proxy = interlock(services, secrets=secrets, https=True, wait=False)
    (proxy.secrets_path / "web.pem").chmod(mode)
    proxy.wait_ready()
    assert proxy.get_tls().status == 200


# Settings.


@pytest.mark.parametrize("environment, named", [
    ({"INTERLOCK_TLS_MIN_VERSION": "1.1"}, "INTERLOCK_TLS_MIN_VERSION"),
    ({"INTERLOCK_TLS_MIN_VERSION": "ssl3"}, "INTERLOCK_TLS_MIN_VERSION"),
    ({"INTERLOCK_TLS_CIPHERS": "NO-SUCH-CIPHER"}, "INTERLOCK_TLS_CIPHERS"),
    ({"INTERLOCK_TLS_CIPHERSUITES": "TLS_NO_SUCH"}, "INTERLOCK_TLS_CIPHERSUITES"),
    ({"INTERLOCK_TLS_GROUPS": "P-1"}, "INTERLOCK_TLS_GROUPS"),
    ({"INTERLOCK_HTTPS_LISTEN": "nonsense:port"}, "INTERLOCK_HTTPS_LISTEN"),
    ({"INTERLOCK_HTTPS_PUBLIC_PORT": "0"}, "INTERLOCK_HTTPS_PUBLIC_PORT"),
    ({"INTERLOCK_HTTPS_PUBLIC_PORT": "70000"}, "INTERLOCK_HTTPS_PUBLIC_PORT"),
    ({"INTERLOCK_TLS_HANDSHAKE_TIMEOUT": "-1s"}, "INTERLOCK_TLS_HANDSHAKE_TIMEOUT"),
    ({"INTERLOCK_MAX_HANDSHAKES": "0"}, "INTERLOCK_MAX_HANDSHAKES"),
    ({"INTERLOCK_SSL_ONLY": "perhaps"}, "INTERLOCK_SSL_ONLY"),
    ({"INTERLOCK_TCP_PORTS": "http"}, "INTERLOCK_TCP_PORTS"),
    ({"INTERLOCK_TCP_PORTS": "6000-5000"}, "INTERLOCK_TCP_PORTS"),
], ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "")
def test_bad_settings_are_exit_2_with_one_line(tmp_path, environment, named):
    (tmp_path / "services.json").write_text('{"services":[]}')
    done = run_binary(environment={
        "INTERLOCK_DOCKER": "off", "INTERLOCK_HTTP_LISTEN": "127.0.0.1:0", "INTERLOCK_ADMIN_LISTEN": "off",
        "INTERLOCK_SERVICES_FILE": str(tmp_path / "services.json"), **environment}, timeout=10)
    assert done.returncode == 2 and named in done.stderr, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_taken_tls_port_is_exit_2(interlock, backend):
    proxy = start(interlock, backend)
    second = interlock([], wait=False, environment={"INTERLOCK_HTTPS_LISTEN": f"127.0.0.1:{proxy.https_port}"})
    assert second.wait(10) == 2 and str(proxy.https_port) in second.log


def test_takeover_shares_the_tls_port(interlock, backend):
    first = start(interlock, backend, {"INTERLOCK_TAKEOVER": "true"})
    secrets = {}
    services = [secured(secrets, "web", [backend()], certificate("web.test"), hosts="web.test")]
    second = interlock(services, secrets=secrets, environment={
        "INTERLOCK_TAKEOVER": "true", "INTERLOCK_HTTPS_LISTEN": f"127.0.0.1:{first.https_port}"})
    assert first.stop() == 0
    second.https_port = first.https_port
    assert second.get_tls().status == 200


def test_healthcheck_needs_no_certificate(interlock, backend):
    proxy = start(interlock, backend)
    environment = {"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{proxy.admin_port}"}
    assert run_binary("healthcheck", environment=environment).returncode == 0


@pytest.mark.long
@pytest.mark.load
def test_ten_thousand_certificates(interlock, backend):
    """Loaded in one swap, while requests go on without a pause that anybody would notice."""
    root, task = Authority("Many"), backend()
    key = certificate("web.test").key
    shown = certificate("web.test")
    template = root.issue("x.test")
    assert template.key == key
    secrets = {"web.pem": shown.bundle}
    count = 10_000
    proxy = interlock([service("web", [task], hosts="web.test", ssl_cert="web.pem")], secrets=secrets, https=True)
    for number in range(count):
        (proxy.secrets_path / f"c{number}.pem").write_text(f"{template.bundle}# {number}\n")
    slowest, stop, wrong, requests = [0.0], threading.Event(), [], [0]

    def traffic():
        try:
            with proxy.connect_tls() as connection:
                while not stop.is_set():
                    began = time.monotonic()
                    connection.request()
                    assert connection.read_response().status == 200
                    slowest[0] = max(slowest[0], time.monotonic() - began)
                    requests[0] += 1
                    time.sleep(0.002)
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(repr(error))

    beside = threading.Thread(target=traffic)
    beside.start()
    began = time.monotonic()
    proxy.write_services([service("web", [task], hosts="web.test", ssl_cert="web.pem")] + [
        service(f"c{number}", [task], hosts=f"c{number}.test", ssl_cert=f"c{number}.pem") for number in range(count)])
    wait_until(lambda: refusal(proxy.https_port, f"c{count - 1}.test") is None, timeout=90)
    took = time.monotonic() - began
    stop.set()
    beside.join(10)
    print(f"{count} certificates after {took:.1f} s; {requests[0]} requests, the slowest {slowest[0] * 1000:.0f} ms")
    assert not wrong and slowest[0] < 0.5, (wrong, slowest)
