"""Deadlines and ports. A test waits for a condition with a deadline; it never sleeps and hopes."""

import itertools
import os
import random
import socket
import time


def wait_until(condition, timeout=10.0, interval=0.01, message=""):
    """Calls `condition` until it returns something true, and returns that; AssertionError after `timeout` seconds.

    An exception raised by `condition` counts as "not yet" and is told in the failure.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"last value: {value!r}"
        except (AssertionError, OSError, ValueError, KeyError, IndexError) as error:
            last = f"last error: {error!r}"
        if time.monotonic() >= deadline:
            name = message or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout:g} s: {name}; {last}")
        time.sleep(interval)


def _ports():
    """Ports below the range the kernel hands out by itself, each once before any comes again; processes that run tests
    side by side (pytest-xdist) have ranges of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    size = 17000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = random.randrange(size)
    for offset in itertools.count():
        yield 15000 + worker * size + (first + offset) % size


PORTS = _ports()


def free_port(host="127.0.0.1"):
    """A port nobody listens on, and that stays free for a while."""
    for port in itertools.islice(PORTS, 200):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError("no free port found")
