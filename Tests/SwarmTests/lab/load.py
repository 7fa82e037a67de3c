"""Steady load around a block of a test: starts `steady.py`, follows it, and judges what it saw.

    with SteadyLoad(proxy, "web.test") as load:
        ...
    load.expect_no_failure(figure, "what was done")
"""

import json
import pathlib
import subprocess
import sys
import threading
import time

PROGRAM = pathlib.Path(__file__).with_name("steady.py")


class SteadyLoad:
    """`count` and `failed` while it runs; `report` afterwards. It is at its pace when the block begins."""

    def __init__(self, proxy, host, methods="GET,POST", rate=400, connections=20, patience=30, fresh=False):
        self.command = [
            sys.executable, str(PROGRAM), proxy.address, str(proxy.port), host, "--methods", methods,
            "--rate", str(rate), "--connections", str(connections), "--patience", str(patience),
            *(["--fresh"] if fresh else [])]
        self.patience = patience
        self.count = self.failed = 0
        self.report = None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started = time.monotonic()
        self.reader = threading.Thread(target=self._follow, daemon=True)
        self.reader.start()
        try:
            self.wait_for(200)
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.started
        try:
            self.process.stdin.close()
            self.process.wait(self.patience + 15)
        finally:
            self.process.kill()
            self.reader.join(5)
        assert self.report, f"the load ended without a report:\n{self.process.stderr.read()}"

    def _follow(self):
        for line in self.process.stdout:
            told = json.loads(line)
            self.count, self.failed = told["count"], told["failed"]
            if "methods" in told:
                self.report = told

    def wait_for(self, count, timeout=60):
        """Waits for so many requests more."""
        wanted, deadline = self.count + count, time.monotonic() + timeout
        while self.count < wanted:
            assert self.process.poll() is None, f"the load ended:\n{self.process.stderr.read()}"
            assert time.monotonic() < deadline, f"{self.count} requests of {wanted} after {timeout} s"
            time.sleep(0.02)

    def figures(self):
        """What it came to, in a line."""
        methods = ", ".join(f"{count} {method}" for method, count in sorted(self.report["methods"].items()))
        return (f"{self.report['count']} requests in {self.seconds:.0f} s ({methods}), {self.report['failed']} failed, "
                f"longest wait {self.report['longest']:.2f} s")

    def expect_no_failure(self, figure, title, longest=None):
        """Shows the figures, then judges: no failure, and a pace that deserves the name of load."""
        figure(f"{title}: {self.figures()}")
        if self.report["failed"]:
            print("\n".join(str(each) for each in self.report["failures"]))
        assert self.report["failed"] == 0, f"{title}: {self.figures()}: {self.report['failures'][:5]}"
        if longest is not None:
            assert self.report["longest"] <= longest, f"{title}: {self.figures()}"
