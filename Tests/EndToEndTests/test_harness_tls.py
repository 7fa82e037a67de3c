"""The TLS half of the harness against a server of Python's own: what it accepts and what it must not."""

import contextlib
import socket
import ssl
import threading

import pytest

from harness import (Authority, ManualHandshake, TLSConnection, authority, certificate, context, fragmented,
                     intermediate, refusal, response, s_client)


@contextlib.contextmanager
def server(shown, announces=True, minimum=ssl.TLSVersion.TLSv1_2, trust=None):
    """Answers each connection once; ends it with or without close_notify."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(shown.path, shown.key_path)
    made.minimum_version = minimum
    if trust:
        made.load_verify_locations(cafile=str(trust.path))
        made.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                client.settimeout(5)
                secure = made.wrap_socket(client, server_side=True)
                secure.recv(65536)
                secure.sendall(response(200, b"hello"))
                if announces:
                    secure = secure.unwrap()
                secure.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.parametrize("issuer", [authority, intermediate])
@pytest.mark.parametrize("kind", ["p256", "rsa"])
@pytest.mark.parametrize("announces", [True, False])
def test_certificates_are_good_and_ends_are_told_apart(issuer, kind, announces):
    shown = issuer().issue("web.test", kind=kind)
    with server(shown, announces) as port, TLSConnection(port) as connection:
        assert (connection.certificate, connection.serial) == (shown.der, shown.serial)
        connection.request()
        assert connection.read_response().body == b"hello"
        connection.expect_end()
        assert connection.ended_cleanly == announces


def test_the_client_verifies():
    for shown in (certificate("other.test"), certificate("web.test", days=(-10, -1)),
                  Authority("Strangers").issue("web.test")):
        with server(shown) as port, pytest.raises(ssl.SSLCertVerificationError):
            TLSConnection(port)


def test_refusals_have_names():
    with server(certificate("web.test"), minimum=ssl.TLSVersion.TLSv1_3) as port:
        assert refusal(port, tls=context(maximum=ssl.TLSVersion.TLSv1_2)) == "protocol_version"
        assert refusal(port) is None
    with server(certificate("web.test"), trust=authority()) as port:
        assert refusal(port) == "certificate_required"
        assert refusal(port, tls=context(certificate=Authority("S").issue(usage="clientAuth"))) == "unknown_ca"
        assert refusal(port, tls=context(certificate=certificate("me", usage="clientAuth"))) is None


@pytest.mark.parametrize("sizes", [(), (1,), (4, 1), (100, 100)])
def test_a_handshake_in_pieces(sizes):
    with server(certificate("web.test")) as port, ManualHandshake(port) as client:
        client.send(fragmented(client.hello(), *sizes))
        client.finish()
        assert client.exchange(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_s_client_shows_what_it_got():
    with server(certificate("web.test")) as port:
        shown = s_client(port, data=b"GET / HTTP/1.1\r\n\r\n")
        assert "HTTP/1.1 200" in shown and "Verify return code: 0 (ok)" in shown and "TLSv1.3" in shown, shown


def test_a_staple_is_an_answer_about_its_certificate():
    shown = certificate("web.test", kind="rsa")
    assert shown.not_after > 1_700_000_000
    assert authority().staple(shown)[:1] == b"\x30"
    assert len(shown.secret_parts()) > 20 and all(len(part) > 16 for part in shown.secret_parts())
