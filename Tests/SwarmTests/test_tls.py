"""TLS and TCP on a real Swarm: secrets that are created, attached, served and rotated; passthrough; entry ports.

The Swarm is one of its own with two managers, so that the stack file's global service runs one proxy on each: while one
is replaced, because a secret was attached to it, the other serves. The stack is deployed as it is, with one file beside
it that an operator would write: entry ports for TCP.
"""

import contextlib
import threading
import time

import pytest

from harness import RawConnection, certificate, wait_until
from images import IMAGE, NETWORK, STACK_FILE, TLS_IMAGE, build_tls_image, two_nodes
from lab.proxied import Load, Proxied

pytestmark = pytest.mark.timeout(240)
PROXY = "lb_interlock"
MANAGERS = {"constraint": "node.role==manager"}
TCP_PORT, CLOSED_PORT = 7001, 7009
ENTRY_PORTS = f"""
version: "3.8"
services:
  interlock:
    environment: {{INTERLOCK_TCP_PORTS: "{TCP_PORT}"}}
    ports:
      - {{target: {TCP_PORT}, published: {TCP_PORT}, protocol: tcp, mode: host}}
"""


@pytest.fixture(scope="module")
def swarm(rootfs, tmp_path_factory):
    with two_nodes() as lab:
        build_tls_image(lab.manager, tmp_path_factory.mktemp("tls-app"))
        lab.manager.send_image(TLS_IMAGE, lab.worker)
        lab.promote(lab.worker)
        yield lab


@pytest.fixture(scope="module")
def both(swarm, tmp_path_factory):
    """The two proxies of the stack, one on each node."""
    settings = {"INTERLOCK_IMAGE": IMAGE, "INTERLOCK_ADMIN_OPEN": "true", "INTERLOCK_ACCESS_LOG": "off"}
    ports = tmp_path_factory.mktemp("stack") / "ports.yaml"
    ports.write_text(ENTRY_PORTS)
    swarm.manager.docker(
        "stack", "deploy", "--resolve-image", "never", "-c", STACK_FILE, "-c", ports, "lb", environment=settings)
    swarm.wait_for_tasks(PROXY, 2, timeout=60)
    proxies = [Proxied(node.address) for node in swarm.nodes]
    for each in proxies:
        wait_until(each.is_ready, 20, message="both proxies are ready")
    return proxies


@pytest.fixture(scope="module")
def stack(both):
    return both[0]


@pytest.fixture
def secrets(swarm, both):
    """secrets(name, text, attach=True) makes a Docker secret, attached to the proxies; the end of the test undoes it.

    Ask for it before `services`: those use the secrets, and go first.
    """
    made, attached = [], []

    def make(name, text, attach=True):
        swarm.put_secret(name, text)
        made.append(name)
        if attach:
            update_proxies(swarm, both, "--secret-add", name)
            attached.append(name)

    yield make
    if attached:
        update_proxies(swarm, both, *(part for name in attached for part in ("--secret-rm", name)))
    for name in made:
        swarm.manager.docker("secret", "rm", name)


def update_proxies(swarm, both, *arguments):
    """A service update of the proxies, until it is completed and both are ready."""
    swarm.update_service(PROXY, *arguments)
    wait_until(lambda: swarm.is_updated(PROXY), 120, 0.1, message="the proxies are updated")
    for each in both:
        wait_until(each.is_ready, 20, message="both proxies are ready")


class Failover:
    """One client as those in front of two proxies are: it asks one, and the other if that does not take connections.

    Like a browser it sends a request again if a kept connection ends before a byte of the answer came. `failures` are
    requests without an answer of 200; `moved` counts connections that the first address did not take.
    """

    def __init__(self, proxies, host):
        self.proxies, self.host = proxies, host
        self.count = self.moved = 0
        self.failures, self.serials = [], set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(30)

    def _connect(self):
        for number, each in enumerate(self.proxies):
            try:
                connection = each.connect_tls(self.host, timeout=10.0)
            except ConnectionError:
                self.moved += number == 0
                continue
            self.serials.add(connection.serial)
            return connection
        raise ConnectionError("neither proxy takes connections")

    def _ask(self, connection):
        """The answer; None if a connection that was kept ended before it."""
        is_fresh = not connection.all_received
        received = len(connection.all_received)
        try:
            connection.request(host=self.host)
            return connection.read_response()
        except (OSError, AssertionError):
            if is_fresh or len(connection.all_received) > received:
                raise
            return None

    def _run(self):
        connection = None
        while not self._end.is_set():
            self.count += 1
            try:
                answer = self._ask(connection) if connection else None
                if answer is None:
                    connection = self._connect()
                    answer = self._ask(connection)
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {answer.text[:200]}")
                if self.count % 10 == 0 or (answer.header("connection") or "").lower() == "close":
                    connection.close()
                    connection = None
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                connection = None
            time.sleep(0.002)
        if connection:
            connection.close()


