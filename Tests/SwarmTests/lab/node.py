"""One node: namespaces of its own with a dockerd in them. Its holder process is pid 1 in there; all ends with it."""

import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse

# Inside the node: /run is private (docker.sock, netns handles), so stack files can say /var/run/docker.sock.
# The loop reaps orphans, as pid 1 must.
HOLDER = """
hostname "$1" && mount -t tmpfs tmpfs /run && mkdir -p /run/docker || exit 1
echo ready
while :; do sleep 3600 & wait $!; done
"""
DOCKER = os.environ.get("INTERLOCK_TEST_DOCKER", "/usr/bin/docker")


class CommandFailure(AssertionError):
    """A docker command ended with an error."""


class Node:
    """`start()` brings dockerd up; `docker(...)` runs the CLI against it; `api(...)` asks its socket directly."""

    def __init__(self, name, address, network, directory):
        self.name, self.address, self.network = name, address, network
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir(parents=True)
        self.socket_path = self.directory / "docker.sock"
        self.log_path = self.directory / "dockerd.log"
        self.cgroup = pathlib.Path(directory).name
        self.holder = self.daemon = None

    # Life.

    def start(self):
        command = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
                   "bash", "-c", HOLDER, "holder", self.name]
        self.holder = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=_die_with_parent)
        if self.holder.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{self.name}: the namespaces could not be made")
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        self.init_id = int(children[0])
        self.network.plug(self.init_id, self.address)
        self.start_daemon()

    def start_daemon(self, timeout=60):
        """Starts dockerd (again) and waits until it answers."""
        self.socket_path.unlink(missing_ok=True)
        command = [
            "nsenter", "-t", str(self.init_id), "--net", "--mount", "--uts", "--pid",
            "dockerd", "--data-root", self.directory / "data", "--exec-root", "/run/docker-exec",
            "--pidfile", "/run/docker.pid", "-H", f"unix://{self.socket_path}", "-H", "unix:///run/docker.sock",
            "--cgroup-parent", f"/{self.cgroup}", "--log-level", "warn",
        ]
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(
                [str(each) for each in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout
        while True:
            if self.daemon.poll() is not None:
                raise RuntimeError(f"{self.name}: dockerd ended:\n{self.log_tail()}")
            try:
                if self.api("/_ping")[0] == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: dockerd does not answer:\n{self.log_tail()}")
            time.sleep(0.05)

    def daemon_id(self):
        """The process id of dockerd as the host sees it."""
        for child in pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split():
            if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "dockerd":
                return int(child)
        raise RuntimeError(f"{self.name}: no dockerd under process {self.daemon.pid}")

    def kill_daemon(self, number=signal.SIGKILL, timeout=60):
        os.kill(self.daemon_id(), number)
        self.daemon.wait(timeout)

    def stop(self):
        """Ends the node. An orderly dockerd first would cost ten seconds a container; nothing here outlives the lab."""
        if self.holder:
            try:
                os.kill(self.init_id, signal.SIGKILL)
            except (ProcessLookupError, AttributeError):
                pass
            self.holder.kill()
            self.holder.wait(20)
            self.holder.stdout.close()
            self.holder = None
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait(20)
            self.daemon = None
        # The last mounts go with the namespace a moment after the last process.
        deadline = time.monotonic() + 10
        while self.directory.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.directory, ignore_errors=True)
            time.sleep(0.05)

    # Use.

    def docker(self, *arguments, input=None, timeout=120, check=True, environment=None, merged=False):
        """The docker CLI against this node; its standard output without the last line end. `merged`: errors too."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
        clean.update(DOCKER_HOST=f"unix://{self.socket_path}", DOCKER_BUILDKIT="0",
                     DOCKER_CONFIG=str(self.directory / "client"), **(environment or {}))
        done = subprocess.run(
            [DOCKER, *[str(each) for each in arguments]], env=clean, input=input, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise CommandFailure(
                f"{self.name}: docker {' '.join(str(each) for each in arguments)}: exit {done.returncode}\n"
                f"{(done.stderr or done.stdout).decode('utf-8', 'replace')}")
        return done.stdout if isinstance(input, bytes) else done.stdout.decode("utf-8", "replace").rstrip("\n")

    def api(self, path, method="GET", body=None, filters=None):
        """(status, parsed JSON or text) of one API call."""
        if filters:
            path += ("&" if "?" in path else "?") + "filters=" + urllib.parse.quote(json.dumps(filters))
        connection = _UnixConnection(self.socket_path)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, body=payload, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def send_image(self, image, other):
        """Copies an image from this node's store to another's."""
        archive = self.directory / "image.tar"
        self.docker("save", "-o", archive, image)
        other.docker("load", "-i", archive)
        archive.unlink()

    def log_tail(self, size=6000):
        return self.log_path.read_text("utf-8", "replace")[-size:]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
