"""The feed's two sides in Python, written from docs/FEED.md and from nothing else: frames, a client, and a controller
that does what a test tells it. Both send whatever they are given; what they read they read strictly.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import pathlib
import re
import socket
import ssl
import struct
import threading
import time

from . import certificates

HELLO, WELCOME, MANIFEST, WANT, PIECE, ACK, HEARTBEAT, REFUSAL = range(1, 9)
APPLIED, WAITS, REFUSED = 1, 2, 3
NO_DIGEST = bytes(32)
#: A content without any service: one piece, which counts nothing.
EMPTY = (bytes([1, 1]) + bytes(7),)


class FeedFault(AssertionError):
    """The other side has sent what FEED.md does not allow."""


class FeedEnd(AssertionError):
    """The other side has closed; `.refusal` is what it said before, if anything."""

    def __init__(self, refusal=None):
        super().__init__(f"closed: {refusal}")
        self.refusal = refusal


# Frames.


def frame(type_, payload=b""):
    return struct.pack("!IB", len(payload), type_) + payload


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def order(cluster="", version=0, listed=None):
    return text(cluster) + struct.pack("!QQ", version, time.time_ns() if listed is None else listed)


def hello(name="tester", cluster="", version=1, held=b"\x00", table=0):
    return frame(HELLO, struct.pack("!H", version) + text(name) + text(cluster) + held + struct.pack("!Q", table))


def welcome(name="false", is_current=True, offered=None, version=1):
    offer = b"\x00" if offered is None else b"\x01" + offered
    return frame(WELCOME, struct.pack("!H", version) + text(name) + bytes([is_current]) + offer)


def want(digests):
    return frame(WANT, struct.pack("!I", len(digests)) + b"".join(digests))


def manifest(offered, entries):
    body = b"".join(digest + struct.pack("!I", size) for digest, size in entries)
    return frame(MANIFEST, offered + struct.pack("!I", len(entries)) + body)


def acknowledgement(offered, digest, verdict=APPLIED, table=1, reason=""):
    return frame(ACK, offered + digest + struct.pack("!BQ", verdict, table) + text(reason))


def digest_of(piece):
    return hashlib.sha256(piece).digest()


def content_digest(digests):
    return hashlib.sha256(b"".join(digests)).digest()


def heartbeat(is_current=True):
    return frame(HEARTBEAT, bytes([is_current]))


class Fields:
    """Takes fields off the front of a payload."""

    def __init__(self, payload):
        self.payload, self.offset = payload, 0

    def take(self, size):
        if self.offset + size > len(self.payload):
            raise FeedFault(f"a payload of {len(self.payload)} bytes ends too early")
        self.offset += size
        return self.payload[self.offset - size:self.offset]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def text(self):
        return self.take(self.number(2)).decode()

    def order(self):
        """(raw bytes, (cluster, version, time))"""
        start = self.offset
        value = (self.text(), self.number(8), self.number(8))
        return self.payload[start:self.offset], value

    def end(self):
        if self.offset != len(self.payload):
            raise FeedFault(f"{len(self.payload) - self.offset} bytes behind the last field")


@dataclasses.dataclass
class Offer:
    """A MANIFEST as it came. `raw_order` goes back in the ACK."""

    raw_order: bytes
    order: tuple
    entries: list

    @property
    def digests(self):
        return [digest for digest, _ in self.entries]

    @property
    def digest(self):
        return content_digest(self.digests)

    @property
    def size(self):
        return sum(size for _, size in self.entries)


@dataclasses.dataclass
class Refusal:
    code: int
    versions: tuple
    reason: str


def read_offer(payload):
    fields = Fields(payload)
    raw, value = fields.order()
    entries = [(fields.take(32), fields.number(4)) for _ in range(fields.number(4))]
    fields.end()
    return Offer(raw, value, entries)


def read_refusal(payload):
    fields = Fields(payload)
    found = Refusal(fields.number(1), (fields.number(2), fields.number(2)), fields.text())
    fields.end()
    return found


# TLS.


def tls_context(credential, is_server=False, **limits):
    """Of a credential as `interlock feed-init` makes it; None: without a certificate, and without judging any."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.minimum_version = limits.get("minimum", ssl.TLSVersion.TLSv1_3)
    made.maximum_version = limits.get("maximum", ssl.TLSVersion.TLSv1_3)
    made.verify_mode = ssl.CERT_REQUIRED if credential else ssl.CERT_NONE
    if limits.get("trusts") is False:
        made.verify_mode = ssl.CERT_NONE
    if credential:
        made.load_cert_chain(credential)
        made.load_verify_locations(credential)
    return made