def test_https_is_published_on_each_node_in_host_mode(proxy, swarm):
    for task in swarm.tasks(PROXY, "running"):
        published = {(port["PublishedPort"], port["PublishMode"]) for port in task["Status"]["PortStatus"]["Ports"]}
        assert published == {(port, "host") for port in (80, 443, 9180, TCP_PORT)}


def test_a_secret_is_created_attached_served_and_rotated_without_a_failed_request(
        both, proxy, secrets, services, swarm, figure):
    first = certificate("secure.test")
    second = certificate("secure.test", number=1)
    services("secure", hosts="secure.test", replicas=2, labels={"com.docker.lb.ssl_cert": "secure_1"})
    swarm.wait_for_tasks("secure", 2)
    # Named and not there: that host alone is told, and http beside it is served.
    proxy.wait_for("secure.test", timeout=30)
    wait_until(lambda: "secure_1" in str(proxy.api_routes()), 10, message="the missing secret is named")
    secrets("secure_1", first.bundle)
    for each in both:
        each.wait_for_tls("secure.test", first)

    # A secret is immutable, so rotation is a new one. Attaching it replaces the proxies node by node, stop-first.
    tasks = {task["ID"] for task in swarm.tasks("secure", "running")}
    with Failover(both, "secure.test") as near, Failover(both[::-1], "secure.test") as far:
        wait_until(lambda: near.count > 50 and far.count > 50, 20)
        began = time.monotonic()
        secrets("secure_2", second.bundle)
        attached = time.monotonic() - began
        assert near.serials == far.serials == {first.serial}
        swarm.update_service("secure", "--label-add", "com.docker.lb.ssl_cert=secure_2")
        for each in both:
            each.wait_for_tls("secure.test", second)
        rotated = near.count, far.count
        wait_until(lambda: near.count > rotated[0] + 50 and far.count > rotated[1] + 50, 20)
    count, moved = near.count + far.count, near.moved + far.moved
    figure(f"rotation on two nodes: attached after {attached:.1f} s, {count} requests, {moved} connections went to the "
           f"other node, {len(near.failures + far.failures)} requests failed")
    assert not near.failures + far.failures, (near.failures + far.failures)[:5]
    assert moved, "each proxy was away for a moment, or the test shows nothing"
    assert near.serials == far.serials == {first.serial, second.serial}
    assert {task["ID"] for task in swarm.tasks("secure", "running")} == tasks, "no task was restarted for it"


@pytest.mark.long
def test_the_label_that_names_another_secret_loses_no_connection(both, proxy, secrets, services, swarm, figure):
    """The half of a rotation that restarts nothing: proxies that have both secrets already."""
    first, second = certificate("label.test"), certificate("label.test", number=1)
    secrets("label_1", first.bundle)
    secrets("label_2", second.bundle)
    services("label", hosts="label.test", labels={"com.docker.lb.ssl_cert": "label_1"})
    proxy.wait_for_tls("label.test", first, timeout=30)
    with proxy.connect_tls("label.test") as kept:
        with Load(proxy, "label.test", connect=lambda: proxy.connect_tls("label.test", timeout=20.0)) as load:
            wait_until(lambda: load.count > 100, 20)
            swarm.update_service("label", "--label-add", "com.docker.lb.ssl_cert=label_2")
            proxy.wait_for_tls("label.test", second)
            count = load.count
            wait_until(lambda: load.count > count + 100, 20)
        figure(f"certificate changed by label: {load.count} requests over TLS, {len(load.failures)} failed")
        assert not load.failures, load.failures[:5]
        kept.request(host="label.test")
        assert kept.read_response().status == 200 and kept.serial == first.serial


