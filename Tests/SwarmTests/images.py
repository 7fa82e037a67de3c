"""The one image of these tests, proxy and backend in one, and the network its services share."""

import pathlib

IMAGE = "localhost:1/interlock:test"
NETWORK = "web"
CONTEXT = pathlib.Path(__file__).resolve().parents[2] / "docker"


def build_image(node):
    """docker/Dockerfile over docker/rootfs, in that node's store."""
    node.docker("build", "--quiet", "--tag", IMAGE, CONTEXT, timeout=180)
