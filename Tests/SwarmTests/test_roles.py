"""Controllers and proxies apart, on a Swarm of three managers, deployed as README says: docker/setup.sh, the stack
file, an app. What the proxies may and may not; controllers that are killed, gone, cut off; a node that is lost;
proxies with a wrong credential; a group of proxies that grows and shrinks; a configuration that is pinned. Load goes
to a node whose proxy stays, and no request of it may fail.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from harness import certificate, wait_until
from images import CONTEXT, IMAGE, NETWORK, managers
from lab.load import SteadyLoad
from lab.network import run
from lab.proxied import Proxied

pytestmark = pytest.mark.timeout(240)
STACK = CONTEXT / "stack.yaml"
SETUP = CONTEXT / "setup.sh"
BINARY = pathlib.Path(os.environ.get("INTERLOCK_BINARY") or CONTEXT.parent / ".build/release/interlock")
REACH = pathlib.Path(__file__).with_name("lab") / "reach.py"
CONTROLLER, PROXY = "lb_controller", "lb_proxy"
#: A program that prints those of its arguments, ADDRESS:PORT each, that do not take a connection.
UNREACHABLE = """
import socket, sys
for each in sys.argv[1:]:
    host, port = each.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        print(each, error)
"""


class Lab:
    """The stack on its Swarm: proxies by node, and what controllers say of them."""

    def __init__(self, swarm):
        self.swarm = swarm
        self.proxies = [Proxied(node.address) for node in swarm.nodes]
        self.node_ids = [node.api("/info")[1]["Swarm"]["NodeID"] for node in swarm.nodes]

    def node_of(self, task):
        return self.swarm.nodes[self.node_ids.index(task["NodeID"])]

    def controllers(self):
        """(node, container id) of each running controller."""
        return [(self.node_of(task), task["Status"]["ContainerStatus"]["ContainerID"])
                for task in self.swarm.tasks(CONTROLLER, "running")]

    def containers(self, service):
        return [(self.node_of(task), task["Status"]["ContainerStatus"]["ContainerID"])
                for task in self.swarm.tasks(service, "running")]

    def ask(self, controller, page):
        node, container = controller
        return json.loads(node.docker("exec", container, "/interlock", "status", page))

    def feed_of(self, proxy):
        answer = proxy.admin("/api/feed")
        assert answer.status == 200, answer
        return answer.json()["source"]

    def clients(self):
        """What all controllers together say about the proxies: name to reading."""
        found = {}
        for controller in self.controllers():
            for client in self.ask(controller, "/api/feed")["clients"]:
                found[client["name"]] = client
        return found

    def wait_for_network(self):
        """Until every proxy's network namespace reaches every controller and every task of the app. A node that left
        an overlay network and joins it again may hear of the others only with the engine's next full exchange, up to
        half a minute later; what a proxy does meanwhile is not what these tests are about.
        """
        wanted = [f"{addresses(task)['lb_feed']}:9190" for task in self.swarm.tasks(CONTROLLER, "running")]
        wanted += [f"{addresses(task)[NETWORK]}:8080" for task in self.swarm.tasks("app", "running")]
        for node, container in self.containers(PROXY):
            process = json.loads(node.docker("inspect", container))[0]["State"]["Pid"]
            wait_until(lambda: not run(
                *inside(node), "nsenter", "-t", str(process), "--net", sys.executable, "-c", UNREACHABLE, *wanted),
                90, 0.5, message=f"the engine of {node.name} connects its proxy to {wanted}")

    def wait_until_all_are_current(self, count):
        def current():
            clients = self.clients()
            assert len(clients) == count and all(each["current"] for each in clients.values()), clients
            return clients
        return wait_until(current, 20, 0.1, message=f"{count} proxies run what is in force")


@pytest.fixture(scope="module")
def swarm(rootfs):
    with managers(3) as lab:
        yield lab


def environment(swarm, **more):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    return {**clean, "DOCKER_HOST": f"unix://{swarm.manager.socket_path}", "INTERLOCK_IMAGE": IMAGE,
            "INTERLOCK_BINARY": str(BINARY), "INTERLOCK_ADMIN_OPEN": "true", "INTERLOCK_ACCESS_LOG": "off", **more}


@pytest.fixture(scope="module")
def lab(swarm, tmp_path_factory):
    place = tmp_path_factory.mktemp("setup")
    done = subprocess.run(
        [str(SETUP)], cwd=place, env=environment(swarm), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    print(done.stdout)
    swarm.manager.docker(
        "stack", "deploy", "--resolve-image", "never", "-c", STACK, "lb",
        environment={"INTERLOCK_IMAGE": IMAGE, "INTERLOCK_ADMIN_OPEN": "true", "INTERLOCK_ACCESS_LOG": "off"})
    try:
        swarm.wait_for_tasks(CONTROLLER, 2, timeout=60)
        swarm.wait_for_tasks(PROXY, 3, timeout=60)
        found = Lab(swarm)
        found.place = place
        for proxied in found.proxies:
            wait_until(proxied.is_ready, 30, message="every proxy is ready")
    except BaseException:
        print_logs(swarm)
        raise
    return found


def print_logs(swarm):
    for service in (CONTROLLER, PROXY):
        print(f"--- {service}\n" + swarm.task_logs(service)[-12000:])


@pytest.fixture(autouse=True)
def logs(request, swarm):
    yield
    report = getattr(request.node, "report_call", None)
    if report and report.failed:
        print_logs(swarm)


@pytest.fixture(scope="module")
def app(swarm, lab):
    """Two tasks beside every disturbance, on the first node, whose proxy stays."""
    swarm.create_service(
        "app", IMAGE, "demo-backend", network=NETWORK, replicas=2,
        constraint=f"node.hostname=={swarm.manager.name}", options=["--no-healthcheck"],
        labels={"com.docker.lb.hosts": "app.test", "com.docker.lb.port": "8080"})
    swarm.wait_for_tasks("app", 2)
    for proxied in lab.proxies:
        wait_until(lambda: len(proxied.instances("app.test", 4)) == 2, 20)
    return "app.test"


def test_requests_to_every_node_answer(lab, app, figure):
    for proxied in lab.proxies:
        assert proxied.get(app).status == 200
    clients = lab.wait_until_all_are_current(3)
    assert {each["role"] for each in clients.values()} == {"proxy"}
    versions = {each["table_version"] for each in clients.values()}
    shown = {proxied.api_routes()["version"] for proxied in lab.proxies}
    assert versions == shown, "the controllers know which table each proxy has"


def test_controllers_agree_byte_for_byte(lab, app):
    first, second = [lab.ask(each, "/api/snapshot") for each in lab.controllers()]
    for each in (first, second):
        each["order"].pop("listed_at_ns")
    assert first == second


def test_proxies_hold_nothing_but_their_credential(lab, swarm, app):
    for node, container in lab.containers(PROXY):
        told = json.loads(node.docker("inspect", container))[0]
        assert told["Config"]["User"] == "65532:65532"
        assert told["HostConfig"]["ReadonlyRootfs"] and told["HostConfig"]["CapAdd"] in (None, [])
        assert not any("docker.sock" in mount["Destination"] for mount in told["Mounts"]), told["Mounts"]
        status = run(*inside(node), "cat", f"/proc/{told['State']['Pid']}/status")
        assert "CapEff:\t0000000000000000" in status and "Uid:\t65532\t" in status


def inside(node):
    """The words that run a command in a node's namespaces."""
    return ["nsenter", "-t", str(node.init_id), "--net", "--mount", "--uts", "--pid"]


