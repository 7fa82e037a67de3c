"""Fixtures: a Swarm of two nodes with the image on both, the proxy as the stack file deploys it, and services."""

import os
import pathlib
import subprocess

import pytest

from harness import Interlock, wait_until
from images import IMAGE, NETWORK, STACK_FILE, build_image, two_nodes
from lab import Swarm
from lab.proxied import Proxied

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("INTERLOCK_BINARY") or ROOT / ".build/release/interlock")


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the Swarm tests need root (namespaces, dockerd)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


FIGURES = []


def pytest_terminal_summary(terminalreporter):
    for line in FIGURES:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture
def figure():
    """figure(text) shows a measured figure at the end of the run."""
    return FIGURES.append


@pytest.fixture(scope="session")
def rootfs():
    """docker/rootfs with the binary under test."""
    tree = ROOT / "docker" / "rootfs"
    copy = tree / "interlock"
    if not copy.exists() or copy.stat().st_mtime < BINARY.stat().st_mtime:
        subprocess.run([str(ROOT / "scripts" / "rootfs.sh"), str(BINARY)], check=True)
    return tree


@pytest.fixture(scope="module")
def engine(rootfs):
    """One Docker engine that is in no Swarm, with the image."""
    with Swarm(1, joined=False) as lab:
        build_image(lab.manager)
        yield lab.manager


@pytest.fixture(scope="session")
def swarm(rootfs):
    with two_nodes() as lab:
        yield lab


@pytest.fixture(scope="session")
def stack(swarm):
    """docker/stack-single.yaml, deployed as it is; only the image's name and the open admin page are given."""
    settings = {"INTERLOCK_IMAGE": IMAGE, "INTERLOCK_ADMIN_OPEN": "true", "INTERLOCK_ACCESS_LOG": "off"}
    swarm.manager.docker(
        "stack", "deploy", "--resolve-image", "never", "-c", STACK_FILE, "lb",
        environment=settings)
    swarm.wait_for_tasks("lb_interlock", 1, timeout=60)
    proxied = Proxied(swarm.manager.address)
    wait_until(proxied.is_ready, 20, message="the proxy of the stack is ready")
    return proxied


@pytest.fixture
def proxy(stack, swarm, request):
    """The stack's proxy; its log is shown when the test fails."""
    yield stack
    report = getattr(request.node, "report_call", None)
    if report and report.failed:
        print("--- log of the proxy\n" + swarm.task_logs("lb_interlock")[-12000:])


@pytest.fixture
def services(swarm, request):
    """services(name, hosts=..., port=8080, replicas=1, ...) makes a demo service that the test's end removes."""
    made = []
    watching = request.getfixturevalue("proxy") if "proxy" in request.fixturenames else None

    def make(name, hosts=None, port=8080, replicas=1, network=NETWORK, labels=None, options=(), **rest):
        known = {} if hosts is None else {"com.docker.lb.hosts": hosts, "com.docker.lb.port": port}
        known.update(labels or {})
        made.append(name)
        return swarm.create_service(
            name, IMAGE, "demo-backend", labels=known, network=network, replicas=replicas,
            options=["--no-healthcheck", *options], **rest)

    make.made = made
    yield make
    swarm.remove_services(*made)
    if watching:
        # The next test may use the same names: what answers it then must not be what is going now.
        wait_until(
            lambda: not {each["name"] for each in watching.api_routes()["services"]} & set(made), 15,
            message="the proxy forgets the services of this test")


@pytest.fixture
def outside(swarm, tmp_path, request):
    """outside(environment) runs the binary on the host, against the manager's socket."""
    running = []

    def make(**environment):
        settings = {"INTERLOCK_DOCKER": f"unix://{swarm.manager.socket_path}", "INTERLOCK_NETWORK": "host",
                    "INTERLOCK_ADMIN_OPEN": "true", **environment}
        running.append(Interlock(None, environment=settings, directory=tmp_path, binary=str(BINARY)))
        return running[-1]

    yield make
    for each in running:
        each.close()
        report = getattr(request.node, "report_call", None)
        if report and report.failed:
            print(f"--- log of the proxy outside\n{each.log[-12000:]}")
