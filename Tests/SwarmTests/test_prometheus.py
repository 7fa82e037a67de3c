"""Debian's prometheus scrapes the proxy, and what it scraped is there to ask for."""

import json
import subprocess
import urllib.parse
import urllib.request

import pytest

from harness import free_port, wait_until

pytestmark = pytest.mark.timeout(120)
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: interlock
    static_configs: [{{targets: ["{target}"]}}]
"""


@pytest.fixture
def prometheus(proxy, tmp_path):
    """ask(query) -> list of results of a prometheus that scrapes the stack's proxy."""
    file = tmp_path / "prometheus.yml"
    file.write_text(CONFIGURATION.format(target=f"{proxy.address}:{proxy.admin_port}"))
    address = f"127.0.0.1:{free_port()}"
    with open(tmp_path / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address={address}", "--web.enable-lifecycle"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path)

    def ask(query):
        url = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    yield ask
    process.terminate()
    process.wait(20)


def test_prometheus_scrapes_the_proxy(prometheus, proxy, services):
    services("counted", hosts="counted.test")
    proxy.wait_for("counted.test", timeout=30)
    proxy.instances("counted.test", 20)
    assert wait_until(lambda: [each for each in prometheus("up") if each["value"][1] == "1"], 30, 0.2)
    wait_until(lambda: prometheus("interlock_build_info"), 10, 0.2)
    seen = wait_until(lambda: prometheus('sum(interlock_requests_total{service="counted"})'), 10, 0.2)
    assert float(seen[0]["value"][1]) >= 21, seen


def test_promtool_finds_nothing_to_say_about_the_metrics(proxy):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=proxy.metrics_text(), capture_output=True, text=True, timeout=30,
        check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
