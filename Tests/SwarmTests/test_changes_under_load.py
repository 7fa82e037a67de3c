"""What a client must not notice: rolling updates, crashes, drained nodes."""

import time

import pytest

from harness import wait_until
from lab.proxied import Load

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_rolling_update_fails_no_request(proxy, services, swarm, figure, order):
    services("rolling", hosts="rolling.test", replicas=2, options=["--update-order", order, "--update-delay", "0s"])
    swarm.wait_for_tasks("rolling", 2)
    wait_until(lambda: len(proxy.instances("rolling.test", 4)) == 2, 10)
    with Load(proxy, "rolling.test", threads=4) as load:
        wait_until(lambda: load.count > 50, 20)
        swarm.update_service("rolling", "--env-add", f"ROUND={time.time()}")
        wait_until(lambda: swarm.is_updated("rolling"), 120, 0.2, message="the update is completed")
        count = load.count
        wait_until(lambda: load.count > count + 50, 20)
    figure(f"rolling update, {order}: {load.count} requests during the update, {len(load.failures)} failed")
    assert not load.failures, load.failures[:5]


def test_a_crashed_task_fails_no_idempotent_request(proxy, services, swarm, figure):
    services("crashing", hosts="crashing.test", replicas=2, constraint="node.role==worker")
    tasks = swarm.wait_for_tasks("crashing", 2)
    wait_until(lambda: len(proxy.instances("crashing.test", 4)) == 2, 10)
    with Load(proxy, "crashing.test", threads=4) as load:
        wait_until(lambda: load.count > 50, 20)
        container = tasks[0]["Status"]["ContainerStatus"]["ContainerID"]
        swarm.worker.docker("kill", "--signal", "KILL", container)
        wait_until(lambda: container not in [task["Status"]["ContainerStatus"]["ContainerID"]
                                             for task in swarm.tasks("crashing", "running")], 30)
        swarm.wait_for_tasks("crashing", 2)
        wait_until(lambda: len(proxy.instances("crashing.test", 4)) == 2, 10)
    figure(f"{load.count} requests around the crash, {len(load.failures)} failed")
    assert not load.failures, load.failures[:5]


def test_draining_a_node_fails_no_request(proxy, services, swarm):
    services("wandering", hosts="wandering.test", replicas=2)
    swarm.wait_for_tasks("wandering", 2)
    wait_until(lambda: len(proxy.instances("wandering.test", 4)) == 2, 10)
    worker = swarm.worker.api("/info")[1]["Swarm"]["NodeID"]
    try:
        with Load(proxy, "wandering.test", threads=4) as load:
            wait_until(lambda: load.count > 50, 20)
            swarm.manager.docker("node", "update", "--availability", "drain", worker)
            wait_until(lambda: [task["NodeID"] for task in swarm.tasks("wandering", "running")].count(worker) == 0
                       and len(swarm.tasks("wandering", "running")) == 2, 60)
            count = load.count
            wait_until(lambda: load.count > count + 50, 20)
        assert not load.failures, load.failures[:5]
    finally:
        swarm.manager.docker("node", "update", "--availability", "active", worker)
