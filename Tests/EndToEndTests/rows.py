"""Rows of hostile bytes: what a client sends, what it must get, and what the task must have received.

A `Stage` is one proxy with a few recording backends, shared by the rows of a file; every row ends with a barrier
request, so that "nothing was forwarded" is a fact and not a matter of having looked too early.
"""

import contextlib
import dataclasses
import itertools

from harness import Interlock, RecordingBackend, service, wait_until

CRLF = b"\r\n"


def message(line=b"GET / HTTP/1.1", *fields, host=b"web.test", body=b""):
    """A request out of its lines, byte for byte; `host=None` leaves Host out."""
    lines = [line] + ([b"Host: " + host] if host is not None else []) + list(fields)
    return CRLF.join(lines) + CRLF + CRLF + body


@dataclasses.dataclass(frozen=True)
class Forward:
    """What one request must look like at the task. `has`: field -> value or None for "present"; `lacks`: absent."""

    line: str = "GET / HTTP/1.1"
    host: str = "web.test"
    has: dict = dataclasses.field(default_factory=dict)
    lacks: tuple = ()
    body: bytes = b""
    trailers: bytes | None = None

    def check(self, request):
        assert request.is_complete, f"the task received only a part: {request}"
        assert request.line == self.line, f"{request.line!r} instead of {self.line!r}"
        assert request.header("host") == self.host, request.headers
        for name, value in self.has.items():
            found = request.header(name)
            assert found is not None and value in (None, found), f"{name}: {found!r} instead of {value!r}"
        for name in self.lacks:
            assert not request.all(name), f"{name} was forwarded: {request.headers}"
        assert request.body == self.body, f"body {request.body[:200]!r} instead of {self.body[:200]!r}"
        if self.trailers is not None:
            assert request.trailers == self.trailers
        check_canonical(request)


def check_canonical(request):
    """What is forwarded has one length, one Host and no field of the client's hop."""
    assert request.version == "HTTP/1.1"
    assert len(request.all("content-length")) + len(request.all("transfer-encoding")) <= 1, request.headers
    for value in request.all("content-length"):
        assert value.isdecimal() and str(int(value)) == value, value
    for value in request.all("transfer-encoding"):
        assert value == "chunked", value
    for name in ("keep-alive", "proxy-connection", "proxy", "forwarded"):
        assert not request.all(name), f"{name} was forwarded: {request.headers}"


@dataclasses.dataclass(frozen=True)
class Row:
    """Bytes and their outcome. `status`: one, or a tuple of which any is right; a list for pipelined answers."""

    id: str
    data: bytes
    status: object = 400
    closes: bool = True
    forwards: tuple = ()
    #: The head may have reached the task before the fault was seen; then the request stays incomplete there.
    may_begin: bool = False
    #: The proxy may end with RST, since the client went on sending what nobody may read.
    may_reset: bool = False

    def __str__(self):
        return self.id


def refused(id, data, status=400, **options):
    """The row of a request that is answered by the proxy; nothing of it reaches a task."""
    return Row(id, data, status=status, **options)


def passed(id, data, *forwards, status=200, closes=False, **options):
    """The row of a request that reaches a task; the connection stays usable."""
    return Row(id, data, status=status, closes=closes, forwards=forwards or (Forward(),), **options)


class Stage:
    """One proxy and its backends. `hosts`: names; each gets a service and a backend of its own."""

    def __init__(self, hosts=("web.test",), services=None, environment=None, **options):
        self.stack = contextlib.ExitStack()
        self.backends = {host: self.stack.enter_context(RecordingBackend()) for host in hosts}
        self.services = services or (
            lambda backends: [
                service(host.replace(".", "-").replace("*", "any"), [each], hosts=host)
                for host, each in backends.items()
            ]
        )
        self.environment, self.options = environment, options
        self.proxy = None
        self.barriers = itertools.count()
        self.ensure_running()

    def ensure_running(self):
        """Starts the proxy, also again after a row that it did not survive."""
        if self.proxy is None or self.proxy.process.poll() is not None:
            if self.proxy:
                self.proxy.close()
            self.proxy = self.stack.enter_context(
                Interlock(self.services(self.backends), environment=self.environment, **self.options)
            )

    @property
    def backend(self):
        return next(iter(self.backends.values()))

    def requests(self):
        """Everything that reached any backend, in order of arrival, barriers left out."""
        found = [each for backend in self.backends.values() for each in list(backend.requests)]
        found = [each for each in found if not each.target.startswith("/barrier/")]
        return sorted(found, key=lambda each: each.received_at)

    def barrier(self):
        """Returns once everything sent before has been dealt with by the (one) worker."""
        for host in self.backends:
            if not host.startswith("*"):
                answer = self.proxy.get(f"/barrier/{next(self.barriers)}", host=host)
                assert answer.status in (200, 404), answer

    def close(self):
        self.stack.close()


def play(stage, row, size=0):
    """Sends the row (`size` bytes at a time if given) and checks everything it says."""
    stage.ensure_running()
    before = len(stage.requests())
    statuses = row.status if isinstance(row.status, list) else [row.status]
    methods = [part.split(b" ", 1)[0].decode("latin-1") for part in [row.data.lstrip(CRLF)]]
    with stage.proxy.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if size:
                connection.send_in_pieces(row.data, size)
            else:
                connection.send(row.data)
        for status in statuses:
            answer = connection.read_response(methods[0] if len(statuses) == 1 else "GET")
            assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
        again = not row.closes
        if row.closes:
            expect_orderly_end(connection, row.may_reset)
        else:
            connection.request(target="/again")
            assert connection.read_response().status == 200
    stage.barrier()
    seen = stage.requests()[before:]
    if again:
        assert seen and seen[-1].target == "/again", seen
        seen.pop()
    if row.may_begin:
        assert not any(each.is_complete for each in seen), f"a refused request was completed at the task: {seen}"
        for each in seen:
            wait_until(lambda each=each: each.connection.ended, message="the upstream connection is closed")
        return
    assert len(seen) == len(row.forwards), f"{len(seen)} requests reached a task: {seen}"
    for forward, request in zip(row.forwards, seen):
        forward.check(request)


def expect_orderly_end(connection, may_reset=False):
    """FIN and not one byte more; RST would tear the answer out of the client's hands."""
    try:
        rest = connection.read_to_end()
    except ConnectionResetError:
        assert may_reset, "the connection was reset instead of closed"
        return
    assert not rest, f"expected the end, got {rest[:300]!r}"
