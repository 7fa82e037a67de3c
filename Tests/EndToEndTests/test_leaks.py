"""What comes with each change and each request must go again: a process that runs for months loses nothing on the way.
Runs where AddressSanitizer does, which counts at the end what nobody holds any more."""

import os
import re

import pytest

from harness import certificate, service
from harness.feed import ask, status, wait_until_current

pytestmark = [pytest.mark.plain, pytest.mark.skipif("ASAN_OPTIONS" not in os.environ, reason="needs AddressSanitizer")]

CHANGES = 150
#: Some bytes for each change; what is made once and never freed is allowed.
ALLOWED = 4096


def lost(process):
    """Bytes that nobody held when it ended."""
    process.stop(timeout=60)
    assert "LeakSanitizer has encountered a fatal error" not in process.log
    return sum(int(size) for size in re.findall(r"AddressSanitizer: (\d+) byte\(s\) leaked", process.log))


def test_changes_and_requests_leave_nothing_behind(feed, backend, tmp_path):
    states = [tmp_path / name for name in ("controller", "proxy")]
    for each in states:
        each.mkdir()
    counting = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"}
    its, task = feed(), backend()
    secrets = {"web.pem": certificate("web.test").bundle}

    def services(number):
        return [service("web", [task], hosts=f"h{number}.test", ssl_cert="web.pem"),
                *(service(f"s{each}", [task], hosts=f"s{each}.test") for each in range(number % 7))]

    controller = its.controller(services(0), secrets=secrets, environment={
        "INTERLOCK_STATE_DIR": str(states[0]), **counting})
    proxy = its.proxy(controller, https=True, environment={"INTERLOCK_STATE_DIR": str(states[1]), **counting})
    extension = its.extension(controller, words=["exec", "--", "sh", "-c", "cat > /dev/null"], environment=counting)
    for number in range(1, CHANGES + 1):
        controller.write_services(services(number))
        proxy.wait_for_status(200, host=f"h{number}.test")
        for each in (controller, proxy, extension):
            assert each.admin("/metrics").status == each.admin("/api/feed").status == each.admin("/").status == 200
        if number % 50 == 0:
            newest = status(controller, "/api/history")["configurations"][0]["number"]
            assert ask(controller, "rollback", newest).returncode == 0
            assert ask(controller, "resume").returncode == 0
    wait_until_current(controller, 2)
    assert {"proxy": lost(proxy) < ALLOWED, "extension": lost(extension) < ALLOWED,
            "controller": lost(controller) < ALLOWED} == {"proxy": True, "extension": True, "controller": True}