@pytest.mark.long
def test_one_node_alone_is_away_while_its_proxy_is_replaced(both, proxy, secrets, services, swarm, figure):
    """What docs/OPERATIONS.md says of the all-in-one role: measured at one node, without a client that moves."""
    only = certificate("away.test")
    secrets("away", only.bundle)
    services("away", hosts="away.test", labels={"com.docker.lb.ssl_cert": "away"})
    proxy.wait_for_tls("away.test", only, timeout=30)
    with Load(proxy, "away.test", threads=2, connect=lambda: proxy.connect_tls("away.test", timeout=5.0)) as load:
        wait_until(lambda: load.count > 50, 20)
        secrets("away_more", "nothing of interest")
        proxy.wait_for_tls("away.test", only)
    times = sorted(failure[0] for failure in load.failures)
    away = times[-1] - times[0] if times else 0.0
    figure(f"one node, proxy replaced in place: away for {away:.1f} s")
    assert away < 30
    assert not [each for each in load.failures if each[2][:1].isdigit()], "refused connections, never a wrong answer"


def test_ssl_only_redirects_and_lets_acme_through(proxy, secrets, services):
    only = certificate("only.test")
    secrets("only", only.bundle)
    services("only", hosts="only.test", labels={"com.docker.lb.ssl_cert": "only", "com.docker.lb.ssl_only": "true"})
    proxy.wait_for_tls("only.test", only, timeout=30)
    answer = proxy.get("only.test", "/shop?q=1")
    assert (answer.status, answer.header("location")) == (301, "https://only.test/shop?q=1")
    assert proxy.get("only.test", "/shop", method="POST", body=b"x").status == 308
    assert proxy.get("only.test", "/.well-known/acme-challenge/token").status == 200
    echoed = proxy.get_tls("only.test")[0].text.lower()
    assert "x-forwarded-proto" in echoed and "https" in echoed


def test_a_tls_app_is_passed_through_with_its_own_certificate(both, proxy, secrets, services, swarm):
    own = certificate("vault.test", number=2)
    secrets("vault_app", own.bundle, attach=False)
    swarm.create_service(
        "vault", TLS_IMAGE, network=NETWORK, **MANAGERS,
        labels={"com.docker.lb.hosts": "vault.test", "com.docker.lb.port": 8443,
                "com.docker.lb.ssl_passthrough": "true"},
        options=["--secret", "source=vault_app,target=app", "--no-healthcheck"])
    services.made.append("vault")
    for each in both:
        def served(at=each):
            with at.connect_tls("vault.test", timeout=5.0) as connection:
                assert connection.serial == own.serial
                connection.send(b"GET / HTTP/1.0\r\n\r\n")
                return b"TLSv1.3" in connection.read_to_end()
        wait_until(served, 30, message="the app answers with its own certificate")
    answer = proxy.get("vault.test", "/x")
    assert (answer.status, answer.header("location")) == (301, "https://vault.test/x")
    # Over TLS of another host it is not reachable.
    beside = certificate("beside.test")
    secrets("beside", beside.bundle)
    services("beside", hosts="beside.test", labels={"com.docker.lb.ssl_cert": "beside"})
    proxy.wait_for_tls("beside.test", beside, timeout=30)
    with proxy.connect_tls("beside.test") as connection:
        connection.request(host="vault.test")
        assert connection.read_response().status == 421


def test_a_tcp_port_comes_and_goes_with_its_service(both, proxy, services, swarm):
    def answers(at, port=TCP_PORT):
        with contextlib.suppress(OSError, AssertionError), RawConnection(port, host=at.address, timeout=5.0) as raw:
            raw.request(host="whatever.test")
            return raw.read_response().status == 200
        return False

    assert not answers(proxy)
    services("wire", labels={"com.docker.lb.tcp_port": TCP_PORT, "com.docker.lb.port": 8080})
    services("closed", labels={"com.docker.lb.tcp_port": CLOSED_PORT, "com.docker.lb.port": 8080})
    for each in both:
        wait_until(lambda at=each: answers(at), 30, message="the entry port answers on each node")
    # A connection that moves bytes is not cut by anything that happens to other services.
    with RawConnection(TCP_PORT, host=proxy.address, timeout=10.0) as raw:
        raw.request(host="whatever.test")
        assert raw.read_response().status == 200
        services("other", hosts="other.test")
        proxy.wait_for("other.test", timeout=30)
        raw.request(host="whatever.test")
        assert raw.read_response().status == 200
    told = [each for each in proxy.api_routes()["diagnostics"] if each["service"] == "closed"]
    assert [each["label"] for each in told if each["severity"] == "error"] == ["tcp_port"], told
    swarm.remove_services("wire")
    for each in both:
        wait_until(lambda at=each: not answers(at), 15, message="the entry port is gone")
