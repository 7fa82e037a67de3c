"""A program of the comparison while it runs: started on one core, its CPU time and memory read from /proc."""

import contextlib
import glob
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time


def fail(message: str):
    sys.exit(f"versus: {message}")


def pinned(core: int):
    return lambda: os.sched_setaffinity(0, {core})


class Running:
    """A started program and its children; stopped by its own process id."""

    def __init__(self, name, command, environment, core, log, port, prefix=()):
        self.name, self.port = name, port
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            [*prefix, *command],
            env={**os.environ, **environment},
            stdout=self.log,
            stderr=self.log,
            preexec_fn=pinned(core),
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while True:
            if self.process.poll() is not None:
                fail(f"{name} ended at once: {pathlib.Path(log).read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            if time.monotonic() > deadline:
                fail(f"{name} does not listen on {port}")
            time.sleep(0.02)

    def wait_for_answer(self):
        """Listening is not serving: a proxy may have to read its services first."""
        deadline = time.monotonic() + 30
        status = b""
        while b" 200 " not in status:
            if time.monotonic() > deadline or self.process.poll() is not None:
                fail(f"{self.name} does not serve: {status!r}\n{pathlib.Path(self.log.name).read_text()[-2000:]}")
            time.sleep(0.02)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                probe.sendall(b"GET /1k HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
                status = probe.recv(64).split(b"\r\n")[0]

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for path in glob.glob(f"/proc/{pid}/task/*/children"):
                with contextlib.suppress(OSError):
                    queue += [int(child) for child in pathlib.Path(path).read_text().split()]
        return found

    def cpu_ns(self) -> int:
        """CPU time of all threads and descendants so far (the first number of schedstat)."""
        total = 0
        for pid in self.pids():
            for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(pathlib.Path(path).read_text().split()[0])
        return total

    def resident_kib(self) -> int:
        total = 0
        for pid in self.pids():
            match = re.search(r"^VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
            total += int(match[1]) if match else 0
        return total

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
