"""What a request costs in system calls and in instructions: runs of their own, since tools spoil the times."""

import re
import shutil
import signal
import subprocess

from running import fail


def count_system_calls(bench, workload) -> dict:
    """System calls per request by strace, in a run of its own: tracing is slow and would spoil the times."""
    counts = {}
    requests = max(workload.connections * 10, int(workload.requests * bench.options.scale / 6))
    for index, proxy in enumerate(bench.chosen):
        running = bench.start(index)
        try:
            # Connections are made, pools filled and buffers grown before counting begins.
            bench.load(running.port, workload, workload.connections * 4)
            output = bench.directory / proxy.name / "strace"
            tracer = subprocess.Popen(
                [
                    "strace",
                    "-f",
                    "-c",
                    "-U",
                    "calls,name",
                    "-o",
                    str(output),
                    *sum((["-p", str(p)] for p in running.pids()), []),
                ],
                stderr=subprocess.PIPE,
                text=True,
            )
            tracer.stderr.readline()  # "Process N attached"
            done = bench.load(running.port, workload, requests)
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
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
    """User-space instructions per request by callgrind: the difference of a long and a short run."""
    counts = {}
    short, long = (max(workload.connections, int(n * bench.options.scale)) for n in (1_000, 5_000))
    if workload.name != "small":
        short, long = 32, 160
    for index, proxy in enumerate(bench.chosen):
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
            running = bench.start(index, prefix)
            try:
                bench.load(running.port, workload, requests)
                # Children write their own file; asking all of them now makes them independent of how they end.
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