def test_a_scan_from_a_proxy_finds_the_feed_and_the_apps_only(lab, swarm, app, figure):
    node, container = lab.containers(PROXY)[0]
    process = json.loads(node.docker("inspect", container))[0]["State"]["Pid"]
    controllers = [addresses(task)["lb_feed"] for task in swarm.tasks(CONTROLLER, "running")][:1]
    apps = [addresses(task)[NETWORK] for task in swarm.tasks("app", "running")][:1]
    found = json.loads(run(
        *inside(node), "nsenter", "-t", str(process), "--net", sys.executable, str(REACH), *controllers, *apps,
        timeout=120))
    figure(f"open ports as a proxy sees them: {found}")
    assert {tuple(found[each]) for each in controllers} == {(9190,)}, found
    assert {tuple(found[each]) for each in apps} == {(8080,)}, found


def addresses(task):
    """A task's address on each network, by the network's name."""
    return {each["Network"]["Spec"]["Name"]: each["Addresses"][0].split("/")[0]
            for each in task["NetworksAttachments"]}


def test_a_certificate_reaches_the_proxies_without_a_restart(lab, swarm, app, figure):
    """The secret is attached to the controllers alone; proxies get it by the feed."""
    before = {task["ID"] for task in swarm.tasks(PROXY, "running")}
    made = certificate("app.test")
    swarm.put_secret("app_pem", made.bundle)
    with SteadyLoad(lab.proxies[0], app) as load:
        swarm.update_service(CONTROLLER, "--secret-add", "app_pem")
        swarm.update_service("app", "--label-add", "com.docker.lb.ssl_cert=app_pem")
        for proxied in lab.proxies:
            proxied.wait_for_tls(app, made, timeout=90)
        wait_until(lambda: swarm.is_updated(CONTROLLER), 90, 0.2)
    load.expect_no_failure(figure, "a certificate is attached to the controllers, which are replaced one by one")
    assert {task["ID"] for task in swarm.tasks(PROXY, "running")} == before, "no proxy was restarted"
    node, container = lab.containers(PROXY)[0]
    process = json.loads(node.docker("inspect", container))[0]["State"]["Pid"]
    kept = run(*inside(node), "cat", "-v", f"/proc/{process}/root/var/lib/interlock/last-good")
    assert "app.test" in kept and "PRIVATE KEY" not in kept


