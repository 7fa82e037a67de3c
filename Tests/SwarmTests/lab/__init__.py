"""A real Docker Swarm of several nodes on one machine, for tests. Needs root, dockerd, iproute2, iptables, util-linux.

Every name and path carries this process's id, so several runs live side by side. A node is a set of namespaces (net,
mount, pid, uts) held by one process: ending that process ends everything in it, and it dies with the test process.
"""

from .network import LabNetwork, remove_stale
from .node import CommandFailure, Node
from .swarm import Swarm

__all__ = ["CommandFailure", "LabNetwork", "Node", "Swarm", "remove_stale"]
