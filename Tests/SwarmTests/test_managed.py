"""Services that Interlock manages itself: secrets for the controllers, networks for the proxies. The tutorials of
Docker Interlock run untouched with that on; without it, the commands that `interlock check` prints do the same by hand.
What fails is left alone, what is the operator's is never touched, and two groups of proxies get what is theirs.

A Swarm of its own with two managers, and docker/stack.yaml after docker/setup.sh, the setting beside it.
"""

import base64
import concurrent.futures
import os
import shlex
import shutil
import time

import pytest

from harness import certificate, wait_until
from images import CONTEXT, IMAGE, TLS_IMAGE, build_tls_image, managers
from lab.load import SteadyLoad
from lab.proxied import Proxied, instance_of
from lab.stack import CONTROLLER, PROXY, Stack

pytestmark = pytest.mark.timeout(300)
FRAGILE_IMAGE = "localhost:1/fragile:test"
PREFIX = "com.docker.lb."
# What Interlock may write on a service that it manages.
MARKS = {PREFIX + name for name in ("managed", "managed_failed", "added_secrets", "added_networks")}
# The controllers are told of the second group before there is one. Swarm looks at each new task for 1 s, not 5.
SETTINGS_FILE = """
version: "3.8"
services:
  controller:
    environment: {INTERLOCK_PROXY_SERVICE: "lb_proxy,blue=blue_proxy"}
    deploy: {update_config: {monitor: 1s}}
  proxy:
    deploy: {update_config: {monitor: 1s}}
"""
BLUE_FILE = """
version: "3.8"
services:
  proxy:
    image: ${INTERLOCK_IMAGE}
    command: [proxy]
    cap_drop: [ALL]
    read_only: true
    ports:
      - {target: 80, published: 8000, mode: host}
      - {target: 443, published: 8443, mode: host}
      - {target: 9180, published: 9280, mode: host}
    networks: [lb_feed, blue]
    secrets:
      - {source: interlock_feed_proxy_blue, uid: "65532", gid: "65532", mode: 0400}
    environment:
      INTERLOCK_FEED_CONNECT: controller
      INTERLOCK_FEED_CREDENTIAL: interlock_feed_proxy_blue
      INTERLOCK_ACCESS_LOG: "off"
      INTERLOCK_ADMIN_OPEN: "true"
    deploy:
      mode: global
      endpoint_mode: dnsrr
networks:
  lb_feed: {external: true}
  blue: {external: true}
secrets:
  interlock_feed_proxy_blue: {external: true}
"""
# The tutorials of Docker Interlock, one after the other; `demo` stands for their image. Each line is a docker command.
TUTORIALS = """
network create --driver overlay demo
network create --driver overlay private
service create --name basic --network demo --replicas 2
    --label com.docker.lb.hosts=basic.local --label com.docker.lb.port=8080 demo
service create --name root --network demo --label com.docker.lb.hosts=root.local --label com.docker.lb.port=8080
    --label com.docker.lb.context_root=/app --label com.docker.lb.context_root_rewrite=true demo
service create --name default --network demo
    --label com.docker.lb.default_backend=true --label com.docker.lb.port=8080 demo
service create --name moved --network demo --label com.docker.lb.hosts=old.local,new.local
    --label com.docker.lb.port=8080 --label com.docker.lb.redirects=http://old.local,http://new.local demo
service create --name sticky --network demo --replicas 3 --label com.docker.lb.hosts=sticky.local
    --label com.docker.lb.port=8080 --label com.docker.lb.sticky_session_cookie=session demo
service create --name hashed --network demo --replicas 3 --label com.docker.lb.hosts=hashed.local
    --label com.docker.lb.port=8080 --label com.docker.lb.ip_hash=true demo
service create --name sockets --network demo --label com.docker.lb.hosts=sockets.local
    --label com.docker.lb.port=8080 --label com.docker.lb.websocket_endpoints=/ws demo
service create --name virtual --network demo --replicas 2 --label com.docker.lb.hosts=virtual.local
    --label com.docker.lb.port=8080 --label com.docker.lb.backend_mode=vip demo
service create --name v1 --network demo --replicas 4
    --label com.docker.lb.hosts=colour.local --label com.docker.lb.port=8080 demo
service create --name v2 --network demo
    --label com.docker.lb.hosts=colour.local --label com.docker.lb.port=8080 demo
service create --name onnode --publish mode=host,target=8080,published=8090
    --label com.docker.lb.hosts=onnode.local --label com.docker.lb.port=8080 demo
service create --name both --network demo --network private --label com.docker.lb.network=demo
    --label com.docker.lb.hosts=both.local --label com.docker.lb.port=8080 demo
service create --name secure --network demo --label com.docker.lb.hosts=secure.local --label com.docker.lb.port=8080
    --label com.docker.lb.ssl_cert=secure.local.cert --label com.docker.lb.ssl_key=secure.local.key demo
service create --name bluish --network blue --replicas 2 --label com.docker.lb.service_cluster=blue
    --label com.docker.lb.hosts=blue.local --label com.docker.lb.port=8080
    --label com.docker.lb.ssl_cert=blue.local.pem demo
service create --name vault --network demo --secret source=vault.local.pem,target=app
    --label com.docker.lb.hosts=vault.local --label com.docker.lb.port=8443
    --label com.docker.lb.ssl_passthrough=true tls
"""


