#!/usr/bin/env python3
"""CPU time per unit of work of a proxy process, against other proxies in the same run. See ../README.md."""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import proxies
from counting import count_instructions, count_system_calls
from running import Running, fail, pinned
from workloads import WORKLOADS, Workload

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROXY_CORE, LOAD_CORE = 0, 1


def compile_programs(directory: pathlib.Path):
    for name in ("backend", "stream_backend", "load", "stream_load", "tls_load", "floor"):
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(directory / name), str(HERE / f"{name}.c")]
        subprocess.run([*command, "-lssl", "-lcrypto"] if name == "tls_load" else command, check=True)


def make_certificate(directory: pathlib.Path) -> pathlib.Path:
    """One PEM with key and certificate, ECDSA on P-256: what all proxies serve and the load generator trusts."""
    pem, key = directory / "web.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=web.test", "-addext", "subjectAltName=DNS:web.test", "-days", "30"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    key.unlink()
    return pem


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below the range that connections are numbered from."""
    found: list[int] = []
    for port in range(10_100, 15_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
        if len(found) == count:
            return found
    fail("no free ports")


class Bench:
    """The directory with compiled programs, the backend, and the proxies chosen."""

    def __init__(self, options, directory: pathlib.Path):
        self.options, self.directory, self.binaries = options, directory, directory / "bin"
        self.binaries.mkdir()
        compile_programs(self.binaries)
        known = proxies.known(self.binaries, pathlib.Path(options.interlock).absolute())
        names = options.proxies.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            fail(f"unknown proxy {unknown[0]}; there are {', '.join(known)}")
        missing = [name for name in names if not proxies.is_there(known[name])]
        for name in missing:
            print(f"versus: {name} left out, {known[name].needs} is not there", file=sys.stderr)
        self.chosen = [known[name] for name in names if name not in missing]
        (directory / "secrets").mkdir()
        self.pem = make_certificate(directory / "secrets")
        self.backend_ports, self.ports = {}, {}
        self.backend_ports["backend"], self.backend_ports["stream_backend"], *ports = free_ports(2 + 5 * len(names))
        for index, proxy in enumerate(self.chosen):
            self.ports[proxy.name] = ports[5 * index : 5 * index + 5]

    @contextlib.contextmanager
    def backends(self):
        """The two tasks behind every proxy."""
        running = []
        try:
            for name, port in self.backend_ports.items():
                command = [str(self.binaries / name), str(port)]
                running.append(Running(name, command, {}, LOAD_CORE, self.directory / f"{name}.log", port))
            yield
        finally:
            for each in running:
                each.stop()

    def fit(self, workload: Workload) -> list[proxies.Proxy]:
        """The chosen proxies that know what this workload needs."""
        return [proxy for proxy in self.chosen if workload.entry in proxy.entries]

    def start(self, proxy: proxies.Proxy, workload: Workload, prefix=()) -> Running:
        directory = self.directory / proxy.name
        directory.mkdir(exist_ok=True)
        http, tls, passthrough, stream, admin = self.ports[proxy.name]
        places = proxies.Places(
            directory, http, tls, passthrough, stream, admin, *self.backend_ports.values(), self.pem)
        command, environment = proxy.prepare(places)
        if prefix and os.path.isabs(command[0]):
            # Valgrind gives up on debug information that is newer than it; names of functions stay.
            bare = directory / "without-debug"
            subprocess.run(["strip", "--strip-debug", "-o", str(bare), command[0]], check=True)
            command[0] = str(bare)
        running = Running(proxy.name, command, environment, PROXY_CORE, directory / "log", http, prefix)
        running.wait_for_answer()
        running.entry_port = places.port(workload.entry, proxy.shares_port)
        return running

    def load(self, running: Running, workload: Workload, count: int, on_ready=lambda: None) -> dict:
        """Runs the generator; `on_ready` is called when the connections that stay are there."""
        arguments = [each.format(certificate=self.pem) for each in workload.arguments]
        command = [str(self.binaries / workload.program), str(running.entry_port), str(workload.connections)]
        if not workload.is_staged:
            on_ready()
        generator = subprocess.Popen(
            [*command, str(count), *arguments], preexec_fn=pinned(LOAD_CORE), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if workload.is_staged and generator.stdout.readline() == "ready\n":
            on_ready()
            generator.stdin.write("\n")
        output, errors = generator.communicate()
        if generator.returncode != 0:
            log = pathlib.Path(running.log.name).read_text()[-2000:]
            fail(f"{running.name}, {workload.name}: the load generator failed: {errors}\n{log}")
        if errors:
            print(errors, file=sys.stderr, end="")
        return json.loads(output)


def settled_cpu_ns(running: Running) -> int:
    """CPU time once the process has gone quiet, so that the end of a run is not booked on the next."""
    last = running.cpu_ns()
    for _ in range(50):
        time.sleep(0.02)
        now = running.cpu_ns()
        if now - last < 100_000:
            return now
        last = now
    return last


def measure(bench: Bench, workload: Workload) -> dict:
    """Interleaved rounds of one workload over all proxies."""
    wanted = max(workload.connections, int(workload.count * bench.options.scale))
    fitting = bench.fit(workload)
    results = {proxy.name: {"cpu_us": [], "errors": 0, "requests_per_second": []} for proxy in fitting}
    started: list[Running] = []
    try:
        for proxy in fitting:
            started.append(bench.start(proxy, workload))
        for number in range(-1, bench.options.rounds):
            # Every round begins with another proxy; round -1 is the warm-up.
            order = started[number % len(started) :] + started[: number % len(started)]
            for running in order:
                count = max(workload.connections, wanted // 5) if number < 0 else wanted
                before = []
                outcome = bench.load(running, workload, count, lambda: before.append(settled_cpu_ns(running)))
                after = settled_cpu_ns(running)
                result = results[running.name]
                result["errors"] += outcome["errors"]
                if number >= 0:
                    result["cpu_us"].append((after - before[0]) / 1000 / outcome["requests"])
                    result["requests_per_second"].append(outcome["requests"] / outcome["seconds"])
                    result["resident_kib"] = running.resident_kib()
    finally:
        for running in started:
            running.stop()
    return results


def summarise(results: dict, reference: str) -> dict:
    """Adds median, minimum, maximum and the median of the per-round ratios to the reference."""
    for result in results.values():
        rounds = result["cpu_us"]
        result["median_us"], result["min_us"], result["max_us"] = statistics.median(rounds), min(rounds), max(rounds)
        if reference in results:
            ratios = [own / other for own, other in zip(rounds, results[reference]["cpu_us"])]
            result["ratio"], result["min_ratio"], result["max_ratio"] = (
                statistics.median(ratios), min(ratios), max(ratios))
    return results


def print_table(workload: Workload, results: dict, calls: dict, instructions: dict, reference: str):
    print(f"\n{workload.name}: {' '.join(workload.arguments)}, {workload.connections} connections")
    header = f"{'CPU us/' + workload.unit:<24} {'median':>8} {'min':>8} {'max':>8} {'/' + reference:>9} {'min-max':>11}"
    print(header + f" {'RSS MiB':>8} {'calls':>7} {'instr.':>9} {'per s':>8} {'errors':>6}")
    for name in results or instructions or calls:
        line = f"{name:<24}"
        result = results.get(name)
        if result:
            line += f" {result['median_us']:>8.2f} {result['min_us']:>8.2f} {result['max_us']:>8.2f}"
            spread = f"{result['min_ratio']:.2f}-{result['max_ratio']:.2f}" if "ratio" in result else ""
            line += f" {result.get('ratio', float('nan')):>9.3f} {spread:>11} {result['resident_kib'] / 1024:>8.1f}"
        else:
            line += " " * 58
        line += f" {sum(calls[name].values()):>7.2f}" if name in calls else f" {'-':>7}"
        line += f" {instructions[name]:>9}" if name in instructions else f" {'-':>9}"
        if result:
            line += f" {statistics.median(result['requests_per_second']):>8.0f} {result['errors']:>6}"
        print(line)
    ratio = results.get("interlock", {}).get("ratio")
    if ratio is not None and reference == "haproxy" and workload.wanted is not None:
        floor = "" if workload.floor is None else f" (floor {workload.floor:.2f})"
        verdict = "met" if ratio <= workload.wanted else "NOT met"
        print(f"  interlock / haproxy: {ratio:.3f}, wanted: at most {workload.wanted:.2f}{floor}: {verdict}")
    for name, counted in calls.items():
        print(f"  calls {name}: " + ", ".join(f"{call} {value:g}" for call, value in counted.items()))
    sys.stdout.flush()


def describe_machine() -> dict:
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    versions = {}
    for name, command in {
        "haproxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "openssl": ["openssl", "version"],
    }.items():
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True)
            versions[name] = (done.stdout or done.stderr).splitlines()[0]
    return {
        "cpu": model[1] if model else "",
        "kernel": platform.release(),
        "versions": versions,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxies", default="floor,haproxy,nginx,interlock", help="comma list, in this order")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="comma list; all is the default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of requests of a round")
    parser.add_argument("--reference", default="haproxy", help="the proxy that ratios are made to")
    parser.add_argument("--interlock", default=str(ROOT / ".build/release/interlock"), help="the binary under test")
    parser.add_argument("--no-calls", action="store_true", help="skip the strace runs")
    parser.add_argument("--instructions", action="store_true", help="count instructions under callgrind too")
    parser.add_argument("--only-instructions", action="store_true", help="nothing but callgrind")
    parser.add_argument("--keep", metavar="DIRECTORY", help="keep callgrind's files there")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there")
    parser.add_argument(
        "--most",
        metavar="WORKLOAD=RATIO",
        action="append",
        default=[],
        help="exit 1 if interlock's ratio to the reference is above this; repeatable",
    )
    options = parser.parse_args()
    for name in options.workloads.split(","):
        if name not in WORKLOADS:
            fail(f"unknown workload {name}; there are {', '.join(WORKLOADS)}")
    if os.cpu_count() < 2:
        fail("two cores are needed: one for the proxy, one for backend and load")
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
    return options


def verdict(options, report: dict) -> int:
    """0 if nothing failed and every --most holds."""
    status = 0
    for name, entry in report["workloads"].items():
        for proxy, result in entry["results"].items():
            if result["errors"]:
                print(f"versus: {proxy} made {result['errors']} errors in {name}", file=sys.stderr)
                status = 1
    for wish in options.most:
        name, _, limit = wish.partition("=")
        ratio = report["workloads"].get(name, {}).get("results", {}).get("interlock", {}).get("ratio")
        if ratio is None or ratio > float(limit):
            print(f"versus: {name}: ratio {ratio} is not at or below {limit}", file=sys.stderr)
            status = 1
    return status


def main() -> int:
    options = parse_options()
    report = {"machine": describe_machine(), "rounds": options.rounds, "reference": options.reference, "workloads": {}}
    with tempfile.TemporaryDirectory(prefix="versus-") as name:
        bench = Bench(options, pathlib.Path(name))
        with bench.backends():
            for workload in (WORKLOADS[name] for name in options.workloads.split(",")):
                quick = options.only_instructions
                results = {} if quick else summarise(measure(bench, workload), options.reference)
                calls = {} if quick or options.no_calls else count_system_calls(bench, workload)
                counting = quick or options.instructions
                instructions = count_instructions(bench, workload) if counting else {}
                print_table(workload, results, calls, instructions, options.reference)
                report["workloads"][workload.name] = {
                    "results": results,
                    "system_calls": calls,
                    "instructions": instructions,
                }
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return verdict(options, report)


if __name__ == "__main__":
    sys.exit(main())
