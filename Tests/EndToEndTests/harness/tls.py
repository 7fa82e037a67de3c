"""TLS clients: contexts of Python's ssl with our root, `openssl s_client`, and a handshake whose bytes a test may cut.

Nothing verifies less than a browser would unless the test says so by `verify=False`.
"""

import contextlib
import socket
import ssl
import subprocess
import threading

from . import certificates
from .client import RawConnection

#: Alerts (RFC 8446, 6) that a test may wait for.
ALERTS = (
    "close_notify", "unexpected_message", "bad_record_mac", "record_overflow", "handshake_failure", "bad_certificate",
    "certificate_expired", "certificate_unknown", "illegal_parameter", "unknown_ca", "decode_error", "protocol_version",
    "internal_error", "no_renegotiation", "missing_extension", "unrecognized_name", "certificate_required",
    "no_application_protocol",
)


def context(verify=True, trust=None, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_3, alpn=(),
            certificate=None, ciphers=None):
    """A client's context. `trust`: an Authority instead of our root; `certificate`: shown to the server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if verify:
        made.load_verify_locations(cafile=str((trust or certificates.authority()).path))
    else:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        made.set_ciphers(ciphers)
    made.minimum_version, made.maximum_version = minimum, maximum
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if certificate:
        made.load_cert_chain(certificate.path, certificate.key_path)
    return made


def old_context(version):
    """A client of TLS 1.0 or 1.1, with everything that such clients could do."""
    return context(verify=False, minimum=version, maximum=version, ciphers="ALL:@SECLEVEL=0")


class TLSSocket:
    """TLS in memory over a plain socket, with the methods of a socket.

    Unlike Python's own it may be read and written by two threads at once, and says goodbye for one direction alone.
    """

    def __init__(self, plain, tls, server_name, session=None, is_server=False):
        self.plain = plain
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = tls.wrap_bio(
            self.incoming, self.outgoing, server_side=is_server, server_hostname=server_name, session=session)
        self.lock, self.send_lock = threading.Lock(), threading.Lock()
        self._drive(self.object.do_handshake)

    def __getattr__(self, name):
        """What is not here: of the session if it has it, else of the plain socket."""
        return getattr(self.object if hasattr(self.object, name) else self.plain, name)

    def recv(self, count):
        try:
            return self._drive(lambda: self.object.read(count))
        except ssl.SSLZeroReturnError:
            # The server's close_notify, where ours was sent before.
            return b""

    def sendall(self, data):
        view = memoryview(data)
        while view:
            with self.send_lock:
                with self.lock:
                    count = self.object.write(view[:65536])
                    ready = self.outgoing.read()
                self.plain.sendall(ready)
            view = view[count:]

    def say_goodbye(self):
        """close_notify; nothing is read for it."""
        with self.lock:
            waiting = self.incoming.read()
            with contextlib.suppress(ssl.SSLError):
                self.object.unwrap()
            self.incoming.write(waiting)
        self._flush()

    def unwrap(self):
        """close_notify both ways; the plain socket."""
        self._drive(self.object.unwrap)
        return self.plain

    def _drive(self, step):
        """Runs the step; reads and writes the plain socket as long as it asks for it."""
        while True:
            with self.lock:
                try:
                    result = step()
                    break
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    self._leave_last_word()
                    raise
            self._flush()
            data = self.plain.recv(262144)
            with self.lock:
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
        self._flush()
        return result

    def _flush(self):
        if self.outgoing.pending:
            with self.send_lock:
                with self.lock:
                    ready = self.outgoing.read()
                self.plain.sendall(ready)

    def _leave_last_word(self):
        """The alert that tells the server why."""
        with contextlib.suppress(OSError):
            self.plain.sendall(self.outgoing.read())


class TLSConnection(RawConnection):
    """A RawConnection over TLS. At the end of the stream `ended_cleanly` says if close_notify announced it."""

    def __init__(self, port, server_name="web.test", tls=None, session=None, **options):
        super().__init__(port, **options)
        made = tls or context()
        if server_name is None:
            made.check_hostname = False
        try:
            self.socket = TLSSocket(self.socket, made, server_name, session)
        except BaseException:
            self.socket.close()
            raise

    def shutdown_write(self):
        self.socket.say_goodbye()
        self.socket.shutdown(socket.SHUT_WR)

    @property
    def certificate(self):
        """The server's, DER."""
        return self.socket.getpeercert(binary_form=True)

    @property
    def serial(self):
        text = certificates.openssl("x509", "-inform", "DER", "-noout", "-serial", stdin=self.certificate).decode()
        return int(text.partition("=")[2], 16)