class FeedSigner(certificates.Authority):
    """The feed's own CA, out of `feed-ca.pem`, for credentials that `feed-init` would not make."""

    def __init__(self, path):
        self.name, self.parent = "feed", None
        self.directory = certificates.workshop() / f"feed-authority{next(certificates.NUMBERS)}"
        self.directory.mkdir()
        for name in ("index.txt", "index.txt.attr"):
            (self.directory / name).write_text("unique_subject = no\n" if name.endswith("attr") else "")
        found = {match[1]: match[0] for match in re.finditer(
            r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n", pathlib.Path(path).read_text(), re.S)}
        self.pem = found["CERTIFICATE"]
        self.key = next(value for kind, value in found.items() if kind.endswith("PRIVATE KEY"))
        (self.directory / "key.pem").write_text(self.key)
        (self.directory / "certificate.pem").write_text(self.pem)

    def credential(self, path, uri="interlock:proxy:", name="Interlock proxy", days=(-2, 30), usage="clientAuth"):
        """Writes one there; returns the path."""
        key = certificates.make_key("p256")
        extensions = ("basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
                      f"extendedKeyUsage={usage}\nsubjectAltName=URI:{uri}\n")
        path.write_text(self.sign(key, name, extensions, days) + key + self.pem)
        path.chmod(0o600)
        return path


class FeedConnection:
    """One connection, of either side: frames in and out."""

    def __init__(self, stream, timeout=10.0):
        self.stream, self.buffer, self.refusal = stream, b"", None
        self.received = 0
        stream.settimeout(timeout)

    def send(self, *frames):
        self.stream.sendall(b"".join(frames))

    def read_frame(self):
        """(type, payload). FeedEnd when there are no more."""
        while len(self.buffer) < 5 or len(self.buffer) < 5 + int.from_bytes(self.buffer[:4], "big"):
            try:
                data = self.stream.recv(1 << 18)
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise FeedEnd(self.refusal or repr(error)) from None
            if not data:
                raise FeedEnd(self.refusal)
            self.received += len(data)
            self.buffer += data
        size = int.from_bytes(self.buffer[:4], "big")
        type_, payload = self.buffer[4], self.buffer[5:5 + size]
        self.buffer = self.buffer[5 + size:]
        if type_ == REFUSAL:
            self.refusal = read_refusal(payload)
        return type_, payload

    def expect(self, *types):
        """The payload of the next frame of one of these types; heartbeats on the way are passed over."""
        while True:
            type_, payload = self.read_frame()
            if type_ in types:
                return payload
            if type_ != HEARTBEAT:
                raise FeedEnd(self.refusal) if type_ == REFUSAL else FeedFault(f"a frame of type {type_}")

    def close(self):
        self.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def connect(port, credential, timeout=10.0, **limits):
    """A FeedConnection after the client's part of the handshake. With TLS 1.3 the server may still refuse it."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        context = credential if isinstance(credential, ssl.SSLContext) else tls_context(credential, **limits)
        return FeedConnection(context.wrap_socket(plain), timeout)
    except BaseException:
        plain.close()
        raise


class FeedClient(FeedConnection):
    """A client that has greeted and knows the first offer. It follows only as far as it is told to."""

    def __init__(self, port, credential, timeout=10.0, **words):
        self.__dict__.update(connect(port, credential, timeout).__dict__)
        self.held = {}
        self.send(hello(**words))
        fields = Fields(self.expect(WELCOME))
        self.version, self.controller = fields.number(2), fields.text()

    def offer(self):
        return read_offer(self.expect(MANIFEST))

    def fetch(self, offer, answers=True):
        """What is missing of an offer, with the ACK; returns all pieces in their order."""
        missing = [each for each in dict.fromkeys(offer.digests) if each not in self.held]
        if missing:
            self.send(want(missing))
        for digest in missing:
            piece = self.expect(PIECE)
            if digest_of(piece) != digest:
                raise FeedFault("a piece that was not asked for")
            self.held[digest] = piece
        if answers:
            self.send(acknowledgement(offer.raw_order, offer.digest))
        return [self.held[each] for each in offer.digests]


# A controller.


class FalseController:
    """Listens with a credential, and hands every connection that has greeted to `behave(connection, hello, number)`
    on a thread of its own. It counts what came: `.accepted` TCP connections, `.greeted` ones."""

    def __init__(self, port, credential, behave, **limits):
        self.context = tls_context(credential, is_server=True, **limits)
        self.behave, self.feed_port = behave, port
        self.accepted, self.greeted, self.faults = 0, 0, []
        self.numbers, self.open, self.is_closing = itertools.count(), set(), False
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.is_closing:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        plain.settimeout(10)
        self.open.add(plain)
        try:
            with contextlib.closing(self.context.wrap_socket(plain, server_side=True)) as stream:
                self.open.add(stream)
                connection = FeedConnection(stream)
                greeting = connection.expect(HELLO)
                self.greeted += 1
                self.behave(connection, greeting, next(self.numbers))
        except (OSError, FeedEnd, ValueError):
            pass
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.faults.append(error)

    def close(self):
        self.is_closing = True
        for each in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                each.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        assert not self.faults, self.faults


def linger(connection, seconds=60.0, beats=True):
    """Stays, with heartbeats or without a word, until the other side goes; returns the frames that came."""
    deadline, came = time.monotonic() + seconds, []
    connection.stream.settimeout(0.3)
    while time.monotonic() < deadline:
        if beats:
            connection.send(heartbeat())
        try:
            came.append(connection.read_frame())
        except TimeoutError:
            continue
    return came


def serve(connection, offered, pieces, seconds=60.0):
    """Offers a content as a good controller does, and stays."""
    by_digest = {digest_of(each): each for each in pieces}
    connection.send(manifest(offered, [(digest_of(each), len(each)) for each in pieces]))
    deadline = time.monotonic() + seconds
    connection.stream.settimeout(0.3)
    while time.monotonic() < deadline:
        connection.send(heartbeat())
        try:
            type_, payload = connection.read_frame()
        except TimeoutError:
            continue
        if type_ == WANT:
            for start in range(4, len(payload), 32):
                connection.send(frame(PIECE, by_digest[payload[start:start + 32]]))
