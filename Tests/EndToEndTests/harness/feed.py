"""Controllers and who they tell: credentials made by the binary itself, controllers with a feed port, proxies and
extensions that follow them. Everything is a real process on loopback."""

import json
import subprocess

from .process import binary_path, run_binary
from .waiting import free_port, wait_until


class Feed:
    """One authority with its credentials, and the processes of a test that use it.

    `interlock` is the fixture of that name; `directory` gets the credentials.
    """

    def __init__(self, interlock, directory, clusters=()):
        self.interlock, self.directory = interlock, directory
        words = ["feed-init", "--directory", str(directory)]
        if clusters:
            words += ["--clusters", ",".join(clusters)]
        done = run_binary(*words)
        assert done.returncode == 0, done.stderr

    def credential(self, role, cluster=""):
        return self.directory / (f"feed-{role}-{cluster}.pem" if cluster else f"feed-{role}.pem")

    def controller(self, services, **options):
        """A controller that is ready; `.feed_port` is where it listens, over restarts too."""
        port = free_port()
        environment = {
            "INTERLOCK_FEED_LISTEN": f"127.0.0.1:{port}",
            "INTERLOCK_FEED_CREDENTIAL": str(self.credential("controller")), **options.pop("environment", {})}
        made = self.interlock(services, role="controller", environment=environment, **options)
        made.feed_port = port
        return made

    def proxy(self, *controllers, cluster="", credential=None, **options):
        environment = {
            "INTERLOCK_FEED_CONNECT": ",".join(f"127.0.0.1:{each.feed_port}" for each in controllers),
            "INTERLOCK_FEED_CREDENTIAL": str(credential or self.credential("proxy", cluster)),
            **options.pop("environment", {})}
        return self.interlock(None, role="proxy", environment=environment, **options)

    def extension(self, *controllers, words=(), cluster="", **options):
        environment = {
            "INTERLOCK_FEED_CONNECT": ",".join(f"127.0.0.1:{each.feed_port}" for each in controllers),
            "INTERLOCK_FEED_CREDENTIAL": str(self.credential("extension", cluster)), **options.pop("environment", {})}
        return self.interlock(None, role="extension", arguments=words, environment=environment, **options)


def source(proxy):
    """Where a proxy or an extension has its table from, as it says itself."""
    answer = proxy.admin("/api/feed")
    assert answer.status == 200, answer
    return answer.json()["source"]


def clients(controller):
    answer = controller.admin("/api/feed")
    assert answer.status == 200, answer
    return answer.json()["clients"]


def wait_until_current(controller, count, timeout=10.0):
    """Until so many clients run what that controller says; returns them."""
    def current():
        found = clients(controller)
        assert len(found) == count and all(each["current"] for each in found), found
        return found or True
    return wait_until(current, timeout, message=f"{count} clients run what is in force")


def ask(instance, *words):
    """`interlock status`, `rollback` or `resume`, as an operator runs it beside the instance."""
    return subprocess.run(
        [binary_path(), *[str(each) for each in words]],
        env={"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{instance.admin_port}"}, capture_output=True, text=True, timeout=30,
        check=False)


def status(instance, page):
    done = ask(instance, "status", page)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
