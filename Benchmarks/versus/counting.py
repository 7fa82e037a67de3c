"""What a unit of work costs in system calls and in instructions: runs of their own, since tools spoil the times."""

import contextlib
import re
import shutil
import signal
import subprocess

from running import fail


@contextlib.contextmanager
def traced(running, output):
    """Gives a function that attaches strace; it is ended, and has written its counts, when the block ends."""
    tracers = []

    def attach():
        ids = sum((["-p", str(pid)] for pid in running.pids()), [])
        tracers.append(subprocess.Popen(
            ["strace", "-f", "-c", "-U", "calls,name", "-o", str(output), *ids], stderr=subprocess.PIPE, text=True))
        tracers[0].stderr.readline()  # "Process N attached"

    yield attach
    for tracer in tracers:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()


def count_system_calls(bench, workload) -> dict:
    """System calls per unit by strace, in a run of its own: tracing is slow and would spoil the times."""
    counts = {}
    count = max(workload.connections * 10, int(workload.count * bench.options.scale / 6))
    for proxy in bench.fit(workload):
        running = bench.start(proxy, workload)
        try:
            # Connections are made, pools filled and buffers grown before counting begins.
            bench.load(running, workload, workload.connections * 4)
            output = bench.directory / proxy.name / "strace"
            with traced(running, output) as attach:
                done = bench.load(running, workload, count, attach)
            calls = {}
            for line in output.read_text().splitlines():
                fields = line.split()
                if len(fields) == 2 and fields[0].isdigit() and fields[1] != "total":
                    calls[fields[1]] = int(fields[0]) / done["requests"]
            counts[proxy.name] = {
                name: round(value, 3)
                for name, value in sorted(calls.items(), key=lambda item: -item[1])
                if value >= 0.005
            }
        finally:
            running.stop()
    return counts


def count_instructions(bench, workload) -> dict:
    """User-space instructions per unit by callgrind: the difference of a long and a short run."""
    counts = {}
    short, long = (max(workload.connections * times, int(n * bench.options.scale))
                   for times, n in ((1, 1_000), (5, 5_000)))
    if workload.count < 10_000:  # large units
        short, long = workload.connections * 2, workload.connections * 10
    for proxy in bench.fit(workload):
        totals = []
        for requests in (short, long):
            directory = bench.directory / proxy.name
            directory.mkdir(exist_ok=True)
            for old in directory.glob("callgrind.*"):
                old.unlink()
            prefix = [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={directory}/callgrind.%p",
                "--trace-children=yes",
                "-q",
            ]
            running = bench.start(proxy, workload, prefix)
            try:
                bench.load(running, workload, requests)
            finally:
                running.stop(signal.SIGQUIT if proxy.name.startswith("nginx") else signal.SIGTERM)
            total = 0
            for path in directory.glob("callgrind.*"):
                match = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.M)
                total += int(match[1]) if match else 0
            if total == 0:
                fail(f"{proxy.name}: callgrind wrote no total")
            totals.append(total)
            if bench.options.keep:
                for path in directory.glob("callgrind.*"):
                    shutil.copy(path, f"{bench.options.keep}/{proxy.name}.{workload.name}.{requests}.{path.suffix[1:]}")
        counts[proxy.name] = round((totals[1] - totals[0]) / (long - short))
    return counts