@pytest.fixture(scope="module")
def swarm(rootfs, tmp_path_factory):
    with managers(2) as lab:
        build_tls_image(lab.manager, tmp_path_factory.mktemp("tls-app"))
        lab.manager.send_image(TLS_IMAGE, lab.worker)
        yield lab


@pytest.fixture(scope="module")
def stack(swarm, tmp_path_factory):
    """docker/stack.yaml with management on, and all that the Swarm held of its services before any app."""
    place = tmp_path_factory.mktemp("setup")
    (place / "settings.yaml").write_text(SETTINGS_FILE)
    (place / "blue.yaml").write_text(BLUE_FILE)
    stack = Stack(swarm, IMAGE, place)
    stack.blue = [Proxied(node.address, port=8000, admin_port=9280, tls_port=8443) for node in swarm.nodes]
    stack.set_up("--clusters", "blue")
    try:
        stack.deploy(CONTEXT / "stack.yaml", place / "settings.yaml", INTERLOCK_MANAGE_SERVICES="proxy")
        swarm.manager.docker("network", "create", "--driver", "overlay", "blue")
        stack.deploy(place / "blue.yaml", name="blue")
        stack.wait_until_ready(controllers=2)
        for each in stack.blue:
            wait_until(each.is_ready, 30, message="the proxies of the second group are ready")
    except BaseException:
        stack.print_logs()
        raise
    stack.before = {name: stack.spec(name) for name in (CONTROLLER, PROXY)}
    return stack


@pytest.fixture(autouse=True)
def logs(request, stack):
    yield
    report = getattr(request.node, "report_call", None)
    if report and report.failed:
        stack.print_logs()


def command(swarm, line):
    """One docker command of a tutorial. Images are those of this machine, and the CLI does not wait."""
    words = shlex.split(line)
    images = {"demo": [IMAGE, "demo-backend"], "tls": [TLS_IMAGE]}
    if words[:2] == ["service", "create"]:
        options = ["--detach", "--quiet", "--no-resolve-image", "--no-healthcheck"]
        words = [*words[:2], *options, *words[2:-1], *images[words[-1]]]
    swarm.manager.docker(*words)


@pytest.fixture(scope="module")
def tutorials(swarm, stack):
    """All of them at once, with the secrets that an operator makes; nothing else is done for them."""
    made = {name: certificate(f"{name}.local", number=number)
            for number, name in enumerate(("secure", "vault", "blue"))}
    secure = made["secure"]
    secrets = {"secure.local.cert": secure.chain, "secure.local.key": secure.key,
               "vault.local.pem": made["vault"].bundle, "blue.local.pem": made["blue"].bundle}
    for name, text in secrets.items():
        swarm.put_secret(name, text)
    for line in TUTORIALS.replace("\n    ", " ").strip().splitlines():
        command(swarm, line)
    started = time.monotonic()
    proxied = stack.proxies[0]
    try:
        proxied.wait_for("basic.local", timeout=120)
        proxied.wait_for_tls("secure.local", secure, timeout=120)
        for name in (CONTROLLER, PROXY):
            stack.wait_until_updated(name)
        for each in stack.proxies:
            wait_until(each.is_ready, 30)
            each.wait_for("basic.local", timeout=30)
    except BaseException:
        stack.print_logs()
        raise
    return {**made, "seconds": time.monotonic() - started}


