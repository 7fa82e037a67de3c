"""The proxy is updated itself. On the host's network the new process takes over from the old one, unnoticed; with
published ports its node has a gap, which is measured and announced by /readyz. A node of its own, for its port 80."""

import time

import pytest

from harness import wait_until
from images import CONTEXT, IMAGE, STACK_FILE, build_image
from lab import Swarm
from lab.load import SteadyLoad
from lab.proxied import Proxied

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]
HOST_STACK_FILE = CONTEXT / "stack-host-single.yaml"
SETTINGS = {"INTERLOCK_IMAGE": IMAGE, "INTERLOCK_ADMIN_OPEN": "true", "INTERLOCK_ACCESS_LOG": "off"}


@pytest.fixture(scope="module")
def swarm(rootfs):
    with Swarm(1) as lab:
        build_image(lab.manager)
        lab.manager.docker("network", "create", "--driver", "overlay", "--attachable", "web")
        yield lab


@pytest.fixture
def deployed(swarm, services):
    """deployed(stack file) runs it as it is, with an app that publishes its port on the node, until the test ends."""
    services("app", hosts="app.test", network=None, publish="mode=host,target=8080,published=8081")
    swarm.wait_for_tasks("app", 1)

    def deploy(file):
        swarm.manager.docker("stack", "deploy", "--resolve-image", "never", "-c", file, "lb", environment=SETTINGS)
        swarm.wait_for_tasks("lb_interlock", 1)
        proxied = Proxied(swarm.manager.address)
        wait_until(proxied.is_ready, 30, message="the proxy is ready")
        proxied.wait_for("app.test")
        return proxied

    yield deploy
    print("--- log of the proxies\n" + swarm.task_logs("lb_interlock")[-12000:])
    swarm.manager.docker("stack", "rm", "lb")
    wait_until(lambda: not swarm.manager.docker("ps", "--quiet", "--filter", "name=lb_interlock"), 40,
               message="the proxy is gone")


def replace(swarm):
    """A forced update of the proxy, to its end."""
    before = {task["ID"] for task in swarm.tasks("lb_interlock", "running")}
    swarm.update_service("lb_interlock", "--force", "--update-monitor", "1s")
    wait_until(lambda: swarm.is_updated("lb_interlock")
               and not before & {task["ID"] for task in swarm.tasks("lb_interlock", "running")},
               90, 0.1, message="the proxy is replaced")
    wait_until(lambda: all(task["Status"]["State"] not in ("running", "starting") for task in
                           swarm.tasks("lb_interlock") if task["ID"] in before), 40, message="the old one is gone")


def test_on_the_host_network_an_update_is_not_noticed(swarm, deployed, figure):
    proxy = deployed(HOST_STACK_FILE)
    page = proxy.admin("/").text
    assert "net.ipv4.tcp_migrate_req is 0" in page, page
    with SteadyLoad(proxy, "app.test") as kept, SteadyLoad(proxy, "app.test", rate=100, fresh=True) as fresh:
        replace(swarm)
        kept.wait_for(400)
        fresh.wait_for(100)
    figure(f"own update on the host's network, {kept.report['reconnects']} connections ended between two requests")
    kept.expect_no_failure(figure, "own update on the host's network, kept connections", longest=5)
    fresh.expect_no_failure(figure, "own update on the host's network, a connection for each request", longest=5)


def test_with_published_ports_readyz_announces_the_gap(swarm, deployed, figure):
    """Its node answers nobody until the new process is there: clients take another node meanwhile."""
    proxy = deployed(STACK_FILE)
    swarm.update_service("lb_interlock", "--env-add", "INTERLOCK_DRAIN_DELAY=3s", "--update-monitor", "1s")
    wait_until(lambda: swarm.is_updated("lb_interlock"), 90, 0.2)
    wait_until(proxy.is_ready, 30)
    seen = []

    def look():
        ready = state(lambda: proxy.admin("/readyz").status)
        served = state(lambda: proxy.get("app.test").status)
        if not seen or seen[-1][1:] != (ready, served):
            seen.append((time.monotonic(), ready, served))
        return len(seen) > 2 and (ready, served) == (200, 200)

    wait_until(lambda: proxy.is_ready() and proxy.get("app.test").status == 200, 30)
    swarm.update_service("lb_interlock", "--force", "--update-monitor", "1s")
    wait_until(look, 90, 0.01, message="the new process serves")
    warned = [moment for moment, ready, served in seen if (ready, served) == (503, 200)]
    gone = [moment for moment, _, served in seen if served is None]
    assert warned and gone, seen
    figure(f"own update with published ports: /readyz said 503 {gone[0] - warned[0]:.1f} s before the ports closed, "
           f"which were closed for {seen[-1][0] - gone[0]:.1f} s")
    assert gone[0] - warned[0] > 2, seen


def state(ask):
    """What `ask` says; None if nobody answers."""
    try:
        return ask()
    except (OSError, AssertionError):
        return None
