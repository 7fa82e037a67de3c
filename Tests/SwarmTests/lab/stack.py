"""Controllers and proxies apart, as docker/setup.sh and a stack file of docker/ make them: where they run, what they
say of themselves, what their services are in the Swarm."""

import json
import os
import pathlib
import subprocess
import time

from harness import wait_until

from .proxied import Proxied

CONTEXT = pathlib.Path(__file__).resolve().parents[3] / "docker"
BINARY = pathlib.Path(os.environ.get("INTERLOCK_BINARY") or CONTEXT.parent / ".build/release/interlock")
CONTROLLER, PROXY = "lb_controller", "lb_proxy"


class Stack:
    """The stack `lb` on a Swarm, a proxy on each node. `place` keeps the feed's authority."""

    def __init__(self, swarm, image, place):
        self.swarm, self.image, self.place = swarm, image, place
        self.proxies = [Proxied(node.address) for node in swarm.nodes]
        self.node_ids = [node.api("/info")[1]["Swarm"]["NodeID"] for node in swarm.nodes]

    def set_up(self, *arguments):
        """docker/setup.sh, as an operator runs it on a manager."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
        done = subprocess.run(
            [str(CONTEXT / "setup.sh"), *arguments], cwd=self.place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
            env={**clean, "DOCKER_HOST": f"unix://{self.swarm.manager.socket_path}", "INTERLOCK_IMAGE": self.image,
                 "INTERLOCK_BINARY": str(BINARY)})
        assert done.returncode == 0, done.stdout
        print(done.stdout)

    def deploy(self, *files, name="lb", **settings):
        """`docker stack deploy` of these files, the later over the earlier."""
        chosen = [part for file in files for part in ("-c", file)]
        self.swarm.manager.docker(
            "stack", "deploy", "--resolve-image", "never", *chosen, name,
            environment={"INTERLOCK_IMAGE": self.image, "INTERLOCK_ADMIN_OPEN": "true",
                         "INTERLOCK_ACCESS_LOG": "off", **settings})

    def wait_until_ready(self, controllers):
        self.swarm.wait_for_tasks(CONTROLLER, controllers, timeout=60)
        self.swarm.wait_for_tasks(PROXY, len(self.proxies), timeout=60)
        for proxied in self.proxies:
            wait_until(proxied.is_ready, 30, message="every proxy is ready")

    def containers(self, service):
        """(node, container id) of each running task."""
        return [(self.swarm.nodes[self.node_ids.index(task["NodeID"])],
                 task["Status"]["ContainerStatus"]["ContainerID"])
                for task in self.swarm.tasks(service, "running")]

    def ask(self, container, page):
        """A status page of a controller, as it answers in its container."""
        node, name = container
        return json.loads(node.docker("exec", name, "/interlock", "status", page))

    def diagnostics(self, about):
        """What any controller says about that service."""
        return [each for container in self.containers(CONTROLLER)
                for each in self.ask(container, "/api/routes")["diagnostics"] if each["service"] == about]

    def api_tasks(self, service, proxied=None):
        """The tasks of a service as a proxy knows them."""
        routes = (proxied or self.proxies[0]).api_routes()
        return [task for each in routes["services"] if each["name"] == service for task in each["upstreams"]]

    def print_logs(self, *services):
        for service in services or (CONTROLLER, PROXY):
            print(f"--- {service}\n" + self.swarm.task_logs(service)[-12000:])

    # The services as the Swarm has them.

    def spec(self, service):
        return self.swarm.manager.api(f"/services/{service}")[1]["Spec"]

    def secrets(self, service):
        return {each["SecretName"] for each in self.spec(service)["TaskTemplate"]["ContainerSpec"].get("Secrets", [])}

    def networks(self, service):
        names = {each["Id"]: each["Name"] for each in self.swarm.manager.api("/networks")[1]}
        return {names[each["Target"]] for each in self.spec(service)["TaskTemplate"].get("Networks", [])}

    def state(self, service):
        """How far the service's last update is; None if there was none."""
        return self.swarm.manager.api(f"/services/{service}")[1].get("UpdateStatus", {}).get("State")

    def task_ids(self, service):
        return {task["ID"] for task in self.swarm.tasks(service)}

    def wait_until_updated(self, service, timeout=120):
        wait_until(lambda: self.swarm.is_updated(service), timeout, 0.2,
                   message=f"the update of {service} is completed")

    def wait_until_quiet(self, *services, seconds=8, timeout=120):
        """Until nobody has touched these services for so long; an update that waits to be made again would come."""
        seen = {"versions": None, "since": 0.0}

        def is_quiet():
            found = [self.swarm.manager.api(f"/services/{name}")[1] for name in services]
            assert all(each.get("UpdateStatus", {}).get("State") != "updating" for each in found)
            versions = [each["Version"]["Index"] for each in found]
            if versions != seen["versions"]:
                seen.update(versions=versions, since=time.monotonic())
            return time.monotonic() - seen["since"] >= seconds
        wait_until(is_quiet, timeout, 0.2, message=f"{services} are left alone for {seconds} s")
