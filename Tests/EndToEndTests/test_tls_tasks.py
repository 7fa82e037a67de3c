"""TLS to tasks (`ssl_backend`): Python's ssl as the tasks, the real binary between them and a plain client.

What is proved here and not in process: other people's TLS, TLS 1.2 and its tickets, the labels and secrets, and what
the task sees of the proxy's end of a connection.
"""

import hashlib
import os
import socket
import ssl
import struct
import threading
import time

import pytest
from harness import Authority, Certificate, authority, certificate, free_port, request_bytes, service, wait_until

DATA = os.urandom(1 << 20) * 6
JSON = [("Accept", "application/json")]


class Task:
    """A server of TLS: `connections` tell what each handshake was, `requests` the heads that came over it.

    It answers a request with the SHA-256 of its body, `/large` with DATA, `/until-end` with a body that lasts until the
    end of the stream, said by close_notify unless `ragged`; after `Upgrade` it echoes. `hello`: what is done with a
    connection instead of a handshake, once something has come; `talk`: what is done instead of HTTP.
    """

    def __init__(self, issued=None, hello=None, maximum=ssl.TLSVersion.TLSv1_3, clients=None, ragged=False,
                 preface=False, tickets=2, talk=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.maximum_version = maximum
        self.context.num_tickets = tickets
        issued = issued or certificate("web.test")
        self.context.load_cert_chain(issued.path, issued.key_path)
        self.context.sni_callback = self._named
        if clients:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(cafile=str(clients.path))
        self.hello, self.ragged, self.preface, self.talk = hello, ragged, preface, talk or self._talk
        self.connections, self.requests, self.prefaces, self.failures = [], [], [], []
        self.accepted, self.proper_ends = 0, 0
        self.lock, self.names = threading.Lock(), {}
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _named(self, connection, name, _):
        self.names[threading.get_ident()] = name

    def _accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.accepted += 1
                self.sockets.append(plain)
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        plain.settimeout(30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.preface:
                self.prefaces.append(self._take_preface(plain))
            if self.hello:
                plain.recv(65536)
                self.hello(plain)
                plain.close()
                return
            with self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as connection:
                with self.lock:
                    self.sockets.append(connection)
                    self.connections.append({
                        "name": self.names.pop(threading.get_ident(), None), "resumed": connection.session_reused,
                        "version": connection.version(), "cipher": connection.cipher()[0]})
                self.talk(connection)
        except (OSError, ValueError) as error:
            self.failures.append(error)

    @staticmethod
    def _take_preface(plain):
        head = b""
        while len(head) < 16:
            head += plain.recv(16 - len(head))
        rest = b""
        while len(rest) < struct.unpack(">H", head[14:])[0]:
            rest += plain.recv(struct.unpack(">H", head[14:])[0] - len(rest))
        return head + rest

    def _talk(self, connection):
        data = bytearray()
        while True:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    self.proper_ends += 1
                    return
                data += more
            head, _, rest = bytes(data).partition(b"\r\n\r\n")
            lower = head.lower()
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            data = bytearray(rest)
            while len(data) < length:
                data += connection.recv(1 << 17)
            body = bytes(data[:length])
            del data[:length]
            with self.lock:
                self.requests.append(head.decode())
            if b"upgrade: websocket" in lower:
                connection.sendall(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + data)
                while more := connection.recv(1 << 17):
                    connection.sendall(more)
                connection.unwrap()
                return
            if b" /until-end " in lower:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"to the end")
                if not self.ragged:
                    connection.unwrap()
                return
            answer = DATA if b" /large " in lower else hashlib.sha256(body).hexdigest().encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    def hang_up(self):
        """FIN on every connection, without a word of TLS."""
        for each in self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets = []

    def close(self):
        # A close alone would not wake the thread that waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()


@pytest.fixture
def task():
    made = []

    def make(*arguments, **options):
        made.append(Task(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def verified(tasks, ca="ca.pem", **labels):
    """A service whose tasks are verified."""
    return service("web", tasks, **{
        "hosts": "web.test,*.wild.test", "ssl_backend": True, "ssl_backend_tls_verify": "required",
        "ssl_backend_ca": ca, **labels})


def secrets():
    return {"ca.pem": authority().path.read_text()}


def unverified(tasks, **labels):
    return service("web", tasks, **{"hosts": "web.test,*.wild.test", "ssl_backend": True, **labels})


def code_of(answer):
    return answer.json()["error"]


def failures(proxy, reason):
    return proxy.metric("interlock_upstream_failures_total", reason=reason)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_one_handshake_serves_many_requests(interlock, task, version):
    server = task(maximum=version)
    proxy = interlock([verified([server])], secrets=secrets())
    with proxy.connect() as client:
        for number in range(30):
            client.request("POST", "/", body=b"%d" % number)
            answer = client.read_response()
            assert answer.status == 200 and answer.text == hashlib.sha256(b"%d" % number).hexdigest()
    assert [each["name"] for each in server.connections] == ["web.test"]
    assert len(server.requests) == 30
    assert proxy.metric("interlock_upstream_tls_handshakes_total", result="full") == 1
    assert proxy.metric("interlock_upstream_connections_reused_total") == 29


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_sessions_are_resumed(interlock, task, version):
    """An idle connection is ended by close_notify, and the next one resumes its session."""
    server = task(maximum=version)
    proxy = interlock([verified([server])], secrets=secrets(),
                      environment={"INTERLOCK_UPSTREAM_IDLE_TIMEOUT": "100ms"})
    for round_ in range(1, 5):
        assert proxy.get().status == 200
        wait_until(lambda count=round_: server.proper_ends == count)
    assert [each["resumed"] for each in server.connections] == [False, True, True, True]
    assert proxy.metric("interlock_upstream_tls_handshakes_total", result="resumed") == 3
    assert not server.failures


@pytest.mark.parametrize("whose", ["own", "intermediate"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_session_ends_with_the_task_s_certificate(interlock, task, version, whose):
    """Each session brings the next one: none outlives what the task was verified by."""
    days = (-1, 4 / 86_400)
    if whose == "own":
        shown = authority().issue("web.test", days=days)
        end = shown.not_after
    else:
        inner = Authority("Brief", parent=authority(), days=days)
        shown = inner.issue("web.test")
        end = Certificate(inner.pem, "", "").not_after
    server = task(shown, maximum=version)
    proxy = interlock([verified([server])], secrets=secrets(),
                      environment={"INTERLOCK_UPSTREAM_IDLE_TIMEOUT": "100ms"})
    for round_ in range(1, 4):
        assert proxy.get().status == 200
        wait_until(lambda count=round_: server.proper_ends == count)
    assert [each["resumed"] for each in server.connections] == [False, True, True]
    time.sleep(max(0, end - time.time()) + 1.5)
    assert proxy.get(headers=JSON).status == 502
    assert failures(proxy, "tls_verification") >= 1


def test_without_tickets_there_is_nothing_to_resume(interlock, task):
    server = task(tickets=0)
    proxy = interlock([verified([server])], secrets=secrets(),
                      environment={"INTERLOCK_UPSTREAM_IDLE_TIMEOUT": "50ms"})
    for round_ in range(1, 3):
        assert proxy.get().status == 200
        wait_until(lambda count=round_: server.proper_ends == count)
    assert [each["resumed"] for each in server.connections] == [False, False]


def test_the_name_is_the_host_that_was_asked_for(interlock, task):
    server = task(certificate("web.test", "*.wild.test"))
    proxy = interlock([verified([server])], secrets=secrets())
    for host in ("web.test", "WEB.test:80", "a.wild.test", "A.Wild.Test.", "b.wild.test"):
        assert proxy.get(host=host).status == 200, host
    # One connection for each name, in the form that names have in TLS; the Host field stays as it came.
    assert [each["name"] for each in server.connections] == ["web.test", "a.wild.test", "b.wild.test"]
    assert "Host: A.Wild.Test." in server.requests[3]


def test_names_of_certificates_have_no_case(interlock, task):
    server = task(named_in_bytes(b"WEB.Test"))
    proxy = interlock([verified([server])], secrets=secrets())
    assert proxy.get(host="wEB.tEST").status == 200


def test_a_label_gives_the_name(interlock, task):
    server = task(certificate("inside.test"))
    proxy = interlock([verified([server], ssl_backend_name="inside.test")], secrets=secrets())
    for host in ("web.test", "a.wild.test"):
        assert proxy.get(host=host).status == 200, host
    assert [each["name"] for each in server.connections] == ["inside.test"]


def named_in_bytes(name):
    """A certificate whose one DNS name is these bytes, written as DER."""
    inner = bytes([0x82, len(name)]) + name
    der = bytes([0x30, len(inner)]) + inner
    return authority().issue(common_name="", extensions=f"subjectAltName=DER:{der.hex(':')}\n")


UNACCEPTED = {
    "a NUL in the name": lambda: named_in_bytes(b"web.test\0.evil.test"),
    "a NUL behind the name": lambda: named_in_bytes(b"web.test\0"),
    "another name": lambda: certificate("other.test"),
    "a wildcard that does not reach": lambda: certificate("*.web.test"),
    "a longer name": lambda: certificate("web.test.evil.test"),
    "expired": lambda: certificate("web.test", days=(-30, -1)),
    "not valid yet": lambda: certificate("web.test", days=(1, 30)),
    "for clients only": lambda: certificate("web.test", usage="clientAuth"),
    "another authority": lambda: Authority("Somebody Else").issue("web.test"),
}


@pytest.mark.parametrize("what", UNACCEPTED)
def test_what_is_not_verified_gets_nothing(interlock, task, what):
    server = task(UNACCEPTED[what]())
    proxy = interlock([verified([server])], secrets=secrets())
    for method in ("GET", "POST"):
        answer = proxy.get(method=method, body=b"x" if method == "POST" else b"", headers=JSON)
        assert answer.status == 502 and code_of(answer) == "upstream_tls_verification"
    assert failures(proxy, "tls_verification") == 2
    assert not server.requests
    # By default nothing is verified, as the label says.
    proxy.write_services([unverified([server])])
    assert proxy.wait_for_status(200)


def test_a_certificate_of_an_intermediate_authority(interlock, task):
    from harness import intermediate
    server = task(intermediate().issue("web.test"))
    proxy = interlock([verified([server])], secrets=secrets())
    assert proxy.get().status == 200


@pytest.mark.parametrize("is_known", [True, False])
def test_without_a_label_the_system_s_authorities_count(interlock, task, is_known):
    server = task(certificate("web.test"))
    labels = {"hosts": "web.test", "ssl_backend": True, "ssl_backend_tls_verify": "required"}
    # Where OpenSSL looks for them instead of in /etc/ssl.
    system = authority() if is_known else Authority("Of Another System")
    proxy = interlock([service("web", [server], **labels)],
                      environment={"SSL_CERT_FILE": system.path, "SSL_CERT_DIR": "/nonexistent"})
    answer = proxy.get(headers=JSON)
    assert answer.status == (200 if is_known else 502), answer
    assert is_known or code_of(answer) == "upstream_tls_verification"


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
                         ids=["absent", "empty", "broken"])
def test_without_its_authority_nobody_is_connected_to(interlock, task, text):
    server = task()
    proxy = interlock([verified([server])], secrets={} if text is None else {"ca.pem": text})
    answer = proxy.get(headers=JSON)
    assert answer.status == 502 and code_of(answer) == "upstream_tls_unusable"
    assert server.accepted == 0
    # The file is watched.
    proxy.write_secret("ca.pem", authority().path.read_text())
    assert proxy.wait_for_status(200)


def close(_):
    pass


def reset(plain):
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def speak_plainly(plain):
    plain.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def greet(plain):
    plain.sendall(b"220 smtp.test ESMTP\r\n")


def speak_nonsense(plain):
    plain.sendall(os.urandom(500))


def begin_tls_and_stop(plain):
    plain.sendall(bytes.fromhex("160303007a"))


def stay_silent(plain):
    plain.recv(65536)


HELLOS = {
    "closes": (close, "upstream_tls_handshake", 502),
    "resets": (reset, "upstream_tls_handshake", 502),
    "speaks HTTP": (speak_plainly, "upstream_tls_plaintext", 502),
    "speaks SMTP": (greet, "upstream_tls_plaintext", 502),
    "speaks nonsense": (speak_nonsense, "upstream_tls_", 502),
    "stops in the middle": (begin_tls_and_stop, "upstream_tls_handshake", 502),
    "is silent": (stay_silent, "connect_timeout", 504),
}


@pytest.mark.parametrize("what", HELLOS)
def test_a_failed_handshake_goes_to_another_task(interlock, task, what):
    """Nothing was sent yet: a POST and its body are tried again."""
    hello, code, status = HELLOS[what]
    bad, good = task(hello=hello), task()
    body = DATA[:70_000]
    proxy = interlock([verified([bad, good], connect_timeout="500ms")], secrets=secrets(),
                      environment={"INTERLOCK_HOLD": "0"})
    for _ in range(4):
        answer = proxy.get(method="POST", body=body)
        assert answer.status == 200 and answer.text == hashlib.sha256(body).hexdigest()
    assert bad.accepted > 0 and len(good.requests) == 4
    proxy.write_services([verified([bad], connect_timeout="500ms")])
    wait_until(lambda: proxy.metric("interlock_tasks", state="ready") == 1)
    answer = proxy.get(method="POST", body=body, headers=JSON)
    assert answer.status == status and code in code_of(answer)


def test_a_task_that_wants_a_client_certificate(interlock, task):
    server = task(clients=authority())
    proxy = interlock([verified([server])], secrets=secrets())
    answer = proxy.get(headers=JSON)
    assert answer.status == 502 and code_of(answer) == "upstream_tls_handshake"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_version_in_common(interlock, task):
    server = task()
    server.context.set_ciphers("ALL:@SECLEVEL=0")
    server.context.minimum_version = server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    proxy = interlock([unverified([server])])
    assert proxy.get().status == 502
    assert failures(proxy, "tls_handshake") >= 1


def test_large_bodies_both_ways(interlock, task):
    server = task()
    proxy = interlock([verified([server])], secrets=secrets())
    with proxy.connect(timeout=60) as client:
        client.request("POST", "/", body=DATA)
        assert client.read_response().text == hashlib.sha256(DATA).hexdigest()
        client.request("GET", "/large")
        # Nobody reads for a while: the task must wait, and nothing may be lost.
        time.sleep(0.3)
        assert client.read_response().body == DATA
    assert len(server.connections) == 1


def test_websocket_echo(interlock, task):
    server = task()
    proxy = interlock([verified([server])], secrets=secrets())
    with proxy.connect(timeout=60) as client:
        client.send(request_bytes(headers=[
            ("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]))
        assert client.read_response().status == 101
        sender = threading.Thread(target=client.send, args=(DATA,))
        sender.start()
        assert client.read_exactly(len(DATA)) == DATA
        sender.join()
        client.shutdown_write()
        client.expect_end()


def test_a_proxy_header_goes_before_tls(interlock, task):
    server = task(preface=True)
    proxy = interlock([verified([server], proxy_protocol="v2")], secrets=secrets())
    for _ in range(2):
        assert proxy.get(method="POST", body=b"x").text == hashlib.sha256(b"x").hexdigest()
    assert len(server.prefaces) == 2
    for preface in server.prefaces:
        assert preface[:16] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
        assert preface[16:24] == bytes([127, 0, 0, 1] * 2)


def test_the_end_of_an_answer_must_be_said(interlock, task):
    """Without close_notify anybody on the way may have cut it off."""
    proper, ragged = task(), task(ragged=True)
    proxy = interlock([unverified([proper]), service("other", [ragged], hosts="ragged.test", ssl_backend=True)])
    assert proxy.get("/until-end").text == "to the end"
    with proxy.connect() as client:
        client.request(target="/until-end", host="ragged.test")
        with pytest.raises(AssertionError):
            client.read_response()
    assert failures(proxy, "truncated") == 1


def test_a_task_that_is_restarted_is_asked_anew(interlock, task):
    """Connections that it closes, with or without close_notify, cost no request."""
    server = task()
    proxy = interlock([verified([server])], secrets=secrets())
    for number in range(4):
        assert proxy.get(method="POST", body=b"x").status == 200
        server.hang_up()
        wait_until(lambda: proxy.metric("interlock_upstream_connections_idle") == 0)
        assert len(server.connections) == number + 1


def test_a_plain_service_beside_it_stays_plain(interlock, task, backend):
    server, plain = task(), backend()
    proxy = interlock([verified([server]), service("plain", [plain], hosts="plain.test")], secrets=secrets())
    for _ in range(3):
        assert proxy.get().status == 200
        assert proxy.get(host="plain.test").status == 200
    assert len(plain.requests) == 3 and len(server.requests) == 3


def test_tcp_services_over_tls(interlock, task):
    """The task speaks first, everything arrives once, and each side's end is the other's."""
    def talk(connection):
        connection.sendall(b"220 ready\r\n")
        found = hashlib.sha256()
        while more := connection.recv(1 << 17):
            found.update(more)
        # Half closed: there is an answer to the end.
        connection.sendall(found.hexdigest().encode() + DATA)
        connection.unwrap()

    server = task(certificate("db.inside"), talk=talk)
    port = free_port()
    proxy = interlock(
        [service("db", [server], tcp_port=port, ssl_backend=True, ssl_backend_ca="ca.pem",
                 ssl_backend_name="db.inside")],
        secrets=secrets(), environment={"INTERLOCK_TCP_PORTS": port})
    for _ in range(3):
        with wait_until(lambda: socket.create_connection(("127.0.0.1", port), 30)) as client:
            assert client.recv(100) == b"220 ready\r\n"
            client.sendall(DATA)
            client.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while more := client.recv(1 << 17):
                answer += more
            assert answer == hashlib.sha256(DATA).hexdigest().encode() + DATA
    assert [each["name"] for each in server.connections] == ["db.inside"] * 3
    # TLS 1.3 sessions come with the first bytes of the task.
    assert [each["resumed"] for each in server.connections] == [False, True, True]
    assert not server.failures


def test_a_tcp_service_whose_task_is_not_verified_gets_nothing(interlock, task):
    bad, good = task(certificate("other.test"), talk=lambda each: None), task(talk=lambda each: each.sendall(b"good"))
    port = free_port()
    proxy = interlock(
        [service("db", [bad, good], tcp_port=port, ssl_backend=True, ssl_backend_ca="ca.pem",
                 ssl_backend_name="web.test")],
        secrets=secrets(), environment={"INTERLOCK_TCP_PORTS": port})
    for _ in range(4):
        with wait_until(lambda: socket.create_connection(("127.0.0.1", port), 30)) as client:
            assert client.recv(100) == b"good"
    assert failures(proxy, "tls_verification") >= 1 and not bad.connections
