"""Deploys that nobody notices: at a steady 400 requests a second over 20 kept connections, GET and POST alike, services
are updated, scaled, rolled back and replaced, and not one request fails. The proxy is the one of the stack file, on the
manager; it stays while services change around it. What the clients felt is printed as figures."""

import time

import pytest

from harness import wait_until
from lab.load import SteadyLoad
from lab.swarm import timestamp

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def deployed(proxy, services, swarm):
    """deployed(name, replicas, ...) makes a service and waits until each of its tasks answers."""
    def make(name, replicas, **rest):
        services(name, hosts=f"{name}.test", replicas=replicas, **rest)
        swarm.wait_for_tasks(name, replicas)
        wait_until(lambda: len(proxy.instances(f"{name}.test", 2 * replicas)) == replicas, 15,
                   message=f"{replicas} tasks of {name} answer")
    return make


def updated(swarm, name, *arguments):
    """An update of that service, to its end."""
    version = swarm.manager.api(f"/services/{name}")[1]["Version"]["Index"]
    swarm.update_service(name, *arguments)
    wait_until(lambda: swarm.manager.api(f"/services/{name}")[1]["Version"]["Index"] > version, 10)
    wait_until(lambda: swarm.is_updated(name), 120, 0.2, message=f"the update of {name} is completed")


def test_a_forced_update_of_four_replicas(proxy, deployed, swarm, figure):
    deployed("four", 4)
    with SteadyLoad(proxy, "four.test") as load:
        updated(swarm, "four", "--force")
        load.wait_for(200)
    load.expect_no_failure(figure, "forced update, stop-first, 4 replicas", longest=5)


def test_a_start_first_update_of_one_replica(proxy, deployed, swarm, figure):
    deployed("one", 1, options=["--update-order", "start-first"])
    with SteadyLoad(proxy, "one.test") as load:
        updated(swarm, "one", "--force")
        load.wait_for(200)
    load.expect_no_failure(figure, "forced update, start-first, 1 replica", longest=5)


def test_a_stop_first_update_of_one_replica(proxy, deployed, swarm, figure):
    """By design nobody is there between the old task and the new one: requests wait (`hold`), on its default."""
    deployed("held", 1)
    with SteadyLoad(proxy, "held.test") as load:
        updated(swarm, "held", "--force")
        load.wait_for(200)
    running = timestamp(swarm.tasks("held", "running")[0]["Status"]["Timestamp"])
    answered = load.report["longest_at"] + load.report["longest"]
    figure(f"held requests were answered {answered - running:.2f} s after the new task ran")
    load.expect_no_failure(figure, "forced update, stop-first, 1 replica, held", longest=30)
    # Looks are 250 ms apart, and a task that runs does not listen yet.
    assert answered - running < 3


def test_scaling_down_and_up(proxy, deployed, swarm, figure):
    deployed("scales", 6)
    with SteadyLoad(proxy, "scales.test") as load:
        for replicas in (2, 6):
            swarm.scale("scales", replicas)
            swarm.wait_for_tasks("scales", replicas)
            wait_until(lambda: len(proxy.instances("scales.test", 12)) == replicas, 20)
            # The agents still stop what was scaled away.
            wait_until(lambda: all(each["Status"]["State"] == each["DesiredState"] or
                                   each["Status"]["State"] in ("complete", "failed", "rejected", "shutdown", "remove")
                                   for each in swarm.tasks("scales")), 30)
            load.wait_for(200)
    load.expect_no_failure(figure, "scale 6, 2, 6", longest=5)


def test_a_rollback(proxy, deployed, swarm, figure):
    deployed("returns", 2, options=["--update-monitor", "1s", "--rollback-monitor", "1s"])
    updated(swarm, "returns", "--env-add", f"ROUND={time.time()}")
    with SteadyLoad(proxy, "returns.test") as load:
        swarm.manager.docker("service", "rollback", "--quiet", "--detach", "returns")
        wait_until(lambda: swarm.manager.api("/services/returns")[1]["UpdateStatus"]["State"] == "rollback_completed",
                   120, 0.2, message="the rollback is completed")
        load.wait_for(200)
    load.expect_no_failure(figure, "rollback, 2 replicas", longest=5)


def test_blue_green_by_scale_and_back(proxy, services, swarm, figure):
    services("blue", hosts="colour.test", replicas=2)
    services("green", hosts="colour.test", replicas=0)
    swarm.wait_for_tasks("blue", 2)
    wait_until(lambda: len(proxy.instances("colour.test", 6)) == 2, 15)

    def move(source, target):
        swarm.scale(target, 2)
        swarm.wait_for_tasks(target, 2)
        wait_until(lambda: len(proxy.instances("colour.test", 8)) == 4, 15, message=f"{target} takes its share")
        swarm.scale(source, 0)
        swarm.wait_for_tasks(source, 0)
        wait_until(lambda: len(proxy.instances("colour.test", 4)) == 2, 15, message=f"{target} alone answers")
        # The agent sleeps two seconds before it stops a task.
        load.wait_for(1200)

    with SteadyLoad(proxy, "colour.test") as load:
        move("blue", "green")
        move("green", "blue")
    load.expect_no_failure(figure, "blue to green by scale, and back", longest=5)


def test_draining_a_node(proxy, deployed, swarm, figure):
    deployed("wanders", 4)
    worker = swarm.worker.api("/info")[1]["Swarm"]["NodeID"]

    def on_worker():
        return [task["NodeID"] for task in swarm.tasks("wanders", "running")].count(worker)

    assert on_worker() > 0
    try:
        with SteadyLoad(proxy, "wanders.test") as load:
            swarm.manager.docker("node", "update", "--availability", "drain", worker)
            wait_until(lambda: on_worker() == 0 and len(swarm.tasks("wanders", "running")) == 4, 60)
            load.wait_for(1200)
    finally:
        swarm.manager.docker("node", "update", "--availability", "active", worker)
    load.expect_no_failure(figure, "drain of a node, 4 replicas", longest=5)


def test_tasks_that_die_at_once(proxy, deployed, swarm, figure):
    """Not every program behaves: this one dies at the first signal, with what it has. The proxy had two seconds to
    send nothing more to it."""
    deployed("rude", 4, options=["--stop-signal", "SIGKILL"])
    with SteadyLoad(proxy, "rude.test") as load:
        updated(swarm, "rude", "--force")
        load.wait_for(200)
    load.expect_no_failure(figure, "forced update, stop-first, 4 replicas that die at once", longest=5)
