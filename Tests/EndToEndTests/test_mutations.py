"""Seeded mutations of good and bad messages: whatever arrives, what is forwarded is whole, canonical and answered once.

No expectation for a single message: the invariants hold for all of them. Every request that is complete at the task has
exactly one answer of the task at the client; nothing that reached the task has two lengths, two hosts or odd bytes.
"""

import contextlib
import random

import pytest

import test_threats_framing
import test_threats_targets
from harness import ProtocolViolation, response, wait_until
from rows import Stage, check_canonical, message

CASES = 300
SEEDS = [
    row.data
    for row in (
        *test_threats_framing.REFUSED,
        *test_threats_framing.PASSED,
        *test_threats_framing.BODIES,
        *test_threats_targets.ROWS,
    )
    if len(row.data) < 1000 and not row.data.startswith(b"HEAD")
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b":",
    b",",
    b";",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: web.test\r\n",
    b"Connection: close\r\n",
    b"chunked",
    b"HTTP/1.0",
    b"\xff",
    b"_",
    b"Expect: 100-continue\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n",
    b"%2e",
    b"/",
    b"\x0b",
    b"+",
    b"0x",
]


def mutate(dice, data):
    data = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 3])):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data[at:at] = dice.choice(PIECES)
            case 1:
                del data[at : at + dice.choice([1, 1, 2, 10])]
            case 2 if at < len(data):
                data[at] = dice.randrange(256)
            case 3 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 4:
                start, size = dice.randrange(len(data) + 1), dice.randrange(40)
                data[at:at] = data[start : start + size]
            case _:
                other = dice.choice(SEEDS)
                data[at:] = other[dice.randrange(len(other)) :]
    return bytes(data or b"\r\n")


@pytest.fixture(scope="module")
def stage():
    made = Stage(test_threats_targets.HOSTS, services=test_threats_targets.services)
    for backend in made.backends.values():
        backend.default = lambda request: response(200, b"" if request.method == "HEAD" else b"ok", {"X-Task": "1"})
    yield made
    made.close()


def answers_to(stage, dice, data):
    """All final answers of the task to those bytes, by their number; the client ends its side and reads to the end."""
    count = 0
    with stage.proxy.connect(timeout=15) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send_in_pieces(data, dice.choice([1, 3, 50, len(data)]))
            connection.shutdown_write()
        try:
            while connection.buffer or connection.fill():
                count += bool(connection.read_response("GET").all("x-task"))
        except ConnectionResetError:
            return None
        except ProtocolViolation as violation:
            # A HEAD that a mutation made is answered without the body that this reader expects.
            assert b"HEAD" in data, violation
            return None
    return count


@pytest.mark.parametrize("seed", range(6))
def test_mutated_messages(stage, seed):
    dice = random.Random(seed)
    for number in range(CASES):
        data = mutate(dice, dice.choice(SEEDS))
        before = len(stage.requests())
        count = answers_to(stage, dice, data)
        assert stage.proxy.process.poll() is None, f"the proxy died of {data!r}"
        stage.barrier()
        seen = stage.requests()[before:]
        whole = [request for request in seen if request.is_complete]
        for request in whole:
            check_canonical(request)
            assert len(request.all("host")) == 1, (data, request.headers)
            assert "/barrier/" not in request.target
        assert count in (
            None,
            len(whole),
        ), f"case {number}: {count} answers, {len(whole)} requests: {data!r} -> {whole}"
        for request in seen:
            if not request.is_complete:
                wait_until(lambda request=request: request.connection.ended, message="a part of a request is let go")


@pytest.mark.parametrize("seed", range(3))
def test_mutated_messages_leave_nothing_to_others(stage, seed):
    """While mutations arrive on one connection, another client's requests are answered as ever."""
    dice = random.Random(1000 + seed)
    with stage.proxy.connect() as good:
        for number in range(100):
            bad = stage.proxy.connect()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                bad.send(mutate(dice, dice.choice(SEEDS)))
            good.send(message(b"POST /good/%d HTTP/1.1" % number, b"Content-Length: 4", body=b"%4d" % number))
            assert good.read_response().status == 200
            bad.reset()
    bodies = [each.body for each in stage.requests() if each.target.startswith("/good/")][-100:]
    assert bodies == [b"%4d" % number for number in range(100)]
