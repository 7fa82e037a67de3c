"""What breaks without notice: a task is killed, a node is cut off, a manager's engine restarts. GETs, at a steady 400 a
second over 20 kept connections; clients wait up to 30 s, and none is failed. A Swarm of its own, since it is hurt: the
proxy runs on the node that stays, in a container, beside the engine whose word it takes."""

import signal

import pytest

from harness import wait_until
from images import IMAGE, NETWORK, two_nodes
from lab.load import SteadyLoad
from lab.network import run
from lab.proxied import Proxied

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


@pytest.fixture(scope="module")
def swarm(rootfs):
    with two_nodes() as lab:
        yield lab


@pytest.fixture
def proxy_on(swarm):
    """proxy_on(node) runs a proxy there until the test ends."""
    running = []

    def start(node):
        container = node.docker(
            "run", "--detach", "--no-healthcheck", "--user", "0", "--network", NETWORK, "--publish", "80:80",
            "--publish", "9180:9180", "--volume", "/var/run/docker.sock:/var/run/docker.sock:ro",
            "--env", "INTERLOCK_ADMIN_OPEN=true", "--env", "INTERLOCK_ACCESS_LOG=off",
            "--env", f"INTERLOCK_NETWORK={NETWORK}", IMAGE)
        running.append((node, container))
        proxied = Proxied(node.address)
        wait_until(proxied.is_ready, 30, message="the proxy is ready")
        return proxied

    yield start
    for node, container in running:
        print("--- log of the proxy\n" + node.docker("logs", container, check=False, merged=True)[-12000:])
        node.docker("rm", "--force", container, check=False)


def test_a_killed_task(swarm, proxy_on, services, figure):
    proxy = proxy_on(swarm.manager)
    services("crashing", hosts="crashing.test", replicas=4)
    tasks = swarm.wait_for_tasks("crashing", 4)
    wait_until(lambda: len(proxy.instances("crashing.test", 8)) == 4, 15)
    here = swarm.manager.api("/info")[1]["Swarm"]["NodeID"]
    with SteadyLoad(proxy, "crashing.test", methods="GET") as load:
        for task in tasks[:2]:
            node = swarm.manager if task["NodeID"] == here else swarm.worker
            node.docker("kill", "--signal", "KILL", task["Status"]["ContainerStatus"]["ContainerID"])
            wait_until(lambda: task["ID"] not in [each["ID"] for each in swarm.tasks("crashing", "running")], 30)
            swarm.wait_for_tasks("crashing", 4)
            load.wait_for(400)
    load.expect_no_failure(figure, "kill -9 of two of 4 tasks, one after the other", longest=30)


def test_a_node_is_cut_off(swarm, proxy_on, services, figure):
    services("split", hosts="split.test", replicas=4)
    swarm.wait_for_tasks("split", 4)
    away = swarm.worker.api("/info")[1]["Swarm"]["NodeID"]
    assert 0 < [task["NodeID"] for task in swarm.tasks("split", "running")].count(away) < 4
    proxy = proxy_on(swarm.manager)
    wait_until(lambda: len(proxy.instances("split.test", 8)) == 4, 15)
    link = swarm.network.link_of(swarm.worker.address)
    try:
        with SteadyLoad(proxy, "split.test", methods="GET") as load:
            run("ip", "link", "set", link, "down")
            load.wait_for(2000)
            wait_until(lambda: [each["NodeID"] for each in swarm.tasks("split", "running")].count(away) == 0, 60,
                       message="the Swarm moves the tasks of the lost node")
            wait_until(lambda: len(swarm.tasks("split", "running")) == 4, 60)
            load.wait_for(800)
    finally:
        run("ip", "link", "set", link, "up")
    load.expect_no_failure(figure, "a node is cut off with tasks on it", longest=30)
    wait_until(lambda: swarm.manager.api(f"/nodes/{away}")[1]["Status"]["State"] == "ready", 60, 0.2,
               message="the node is back")


def test_a_manager_restarts_its_engine(swarm, proxy_on, services, figure):
    """Tasks and proxy are on the other node, a manager too: for a while nobody there can say what the Swarm is.
    The last test: the manager's tasks and its overlay do not come back at once."""
    swarm.promote(swarm.worker)
    # Its tasks bring the network to the node.
    services("steady", hosts="steady.test", replicas=2, constraint=f"node.hostname=={swarm.worker.name}")
    swarm.wait_for_tasks("steady", 2)
    proxy = proxy_on(swarm.worker)
    wait_until(lambda: len(proxy.instances("steady.test", 4)) == 2, 15)
    with SteadyLoad(proxy, "steady.test", methods="GET") as load:
        swarm.manager.kill_daemon(signal.SIGTERM)
        load.wait_for(1200)
        swarm.manager.start_daemon()
        wait_until(lambda: len(swarm.tasks("steady", "running")) == 2, 60, message="the manager lists again")
        load.wait_for(1200)
        wait_until(lambda: "interlock_docker_connected 1" in proxy.metrics_text(), 60)
    load.expect_no_failure(figure, "a manager's engine restarts", longest=30)
