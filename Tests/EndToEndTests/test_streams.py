"""TCP entry ports of services: they come and go with the services file, carry bytes as they are, and say what they did.

The servers are plain sockets here; programs of other people are in test_tcp_clients.py.
"""

import contextlib
import hashlib
import json
import random
import socket
import ssl
import struct
import threading
import time

import pytest

from harness import ManualHandshake, authority, certificate, context, free_port, service, wait_until
from harness.tls import TLSSocket


@contextlib.contextmanager
def listening():
    """A listening socket; the test accepts by hand."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def port_of(server):
    return server.getsockname()[1]


def connect(port):
    made = socket.create_connection(("127.0.0.1", port), 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def is_open(port):
    try:
        connect(port).close()
        return True
    except OSError:
        return False


def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(min(65536, count - len(data)))
        assert more, f"ended after {len(data)} of {count} bytes"
        data += more
    return data


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def hash_of_everything(stream, sizes):
    found, count = hashlib.sha256(), 0
    while more := stream.recv(sizes.choice((1, 100, 5000, 65536, 300_000))):
        found.update(more)
        count += len(more)
    return found.hexdigest(), count


def send_in_odd_pieces(stream, data, sizes):
    position = 0
    while position < len(data):
        size = sizes.choice((1, 3, 1000, 16_384, 100_000, 400_000))
        stream.sendall(data[position:position + size])
        position += size
    stream.shutdown(socket.SHUT_WR)


def stream_proxy(interlock, ports, services=(), **options):
    environment = {"INTERLOCK_TCP_PORTS": ",".join(map(str, ports)), **options.pop("environment", {})}
    return interlock(list(services), environment=environment, **options)


def test_ports_come_and_go_with_their_services(interlock):
    first, second = free_port(), free_port()
    with listening() as server:
        proxy = stream_proxy(interlock, (first, second), workers=2)
        assert not is_open(first)
        proxy.write_services([service("db", [port_of(server)], tcp_port=first)])
        kept = wait_until(lambda: connect(first), message="the port is open")
        task, _ = server.accept()
        task.settimeout(10)
        proxy.wait_for_log(rf'"entry port opened".*{first}')

        proxy.write_services([service("db", [port_of(server)], tcp_port=second)])
        wait_until(lambda: is_open(second), message="the second port is open")
        wait_until(lambda: not is_open(first), message="the first port is closed")
        proxy.write_services([])
        wait_until(lambda: not is_open(second), message="both ports are closed")
        # What was accepted goes on, whatever became of port and service.
        kept.sendall(b"still here")
        assert read_exactly(task, 10) == b"still here"
        task.sendall(b"so am I")
        assert read_exactly(kept, 7) == b"so am I"
        kept.close()


@pytest.mark.parametrize("seed", range(4))
def test_every_byte_arrives_once_and_in_order(interlock, seed):
    port = free_port()
    sizes = random.Random(seed)
    up, down = sizes.randbytes(5_000_000 + seed), sizes.randbytes(4_000_001)
    with listening() as server:
        proxy = stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=port)])
        client = wait_until(lambda: connect(port))
        task, _ = server.accept()
        results = {}

        def receive(name, stream):
            results[name] = hash_of_everything(stream, random.Random(seed + 1))

        threads = [
            threading.Thread(target=receive, args=("task", task)),
            threading.Thread(target=receive, args=("client", client)),
            threading.Thread(target=send_in_odd_pieces, args=(task, down, random.Random(seed + 2))),
        ]
        for thread in threads:
            thread.start()
        send_in_odd_pieces(client, up, random.Random(seed + 3))
        for thread in threads:
            thread.join(30)
        assert results["task"] == (hashlib.sha256(up).hexdigest(), len(up))
        assert results["client"] == (hashlib.sha256(down).hexdigest(), len(down))
        wait_until(lambda: proxy.metric("interlock_stream_connections_total", service="db") == 1)
        assert proxy.metric("interlock_stream_connections") == 0
        assert proxy.metric("interlock_service_received_bytes_total", service="db") == len(up)
        assert proxy.metric("interlock_service_sent_bytes_total", service="db") == len(down)
        assert not proxy.metric("interlock_requests_total", service="db"), "no connection is a request"


def test_a_port_of_somebody_else_is_a_finding_until_it_is_free(interlock):
    taken, free = free_port(), free_port()
    with listening() as server:
        with socket.create_server(("0.0.0.0", taken)):
            services = [service("one", [port_of(server)], tcp_port=taken),
                        service("two", [port_of(server)], tcp_port=free)]
            proxy = stream_proxy(interlock, (taken, free), services)
            wait_until(lambda: is_open(free))
            proxy.wait_for_log(rf'"entry port not available".*{taken}.*another process holds the port')
            assert proxy.metric("interlock_entry_ports", state="unavailable") == 1
            assert proxy.metric("interlock_entry_ports", state="open") == 1
            assert f"entry port  {taken}, another process" in proxy.admin("/").text
        wait_until(lambda: proxy.metric("interlock_entry_ports", state="open") == 2)
        assert is_open(taken)


def test_no_port_beyond_the_setting_is_opened(interlock):
    port, other = free_port(), free_port()
    with listening() as server:
        proxy = stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=other)])
        found = wait_until(lambda: proxy.api_routes()["diagnostics"])
        assert found[0]["label"].endswith("tcp_port"), found
        assert not is_open(other)


def test_the_next_task_is_taken_and_a_client_without_any_is_reset(interlock):
    port, lonely, dead = free_port(), free_port(), free_port()
    with listening() as server:
        proxy = stream_proxy(interlock, (port, lonely), [
            service("db", [dead, port_of(server)], tcp_port=port), service("gone", [dead], tcp_port=lonely)])
        wait_until(lambda: proxy.metric("interlock_entry_ports", state="open") == 2)
        for number in range(4):
            with connect(port) as client:
                client.sendall(b"%d" % number)
                with server.accept()[0] as task:
                    assert read_exactly(task, 1) == b"%d" % number
        with pytest.raises(ConnectionResetError), connect(lonely) as client:
            client.recv(1)
        wait_until(lambda: proxy.metric("interlock_stream_connections_failed_total", service="gone") == 1)
        assert proxy.metric("interlock_stream_connections_failed_total", service="db") == 0


def test_resets_pass_both_ways(interlock):
    port = free_port()
    with listening() as server:
        stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=port)])
        wait_until(lambda: is_open(port))
        server.accept()[0].close()
        for client_resets in (True, False):
            client = connect(port)
            task, _ = server.accept()
            task.settimeout(10)
            client.sendall(b"x")
            assert read_exactly(task, 1) == b"x"
            reset(client if client_resets else task)
            with pytest.raises(ConnectionResetError):
                (task if client_resets else client).recv(1)


def test_half_open_and_silent_is_given_up(interlock):
    port = free_port()
    with listening() as server:
        stream_proxy(interlock, [port], [
            service("db", [port_of(server)], tcp_port=port, idle_timeout="1s", tunnel_timeout="1h")])
        client = wait_until(lambda: connect(port))
        task, _ = server.accept()
        task.settimeout(10)
        client.shutdown(socket.SHUT_WR)
        assert task.recv(1) == b""
        for _ in range(4):
            time.sleep(0.5)
            task.sendall(b"y")
            assert client.recv(1) == b"y", "what moves is not given up"
        assert client.recv(1) == b""


def test_one_line_of_the_access_log(interlock, tmp_path):
    port = free_port()
    log = tmp_path / "access.log"
    with listening() as server:
        stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=port)],
                     environment={"INTERLOCK_ACCESS_LOG": "json", "INTERLOCK_ACCESS_LOG_PATH": str(log)})
        client = wait_until(lambda: connect(port))
        task, _ = server.accept()
        client.sendall(b"12345")
        assert read_exactly(task, 5) == b"12345"
        task.sendall(b"123")
        assert read_exactly(client, 3) == b"123"
        own = client.getsockname()[1]
        client.close()
        task.close()
        line = json.loads(wait_until(lambda: log.exists() and log.read_text().strip()))
    assert line["scheme"] == "tcp" and line["service"] == "db" and line["outcome"] == "ok"
    assert line["upstream"] == f"127.0.0.1:{port_of_line(line)}" and line["client_port"] == own
    assert (line["bytes_in"], line["bytes_out"], line["attempts"]) == (5, 3, 1)
    assert "method" not in line and "status" not in line


def port_of_line(line):
    return int(line["upstream"].rpartition(":")[2])


def test_a_drain_waits_for_connections_until_its_deadline(interlock):
    port = free_port()
    with listening() as server:
        proxy = stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=port)],
                             environment={"INTERLOCK_DRAIN_TIMEOUT": "2s"})
        client = wait_until(lambda: connect(port))
        task, _ = server.accept()
        proxy.send_signal(15)
        wait_until(lambda: not is_open(port), message="no new connections")
        client.sendall(b"on")
        assert read_exactly(task, 2) == b"on"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert proxy.wait() == 0


def test_tls_to_the_task_of_a_raw_port(interlock):
    port = free_port()
    shown = certificate("db.internal.test")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(shown.path, shown.key_path)
    with listening() as server:
        proxy = stream_proxy(interlock, [port], [
            service("db", [port_of(server)], tcp_port=port, ssl_backend=True, ssl_backend_tls_verify="required",
                    ssl_backend_ca="ca.pem", ssl_backend_name="db.internal.test", proxy_protocol="v1")],
            secrets={"ca.pem": authority().pem})
        client = wait_until(lambda: connect(port))
        raw, _ = server.accept()
        raw.settimeout(10)
        header = f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.getsockname()[1]} {port}\r\n".encode()
        assert read_exactly(raw, len(header)) == header, "in clear, before TLS"
        with server_context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False) as task:
            data = random.Random(7).randbytes(300_000)
            sender = threading.Thread(target=send_in_odd_pieces, args=(client, data, random.Random(8)))
            sender.start()
            assert read_exactly(task, len(data)) == data
            assert task.recv(1) == b"", "close_notify for the client's end"
            task.sendall(data)
            assert read_exactly(client, len(data)) == data
            sender.join(10)
        wait_until(lambda: proxy.metric("interlock_stream_connections_total", service="db") == 1)


@pytest.mark.parametrize("how", ["close_notify", "fin", "3 bytes", "5 bytes", "9 bytes", "tampered", "reset"])
def test_how_a_client_ends_where_tls_ends(interlock, how):
    """A task must never take for the client's end what somebody on the way has done to TLS."""
    port = free_port()
    with listening() as server:
        stream_proxy(interlock, [port], [service("db", [port_of(server)], tcp_port=port, ssl_cert="db.pem")],
                     secrets={"db.pem": certificate("db.test").bundle})
        with wait_until(lambda: ManualHandshake(port, "db.test")) as client:
            client.finish()
            task, _ = server.accept()
            task.settimeout(10)
            client.object.write(b"hello")
            client.send(client.outgoing.read())
            assert read_exactly(task, 5) == b"hello"
            if how == "reset":
                reset(client.socket)
            elif how == "tampered":
                client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            elif how == "close_notify":
                with contextlib.suppress(ssl.SSLError):
                    client.object.unwrap()
                client.send(client.outgoing.read())
            elif how == "fin":
                client.socket.shutdown(socket.SHUT_WR)
            else:
                # Of a record: its header is 5 bytes.
                client.object.write(b"half")
                client.send(client.outgoing.read()[:int(how[0])])
                client.socket.shutdown(socket.SHUT_WR)
            if how not in ("close_notify", "fin"):
                with pytest.raises(ConnectionResetError):
                    task.recv(1)
                return
            assert task.recv(1) == b""
            # The other direction goes on.
            task.sendall(b"half open")
            assert len(client.socket.recv(1000)) > len(b"half open")
            task.close()


