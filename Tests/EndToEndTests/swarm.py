"""A scripted engine with real backends behind the addresses of its tasks, and a proxy that watches it."""

import contextlib
import time

from harness import RecordingBackend, response, wait_until


class Swarm:
    """A scripted engine, a proxy that watches it, and tasks on loopback addresses with one port for all."""

    def __init__(self, engine, interlock, environment=None, backend=None):
        self.engine = engine
        self.tasks = {}
        # What has no task is seen at once, not after a wait.
        self.interlock, self.environment = interlock, {"INTERLOCK_HOLD": "0"} | (environment or {})
        self.port = None
        self._backends = contextlib.ExitStack()
        self.proxy = None

    def task(self, service, address, **options):
        """A task of the service with a real backend behind its address, which answers with the address."""
        self.backend(address)
        return self.engine.add_task(service, address, **options)

    def backend(self, address):
        if address not in self.tasks:
            made = RecordingBackend(host=address, port=self.port or 0)
            made.default = lambda request, name=address.encode(): response(200, name)
            self.port = self.port or made.port
            self.tasks[address] = self._backends.enter_context(made)
        return self.tasks[address]

    def start(self):
        self.proxy = self.interlock(None, environment=self.engine.environment | self.environment, workers=2)
        wait_until(lambda: self.engine.listener_count == 1, message="events are listened to")
        return self.proxy

    def close(self):
        self._backends.close()

    def answers(self, host, count=1, target="/"):
        """What answers there: addresses of tasks, or statuses of the proxy's own."""
        found = set()
        for _ in range(count):
            answer = self.proxy.get(target, host)
            found.add(answer.text if answer.status == 200 else answer.status)
        return found

    def wait_for(self, host, *expected, timeout=10.0, count=4, target="/"):
        def right():
            found = self.answers(host, max(count, 2 * len(expected)), target)
            assert found == set(expected), found
            return True
        wait_until(right, timeout, message=f"{host}{target} is answered by {expected}")

    def is_unmoved(self, seconds, host="web.test", expected="127.0.0.11"):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.answers(host) == {expected}
            time.sleep(0.01)

    def findings(self, service):
        return [each for each in self.proxy.api_routes()["diagnostics"] if each["service"] == service]