def test_secrets_go_to_the_controllers_and_networks_to_the_proxies_once(swarm, stack, tutorials, figure):
    stack.wait_until_quiet(CONTROLLER, PROXY)
    figure(f"tutorials: everything is attached and served {tutorials['seconds']:.0f} s after the last command")
    assert stack.secrets(CONTROLLER) >= {"secure.local.cert", "secure.local.key"}
    assert "vault.local.pem" not in stack.secrets(CONTROLLER), "the app's own secret is nobody else's"
    assert stack.networks(PROXY) == {"lb_feed", "web", "demo"}, "`private` is not the network that the label names"
    # One network more: one restart of each proxy, and none for the secrets.
    assert len(stack.task_ids(PROXY)) == 2 * len(stack.proxies), swarm.tasks(PROXY)
    for name in (CONTROLLER, PROXY):
        assert without_additions(stack.spec(name), stack, name) == without_additions(stack.before[name], stack, name)


def without_additions(spec, stack, service):
    """A service without the labels that are Interlock's own and what they say was added."""
    networks = {each["Id"]: each["Name"] for each in stack.swarm.manager.api("/networks")[1]}
    added = {part for name in ("added_secrets", "added_networks")
             for part in stack.spec(service)["Labels"].get(PREFIX + name, "").split(",")}
    template = dict(spec["TaskTemplate"], Networks=[
        networks[each["Target"]] for each in spec["TaskTemplate"].get("Networks", []) if each["Target"] not in added])
    template["ContainerSpec"] = dict(template["ContainerSpec"], Secrets=[
        each for each in template["ContainerSpec"]["Secrets"] if each["SecretName"] not in added])
    labels = {key: value for key, value in spec["Labels"].items() if key not in MARKS}
    return dict(spec, TaskTemplate=template, Labels=labels)


def test_basic_default_and_redirects(stack, tutorials):
    for proxied in stack.proxies:
        wait_until(lambda: len(proxied.instances("basic.local", 4)) == 2, 20, message="both tasks answer")
        assert proxied.wait_for("nobodys.local")[0].status == 200, "the default backend answers"
        answer = proxied.wait_for("old.local", status=302, target="/shop?q=1")[0]
        assert answer.header("location") == "http://new.local/shop?q=1"
        proxied.wait_for("new.local")
        proxied.wait_for("both.local")


def test_context_root(stack, tutorials):
    proxied = stack.proxies[0]
    echoed = proxied.wait_for("root.local", target="/app/x?q=1")[0].json()
    assert echoed["target"] == "/x?q=1", echoed
    assert proxied.get("root.local", "/apple").status == 404
    assert (proxied.get("root.local", "/app").status, proxied.get("root.local", "/app").header("location")[-5:]) == (
        301, "/app/")


def test_sticky_sessions_and_ip_hash(stack, swarm, tutorials):
    proxied = stack.proxies[0]
    for name in ("sticky", "hashed"):
        swarm.wait_for_tasks(name, 3)
        wait_until(lambda: len([each for each in stack.api_tasks(name) if each["state"] == "ready"]) == 3, 20)
    for value in ("a", "b", "c", "d"):
        seen = {instance_of(proxied.get("sticky.local", headers={"Cookie": f"session={value}"})) for _ in range(6)}
        assert len(seen) == 1, seen
    assert len(proxied.instances("sticky.local", 6)) == 3, "without the cookie requests are spread"
    found = {instance_of(each.get("hashed.local")) for each in stack.proxies for _ in range(6)}
    assert len(found) == 1, "one client, one task, on every proxy"


