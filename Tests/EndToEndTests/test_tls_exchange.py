"""HTTP over TLS: what only TLS can get wrong. Everything else about HTTP is tested again over TLS as it stands, by
INTERLOCK_TEST_TLS=1 (see docs/TESTING.md).
"""

import contextlib
import hashlib
import random
import ssl
import subprocess
import threading
import time

import pytest

from harness import (RawConnection, Release, Send, TLSConnection, certificate, authority, chunked, context, response,
                     secured, wait_until)
from rows import message

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BIG = bytes(random.Random(4).randbytes(10_000_000))
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = message(b"GET /ws HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def web(interlock, backend):
    """make(**options) -> (proxy, task) of web.test over TLS."""
    def make(task=None, labels=None, **options):
        secrets, task = {}, task or backend()
        services = [secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", **(labels or {}))]
        return interlock(services, secrets=secrets, https=True, **options), task

    return make


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 100_000, len(BIG)])
def test_bodies_up_and_down(web, version, kind, size):
    proxy, task = web()
    body = BIG[:size]

    def answer(request):
        assert digest(request.body) == digest(body)
        if kind == "length":
            return response(200, body)
        head = response(200, length=False, headers={"Transfer-Encoding": "chunked"})
        return head + chunked(*[body[at:at + 300_001] for at in range(0, len(body), 300_001)])

    task.default = answer
    with proxy.connect_tls(tls=context(minimum=version, maximum=version)) as connection:
        for _ in range(2):
            if kind == "length":
                connection.request("POST", body=body)
            else:
                connection.request("POST", headers={"Transfer-Encoding": "chunked"},
                                   body=chunked(*[body[at:at + 70_001] for at in range(0, len(body), 70_001)]))
            got = connection.read_response()
            assert (got.status, digest(got.body)) == (200, digest(body))


def test_curl_up_and_down(web, tmp_path):
    """A real client, by its own idea of TLS, with a name of our root."""
    proxy, task = web()
    task.default = lambda request: response(200, request.body)
    (tmp_path / "up").write_bytes(BIG)
    for version in ("--tlsv1.2 --tls-max 1.2", "--tlsv1.3"):
        done = subprocess.run(
            ["curl", "-sS", *version.split(), "--cacert", authority().path, "--resolve",
             f"web.test:{proxy.https_port}:127.0.0.1", "-T", tmp_path / "up", "-o", tmp_path / "down",
             "-w", "%{http_code} %{http_version} %{ssl_verify_result}", f"https://web.test:{proxy.https_port}/up"],
            capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (0, "200 1.1 0"), done
        assert digest((tmp_path / "down").read_bytes()) == digest(BIG)


def test_pipelining(web):
    proxy, task = web()
    task.default = lambda request: response(200, request.target.encode())
    with proxy.connect_tls() as connection:
        connection.send(b"".join(message(b"GET /%d HTTP/1.1" % number) for number in range(200)))
        assert [connection.read_response().body for _ in range(200)] == [b"/%d" % number for number in range(200)]


def test_a_record_for_each_byte(web):
    proxy, task = web()
    with proxy.connect_tls() as connection:
        connection.send_in_pieces(message(b"POST /x HTTP/1.1", b"Content-Length: 5", body=b"hello") * 3, 1)
        assert [connection.read_response().status for _ in range(3)] == [200] * 3
    assert [each.body for each in task.requests] == [b"hello"] * 3


def test_a_record_in_packets(web):
    """A record of TLS that comes one byte at a time is a record all the same."""
    from harness import ManualHandshake
    proxy, _ = web()
    with ManualHandshake(proxy.https_port) as client:
        client.send(client.hello())
        client.finish()
        client.object.write(message())
        for byte in client.outgoing.read():
            client.send(bytes([byte]))
        assert client._drive(lambda: client.object.read(65536)).startswith(b"HTTP/1.1 200")


def test_http_1_0(web):
    proxy, task = web()
    with proxy.connect_tls() as connection:
        connection.send(message(b"GET / HTTP/1.0"))
        answer = connection.read_response()
        assert (answer.status, answer.body) == (200, b"ok")
        connection.expect_end()
        assert connection.ended_cleanly


# Ends.


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("data", [
    message(b"GET / HTTP/1.1", b"Connection: close"), message(b"GET / HTTP/1.0"), b"GET / HTTP/9.9\r\n\r\n",
], ids=["close", "1.0", "bad-request"])
def test_close_notify_announces_the_end(web, version, data):
    """Without it a client could not tell an answer's end from a cut."""
    proxy, _ = web()
    with proxy.connect_tls(tls=context(minimum=version, maximum=version)) as connection:
        connection.send(data)
        connection.read_response()
        connection.expect_end()
        assert connection.ended_cleanly, "FIN without close_notify"


def test_a_body_to_the_end_of_the_connection_is_announced(web):
    proxy, task = web()
    from harness import Close
    task.play(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Close())
    with proxy.connect_tls() as connection:
        connection.send(message(b"GET / HTTP/1.0"))
        assert connection.read_response().body == b"until the end"
        assert connection.ended_cleanly


def test_a_truncated_answer_is_no_clean_end(web):
    """The task died in the middle: the client must be able to see that."""
    from harness import Close
    proxy, task = web()
    task.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Close())
    with proxy.connect_tls() as connection:
        connection.request()
        with pytest.raises((AssertionError, ConnectionResetError, ssl.SSLError)):
            connection.read_response()