@pytest.mark.parametrize("is_clients", [True, False])
@pytest.mark.parametrize("how", ["said", "unsaid", "3 bytes", "5 bytes", "9 bytes"])
def test_an_end_is_said_only_if_it_was(interlock, how, is_clients):
    """Where both sides speak TLS, each can tell whether all of the other's bytes came."""
    port = free_port()
    shown = certificate("db.test")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    server_context.load_cert_chain(shown.path, shown.key_path)
    with listening() as server:
        stream_proxy(interlock, [port], [
            service("db", [port_of(server)], tcp_port=port, ssl_cert="db.pem", ssl_backend=True)],
            secrets={"db.pem": shown.bundle})
        with contextlib.closing(wait_until(lambda: TLSSocket(connect(port), context(), "db.test"))) as client:
            client.sendall(b"hello")
            raw, _ = server.accept()
            raw.settimeout(10)
            with contextlib.closing(TLSSocket(raw, server_context, None, is_server=True)) as task:
                assert read_exactly(task, 5) == b"hello"
                task.sendall(b"world")
                assert read_exactly(client, 5) == b"world"
                first, second = (client, task) if is_clients else (task, client)
                if how == "said":
                    first.say_goodbye()
                elif how != "unsaid":
                    # Of a record: its header is 5 bytes.
                    first.plain.sendall(b"\x17\x03\x03\x00\x40half"[:int(how[0])])
                first.plain.shutdown(socket.SHUT_WR)
                if how == "said":
                    assert second.recv(1) == b""
                    # The other direction goes on.
                    second.sendall(b"half open")
                    assert read_exactly(first, 9) == b"half open"
                else:
                    with pytest.raises(ssl.SSLError if how == "unsaid" else ConnectionResetError):
                        second.recv(1)


@pytest.mark.parametrize("is_clients", [True, False])
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_how_tls_that_is_passed_on_ends(interlock, how, is_clients):
    port = free_port()
    with listening() as server:
        stream_proxy(interlock, [port], [
            service("db", [port_of(server)], tcp_port=port, hosts="db.test", ssl_passthrough=True)])
        with wait_until(lambda: ManualHandshake(port, "db.test")) as client:
            hello = client.hello()
            client.send(hello)
            task, _ = server.accept()
            task.settimeout(10)
            assert read_exactly(task, len(hello)) == hello
            task.sendall(b"answer")
            assert read_exactly(client.socket, 6) == b"answer"
            first, second = (client.socket, task) if is_clients else (task, client.socket)
            if how == "reset":
                reset(first)
                with pytest.raises(ConnectionResetError):
                    second.recv(1)
                return
            first.shutdown(socket.SHUT_WR)
            assert second.recv(1) == b""
            second.sendall(b"half open")
            assert read_exactly(first, 9) == b"half open"
            second.close()
            assert first.recv(1) == b""
