"""Tasks that go in the middle of a request while another task takes their address at once: answers never mix.

Everything random comes from a seed: INTERLOCK_TEST_SEED=<n> runs one alone.
"""

import os
import random
import threading
import time

import pytest

from harness import Pause, ProtocolViolation, Reset, Send, chunked, response, wait_until
from swarm import Swarm

pytestmark = pytest.mark.plain

SEEDS = [int(os.environ["INTERLOCK_TEST_SEED"])] if "INTERLOCK_TEST_SEED" in os.environ else list(range(6))
ADDRESSES = [f"127.0.0.{number}" for number in range(31, 35)]
SERVICES = ["one", "two", "three"]
SECONDS = 3


class Storm:
    """What is asked and what came of it. A request's answer repeats its host and number, so that mixing shows."""

    def __init__(self, swarm, seed):
        self.swarm, self.random = swarm, random.Random(seed)
        self.faults, self.statuses = [], {}
        self.is_over = threading.Event()
        self.lock = threading.Lock()

    def play(self, request):
        """On a backend's thread: an answer in pieces, sometimes cut off as by a task that dies."""
        with self.lock:
            dice, pause = self.random.random(), self.random.choice([0, 0, 0.01, 0.05, 0.2])
        body = f"{request.header('host')} {request.target}\n".encode() * 400
        half = len(body) // 2
        if dice < 0.1:
            return [Send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:half]), Reset()]
        if dice < 0.5:
            return [Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body[:half], last=False)),
                    Pause(pause), Send(chunked(body[half:]))]
        return [Send(response(200, body)[:half]), Pause(pause), Send(response(200, body)[half:])]

    def ask(self, number):
        host, connection, count = f"{SERVICES[number % 3]}.test", None, 0
        while not self.is_over.is_set():
            connection = connection or self.swarm.proxy.connect()
            count += 1
            target = f"/{number}-{count}"
            try:
                connection.request("GET", target, host)
                answer = connection.read_response("GET")
            except (OSError, ProtocolViolation) as error:
                # A cut is an end too early and nothing else, and what came until then is of this answer.
                is_malformed = isinstance(error, ProtocolViolation) and "ended" not in str(error)
                if is_malformed or isinstance(error, TimeoutError):
                    self.faults.append(f"{host}{target}: {error}")
                lines = bytes(connection.buffer).split(b"\n")[1:-1]
                if any(b".test /" in line and line != f"{host} {target}".encode() for line in lines):
                    self.faults.append(f"{host}{target} was cut in another's answer: {lines[:3]}")
                connection.close()
                connection = None
                self.note("cut")
                continue
            self.note(answer.status)
            whole = f"{host} {target}\n" * 400
            if answer.status == 200 and answer.text != whole:
                self.faults.append(f"{host}{target} got {answer.text[:80]!r}")
            elif answer.status not in (200, 502, 503, 504):
                self.faults.append(f"{host}{target} got {answer.status}")
            if "close" in (answer.header("connection") or ""):
                connection.close()
                connection = None
        if connection:
            connection.close()

    def note(self, outcome):
        with self.lock:
            self.statuses[outcome] = self.statuses.get(outcome, 0) + 1

    def shuffle(self):
        """All tasks are new, and the addresses dealt anew among the services."""
        engine = self.swarm.engine
        with engine.changes():
            for id in list(engine.tasks):
                engine.remove_task(id)
            addresses = self.random.sample(ADDRESSES, len(ADDRESSES))
            for address, service in zip(addresses, SERVICES + [self.random.choice(SERVICES)]):
                engine.add_task(service, address)
        engine.emit()


@pytest.mark.parametrize("seed", SEEDS)
def test_addresses_change_hands_under_load(engine, interlock, seed):
    swarm = Swarm(engine, interlock)
    try:
        storm = Storm(swarm, seed)
        for address in ADDRESSES:
            swarm.backend(address).default = storm.play
        for name in SERVICES:
            engine.add_service(name, hosts=f"{name}.test", port=swarm.port)
        storm.shuffle()
        swarm.start()
        wait_until(lambda: swarm.proxy.metric("interlock_tasks", state="ready") == 4, message="all is routed")
        clients = [threading.Thread(target=storm.ask, args=(number,)) for number in range(9)]
        for each in clients:
            each.start()
        published = swarm.proxy.metric("interlock_snapshots_published_total")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            storm.shuffle()
            time.sleep(storm.random.choice([0.02, 0.05, 0.25]))
        storm.is_over.set()
        for each in clients:
            each.join(30)
        assert not storm.faults, f"seed {seed}: {storm.faults[:5]}"
        assert storm.statuses.get(200, 0) > 50 and storm.statuses.get("cut", 0) > 0, storm.statuses
        assert swarm.proxy.metric("interlock_snapshots_published_total") >= published + 8
        # A connection belongs to a task, and so to one service, whoever has its address afterwards.
        for address in ADDRESSES:
            for connection in swarm.tasks[address].connections:
                hosts = {each.header("host") for each in connection.requests}
                assert len(hosts) <= 1, f"seed {seed}: {address} got {hosts} on one connection"
    finally:
        swarm.close()
