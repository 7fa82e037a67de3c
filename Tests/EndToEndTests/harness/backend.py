"""A scripted backend that records exactly what the proxy sent it, byte for byte, and plays exactly what a test says.

It listens on a real socket, one thread a connection, and judges nothing: malformed requests are recorded too.
Default behaviour: read whole requests, answer each with 200 "ok", keep the connection.

    backend = RecordingBackend()                                  # 200 ok for ever
    backend.play(response(201, b"made"))                          # the next request gets this, later ones the default
    backend.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Reset())
    backend.play(Pause(0.5), response(200, b"late"))
    backend.default = lambda request: response(200, request.body)
    backend.on_connect = [Send(b"hello")]                         # before anything is read
    backend.reads = "head"                                        # answer as soon as the head is there
"""

import collections
import dataclasses
import re
import socket
import struct
import threading
import time

from .waiting import wait_until


@dataclasses.dataclass
class Send:
    """Bytes, in pieces of `size` with a pause of `pause` seconds between them if given."""

    data: bytes
    size: int = 0
    pause: float = 0.0


@dataclasses.dataclass
class Pause:
    seconds: float


@dataclasses.dataclass
class Release:
    """Wait until the test sets this event (at most 30 s)."""

    event: threading.Event


@dataclasses.dataclass
class ReadExactly:
    """Read that many more bytes of the connection (recorded) before going on."""

    count: int


class Close:
    """Close in the orderly way (FIN)."""


class Reset:
    """Close with RST."""


class ShutdownWrite:
    """FIN for our direction only; keep reading."""


