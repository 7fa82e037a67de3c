"""A raw HTTP/1 client: sends exactly the bytes it is given and reads answers strictly.

It never fixes, retries or follows. An answer that breaks RFC 9112 raises ProtocolViolation with the bytes.
"""

import json
import re
import socket
import ssl
import struct
import time

STATUS_LINE = re.compile(rb"^HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)$")
FIELD_LINE = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$")


class ProtocolViolation(AssertionError):
    """What came back is not HTTP/1."""


class Response:
    """One answer: status, reason, version, headers in order as (name, value), body, trailers, raw bytes, 1xx."""

    def __init__(self, version, status, reason, headers):
        self.version, self.status, self.reason, self.headers = version, status, reason, headers
        self.body = b""
        self.chunks = []
        self.trailers = []
        self.raw = b""
        self.interim = []
        self.framing = "none"

    def header(self, name, default=None):
        """The one value of that field; a repeated field is a failure (use `all`)."""
        values = self.all(name)
        if len(values) > 1:
            raise ProtocolViolation(f"{name} occurs {len(values)} times: {values}")
        return values[0] if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<Response {self.status} {self.headers} {self.body[:200]!r}>"


class RawConnection:
    """One TCP (or TLS) connection. All reads have the deadline `timeout`, in seconds, for the whole read."""

    def __init__(self, port, host="127.0.0.1", timeout=10.0, tls_context=None, server_name=None, source=None,
                 receive_buffer=None, unix=None):
        self.timeout = timeout
        if unix:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        self.socket.connect(unix or (host, port))
        if tls_context:
            self.socket = tls_context.wrap_socket(self.socket, server_hostname=server_name)
        self.buffer = bytearray()
        self.ended = False
        #: Over TLS: the end was announced by close_notify, or not at all.
        self.ended_cleanly = True
        self.all_received = bytearray()

    # Sending.

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def send_in_pieces(self, data, size=1, pause=0.0):
        """The same bytes, `size` at a time, each in a segment of its own as far as the kernel allows."""
        for start in range(0, len(data), size):
            self.send(data[start:start + size])
            if pause:
                time.sleep(pause)

    def request(self, method="GET", target="/", host="web.test", headers=(), body=b"", version="HTTP/1.1"):
        self.send(request_bytes(method, target, host, headers, body, version))

    # Reading.

    def fill(self, deadline=None):
        """One read into the buffer; False at the end of the stream. TimeoutError at the deadline."""
        if self.ended:
            return False
        left = self.timeout if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no more bytes in time; so far: {self.buffer[-300:]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(262144)
        except TimeoutError:
            raise TimeoutError(f"no more bytes in time; so far: {self.buffer[-300:]!r}") from None
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            self.ended_cleanly = False
            data = b""
        if not data:
            self.ended = True
            return False
        self.buffer += data
        self.all_received += data if len(self.all_received) < 1 << 20 else b""
        return True

    def read_exactly(self, count):
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count:
            if not self.fill(deadline):
                raise ProtocolViolation(f"ended after {len(self.buffer)} of {count} bytes: {self.buffer[-200:]!r}")
        return self._take(count)

    def read_until(self, mark):
        """Everything up to and including `mark`."""
        deadline = time.monotonic() + self.timeout
        searched = 0
        while (at := self.buffer.find(mark, searched)) < 0:
            searched = max(0, len(self.buffer) - len(mark) + 1)
            if not self.fill(deadline):
                raise ProtocolViolation(f"ended before {mark!r}: {self.buffer[-300:]!r}")
        return self._take(at + len(mark))

    def read_to_end(self):
        """Everything until the peer closes; a reset raises ConnectionResetError."""
        deadline = time.monotonic() + self.timeout
        while self.fill(deadline):
            pass
        return self._take(len(self.buffer))

    def read_response(self, method="GET"):
        """One final answer with its body; 1xx answers before it are kept in `.interim` (101 is final)."""
        interim = []
        while True:
            answer = self.read_head()
            if 100 <= answer.status < 200 and answer.status != 101:
                interim.append(answer)
                continue
            answer.interim = interim
            if answer.status != 101:
                self._read_body(answer, method)
            return answer

    def read_head(self):
        """One status line and its fields, nothing of the body."""
        raw = self.read_until(b"\r\n\r\n")
        if raw.count(b"\n") != raw.count(b"\r\n") or raw.count(b"\r") != raw.count(b"\r\n"):
            raise ProtocolViolation(f"bare CR or LF in the head: {raw!r}")
        lines = raw[:-4].split(b"\r\n")
        start = STATUS_LINE.match(lines[0])
        if not start:
            raise ProtocolViolation(f"bad status line: {raw[:200]!r}")
        answer = Response(
            f"HTTP/1.{start[1].decode()}", int(start[2]), start[3].decode("latin-1"), _fields(lines[1:]))
        answer.raw = raw
        return answer

    def _read_body(self, answer, method):
        codings, lengths = answer.all("transfer-encoding"), answer.all("content-length")
        if codings and lengths:
            raise ProtocolViolation(f"both Content-Length and Transfer-Encoding: {answer.raw!r}")
        if len(lengths) > 1 or len(codings) > 1:
            raise ProtocolViolation(f"framing fields repeated: {answer.raw!r}")
        if method == "HEAD" or answer.status in (204, 304):
            if codings and answer.status == 204:
                raise ProtocolViolation(f"Transfer-Encoding in a 204: {answer.raw!r}")
            return
        if codings:
            if codings[0].lower() != "chunked" or answer.version == "HTTP/1.0":
                raise ProtocolViolation(f"transfer coding {codings[0]!r}")
            answer.framing = "chunked"
            self._read_chunks(answer)
        elif lengths:
            if not re.fullmatch(r"[0-9]+", lengths[0]):
                raise ProtocolViolation(f"Content-Length {lengths[0]!r}")
            answer.framing = "length"
            answer.body = self.read_exactly(int(lengths[0]))
            answer.raw += answer.body
        else:
            answer.framing = "close"
            answer.body = self.read_to_end()
            answer.raw += answer.body

    def _read_chunks(self, answer):
        pieces = []
        while True:
            line = self.read_until(b"\r\n")
            pieces.append(line)
            size = re.fullmatch(rb"([0-9a-fA-F]+)\r\n", line)
            if not size:
                raise ProtocolViolation(f"bad chunk line {line!r}")
            if int(size[1], 16) == 0:
                break
            data = self.read_exactly(int(size[1], 16) + 2)
            if data[-2:] != b"\r\n":
                raise ProtocolViolation(f"chunk without CRLF: {data[-20:]!r}")
            pieces.append(data)
            answer.chunks.append(data[:-2])
        lines = []
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2])
            pieces.append(line)
        answer.trailers = _fields(lines)
        answer.body = b"".join(answer.chunks)
        answer.raw += b"".join(pieces) + b"\r\n"

    # Ends.

    def is_open(self, seconds=0.1):
        """True if nothing comes and nothing ends within that time."""
        if self.buffer:
            return True
        try:
            return self.fill(time.monotonic() + seconds)
        except TimeoutError:
            return True
        except OSError:
            return False

    def expect_end(self):
        """The peer closes (orderly or by reset) without sending another byte."""
        try:
            rest = self.read_to_end()
        except (ConnectionResetError, BrokenPipeError):
            rest = bytes(self.buffer)
        if rest:
            raise ProtocolViolation(f"expected the end, got {rest[:300]!r}")

    def expect_silence(self, seconds=0.2):
        """The connection stays open and sends nothing for that long."""
        try:
            more = self.buffer or self.fill(time.monotonic() + seconds)
        except TimeoutError:
            return
        raise ProtocolViolation(f"expected silence, got {self.buffer[:300]!r}" if more else "expected silence, got FIN")

    def shutdown_write(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Ends with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _take(self, count):
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data


def request_bytes(method="GET", target="/", host="web.test", headers=(), body=b"", version="HTTP/1.1"):
    """A plain request. Content-Length is added for a body unless `headers` frame it. host=None leaves Host out."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    lines += [f"{name}: {value}" for name, value in pairs]
    framed = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs)
    if body and not framed:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def exchange(port, data, method="GET", timeout=10.0, host="127.0.0.1"):
    """Sends those bytes on a new connection, returns the one answer, closes."""
    with RawConnection(port, host=host, timeout=timeout) as connection:
        connection.send(data)
        return connection.read_response(method)


def get(port, target="/", host="web.test", headers=(), method="GET", body=b"", timeout=10.0, address="127.0.0.1"):
    """One request on a new connection."""
    data = request_bytes(method, target, host, headers, body)
    return exchange(port, data, method=method, timeout=timeout, host=address)


def _fields(lines):
    fields = []
    for line in lines:
        match = FIELD_LINE.match(line)
        if not match:
            raise ProtocolViolation(f"bad field line {line!r}")
        fields.append((match[1].decode("latin-1"), match[2].decode("latin-1")))
    return fields
