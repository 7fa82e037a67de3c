"""Two groups of proxies on one Swarm, and apps that publish their ports on the nodes: updates of either fail no
request. GETs: tasks without an overlay network have no two seconds between the decision to stop them and the signal."""

import contextlib

import pytest

from harness import wait_until
from images import IMAGE, NETWORK
from lab.load import SteadyLoad
from lab.proxied import Proxied

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


@pytest.fixture
def blue_proxy(swarm):
    """A second proxy on the manager, of the group `blue`, on ports of its own."""
    swarm.create_service(
        "blue_proxy", IMAGE, network=NETWORK, constraint="node.role==manager",
        options=["--user", "0", "--publish", "mode=host,target=80,published=8000",
                 "--publish", "mode=host,target=9180,published=9280",
                 "--mount", "type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock,readonly",
                 "--env", "INTERLOCK_ADMIN_OPEN=true", "--env", "INTERLOCK_ACCESS_LOG=off",
                 "--env", "INTERLOCK_SERVICE_CLUSTER=blue"])
    proxied = Proxied(swarm.manager.address, port=8000, admin_port=9280)
    with contextlib.ExitStack() as stack:
        stack.callback(swarm.remove_services, "blue_proxy")
        wait_until(proxied.is_ready, 40, message="the blue proxy is ready")
        yield proxied


def update(swarm, *names):
    for name in names:
        swarm.update_service(name, "--force", "--update-monitor", "1s")
    for name in names:
        wait_until(lambda: swarm.is_updated(name), 120, 0.2, message=f"the update of {name} is completed")


def test_two_groups_never_see_each_others_services(proxy, blue_proxy, services, swarm, figure):
    services("everyones", hosts="everyones.test", replicas=2)
    services("blues", hosts="blues.test", replicas=2, labels={"com.docker.lb.service_cluster": "blue"})
    for name, its in (("everyones", proxy), ("blues", blue_proxy)):
        swarm.wait_for_tasks(name, 2)
        wait_until(lambda: len(its.instances(f"{name}.test", 4)) == 2, 15)
    with SteadyLoad(proxy, "everyones.test", methods="GET", rate=200, connections=10) as everyones, \
            SteadyLoad(blue_proxy, "blues.test", methods="GET", rate=200, connections=10) as blues:
        update(swarm, "everyones", "blues")
        for load in (everyones, blues):
            load.wait_for(200)
    assert {each["name"] for each in proxy.api_routes()["services"]} & {"everyones", "blues"} == {"everyones"}
    assert {each["name"] for each in blue_proxy.api_routes()["services"]} == {"blues"}
    proxy.wait_for_unknown_host("blues.test")
    blue_proxy.wait_for_unknown_host("everyones.test")
    everyones.expect_no_failure(figure, "two groups of proxies, a rolling update in each: the first", longest=30)
    blues.expect_no_failure(figure, "two groups of proxies, a rolling update in each: the second", longest=30)


def test_an_app_with_ports_on_the_nodes(proxy, services, swarm, figure):
    services("onnodes", hosts="onnodes.test", replicas=2, network=None,
             publish="mode=host,target=8080,published=8083")
    swarm.wait_for_tasks("onnodes", 2)
    wait_until(lambda: len(proxy.instances("onnodes.test", 4)) == 2, 15)
    with SteadyLoad(proxy, "onnodes.test", methods="GET") as load:
        update(swarm, "onnodes")
        load.wait_for(200)
    load.expect_no_failure(figure, "rolling update, 2 replicas with ports on the nodes", longest=30)