def test_an_idle_connection_is_closed_with_close_notify(web):
    proxy, _ = web(environment={"INTERLOCK_KEEPALIVE_TIMEOUT": "300ms"})
    with proxy.connect_tls() as connection:
        connection.request()
        assert connection.read_response().status == 200
        connection.expect_end()
        assert connection.ended_cleanly


def test_the_client_s_close_notify_is_its_end(web):
    """A client that says goodbye and waits for the same from us gets it."""
    proxy, _ = web()
    connection = proxy.connect_tls()
    connection.request()
    assert connection.read_response().status == 200
    connection.socket.settimeout(3)
    plain = connection.socket.unwrap()
    assert plain.recv(10) == b""
    plain.close()
    wait_until(lambda: proxy.metric("interlock_client_connections") in (0, None))


def test_a_client_that_leaves_without_a_word(web):
    proxy, task = web()
    event = threading.Event()
    task.play(Release(event), response(200, b"late"))
    connection = proxy.connect_tls()
    connection.request()
    task.wait_for_requests(1)
    connection.reset()
    event.set()
    assert proxy.get_tls().status == 200
    wait_until(lambda: proxy.metric("interlock_client_connections") in (0, None))


# The drain.


def test_drain(web):
    proxy, task = web()
    event = threading.Event()
    with proxy.connect_tls() as busy, proxy.connect_tls() as idle, RawConnection(proxy.https_port) as shaking:
        shaking.send(b"\x16\x03\x01")
        idle.request()
        assert idle.read_response().status == 200
        task.play(Release(event), response(200, b"finished"))
        busy.request(target="/busy")
        task.wait_for_requests(2)
        import signal
        proxy.send_signal(signal.SIGTERM)
        idle.expect_end()
        assert idle.ended_cleanly, "an idle connection was closed without close_notify"
        event.set()
        answer = busy.read_response()
        assert (answer.body, answer.header("connection").lower()) == (b"finished", "close")
        busy.expect_end()
        assert busy.ended_cleanly
        assert proxy.wait(10) == 0


# WebSockets.


def echo(connection):
    start = len(connection.received)
    while connection.fill():
        connection.socket.sendall(bytes(connection.received[start:]))
        start = len(connection.received)
    return False


def test_websockets(web, backend):
    proxy, _ = web(task=backend(default=lambda _: [SWITCHED, echo], reads="head"))
    with proxy.connect_tls() as connection:
        connection.send(UPGRADE + b"early")
        assert connection.read_response().status == 101
        assert connection.read_exactly(5) == b"early"
        sender = threading.Thread(target=connection.send, args=(BIG,))
        sender.start()
        assert digest(connection.read_exactly(len(BIG))) == digest(BIG)
        sender.join()
        for _ in range(100):
            connection.send(b"ping")
            assert connection.read_exactly(4) == b"ping"
        # A tunnel sees no table swap and no renewal.
        proxy.write_secret("web.pem", authority().issue("web.test").bundle)
        wait_until(lambda: proxy.connect_tls().certificate != certificate("web.test").der)
        connection.send(b"still here")
        assert connection.read_exactly(10) == b"still here"


def test_a_websocket_the_task_ends(web, backend):
    from harness import Close
    proxy, _ = web(task=backend(default=lambda _: [SWITCHED, b"bye", Close()], reads="head"))
    with proxy.connect_tls() as connection:
        connection.send(UPGRADE)
        assert connection.read_response().status == 101
        assert connection.read_to_end() == b"bye"
        assert connection.ended_cleanly


