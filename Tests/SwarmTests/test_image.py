"""The image by itself: not root, nothing in it but the binary, healthy when it is, gone in time when told to stop."""

import json

import pytest

from images import IMAGE
from harness import wait_until
from lab.proxied import Proxied

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def containers(engine):
    """containers(*docker run arguments) -> id; removed at the end."""
    made = []

    def make(*arguments):
        made.append(engine.docker("run", "--detach", *arguments))
        return made[-1]

    yield make
    if made:
        engine.docker("rm", "--force", *made, check=False)


def inspect(engine, container):
    return json.loads(engine.docker("inspect", container))[0]


def test_it_is_small_and_not_root(engine, figure):
    image = inspect(engine, IMAGE)
    assert image["Config"]["User"] == "65532:65532"
    assert image["Config"]["Entrypoint"] == ["/interlock"]
    figure(f"image: {image['Size'] / 1e6:.1f} MB")
    assert image["Size"] < 60_000_000


def test_it_holds_no_shell_and_no_package_manager(engine, rootfs):
    programs = [each.relative_to(rootfs) for each in rootfs.rglob("*")
                if each.is_file() and not each.is_symlink() and each.stat().st_mode & 0o111]
    assert [str(each) for each in programs if ".so" not in each.name and "ld-linux" not in each.name] == ["interlock"]


def test_the_binary_runs_in_it(engine):
    assert engine.docker("run", "--rm", "--network", "none", IMAGE, "version")
    assert "INTERLOCK_HTTP_LISTEN" in engine.docker("run", "--rm", "--network", "none", IMAGE, "--help")


def test_without_docker_or_a_file_it_says_so_and_exits_2(engine, containers):
    container = containers(IMAGE)
    assert engine.docker("wait", container) == "2"
    assert len(engine.docker("logs", container, check=False).splitlines()) <= 2


def test_as_nobody_with_nothing_allowed_it_serves_port_80_and_is_healthy(engine, containers, tmp_path):
    services = {"services": [{"name": "demo", "labels": {"com.docker.lb.hosts": "demo.test"},
                              "endpoints": ["127.0.0.1:8080"]}]}
    file = tmp_path / "services.json"
    file.write_text(json.dumps(services))
    tmp_path.chmod(0o755)
    container = containers(
        "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--publish", "80:80",
        "--publish", "9180:9180", "--volume", f"{file}:/services.json:ro",
        "--env", "INTERLOCK_SERVICES_FILE=/services.json", "--health-interval", "1s", IMAGE)
    containers("--network", f"container:{container}", "--read-only", "--cap-drop", "ALL", "--no-healthcheck",
               IMAGE, "demo-backend")
    proxy = Proxied(engine.address)
    proxy.wait_for("demo.test")
    wait_until(lambda: inspect(engine, container)["State"]["Health"]["Status"] == "healthy", 20)
    engine.docker("stop", "--time", "10", container)
    state = inspect(engine, container)["State"]
    assert state["ExitCode"] == 0, state