def refusal(port, server_name="web.test", tls=None, timeout=10.0):
    """Why a handshake was refused: the alert's name in OpenSSL's words, "closed" or "reset"; None if it was not.

    Under TLS 1.3 the server may speak its last word about a client certificate only after the client's end of the
    handshake; so one request is tried too.
    """
    try:
        with TLSConnection(port, server_name, tls or context(verify=False), timeout=timeout) as connection:
            try:
                connection.request(host=server_name or "web.test")
            except OSError as error:
                # What the server said before it closed is still there to be read.
                connection.fill()
                raise ConnectionResetError from error
            connection.read_response()
            return None
    except (ssl.SSLError, ConnectionError, AssertionError) as error:
        return _name(f"{error} {error.__cause__ or ''}".lower().replace("_", " "))


def _name(text):
    for name in ALERTS:
        if f"alert {name.replace('_', ' ')}" in text:
            return name
    for mark, name in OPENSSL_WORDS.items():
        if mark in text:
            return name
    return "reset" if "reset" in text else "closed"


#: Alerts that OpenSSL names without the word alert, or by an older name.
OPENSSL_WORDS = {
    "tlsv1 unrecognized name": "unrecognized_name",
    "tlsv1 alert unsupported extension": "unsupported_extension",
}


def s_client(port, *arguments, data=b"", server_name="web.test", timeout=20.0, trust=True):
    """Runs `openssl s_client`; everything it printed, both streams.

    Without `data` it shakes hands and ends. With it, it goes on until the server closes (ask for `Connection: close`),
    at most `timeout` seconds; `R` and `K` lines are its own commands.
    """
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
    command += ["-servername", server_name] if server_name else ["-noservername"]
    if trust:
        command += ["-CAfile", str(certificates.authority().path)]
    client = subprocess.Popen(
        [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    shown = []
    reader = threading.Thread(target=lambda: shown.append(client.stdout.read()), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(data)
            client.stdin.flush()
            if data:
                reader.join(timeout)
            client.stdin.close()
        reader.join(timeout)
    finally:
        client.kill()
        client.wait()
        reader.join(5)
    return shown[0].decode("utf-8", "replace")


class ManualHandshake:
    """A TLS client in memory over a socket: what it wants to send can be taken, cut, and sent as the test likes."""

    def __init__(self, port, server_name="web.test", tls=None, timeout=10.0):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (tls or context()).wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hello(self):
        """The first flight, one TLS record."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def send(self, data):
        self.socket.sendall(data)

    def finish(self):
        """The rest of the handshake."""
        self._drive(self.object.do_handshake)

    def exchange(self, data):
        """Sends data over TLS and returns the first bytes of the answer."""
        self._drive(lambda: self.object.write(data))
        return self._drive(lambda: self.object.read(65536))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _drive(self, step):
        while True:
            try:
                result = step()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError("the server closed the connection") from None
                self.incoming.write(data)

    def _flush(self):
        if data := self.outgoing.read():
            self.socket.sendall(data)


def records(data, kind=22, version=b"\x03\x01"):
    """That handshake message in one TLS record."""
    return bytes([kind]) + version + len(data).to_bytes(2, "big") + data


def fragmented(record, *sizes):
    """The content of one record in records of those sizes, the rest in one more."""
    kind, version, content = record[0], record[1:3], record[5:]
    parts = []
    for size in sizes:
        parts.append(records(content[:size], kind, version))
        content = content[size:]
        if not content:
            break
    return b"".join([*parts, records(content, kind, version)] if content else parts)
