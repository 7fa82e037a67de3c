"""A Swarm over lab nodes: the first is the manager, the others are workers, or managers too. Helpers speak in services
and tasks."""

import atexit
import datetime
import itertools
import json
import os
import shutil
import time

from .network import LAB_DIRECTORY, LAB_PREFIX, LabNetwork, remove_cgroups, remove_stale
from .node import Node


_numbers = itertools.count(1)


class Swarm:
    """Context manager. `manager` is the first node, `worker` the second. `joined=False`: engines without a Swarm.
    `role`: what the others join as."""

    def __init__(self, count=2, joined=True, role="worker"):
        self.count, self.joined, self.role = count, joined, role
        self.tag = f"{os.getpid()}x{next(_numbers)}"
        self.directory = LAB_DIRECTORY / f"{LAB_PREFIX}{self.tag}"
        self.nodes, self.network = [], None

    def start(self):
        remove_stale()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        atexit.register(self.stop)
        try:
            self.network = LabNetwork(self.tag)
            for index in range(self.count):
                node = Node(f"n{index + 1}", f"{self.network.subnet}.{11 + index}", self.network, self.directory)
                self.nodes.append(node)
                node.start()
            if not self.joined:
                return self
            self.manager.docker("swarm", "init", "--advertise-addr", self.manager.address)
            token = self.manager.docker("swarm", "join-token", "-q", self.role)
            for node in self.nodes[1:]:
                node.docker("swarm", "join", "--advertise-addr", node.address, "--token", token,
                            f"{self.manager.address}:2377")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """Ends and removes everything; safe to call twice, and called at exit whatever happens."""
        atexit.unregister(self.stop)
        for node in self.nodes:
            node.stop()
        self.nodes = []
        if self.network:
            self.network.remove()
            self.network = None
        shutil.rmtree(self.directory, ignore_errors=True)
        remove_cgroups(self.directory.name)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def manager(self):
        return self.nodes[0]

    @property
    def worker(self):
        return self.nodes[1]

    # Services.

    def create_service(self, name, image, *arguments, labels=None, network=None, replicas=1, constraint=None,
                       publish=None, options=(), detach=True):
        """`docker service create`; `arguments` are the task's. Returns the service id."""
        command = ["service", "create", "--quiet", "--name", name, "--no-resolve-image", "--replicas", replicas]
        command += ["--detach"] if detach else []
        for key, value in (labels or {}).items():
            command += ["--label", f"{key}={value}"]
        command += ["--network", network] if network else []
        command += ["--constraint", constraint] if constraint else []
        command += ["--publish", publish] if publish else []
        return self.manager.docker(*command, *options, image, *arguments)

    def update_service(self, name, *arguments, detach=True):
        detached = ["--detach"] if detach else []
        self.manager.docker("service", "update", "--quiet", "--no-resolve-image", *detached, *arguments, name)

    def is_updated(self, name):
        """Whether the last update of that service is completed; one that was stopped or rolled back raises."""
        status = self.manager.api(f"/services/{name}")[1].get("UpdateStatus", {})
        assert status.get("State") not in ("paused", "rollback_started", "rollback_completed"), status
        return status.get("State") == "completed"

    def scale(self, name, replicas):
        self.manager.docker("service", "scale", "--detach", f"{name}={replicas}")

    def remove_services(self, *names):
        for name in names:
            self.manager.docker("service", "rm", name, check=False)

    def services(self):
        return self.manager.api("/services")[1]

    def tasks(self, service, state=None):
        """The tasks of a service, as the API lists them; `state="running"` keeps those that run and shall run."""
        status, found = self.manager.api("/tasks", filters={"service": [service]})
        if status != 200:
            return []
        if state:
            found = [each for each in found if each["Status"]["State"] == state and each["DesiredState"] == state]
        return found

    def wait_for_tasks(self, service, count, timeout=60, interval=0.02):
        """The running tasks as soon as there are exactly that many."""
        deadline = time.monotonic() + timeout
        while True:
            running = self.tasks(service, "running")
            if len(running) == count:
                return running
            if time.monotonic() > deadline:
                told = [(each["Status"]["State"], each["DesiredState"], each["Status"].get("Err", ""))
                        for each in self.tasks(service)]
                raise AssertionError(f"{service}: {len(running)} of {count} tasks run after {timeout} s: {told}")
            time.sleep(interval)

    def task_logs(self, service):
        return self.manager.docker("service", "logs", "--raw", service, check=False, merged=True)

    def put_secret(self, name, content):
        """Creates a Docker secret from text."""
        return self.manager.docker("secret", "create", name, "-", input=content.encode()).decode().strip()

    def promote(self, node):
        """Makes that worker a manager too, and waits until it can speak for the Swarm."""
        self.manager.docker("node", "promote", node.name)
        deadline = time.monotonic() + 30
        while node.api("/services")[0] != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"{node.name} is no manager after 30 s:\n{node.log_tail()}")
            time.sleep(0.1)

    def put_config(self, name, content, labels=None):
        """Creates a Docker config from text or from a value that becomes JSON."""
        text = content if isinstance(content, str) else json.dumps(content)
        command = ["config", "create"]
        for key, value in (labels or {}).items():
            command += ["--label", f"{key}={value}"]
        return self.manager.docker(*command, name, "-", input=text.encode()).decode().strip()


def timestamp(text):
    """Docker's RFC 3339 time with nanoseconds, as seconds since 1970."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + float(f"0.{fraction or 0}")
