"""The images of these tests, made of files of this machine, and the network their services share.

IMAGE is proxy and backend in one; TLS_IMAGE speaks TLS itself, with the certificate of its secret `app`.
"""

import contextlib
import pathlib
import re
import shutil
import subprocess

from lab import Swarm

IMAGE = "localhost:1/interlock:test"
TLS_IMAGE = "localhost:1/tls-app:test"
NETWORK = "web"
CONTEXT = pathlib.Path(__file__).resolve().parents[2] / "docker"
STACK_FILE = CONTEXT / "stack-single.yaml"
TLS_DOCKERFILE = """FROM scratch
COPY files /
ENTRYPOINT ["/openssl", "s_server", "-accept", "8443", "-www", "-cert", "/run/secrets/app", "-key", "/run/secrets/app"]
"""


def build_image(node):
    """docker/Dockerfile over docker/rootfs, in that node's store."""
    node.docker("build", "--quiet", "--tag", IMAGE, CONTEXT, timeout=180)


@contextlib.contextmanager
def two_nodes():
    """A Swarm of two nodes, the image on both, an overlay network."""
    with Swarm(2) as lab:
        build_image(lab.manager)
        lab.manager.send_image(IMAGE, lab.worker)
        lab.manager.docker("network", "create", "--driver", "overlay", "--attachable", NETWORK)
        yield lab


@contextlib.contextmanager
def managers(count):
    """A Swarm of managers, the image on all."""
    with Swarm(count, role="manager") as lab:
        build_image(lab.manager)
        for node in lab.nodes[1:]:
            lab.manager.send_image(IMAGE, node)
        yield lab


def build_tls_image(node, directory):
    """The `openssl` program and its libraries; `directory` is an empty one to work in."""
    program = shutil.which("openssl")
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for source, target in [(program, "/openssl"), *((each, each) for each in re.findall(r"(/\S+) \(0x", found))]:
        copy = directory / "files" / target.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    (directory / "files" / "tmp").mkdir()
    (directory / "Dockerfile").write_text(TLS_DOCKERFILE)
    node.docker("build", "--quiet", "--tag", TLS_IMAGE, directory, timeout=180)