def test_a_pinned_configuration_leaves_endpoints_live(lab, swarm, app, figure):
    controller = lab.controllers()[0]
    newest = lab.ask(controller, "/api/history")["configurations"][0]["number"]
    swarm.update_service("app", "--label-add", "com.docker.lb.hosts=moved.test")
    lab.proxies[0].wait_for("moved.test")
    node, container = controller
    said = node.docker("exec", container, "/interlock", "rollback", newest)
    print(said)
    try:
        for proxied in lab.proxies:
            proxied.wait_for(app)
            proxied.wait_for_unknown_host("moved.test")
        for each in lab.controllers():
            assert lab.ask(each, "/api/history")["pin"], "every controller obeys the pin"
        assert "interlock_configuration_pinned 1" in node.docker(
            "exec", container, "/interlock", "status", "/metrics")
        with SteadyLoad(lab.proxies[0], app) as load:
            swarm.update_service("app", "--force", "--update-monitor", "1s")
            wait_until(lambda: swarm.is_updated("app"), 120, 0.2)
            load.wait_for(400)
        load.expect_no_failure(figure, "a rolling update under a pin")
    finally:
        node, container = lab.controllers()[-1]
        print(node.docker("exec", container, "/interlock", "resume"))
    lab.proxies[0].wait_for("moved.test")
    swarm.update_service("app", "--label-add", "com.docker.lb.hosts=app.test")
    lab.proxies[0].wait_for(app)


def test_a_controller_is_killed_or_paused(lab, swarm, app, figure):
    wanted = lab.feed_of(lab.proxies[0])["controller"]
    for signal, title in (("KILL", "killed"), ("STOP", "paused")):
        wait_until(lambda: len(lab.controllers()) == 2, 60)
        lab.wait_until_all_are_current(3)
        wanted = lab.feed_of(lab.proxies[0])["controller"]
        victim = next(each for each in lab.controllers() if name_of(each) in wanted)
        with SteadyLoad(lab.proxies[0], app) as load:
            started = time.monotonic()
            victim[0].docker("kill", "--signal", signal, victim[1])
            wait_until(lambda: lab.feed_of(lab.proxies[0])["connected"]
                       and name_of(victim) not in lab.feed_of(lab.proxies[0])["controller"], 10, 0.02,
                       message="the proxy follows the other controller")
            took = time.monotonic() - started
            load.wait_for(400)
            if signal == "STOP":
                victim[0].docker("kill", "--signal", "KILL", victim[1])
        load.expect_no_failure(figure, f"a controller is {title}; the proxy followed another after {took:.2f} s")
        assert took < 10, took


def name_of(controller):
    """A container's host name is the beginning of its id."""
    return controller[1][:12]


def test_both_controllers_are_gone_while_proxies_restart(lab, swarm, app, figure):
    wait_until(lambda: len(lab.controllers()) == 2, 60)
    lab.wait_until_all_are_current(3)
    with SteadyLoad(lab.proxies[0], app) as load:
        swarm.scale(CONTROLLER, 0)
        wait_until(lambda: not lab.feed_of(lab.proxies[0])["connected"], 40, message="no controller is left")
        node, container = next(each for each in lab.containers(PROXY) if each[0] is swarm.nodes[1])
        node.docker("kill", "--signal", "KILL", container)
        restarted = lab.proxies[1]
        wait_until(lambda: [each for each in lab.containers(PROXY) if each[0] is node and each[1] != container], 60)
        wait_until(restarted.is_ready, 30, message="the proxy serves from what it had kept")
        restarted.wait_for(app)
        assert lab.feed_of(restarted)["from_disk"]
        load.wait_for(400)
        swarm.scale(CONTROLLER, 2)
        lab.wait_until_all_are_current(3)
        assert not lab.feed_of(restarted)["from_disk"]
    load.expect_no_failure(figure, "both controllers gone, a proxy restarts from disk, controllers come back")


