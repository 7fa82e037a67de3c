"""docker/compose.yaml as it is, by docker-compose, on an engine in no Swarm: container labels, the same contract."""

import os
import pathlib
import subprocess

import pytest

from harness import wait_until
from images import IMAGE
from lab.proxied import Proxied

pytestmark = pytest.mark.timeout(120)
FILE = pathlib.Path(__file__).resolve().parents[2] / "docker" / "compose.yaml"


@pytest.fixture
def compose(engine, tmp_path):
    """compose("up", ...) runs docker-compose on that file; everything is taken down at the end."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "COMPOSE_"))}
    environment.update(
        DOCKER_HOST=f"unix://{engine.socket_path}", DOCKER_CONFIG=str(tmp_path), COMPOSE_PROJECT_NAME="interlock",
        INTERLOCK_IMAGE=IMAGE, INTERLOCK_ACCESS_LOG="off")

    def run(*arguments):
        done = subprocess.run(
            ["docker-compose", "-f", str(FILE), *arguments], env=environment, capture_output=True, text=True,
            timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    print(run("logs", "--no-color", "interlock")[-6000:])
    run("down", "--volumes", "--timeout", "10")


def test_compose_brings_up_the_proxy_and_a_demo_behind_it(engine, compose):
    compose("up", "--detach")
    proxy = Proxied(engine.address)
    proxy.wait_for("demo.test", timeout=30)
    proxy.wait_for_unknown_host("nobody.test")
    # Another container with labels, and its end.
    container = engine.docker(
        "run", "--detach", "--no-healthcheck", "--network", "interlock_web", "--label", "com.docker.lb.hosts=more.test",
        "--label", "com.docker.lb.port=8080", IMAGE, "demo-backend")
    proxy.wait_for("more.test")
    compose("up", "--detach", "--scale", "demo=3")
    wait_until(lambda: len(proxy.instances("demo.test", 6)) == 3, 15, message="three containers answer")
    engine.docker("rm", "--force", container)
    proxy.wait_for_unknown_host("more.test")
    compose("stop", "demo")
    proxy.wait_for("demo.test", status=503, timeout=30)
    compose("start", "demo")
    proxy.wait_for("demo.test", timeout=30)