# Slow ones.


def test_a_slow_reader_costs_bounded_memory_and_gets_every_byte(web, backend):
    task = backend(default=lambda _: response(200, BIG * 3))
    proxy, _ = web(task=task)
    proxy.get_tls()
    resident = proxy.resident_size()
    with proxy.connect_tls(receive_buffer=8192) as slow:
        slow.request(target="/big")
        slow.read_until(b"\r\n\r\n")
        time.sleep(0.3)
        assert proxy.resident_size() - resident < 8 << 20
        for _ in range(20):
            assert proxy.get_tls("/quick").status == 200
        assert digest(slow.read_exactly(3 * len(BIG))) == digest(BIG * 3)


def test_a_client_that_never_reads_is_cut(web, backend):
    task = backend(default=lambda _: response(200, BIG * 2))
    proxy, _ = web(task=task, environment={"INTERLOCK_IDLE_TIMEOUT": "400ms"})
    with proxy.connect_tls(receive_buffer=4096) as connection:
        connection.request()
        task.wait_for_requests(1)
        wait_until(lambda: not task.open_connections, timeout=15)
    assert proxy.process.poll() is None


def test_a_head_that_does_not_come(web):
    proxy, _ = web(environment={"INTERLOCK_HEADER_TIMEOUT": "400ms"})
    with proxy.connect_tls() as connection:
        connection.send(b"GET / HT")
        assert connection.read_response().status == 408
        connection.expect_end()
        assert connection.ended_cleanly


@pytest.mark.parametrize("count", [1, 50])
def test_empty_records_and_key_updates(web, count):
    """KeyUpdate is legal now and then; a flood of them ends, and never hurts others."""
    proxy, _ = web()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.https_port}", "-servername", "web.test",
               "-CAfile", str(authority().path), "-tls1_3"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""

    def read_until(text):
        nonlocal seen
        deadline = time.monotonic() + 10
        while text not in seen and time.monotonic() < deadline and (more := client.stdout.read1(65536)):
            seen += more
        assert text in seen, seen

    try:
        # What it is told in one piece with something else it takes for data.
        read_until(b"Verify return code: 0 (ok)")
        for _ in range(count):
            with contextlib.suppress(BrokenPipeError):
                client.stdin.write(b"K\n")
                client.stdin.flush()
            time.sleep(0.01)
        assert proxy.get_tls().status == 200
        if count == 1:
            read_until(b"KEYUPDATE")
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(message(b"GET / HTTP/1.1", b"Connection: close"))
            client.stdin.flush()
        if count == 1:
            read_until(b"HTTP/1.1 200")
    finally:
        client.kill()
        client.wait()
    assert proxy.get_tls().status == 200


def test_many_clients_each_get_their_own_answer(web):
    """Two workers, sessions side by side on one transport: nobody reads another's bytes."""
    proxy, task = web(workers=2)
    task.default = lambda request: response(200, request.target.encode() * 3000)
    wrong = []

    def client(number):
        try:
            with proxy.connect_tls() as connection:
                for turn in range(30):
                    target = f"/{number}/{turn}/"
                    connection.request(target=target)
                    assert connection.read_response().body == target.encode() * 3000
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(repr(error))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(60)
    assert not wrong, wrong


def test_ipv6(interlock, backend):
    secrets, task = {}, backend()
    proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test")], secrets=secrets,
                      https=True, listen_host="::1")
    assert proxy.get_tls().status == 200
    assert task.last.header("x-forwarded-for") == "::1"


def test_proxy_protocol_before_the_hello(web):
    proxy, task = web(environment={"INTERLOCK_PROXY_PROTOCOL": "127.0.0.0/8"})
    from harness import ManualHandshake
    with ManualHandshake(proxy.https_port) as client:
        client.send(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n" + client.hello())
        client.finish()
        assert client.exchange(message()).startswith(b"HTTP/1.1 200")
    assert task.last.header("x-forwarded-for") == "203.0.113.7"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TLSConnection(proxy.https_port)


def test_the_access_log_says_https(web):
    import json
    proxy, _ = web(environment={"INTERLOCK_ACCESS_LOG": "json"})
    proxy.get_tls("/a")
    line = json.loads(wait_until(lambda: proxy.output.strip()))
    assert (line["scheme"], line["host"], line["status"]) == ("https", "web.test", 200), line