def test_web_sockets(stack, tutorials):
    proxied = stack.proxies[0]
    proxied.wait_for("sockets.local")
    with proxied.connect(timeout=10.0) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.request(target="/ws", host="sockets.local", headers=[
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13")])
        assert connection.read_head().status == 101
        connection.send(b"\x81\x85\x00\x00\x00\x00hello")
        assert connection.read_exactly(7) == b"\x81\x05hello"


def test_vip_mode_uses_the_address_of_the_service(stack, swarm, tutorials):
    """The address is listed; whether it balances is the kernel's affair."""
    service = swarm.manager.api("/services/virtual")[1]
    ids = {each["Name"]: each["Id"] for each in swarm.manager.api("/networks")[1]}
    virtual = next(each["Addr"].split("/")[0] for each in service["Endpoint"]["VirtualIPs"]
                   if each["NetworkID"] == ids["demo"])
    wait_until(lambda: [each["address"].rpartition(":")[0] for each in stack.api_tasks("virtual")] == [virtual], 20)


def test_canary_and_blue_green(stack, swarm, tutorials):
    proxied = stack.proxies[0]
    wait_until(lambda: len(proxied.instances("colour.local", 10)) == 5, 30, message="four tasks and one answer")
    new = {instance_of(proxied.get("colour.local")) for _ in range(20)}
    assert len(new) == 5
    counts = proxied.instances("colour.local", 200)
    assert max(counts.values()) - min(counts.values()) <= 2, counts
    with SteadyLoad(proxied, "colour.local", methods="GET", rate=100, connections=4) as load:
        swarm.scale("v1", 0)
        wait_until(lambda: len(proxied.instances("colour.local", 6)) == 1, 30, message="the new version alone answers")
        swarm.scale("v1", 1)
        wait_until(lambda: len(proxied.instances("colour.local", 6)) == 2, 30, message="and the old one again")
    assert load.report["failed"] == 0, load.report["failures"][:5]


def test_a_backend_with_ports_on_its_node(stack, swarm, tutorials):
    for proxied in stack.proxies:
        proxied.wait_for("onnode.local", timeout=30)
    node = swarm.nodes[stack.node_ids.index(swarm.tasks("onnode", "running")[0]["NodeID"])]
    assert [each["address"] for each in stack.api_tasks("onnode")] == [f"{node.address}:8090"]


def test_passthrough(stack, tutorials):
    def served():
        with stack.proxies[0].connect_tls("vault.local", timeout=5.0) as connection:
            assert connection.serial == tutorials["vault"].serial
            connection.send(b"GET / HTTP/1.0\r\n\r\n")
            return b"TLSv1.3" in connection.read_to_end()
    wait_until(served, 30, message="the app answers with its own certificate")


def test_two_groups_of_proxies_get_what_is_theirs(stack, swarm, tutorials, figure):
    red, blue = stack.proxies[0], stack.blue[0]
    for each in stack.blue:
        each.wait_for("blue.local", timeout=60)
        each.wait_for_tls("blue.local", tutorials["blue"], timeout=30)
        assert names(each.admin("/api/snapshot"), "services") == {"bluish"}
        assert names(each.admin("/api/certificates"), "certificates") == {"blue.local.pem"}
        each.wait_for_unknown_host("basic.local")
    for each in stack.proxies:
        found = names(each.admin("/api/snapshot"), "services")
        assert "basic" in found and "bluish" not in found
        assert names(each.admin("/api/certificates"), "certificates") == {"secure.local.cert"}
    assert stack.networks("blue_proxy") == {"lb_feed", "blue"}
    with SteadyLoad(red, "basic.local", rate=200, connections=10) as reds, \
            SteadyLoad(blue, "blue.local", rate=200, connections=10) as blues:
        for name in ("basic", "bluish"):
            swarm.update_service(name, "--force", "--update-monitor", "1s")
        for name in ("basic", "bluish"):
            stack.wait_until_updated(name)
        for load in (reds, blues):
            load.wait_for(200)
    reds.expect_no_failure(figure, "one controller, two groups of proxies, a rolling update in each: the first")
    blues.expect_no_failure(figure, "one controller, two groups of proxies, a rolling update in each: the second")


def names(answer, of):
    assert answer.status == 200, answer
    return {each["name"] for each in answer.json()[of]}


def test_a_label_gets_nothing_of_the_operators(stack, swarm, tutorials):
    """The feed's credentials and the token of the admin pages; and a secret that nobody made."""
    wanted = ["interlock_feed_controller", "interlock_feed_extension", "interlock_admin_token", "nowhere"]
    attached = {name: stack.secrets(name) for name in (CONTROLLER, PROXY)}
    for number, name in enumerate(wanted):
        command(swarm, f"service create --name greedy{number} --network demo --label {PREFIX}port=8080 "
                       f"--label {PREFIX}hosts=greedy{number}.local --label {PREFIX}ssl_cert={name} demo")
    try:
        for number, name in enumerate(wanted):
            for each in stack.proxies:
                each.wait_for(f"greedy{number}.local", timeout=30)
        said = [wait_until(lambda n=number: stack.diagnostics(f"greedy{n}"), 20) for number in (1, 3)]
        assert "operator" in str(said[0]) and "docker secret create nowhere" in str(said[1]), said
        for each in stack.proxies:
            page = each.admin("/api/certificates").json()
            assert {one["certificate"] for one in page["problems"]} >= set(wanted), page
            assert not {one["name"] for one in page["certificates"]} & set(wanted), page
        stack.wait_until_quiet(CONTROLLER, PROXY)
        assert {name: stack.secrets(name) for name in (CONTROLLER, PROXY)} == attached
    finally:
        swarm.remove_services(*(f"greedy{number}" for number in range(len(wanted))))


@pytest.mark.long
def test_a_rotated_secret_is_taken_away_again(stack, swarm, tutorials, figure):
    """What Interlock added goes two minutes after the last label that named it."""
    renewed, proxied = certificate("secure.local", number=2), stack.proxies[0]
    swarm.put_secret("secure.2027.cert", renewed.chain)
    swarm.put_secret("secure.2027.key", renewed.key)
    before = stack.task_ids(PROXY)
    with SteadyLoad(proxied, "basic.local") as load:
        swarm.update_service("secure", "--label-add", f"{PREFIX}ssl_cert=secure.2027.cert",
                             "--label-add", f"{PREFIX}ssl_key=secure.2027.key")
        for each in stack.proxies:
            each.wait_for_tls("secure.local", renewed, timeout=90)
        stack.wait_until_updated(CONTROLLER)
    load.expect_no_failure(figure, "a secret is attached by Interlock, the controllers are replaced")
    with pytest.raises(AssertionError, match="in use"):
        swarm.manager.docker("secret", "rm", "secure.local.cert")
    wait_until(lambda: not stack.secrets(CONTROLLER) & {"secure.local.cert", "secure.local.key"}, 240, 0.5)
    swarm.manager.docker("secret", "rm", "secure.local.cert", "secure.local.key")
    stack.wait_until_updated(CONTROLLER)
    stack.wait_until_quiet(CONTROLLER, PROXY)
    assert stack.secrets(CONTROLLER) >= {"secure.2027.cert", "secure.2027.key", "interlock_feed_controller"}
    assert stack.task_ids(PROXY) == before, "no proxy was restarted"


@pytest.mark.long
def test_what_was_rolled_back_is_not_tried_again(stack, swarm, tutorials, tmp_path):
    """Controllers that end as soon as they are given a certain secret: Swarm goes back, and there it stays."""
    build_fragile_image(swarm, tmp_path)
    swarm.update_service(CONTROLLER, "--image", FRAGILE_IMAGE)
    stack.wait_until_updated(CONTROLLER)
    cursed = certificate("cursed.local")
    swarm.put_secret("poison", cursed.bundle)
    command(swarm, f"service create --name cursed --network demo --label {PREFIX}port=8080 "
                   f"--label {PREFIX}hosts=cursed.local --label {PREFIX}ssl_cert=poison demo")
    try:
        wait_until(lambda: stack.state(CONTROLLER) == "rollback_completed", 150, 0.2, message="Swarm rolls back")
        wait_until(lambda: "not tried again" in str(stack.diagnostics(CONTROLLER)), 30, 0.2)
        stack.wait_until_quiet(CONTROLLER)
        # Who knows nothing of it finds it written on the service.
        node, container = stack.containers(CONTROLLER)[0]
        node.docker("kill", "--signal", "KILL", container)
        wait_until(lambda: container not in str(stack.containers(CONTROLLER))
                   and len(stack.containers(CONTROLLER)) == 2, 60, 0.2)
        stack.wait_until_quiet(CONTROLLER)
        assert "poison" not in stack.secrets(CONTROLLER) and stack.state(CONTROLLER) == "rollback_completed"
        stack.proxies[0].wait_for("cursed.local")
        # Mended, and tried again because somebody says so.
        swarm.update_service(CONTROLLER, "--image", IMAGE, "--label-rm", f"{PREFIX}managed",
                             "--label-rm", f"{PREFIX}managed_failed")
        stack.proxies[0].wait_for_tls("cursed.local", cursed, timeout=120)
        stack.wait_until_updated(CONTROLLER)
    finally:
        swarm.remove_services("cursed")


def build_fragile_image(swarm, directory):
    """The image with a shell before it that looks for that secret."""
    shutil.copy(os.path.realpath("/bin/sh"), directory / "shell")
    (directory / "Dockerfile").write_text(
        f'FROM {IMAGE}\nCOPY shell /shell\nENTRYPOINT ["/shell", "-c", '
        '"[ ! -e /run/secrets/poison ] || exit 3; exec /interlock \\"$@\\"", "interlock"]\n')
    swarm.manager.docker("build", "--quiet", "--tag", FRAGILE_IMAGE, directory, timeout=180)
    swarm.manager.send_image(FRAGILE_IMAGE, swarm.worker)


def test_a_host_moves_to_another_secret_and_no_handshake_is_refused(stack, swarm, tutorials, figure):
    """The label comes before the secret is attached: until the controllers have it, the host keeps what it had."""
    old, new = certificate("moving.local", number=1), certificate("moving.local", number=2)
    swarm.put_secret("moving.1.pem", old.bundle)
    swarm.put_secret("moving.2.pem", new.bundle)
    command(swarm, f"service create --name moving --network demo --label {PREFIX}port=8080 "
                   f"--label {PREFIX}hosts=moving.local --label {PREFIX}ssl_cert=moving.1.pem demo")
    for each in stack.proxies:
        each.wait_for_tls("moving.local", old, timeout=90)
    stack.wait_until_updated(CONTROLLER)
    served = []

    def is_moved():
        for each in stack.proxies:
            answer, serial = each.get_tls("moving.local")
            assert answer.status == 200 and serial in (old.serial, new.serial), (answer, serial)
            served.append(serial)
        return served[-len(stack.proxies):] == [new.serial] * len(stack.proxies)

    swarm.update_service("moving", "--label-add", f"{PREFIX}ssl_cert=moving.2.pem")
    deadline = time.monotonic() + 90
    # Not by waiting until it is so: no single handshake may fail.
    while not is_moved():
        assert time.monotonic() < deadline, "the new certificate is not served"
        time.sleep(0.02)
    figure(f"a host moves to another secret: {len(served)} handshakes, none refused")
    assert served.count(old.serial) > len(stack.proxies), "it was asked while the label was ahead of the secret"
    stack.wait_until_updated(CONTROLLER)


def test_without_it_check_prints_the_commands(stack, swarm, tutorials):
    """The last one: it turns management off."""
    swarm.update_service(CONTROLLER, "--env-add", "INTERLOCK_MANAGE_SERVICES=false")
    stack.wait_until_updated(CONTROLLER)
    made = certificate("hand.local")
    swarm.put_secret("hand_pem", made.bundle)
    command(swarm, "network create --driver overlay hand")
    command(swarm, f"service create --name hand --network hand --label {PREFIX}port=8080 "
                   f"--label {PREFIX}hosts=hand.local --label {PREFIX}ssl_cert=hand_pem demo")

    def printed():
        node, container = stack.containers(CONTROLLER)[0]
        said = node.docker("exec", container, "/interlock", "check", check=False)
        return [line.removeprefix("run").strip() for line in said.splitlines() if line.startswith("run ")]

    assert sorted(wait_until(printed, 20)) == [
        "docker service update --network-add hand lb_proxy",
        "docker service update --secret-add hand_pem lb_controller"]
    versions = [swarm.manager.api(f"/services/{name}")[1]["Version"]["Index"] for name in (CONTROLLER, PROXY)]
    stack.wait_until_quiet(CONTROLLER, PROXY)
    assert versions == [swarm.manager.api(f"/services/{name}")[1]["Version"]["Index"] for name in (CONTROLLER, PROXY)]
    with concurrent.futures.ThreadPoolExecutor() as both:
        list(both.map(lambda line: swarm.manager.docker(*shlex.split(line)[1:]), printed()))
    for each in stack.proxies:
        each.wait_for("hand.local", timeout=30)
        each.wait_for_tls("hand.local", made, timeout=30)
    assert printed() == []