def response(status=200, body=b"", headers=(), reason="Reason", version="HTTP/1.1", length=True):
    """A whole answer as bytes; `length=False` leaves Content-Length out."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    lines = [f"{version} {status} {reason}"] + [f"{name}: {value}" for name, value in pairs]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces, trailers=b"", last=True):
    """Chunked framing of those pieces."""
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return data + (b"0\r\n" + trailers + b"\r\n" if last else b"")


class RecordedRequest:
    """One request as it arrived: `raw_head` and `body` byte for byte, and the same taken apart."""

    def __init__(self, raw_head, connection):
        self.raw_head, self.connection = raw_head, connection
        self.body, self.raw_body, self.trailers = b"", b"", b""
        self.is_complete = False
        self.received_at = time.monotonic()
        lines = raw_head[:-4].split(b"\r\n")
        parts = lines[0].decode("latin-1").split(" ")
        self.method, self.target, self.version = (parts + ["", "", ""])[:3]
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            self.headers.append((name, value.strip(" \t")))

    @property
    def line(self):
        return self.raw_head.split(b"\r\n", 1)[0].decode("latin-1")

    def header(self, name, default=None):
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values}"
        return values[0] if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __repr__(self):
        return f"<RecordedRequest {self.line!r} {self.headers} body {len(self.body)}>"


class RecordedConnection:
    """One connection of the proxy to this backend. `received` is every byte; `ended`: None, "closed" or "reset"."""

    def __init__(self, backend, client, index):
        self.backend, self.socket, self.index = backend, client, index
        self.received = bytearray()
        self.requests = []
        self.ended = None
        self.position = 0

    def fill(self):
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            self.ended = "reset"
            return False
        except OSError:
            self.ended = self.ended or "closed"
            return False
        if not data:
            self.ended = "closed"
            return False
        self.received += data
        return True

    def take_until(self, mark):
        searched = self.position
        while (at := self.received.find(mark, searched)) < 0:
            searched = max(self.position, len(self.received) - len(mark) + 1)
            if not self.fill():
                return None
        return self._take(at + len(mark) - self.position)

    def take(self, count):
        while len(self.received) - self.position < count:
            if not self.fill():
                return None
        return self._take(count)

    def perform(self, steps):
        """Plays the steps; False when the connection is over."""
        for step in steps:
            try:
                if not self._perform(step):
                    return False
            except (BrokenPipeError, ConnectionResetError):
                self.ended = "reset"
                return False
            except OSError:
                self.ended = self.ended or "closed"
                return False
        return True

    def _perform(self, step):
        match step:
            case bytes():
                self.socket.sendall(step)
            case Send(data=data, size=size, pause=pause):
                for start in range(0, len(data), size or len(data) or 1):
                    self.socket.sendall(data[start:start + (size or len(data))])
                    time.sleep(pause)
            case Pause(seconds=seconds):
                time.sleep(seconds)
            case Release(event=event):
                event.wait(30)
            case ReadExactly(count=count):
                return self.take(count) is not None
            case ShutdownWrite():
                self.socket.shutdown(socket.SHUT_WR)
            case Reset():
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.socket.close()
                return False
            case Close():
                self.socket.close()
                return False
            case _ if callable(step):
                return step(self) is not False
            case _:
                raise TypeError(f"not a step: {step!r}")
        return True

    def _take(self, count):
        data = bytes(self.received[self.position:self.position + count])
        self.position += count
        return data


class RecordingBackend:
    def __init__(self, default=None, reads="request", host="127.0.0.1", port=0, backlog=256):
        self.default = default or (lambda request: response(200, b"ok"))
        self.reads = reads  # "request", "head", or "nothing" (only `on_connect` is played, then bytes are recorded)
        self.on_connect = []
        self.requests = []
        self.connections = []
        self.faults = []
        self._scripts = collections.deque()
        self._lock = threading.Lock()
        self._host, self._backlog = host, backlog
        self._listen(port)

    # What the test says.

    def play(self, *steps):
        """Steps for the next request that no script has yet answered; several calls queue up."""
        self._scripts.append(list(steps))
        return self

    @property
    def address(self):
        return f"{self._host}:{self.port}"

    @property
    def last(self):
        return self.requests[-1]

    def wait_for_requests(self, count=1, timeout=10.0, complete=True):
        """The recorded requests as soon as there are `count` of them."""
        def enough():
            known = [each for each in self.requests if each.is_complete or not complete]
            return known if len(known) >= count else None
        return wait_until(enough, timeout, message=f"{count} requests at the backend")

    def wait_for_connections(self, count=1, timeout=10.0):
        return wait_until(
            lambda: self.connections if len(self.connections) >= count else None, timeout,
            message=f"{count} connections at the backend")

    @property
    def open_connections(self):
        return [each for each in self.connections if each.ended is None]

    def stop_listening(self):
        """New connections are refused from now on; open ones live on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def listen_again(self):
        """On the same port as before."""
        self._listen(self.port)

    def close_connections(self, reset=False):
        for each in list(self.connections):
            if each.ended is None:
                try:
                    if reset:
                        each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        each.socket.shutdown(socket.SHUT_RDWR)
                    each.socket.close()
                except OSError:
                    pass
                each.ended = "closed"

    def close(self):
        if self._listener.fileno() >= 0:
            self.stop_listening()
        self.close_connections()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What its threads do.

    def _listen(self, port):
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self._host, port))
        self._listener.listen(self._backlog)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = RecordedConnection(self, client, len(self.connections))
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if connection.perform(self.on_connect):
                if self.reads == "nothing":
                    while connection.fill():
                        pass
                else:
                    while self._serve_one(connection):
                        pass
        except Exception as error:  # noqa: BLE001 - told to the test by the fixture
            self.faults.append(error)
        finally:
            connection.ended = connection.ended or "closed"
            connection.socket.close()

    def _serve_one(self, connection):
        head = connection.take_until(b"\r\n\r\n")
        if head is None:
            return False
        request = RecordedRequest(head, connection)
        connection.requests.append(request)
        self.requests.append(request)
        if self.reads == "request" and not self._read_body(request, connection):
            return False
        request.is_complete = True
        with self._lock:
            steps = self._scripts.popleft() if self._scripts else self.default
        if callable(steps):
            steps = steps(request)
        return connection.perform([steps] if isinstance(steps, bytes) else steps)

    def _read_body(self, request, connection):
        start = connection.position
        if "chunked" in [each.lower() for each in request.all("transfer-encoding")]:
            pieces = []
            while True:
                line = connection.take_until(b"\r\n")
                if line is None:
                    return False
                assert re.fullmatch(rb"[0-9a-fA-F]+\r\n", line), f"chunk line to the backend: {line!r}"
                if int(line, 16) == 0:
                    break
                data = connection.take(int(line, 16) + 2)
                if data is None:
                    return False
                assert data[-2:] == b"\r\n", f"chunk to the backend without CRLF: {data[-20:]!r}"
                pieces.append(data[:-2])
            while (line := connection.take_until(b"\r\n")) != b"\r\n":
                if line is None:
                    return False
                request.trailers += line
            request.body = b"".join(pieces)
        else:
            request.body = connection.take(int(request.header("content-length", "0")))
        request.raw_body = bytes(connection.received[start:connection.position])
        return request.body is not None
