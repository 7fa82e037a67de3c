"""The engine goes and comes back: routes stay, the watcher recovers. The binary runs outside Docker, for a dockerd that
restarts stops its containers; the tasks live on the worker and are reached over their host-mode port. The Swarm is one
of its own: after its manager restarts, an overlay of Docker 20.10 carries nothing between nodes for half a minute."""

import signal

import pytest

from harness import wait_until
from images import build_image
from lab import Swarm
from lab.proxied import Load

pytestmark = pytest.mark.timeout(180)
ON_WORKER = {"constraint": "node.role==worker", "network": None}


@pytest.fixture(scope="module")
def swarm(rootfs):
    with Swarm(2) as lab:
        build_image(lab.worker)
        yield lab


def test_killing_and_restarting_dockerd_changes_no_route(outside, services, swarm):
    services("steady", hosts="steady.test", publish="mode=host,target=8080,published=8081", **ON_WORKER)
    swarm.wait_for_tasks("steady", 1)
    proxy = outside()
    proxy.wait_for_status(200, host="steady.test")
    routes = routing(proxy)
    for number in (signal.SIGKILL, signal.SIGTERM):
        with Load(proxy, "steady.test", threads=2) as load:
            swarm.manager.kill_daemon(number)
            wait_until(lambda: load.count > 300, 60)
            assert routing(proxy) == routes
            swarm.manager.start_daemon()
            wait_until(lambda: swarm.tasks("steady", "running"), 30, message="the manager lists again")
            count = load.count
            wait_until(lambda: load.count > count + 300, 60)
        assert not load.failures, load.failures[:5]
        wait_until(lambda: routing(proxy) == routes, 10)
        # The watcher recovered: it sees what is new.
        name = f"later{int(number)}"
        services(name, hosts=f"{name}.test", publish=f"mode=host,target=8080,published={8090 + int(number)}",
                 **ON_WORKER)
        proxy.wait_for_status(200, host=f"{name}.test", timeout=30)
        swarm.remove_services(name)
        wait_until(lambda: routing(proxy) == routes, 20, message="the later service is gone from the table")
    assert proxy.process.poll() is None


def routing(proxy):
    """Who answers what, without times and versions."""
    return proxy.api_routes()["routes"]
