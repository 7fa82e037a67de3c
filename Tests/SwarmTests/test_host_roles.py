"""Controllers and proxies apart, on the hosts' own network: docker/stack-host.yaml on two managers, as README says.
Proxies reach the feed at the managers' addresses and apps at their nodes' ports, and are replaced without a failure.
"""

import pytest

from harness import certificate, wait_until
from images import CONTEXT, IMAGE, managers
from lab.load import SteadyLoad
from lab.stack import CONTROLLER, PROXY, Stack

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def swarm(rootfs):
    with managers(2) as lab:
        yield lab


@pytest.fixture(scope="module")
def stack(swarm, tmp_path_factory):
    stack = Stack(swarm, IMAGE, tmp_path_factory.mktemp("setup"))
    stack.set_up()
    try:
        addresses = ",".join(node.address for node in swarm.nodes)
        stack.deploy(CONTEXT / "stack-host.yaml", INTERLOCK_CONTROLLERS=addresses, INTERLOCK_MANAGE_SERVICES="true")
        stack.wait_until_ready(controllers=2)
    except BaseException:
        stack.print_logs()
        raise
    return stack


@pytest.fixture(autouse=True)
def logs(request, stack):
    yield
    report = getattr(request.node, "report_call", None)
    if report and report.failed:
        stack.print_logs()


@pytest.fixture(scope="module")
def app(swarm, stack):
    """A task on each node, with a port of its own on that node."""
    swarm.create_service(
        "app", IMAGE, "demo-backend", replicas=2, publish="mode=host,target=8080,published=8081",
        options=["--no-healthcheck"], labels={"com.docker.lb.hosts": "app.test", "com.docker.lb.port": "8080"})
    swarm.wait_for_tasks("app", 2)
    for each in stack.proxies:
        wait_until(lambda: len(each.instances("app.test", 4)) == 2, 30, message="both tasks answer on each node")
    return "app.test"


def test_proxies_hold_no_socket_and_are_told_by_the_managers(swarm, stack, app):
    for each in stack.proxies:
        source = each.admin("/api/feed").json()["source"]
        assert source["connected"], source
    for task in swarm.tasks(PROXY, "running"):
        spec = task["Spec"]["ContainerSpec"]
        assert not [mount for mount in spec["Mounts"] if "docker.sock" in mount["Target"]], spec
        assert {each["SecretName"] for each in spec["Secrets"]} == {"interlock_feed_proxy", "interlock_proxy_token"}
    published = {(each["PublishedPort"], each["PublishMode"]) for task in swarm.tasks(CONTROLLER, "running")
                 for each in task["Status"]["PortStatus"]["Ports"]}
    assert published == {(9190, "host")}


def test_a_certificate_comes_by_the_feed(swarm, stack, app):
    """Attached to the controllers by Interlock; no proxy restarts."""
    before, made = stack.task_ids(PROXY), certificate("app.test")
    swarm.put_secret("app_pem", made.bundle)
    swarm.update_service("app", "--label-add", "com.docker.lb.ssl_cert=app_pem")
    for each in stack.proxies:
        each.wait_for_tls(app, made, timeout=90)
    stack.wait_until_updated(CONTROLLER)
    assert stack.task_ids(PROXY) == before
    assert stack.secrets(PROXY) == {"interlock_feed_proxy", "interlock_proxy_token"}


def test_an_update_of_the_proxies_is_not_noticed(swarm, stack, app, figure):
    before = {task["ID"] for task in swarm.tasks(PROXY, "running")}
    kept, fresh = SteadyLoad(stack.proxies[0], app, rate=200), SteadyLoad(stack.proxies[0], app, rate=50, fresh=True)
    with kept, fresh:
        swarm.update_service(PROXY, "--force", "--update-monitor", "1s")
        stack.wait_until_updated(PROXY)
        wait_until(lambda: all(task["Status"]["State"] not in ("running", "starting") for task in swarm.tasks(PROXY)
                               if task["ID"] in before), 60, 0.2, message="the old ones are gone")
        kept.wait_for(200)
        fresh.wait_for(50)
    assert not before & {task["ID"] for task in swarm.tasks(PROXY, "running")}
    kept.expect_no_failure(figure, "proxies on the hosts' network are replaced, kept connections", longest=5)
    fresh.expect_no_failure(figure, "proxies on the hosts' network are replaced, a connection each", longest=5)
