"""The lab's wire: one bridge on the host, one veth pair to each node, and what earlier runs left behind.

A lab's tag is the process id and a number, `4711x1`. It touches only links named `ilb<tag>`, `ilv<tag>...`, their own
FORWARD rules, and directories of labs.
"""

import os
import pathlib
import re
import shutil
import subprocess
import zlib

LAB_DIRECTORY = pathlib.Path("/tmp")
LAB_PREFIX = "interlock-lab-"


def run(*command, check=True, input=None, timeout=60):
    """A short system command; its output on failure."""
    done = subprocess.run(command, capture_output=True, text=True, input=input, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class LabNetwork:
    """A bridge with the address `.1` of a /24 out of 100.64.0.0/10; nodes get .11, .12, ..."""

    def __init__(self, tag):
        self.tag = tag
        self.bridge = f"ilb{self.tag}"
        self.subnet = self._free_subnet()
        self.host_address = f"{self.subnet}.1"
        self._links = {}
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.host_address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        # Bridged frames pass iptables here, and a dockerd of the host sets FORWARD to DROP.
        run("iptables", "-w", "-I", "FORWARD", "-i", self.bridge, "-o", self.bridge, "-j", "ACCEPT", check=False)

    def plug(self, process_id, address):
        """Gives the network namespace of that process an eth0 with that address."""
        number = len(self._links) + 1
        outside, inside = f"ilv{self.tag}n{number}", f"ilw{self.tag}n{number}"
        self._links[address] = outside
        enter = ["nsenter", "-t", str(process_id), "--net"]
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", outside, "master", self.bridge, "up")
        run("ip", "link", "set", inside, "netns", str(process_id))
        run(*enter, "ip", "link", "set", inside, "name", "eth0")
        run(*enter, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        run(*enter, "ip", "link", "set", "eth0", "up")
        run(*enter, "ip", "link", "set", "lo", "up")
        run(*enter, "ip", "route", "add", "default", "via", self.host_address)

    def link_of(self, address):
        """The bridge's end of the wire to that node: down, and the node is cut off."""
        return self._links[address]

    def remove(self):
        _remove_bridge(self.bridge)

    def _free_subnet(self):
        routes = run("ip", "-4", "route", "show", "table", "all")
        for step in range(1024):
            number = (zlib.crc32(self.tag.encode()) + step) % (64 * 256)
            subnet = f"100.{64 + number // 256}.{number % 256}"
            if f"{subnet}." not in routes:
                return subnet
        raise RuntimeError("no free /24 in 100.64.0.0/10")


def _remove_bridge(bridge):
    run("iptables", "-w", "-D", "FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT", check=False)
    run("ip", "link", "del", bridge, check=False)


def remove_cgroups(name):
    """The empty control groups that containers of a lab leave behind."""
    for root in pathlib.Path("/sys/fs/cgroup").glob(f"**/{name}"):
        for directory, _, _ in os.walk(root, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass


def remove_stale():
    """Removes what runs left whose process is gone: bridges, rules, directories, control groups. Never processes."""
    for link in re.findall(r"\bilb([0-9]+x[0-9]+)", run("ip", "-o", "link", "show", "type", "bridge", check=False)):
        if not _is_alive(link):
            _remove_bridge(f"ilb{link}")
    for directory in LAB_DIRECTORY.glob(f"{LAB_PREFIX}*"):
        tag = directory.name.removeprefix(LAB_PREFIX)
        if not _is_alive(tag):
            remove_cgroups(directory.name)
            shutil.rmtree(directory, ignore_errors=True)


def _is_alive(tag):
    return os.path.exists(f"/proc/{tag.partition('x')[0]}")
