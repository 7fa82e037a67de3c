"""Fixtures: `interlock` makes running proxies, `backend` makes recording backends; both are ended after the test.

When a test fails, the log of every proxy it started is shown.
"""

import os

import pytest

from harness import Interlock, RecordingBackend, ScriptedEngine, binary_path
from harness.feed import Feed
from harness.process import IS_OVER_TLS


def pytest_configure(config):
    if not os.access(binary_path(), os.X_OK):
        raise pytest.UsageError(f"no binary at {binary_path()}: `swift build` first, or set INTERLOCK_BINARY")


def pytest_collection_modifyitems(config, items):
    if IS_OVER_TLS:
        plain = [item for item in items if item.get_closest_marker("plain")]
        config.hook.pytest_deselected(items=plain)
        items[:] = [item for item in items if item not in plain]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


def remember_fault(name):
    """A crash, or a sanitizer's report, is a failure of the whole run, even if the test is repeated and passes."""
    if path := os.environ.get("INTERLOCK_FAULTS"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(name + "\n")


@pytest.fixture
def interlock(request, tmp_path):
    """interlock(services, environment={...}, workers=1, ...) -> Interlock; see harness.Interlock."""
    running = []

    def make(services=(), **options):
        directory = tmp_path / f"interlock{len(running)}"
        directory.mkdir()
        running.append(Interlock(services, directory=directory, **options))
        return running[-1]

    yield make
    crashed = [each for each in running if each.process.poll() is not None and each.process.returncode < -1
               and each.process.returncode not in (-9, -15)]
    for each in running:
        each.close()
        if getattr(request.node, "report_call", None) and request.node.report_call.failed:
            print(f"--- log of interlock {each.process.pid} (exit {each.process.returncode})\n{each.log[-20000:]}")
    reports = [each.final_log for each in running if "WARNING: ThreadSanitizer" in each.final_log
               or "ERROR: AddressSanitizer" in each.final_log]
    if reports or crashed:
        remember_fault(request.node.nodeid)
    assert not reports, f"the sanitizer reports:\n{reports[0][-12000:]}"
    assert not crashed, f"interlock died of signal {-crashed[0].process.returncode}:\n{crashed[0].final_log[-8000:]}"


@pytest.fixture
def backend():
    """backend(default=..., reads="request") -> RecordingBackend; a fault in its threads fails the test."""
    running = []

    def make(*arguments, **options):
        running.append(RecordingBackend(*arguments, **options))
        return running[-1]

    yield make
    for each in running:
        each.close()
    faults = [fault for each in running for fault in each.faults]
    assert not faults, f"the backend's thread failed: {faults[0]!r}"


@pytest.fixture
def feed(interlock, tmp_path):
    """feed(clusters=(...)) -> harness.feed.Feed: credentials, controllers and those who follow them."""
    def make(clusters=(), name="feed"):
        directory = tmp_path / name
        directory.mkdir()
        return Feed(interlock, directory, clusters)
    return make


@pytest.fixture
def engine(tmp_path):
    """A scripted Docker engine without services."""
    made = ScriptedEngine(tmp_path)
    yield made
    made.close()