def test_a_partition_between_a_proxy_and_its_controller(lab, swarm, app, figure):
    proxied = lab.proxies[0]
    wanted = lab.feed_of(proxied)["controller"]
    task = next(each for each in swarm.tasks(CONTROLLER, "running")
                if each["Status"]["ContainerStatus"]["ContainerID"][:12] in wanted)
    address = addresses(task)["lb_feed"]
    node, container = next(each for each in lab.containers(PROXY) if each[0] is swarm.manager)
    process = json.loads(node.docker("inspect", container))[0]["State"]["Pid"]
    tables = [*inside(node), "nsenter", "-t", str(process), "--net", "iptables", "-w"]
    rules = [("INPUT", "-s"), ("OUTPUT", "-d")]
    with SteadyLoad(proxied, app) as load:
        for chain, side in rules:
            run(*tables, "-A", chain, side, address, "-j", "DROP")
        started = time.monotonic()
        try:
            wait_until(lambda: lab.feed_of(proxied)["connected"] and lab.feed_of(proxied)["controller"] != wanted, 10,
                       0.02, message="the proxy follows the other controller")
            took = time.monotonic() - started
            load.wait_for(400)
        finally:
            for chain, side in rules:
                run(*tables, "-D", chain, side, address, "-j", "DROP")
    load.expect_no_failure(figure, f"a proxy is cut off from its controller and followed another after {took:.2f} s")
    lab.wait_until_all_are_current(3)


def test_a_wrong_credential_on_one_node(lab, swarm, app, figure):
    """Of another authority: refused, and said so on both sides; nobody else notices."""
    made = lab.place / "foreign"
    made.mkdir()
    subprocess.run([str(BINARY), "feed-init", "--directory", str(made)], check=True, capture_output=True)
    swarm.put_secret("foreign", (made / "feed-proxy.pem").read_text())
    swarm.create_service(
        "stranger", IMAGE, "proxy", network="lb_feed", constraint=f"node.hostname=={swarm.nodes[2].name}",
        options=["--no-healthcheck", "--secret", "source=foreign,target=foreign,uid=65532,mode=0400",
                 "--env", "INTERLOCK_FEED_CONNECT=controller", "--env", "INTERLOCK_FEED_CREDENTIAL=foreign"])
    try:
        with SteadyLoad(lab.proxies[0], app) as load:
            wait_until(lambda: "refused" in swarm.task_logs("stranger"), 40, 0.2, message="the stranger is told")
            node, container = lab.containers("stranger")[0]
            feed = json.loads(node.docker("exec", container, "/interlock", "status", "/api/feed"))["source"]
            assert not feed["connected"] and feed["version"] is None and feed["problem"], feed
            assert "refused" in swarm.task_logs(CONTROLLER), "the controllers say whom they refused"
            load.wait_for(400)
        load.expect_no_failure(figure, "a proxy with a foreign credential knocks")
        lab.wait_until_all_are_current(3)
    finally:
        swarm.remove_services("stranger")


def test_the_group_of_proxies_grows_and_shrinks(lab, swarm, app, figure):
    for node in swarm.nodes:
        swarm.manager.docker("node", "update", "--label-add", f"lb={'yes' if node is swarm.manager else 'no'}",
                             node.name)
    with SteadyLoad(lab.proxies[0], app) as load:
        swarm.update_service(PROXY, "--constraint-add", "node.labels.lb==yes", "--update-monitor", "1s")
        lab_has(lab, swarm, 1)
        for node in swarm.nodes[1:]:
            swarm.manager.docker("node", "update", "--label-add", "lb=yes", node.name)
        lab_has(lab, swarm, 3)
        for proxied in lab.proxies:
            proxied.wait_for(app)
        for node in swarm.nodes[1:]:
            swarm.manager.docker("node", "update", "--label-add", "lb=no", node.name)
        lab_has(lab, swarm, 1)
        for node in swarm.nodes[1:]:
            swarm.manager.docker("node", "update", "--label-add", "lb=yes", node.name)
        lab_has(lab, swarm, 3)
        load.wait_for(200)
    load.expect_no_failure(figure, "the group of proxies shrinks to 1, grows to 3, and again")


def lab_has(lab, swarm, count):
    swarm.wait_for_tasks(PROXY, count, timeout=90)
    lab.wait_for_network()
    lab.wait_until_all_are_current(count)


def test_a_manager_node_is_lost(lab, swarm, app, figure):
    """The last one: the node that is cut off holds a controller, if it can be had, and its own proxy."""
    lost = swarm.nodes[2]
    link = swarm.network.link_of(lost.address)
    with SteadyLoad(lab.proxies[0], app) as load:
        run("ip", "link", "set", link, "down")
        try:
            wait_until(lambda: swarm.manager.api(f"/nodes/{lab.node_ids[2]}")[1]["Status"]["State"] == "down", 60, 0.2)
            wait_until(lambda: lab.feed_of(lab.proxies[0])["connected"], 20)
            swarm.create_service(
                "late", IMAGE, "demo-backend", network=NETWORK, constraint=f"node.hostname=={swarm.manager.name}",
                options=["--no-healthcheck"],
                labels={"com.docker.lb.hosts": "late.test", "com.docker.lb.port": "8080"})
            lab.proxies[0].wait_for("late.test", timeout=30)
            load.wait_for(400)
        finally:
            run("ip", "link", "set", link, "up")
    load.expect_no_failure(figure, "a manager's node is lost")
