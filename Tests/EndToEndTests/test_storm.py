"""Seeded storms: random requests, bodies, cuts, delays and losses on both sides at once, and every answer is checked.

What a client gets is a function of what it sent, so an answer that was mixed up, cut, doubled or late is seen. After
each storm the proxy holds nothing: no request, no connection, no tunnel.
"""

import contextlib
import hashlib
import random
import threading
import time

import pytest

from harness import Close, RawConnection, Reset, Send, ShutdownWrite, chunked, response, service, wait_until
from rows import message

CLIENTS = 6
REQUESTS = 60


def body_of(seed, size):
    """Bytes that are cheap to make and differ for each seed."""
    block = hashlib.sha256(str(seed).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def size_of(dice):
    return dice.choice([0, 1, dice.randrange(100), dice.randrange(5000), dice.randrange(200_000)])


def pieces_of(dice, data):
    """`data` cut at random."""
    while data:
        count = dice.choice([1, 7, 100, 4096, 65_536, len(data)])
        yield data[:count]
        data = data[count:]


def answer_of(request):
    """What the backend answers: named by the target, /SEED/SIZE/FRAMING, with a digest of what it received."""
    seed, size, framing = request.target[1:].split("/")
    dice = random.Random(request.target)
    body = body_of(seed, int(size))
    fields = {"X-Seen": hashlib.sha256(request.body).hexdigest(), "X-Target": request.target}
    if request.method == "HEAD":
        return [response(200, b"", {**fields, "Content-Length": len(body)}, length=False)]
    if framing == "chunked":
        head = response(200, length=False, headers={**fields, "Transfer-Encoding": "chunked"})
        whole = head + chunked(*pieces_of(dice, body))
        ends = []
    elif framing == "close":
        whole = response(200, length=False, headers=fields) + body
        ends = [dice.choice([Close(), ShutdownWrite()])]
    else:
        # Closing without a word would lose a POST that is on its way, and rightly: it says so.
        ends = [Close()] if dice.random() < 0.1 else []
        whole = response(200, body, {**fields, "Connection": "close"} if ends else fields)
    if dice.random() < 0.3:
        return [Send(whole, size=max(1, len(whole) // 5), pause=0.001), *ends]
    return [whole, *ends]


class Client(threading.Thread):
    """Sends requests on connections that it keeps as long as they last; remembers what went wrong."""

    def __init__(self, port, seed):
        super().__init__(daemon=True)
        self.port, self.seed, self.dice = port, seed, random.Random(seed)
        self.wrong = []

    def run(self):
        try:
            left = REQUESTS
            while left > 0:
                with RawConnection(self.port, timeout=20) as connection:
                    left -= self.converse(connection, min(left, self.dice.randrange(1, 20)))
                    if self.dice.random() < 0.3:
                        connection.reset()
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.wrong.append(f"client {self.seed}: {error!r}")

    def converse(self, connection, count):
        """A few requests, sometimes pipelined; returns how many were answered."""
        answered = 0
        while answered < count:
            batch = [self.request() for _ in range(self.dice.choice([1, 1, 1, 4]))]
            data = b"".join(request[0] for request in batch)
            sender = threading.Thread(target=self.send, args=(connection, data), daemon=True)
            sender.start()
            for _, method, target, body in batch:
                self.check(connection.read_response(method), method, target, body)
            sender.join(20)
            answered += len(batch)
        return answered

    def send(self, connection, data):
        pieces = list(pieces_of(random.Random(len(data)), data))
        with contextlib.suppress(OSError):
            for index, piece in enumerate(pieces):
                connection.send(piece)
                if index % 50 == 3:
                    time.sleep(0.001)

    def request(self):
        method = self.dice.choice(["GET", "GET", "POST", "PUT", "HEAD"])
        target = (
            f"/{self.dice.randrange(1 << 30)}/{size_of(self.dice)}/{self.dice.choice(['length', 'chunked', 'close'])}"
        )
        body = body_of(target, size_of(self.dice)) if method in ("POST", "PUT") else b""
        line = f"{method} {target} HTTP/1.1".encode()
        if not body:
            data = message(line, *([b"Content-Length: 0"] if method in ("POST", "PUT") else []))
        elif self.dice.random() < 0.5:
            data = message(line, b"Content-Length: %d" % len(body), body=body)
        else:
            data = message(line, b"Transfer-Encoding: chunked", body=chunked(*pieces_of(self.dice, body)))
        return data, method, target, body

    def check(self, answer, method, target, body):
        seed, size, _ = target[1:].split("/")
        wanted = b"" if method == "HEAD" else body_of(seed, int(size))
        if answer.status != 200 or answer.header("x-target") != target:
            self.wrong.append(f"{method} {target}: {answer}")
        elif answer.header("x-seen") != hashlib.sha256(body).hexdigest():
            self.wrong.append(f"{method} {target}: another body of {len(body)} bytes arrived")
        elif answer.body != wanted:
            self.wrong.append(f"{method} {target}: {len(answer.body)} bytes instead of {len(wanted)}, or others")


def holds_nothing(proxy):
    metrics = proxy.metrics()
    held = {
        name: metrics[name]
        for name in ("interlock_client_connections", "interlock_requests_active", "interlock_tunnels")
    }
    assert not any(held.values()), held
    return True


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_right(interlock, backend, seed):
    tasks = [backend(default=answer_of) for _ in range(2)]
    proxy = interlock([service("web", tasks, hosts="web.test")], workers=1 + seed % 2)
    clients = [Client(proxy.port, 1000 * seed + index) for index in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(100)
    assert not [wrong for each in clients for wrong in each.wrong]
    wait_until(lambda: holds_nothing(proxy), message="nothing is held after the storm")


def spoiled(request):
    """Like `answer_of`, but the task is lost at a random moment of a third of its answers."""
    dice = random.Random(request.target + "spoiled")
    steps = answer_of(request)
    if dice.random() < 0.66:
        return steps
    first = steps[0].data if isinstance(steps[0], Send) else steps[0]
    return [first[: dice.randrange(len(first))], dice.choice([Close(), Reset()])]


class Vandal(Client):
    """Leaves at any moment, and does not mind what it got as long as no answer is another's."""

    def converse(self, connection, count):
        data, method, target, _ = self.request()
        cut = self.dice.randrange(len(data) + 1) if self.dice.random() < 0.5 else len(data)
        with contextlib.suppress(OSError):
            connection.send(data[:cut])
            if cut == len(data) and self.dice.random() < 0.7:
                # Any end is possible here: an answer of the task or of the proxy, or none.
                with contextlib.suppress(AssertionError):
                    answer = connection.read_response(method)
                    if answer.all("x-target") not in ([], [target]):
                        self.wrong.append(f"{target} got the answer of {answer.all('x-target')}")
        return 1


@pytest.mark.parametrize("seed", range(3))
def test_losses_on_both_sides_leave_nothing_behind(interlock, backend, seed):
    tasks = [backend(default=spoiled) for _ in range(2)]
    proxy = interlock([service("web", tasks, hosts="web.test")], workers=1 + seed % 2)
    vandals = [Vandal(proxy.port, 5000 + 1000 * seed + index) for index in range(CLIENTS)]
    for each in vandals:
        each.start()
    for each in vandals:
        each.join(100)
    assert not [wrong for each in vandals for wrong in each.wrong]
    wait_until(lambda: holds_nothing(proxy), message="nothing is held after the storm")
    for task in tasks:
        task.default = answer_of
    # Tasks that failed in a row may still be avoided, but there are never none.
    for number in range(20):
        assert proxy.get(f"/{number}/10/length").body == body_of(number, 10)


def test_tunnels_that_end_in_every_way_leave_nothing_behind(interlock, backend):
    task = backend(reads="head")
    proxy = interlock([service("web", [task], hosts="web.test")])
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    opening = message(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x")
    for end in ("client-fin", "client-rst", "task-fin", "task-rst"):
        for _ in range(10):
            task.play(
                switched,
                b"hello",
                *{"task-fin": [Close()], "task-rst": [Reset()]}.get(end, [lambda connection: connection.fill()]),
            )
            with proxy.connect() as connection:
                connection.send(opening)
                assert connection.read_response().status == 101
                with contextlib.suppress(ConnectionResetError):
                    assert connection.read_exactly(5) == b"hello"
                    if end == "client-rst":
                        connection.reset()
                    elif end == "client-fin":
                        connection.shutdown_write()
                    connection.read_to_end() if end != "client-rst" else None
    wait_until(lambda: holds_nothing(proxy))
    wait_until(lambda: not task.open_connections)
