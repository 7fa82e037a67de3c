"""TLS that is passed on as it is: the task's own certificate is seen, every byte arrives once, port 80 redirects."""

import contextlib
import hashlib
import random
import socket
import ssl
import threading

import pytest

from harness import certificate, context, secured, service, wait_until
from harness.hello import hello_record, server_name


class TLSTask:
    """A task with TLS of its own, which echoes what it gets and counts its connections."""

    def __init__(self, name, proxy_header=0):
        self.certificate = certificate(name)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate.path, self.certificate.key_path)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.proxy_header, self.headers, self.count = proxy_header, [], 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.socket.accept()
                self.count += 1
                threading.Thread(target=self._echo, args=(accepted,), daemon=True).start()

    def _echo(self, accepted):
        with contextlib.suppress(OSError):
            if self.proxy_header:
                self.headers.append(accepted.recv(self.proxy_header, socket.MSG_WAITALL))
            with self.context.wrap_socket(accepted, server_side=True) as stream:
                while data := stream.recv(65536):
                    stream.sendall(data)

    def close(self):
        self.socket.close()


@pytest.fixture
def tasks():
    made = []

    def make(*arguments, **options):
        made.append(TLSTask(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def open_tls(port, name, **options):
    raw = socket.create_connection(("127.0.0.1", port), 10)
    return context(**options).wrap_socket(raw, server_hostname=name)


def echoed(stream, data):
    """The hash of what comes back. Piece by piece: Python's TLS may not send and receive at once on one connection."""
    found = hashlib.sha256()
    for start in range(0, len(data), 65536):
        piece = data[start:start + 65536]
        stream.sendall(piece)
        count = 0
        while count < len(piece):
            more = stream.recv(65536)
            assert more, "ended early"
            found.update(more)
            count += len(more)
    return found.hexdigest()


def passthrough(name, task, **labels):
    return service(name, [task.port], hosts=f"{name}.test", ssl_passthrough=True, **labels)


def test_the_task_ends_tls_itself(interlock, tasks):
    one, two = tasks("one.test"), tasks("two.test")
    proxy = interlock([passthrough("one", one), passthrough("two", two)], https=True)
    data = random.Random(1).randbytes(3_000_000)
    for name, task in (("one.test", one), ("two.test", two), ("ONE.test", one)):
        with open_tls(proxy.https_port, name) as stream:
            assert stream.getpeercert(binary_form=True) == task.certificate.der
            assert echoed(stream, data) == hashlib.sha256(data).hexdigest()
    assert (one.count, two.count) == (2, 1)
    wait_until(lambda: proxy.metric("interlock_stream_connections_total", service="one") == 2)
    with pytest.raises(ssl.SSLError):
        open_tls(proxy.https_port, "three.test")


def test_plain_http_of_such_a_host_is_sent_to_https(interlock, tasks):
    proxy = interlock([passthrough("one", tasks("one.test"))], https=True,
                      environment={"INTERLOCK_HTTPS_PUBLIC_PORT": "8443"})
    answer = proxy.get("/a?b=c", host="one.test")
    assert answer.status == 301, answer
    assert answer.header("Location") == "https://one.test:8443/a?b=c"


def test_a_certificate_that_covers_such_a_host_is_warned_of(interlock, backend, tasks):
    """A browser would send requests for that host over a connection to the other one."""
    secrets, shown = {}, certificate("web.test", "one.test")
    services = [secured(secrets, "web", [backend()], shown, hosts="web.test"), passthrough("one", tasks("one.test"))]
    proxy = interlock(services, secrets=secrets, https=True)
    proxy.wait_for_log(r'"level":"warning".*one\.test')
    wait_until(lambda: proxy.metric("interlock_certificate_problem", host="one.test", problem="covers_passthrough"))
    # It is a warning: both work.
    assert proxy.get_tls().status == 200
    with open_tls(proxy.https_port, "one.test") as stream:
        assert echoed(stream, b"bytes") == hashlib.sha256(b"bytes").hexdigest()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_task_gets_a_proxy_header_on_demand(interlock, tasks, version):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        proxy = interlock([service("one", [server.getsockname()[1]], hosts="one.test", ssl_passthrough=True,
                                   proxy_protocol=version)], https=True)
        hello = hello_record(server_name(b"one.test"))
        with socket.create_connection(("127.0.0.1", proxy.https_port), 10) as client:
            own = client.getsockname()[1]
            client.sendall(hello)
            task, _ = server.accept()
            task.settimeout(10)
            if version == "v1":
                expected = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own} {proxy.https_port}\r\n".encode()
            else:
                expected = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton("127.0.0.1") * 2
                expected += own.to_bytes(2, "big") + proxy.https_port.to_bytes(2, "big")
            expected += hello
            assert task.recv(len(expected), socket.MSG_WAITALL) == expected
            client.shutdown(socket.SHUT_WR)
            assert task.recv(1) == b"", "nothing twice"
            task.sendall(b"after the end")
            task.close()
            assert client.recv(100, socket.MSG_WAITALL) == b"after the end"
