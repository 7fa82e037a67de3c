#!/usr/bin/env python3
"""Runs every part of the proof, one after the other, and ends with one line: `N passed, N failed`.

    scripts/test.py [--long] [PART ...]        parts: see PARTS; none named means all

A part that runs no test, ends without a report or exceeds its budget counts as failed. Each part's whole output is in
.build/test-logs/PART.log; what failed is shown again at the end.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOGS = ROOT / ".build" / "test-logs"
# Side by side: these tests wait most of their time.
# What fails is tried once more, and shown: beside others on a busy machine a test may come too late. A crash or a
# sanitizer's report is never forgiven.
ONCE_MORE = ["--reruns", "1", "--reruns-delay", "1", "--rerun-except", "the sanitizer reports|died of signal"]
SIDE_BY_SIDE = [*ONCE_MORE, "-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]
PYTEST = [str(ROOT / ".venv/bin/python"), "-m", "pytest", "-c", "Tests/pytest.ini", "--rootdir", "Tests"]
# Tests of HTTP that are run again with everything sent over TLS; what speaks of plain HTTP is marked `plain`.
OVER_TLS = [f"Tests/EndToEndTests/{name}.py" for name in (
    "test_exchange", "test_settings", "test_threats_answers", "test_threats_desync", "test_threats_errors",
    "test_threats_framing", "test_threats_slow", "test_threats_targets", "test_threats_trust")]
IMAGE_TESTS = ["Tests/SwarmTests/test_image.py", "Tests/SwarmTests/test_compose.py"]
# Controllers and proxies apart.
ROLE_TESTS = [
    "Tests/SwarmTests/test_roles.py", "Tests/SwarmTests/test_managed.py", "Tests/SwarmTests/test_host_roles.py"]
DEBUG_FLAGS = ["-Xswiftc", "-warnings-as-errors", "--explicit-target-dependency-import-check", "error"]
RELEASE_BINARY = str(ROOT / ".build/release/interlock")
# The debug build is the one for AddressSanitizer: every Swift test runs under it, and nothing is built twice for that.
ASAN = ["--scratch-path", ".build-asan", "--sanitize", "address", *DEBUG_FLAGS]
# Nothing that runs beside something else: nothing for ThreadSanitizer.
PURE = "TreeTests|ModelTests|DiscoveryTests|SwarmSimulationTests|WireTests|RoutingTests"
# Uninstrumented parts of the toolchain contend on Mutex; see scripts/sanitizers. At -Onone TSan reports even more.
TSAN = ["--scratch-path", ".build-tsan", "-c", "release", "-Xswiftc", "-enable-testing", "--sanitize", "thread"]
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
SUPPRESSIONS = str(ROOT / "scripts/sanitizers/thread-suppressions.txt")
FUTEX = str(ROOT / ".build-tsan/futex.so")


@dataclasses.dataclass
class Step:
    """One command. `report`: "swift" or "pytest" reads its counts from an XML file; None counts the command as one.

    A step that `prepares` is no test: it counts only when it fails.
    """

    command: list
    report: str = None
    environment: dict = dataclasses.field(default_factory=dict)
    prepares: bool = False


@dataclasses.dataclass
class Part:
    """Steps of one part, in order; the first that breaks without a report ends it. `minutes` is its budget: several
    times what it takes on two idle cores, so that only a hang meets it."""

    name: str
    what: str
    minutes: float
    steps: object
    #: Its tests wait most of their time: builds for later parts run beside them.
    is_idle: bool = False


def swift_test(*flags, environment=None):
    return Step(["swift", "test", *flags], report="swift", environment=environment or {})


def pytest(*arguments, binary=RELEASE_BINARY, environment=None):
    return Step([*PYTEST, *arguments], report="pytest",
                environment={"INTERLOCK_BINARY": binary, **(environment or {})})


def prepare(*command):
    return Step(list(command), prepares=True)


def parts(is_long):
    marks = [] if is_long else ["-m", "not long"]
    quick = [*SIDE_BY_SIDE, "-m", "not long and not load"]
    alone = ["-m", "long or load" if is_long else "load and not long"]
    address = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"}
    watched = {"LD_PRELOAD": FUTEX, "TSAN_OPTIONS": f"halt_on_error=0:suppressions={SUPPRESSIONS}"}
    return [
        Part("lint", "format and syntax", 3, [Step(["scripts/lint.sh"])]),
        Part("build", "debug build with tests, warnings are errors; release binary", 25, [
            Step(["swift", "build", "--build-tests", *ASAN]),
            Step(["scripts/build.sh"]),
        ]),
        Part("unit", "Swift tests, under AddressSanitizer", 10, [
            prepare("swift", "build", "--build-tests", *ASAN),
            swift_test("--skip-build", *ASAN, environment=address),
        ]),
        Part("e2e", "the real binary on loopback, and again over TLS", 15, [
            prepare("scripts/build.sh"),
            pytest("Tests/EndToEndTests", *quick),
            pytest("Tests/EndToEndTests", *alone),
            pytest(*OVER_TLS, *quick, environment={"INTERLOCK_TEST_TLS": "1"}),
        ]),
        Part("image", "image and compose file on a real engine", 5, [
            prepare("scripts/build.sh"),
            prepare("scripts/rootfs.sh"),
            pytest(*IMAGE_TESTS, *marks),
        ], is_idle=True),
        Part("swarm", "a real Swarm of two nodes, deploys under load", 25, [
            prepare("scripts/build.sh"),
            prepare("scripts/rootfs.sh"),
            pytest("Tests/SwarmTests", *[f"--ignore={file}" for file in IMAGE_TESTS + ROLE_TESTS], *marks),
        ], is_idle=True),
        Part("roles", "controllers and proxies apart, on Swarms of several managers", 25, [
            prepare("scripts/build.sh"),
            prepare("scripts/rootfs.sh"),
            pytest(*ROLE_TESTS, *marks),
        ], is_idle=True),
        Part("fuzz", "libFuzzer over the kept corpus, a few seconds each", 6, [Step(["Tests/Fuzz/run.sh", "5"])]),
        Part("asan", "end-to-end tests under AddressSanitizer", 20, [
            prepare("swift", "build", "--build-tests", *ASAN),
            pytest("Tests/EndToEndTests", *quick, binary=str(ROOT / ".build-asan/debug/interlock"),
                   environment=address),
        ]),
        Part("tsan", "Swift and end-to-end tests under ThreadSanitizer", 20, [
            prepare("swift", "build", "--build-tests", *TSAN),
            prepare("clang", "-shared", "-fPIC", "-O1", "-o", FUTEX, "scripts/sanitizers/futex.c", "-ldl"),
            Step(["scripts/sanitizers/check.sh", str(ROOT / ".build-tsan")], environment=watched),
            swift_test("--skip-build", "--skip", PURE, *TSAN, environment=watched),
            pytest("Tests/EndToEndTests", *quick, binary=str(ROOT / ".build-tsan/release/interlock"),
                   environment=watched),
        ]),
    ]


class Ahead:
    """Builds that later parts need, in order, at a low priority. Their results are not looked at: the part itself
    builds again what is not there, and says what is wrong."""

    def __init__(self, steps):
        self.commands = [step.command for step in steps if step.command[:2] == ["swift", "build"]]
        self.process, self.is_ended = None, False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        if not self.thread.is_alive() and self.commands:
            self.thread.start()

    def wait(self):
        if self.thread.is_alive():
            self.thread.join()

    def end(self):
        self.is_ended = True
        if self.thread.is_alive() and self.process:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _run(self):
        with open(LOGS / "ahead.log", "w", encoding="utf-8") as log:
            while self.commands and not self.is_ended:
                self.process = subprocess.Popen(
                    ["nice", "-n", "10", *self.commands.pop(0)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, start_new_session=True)
                self.process.wait()


class Runner:
    def __init__(self):
        self.passed = self.failed = 0
        self.lines, self.failures = [], []

    def run(self, part):
        print(f"\n=== {part.name}: {part.what} (budget {part.minutes:g} min)", flush=True)
        log_path = LOGS / f"{part.name}.log"
        started = time.monotonic()
        deadline = started + part.minutes * 60
        passed, failed = 0, []
        with open(log_path, "w", encoding="utf-8") as log:
            for index, step in enumerate(part.steps):
                report = LOGS / f"{part.name}.{index}.xml"
                for old in LOGS.glob(f"{part.name}.{index}[.-]*"):
                    old.unlink()
                status = self._execute(step, report, log, deadline)
                more_passed, more_failed = count(step, report, status)
                if step.report == "swift" and status == 1 and more_failed:
                    more_failed, forgiven = self._once_more(step, more_failed, log_path, log, deadline)
                    more_passed += forgiven
                passed += more_passed
                failed += more_failed
                if step.report is None and status != 0:
                    # What it said last stands below its name: the log may be gone with its machine.
                    failed[-1] += "".join(f"\n    {line}" for line in last_lines(log_path, 12))
                    break
        took = time.monotonic() - started
        self.passed += passed
        self.failed += len(failed)
        self.failures += [f"{part.name}: {name}" for name in failed]
        line = f"{part.name:6} {passed:5} passed {len(failed):4} failed {took:6.0f} s of {part.minutes * 60:.0f}"
        self.lines.append(line)
        print(f"--- {line}" + (f"; see {log_path.relative_to(ROOT)}" if failed else ""), flush=True)

    def _once_more(self, step, failed, log_path, log, deadline):
        """Tries the suites of Swift tests that failed once more, alone, as pytest does; see ONCE_MORE. A crash would
        have ended the run without a report.

        Returns what failed again, and how many did not."""
        suites = sorted({name.rsplit(".", 1)[0] for name in failed})
        if len(suites) > 5 or any(mark in log_path.read_text(errors="replace") for mark in SANITIZER_MARKS):
            return failed, 0
        for name in failed:
            print(f"once more, alone: {name}", flush=True)
        again = dataclasses.replace(
            step, command=[*step.command, "--filter", "^(" + "|".join(map(re.escape, suites)) + ")[./]"])
        report = LOGS / f"{log_path.stem}.again.xml"
        for old in LOGS.glob(f"{report.stem}*"):
            old.unlink()
        status = self._execute(again, report, log, deadline)
        _, failed_again = count(again, report, status)
        return failed_again, len(failed) if not failed_again else 0

    @staticmethod
    def _execute(step, report, log, deadline):
        """The exit status; None if the budget ended it."""
        command = list(step.command)
        if step.report == "swift":
            command += ["--xunit-output", str(report), "--parallel"]
        elif step.report == "pytest":
            command += [f"--junitxml={report}"]
        print("$ " + " ".join(command).replace(f"{ROOT}/", ""), flush=True)
        environment = {**os.environ, "INTERLOCK_FAULTS": str(report.with_suffix(".faults")), **step.environment}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
        watch = threading.Timer(max(1, deadline - time.monotonic()), os.killpg, [process.pid, signal.SIGKILL])
        watch.start()
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if is_worth_showing(step, line):
                    sys.stdout.write(line)
                    sys.stdout.flush()
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            watch.cancel()
        if status == -signal.SIGKILL and time.monotonic() >= deadline - 1:
            print("the budget is used up: ended", flush=True)
            log.write("the budget is used up: ended\n")
            return None
        return status


def last_lines(path, count):
    """The last lines of a log, each cut to what a terminal shows well."""
    return [line[:400] for line in path.read_text(errors="replace").splitlines()[-count:]]


def is_worth_showing(step, line):
    """Of Swift's tools only findings and results; progress, and tests that passed, stay in the log."""
    if step.command[0] != "swift":
        return bool(line.strip())
    marks = ("error:", "warning:", "✘", " run with ", "Build complete", "WARNING: ", "ERROR: ", "SUMMARY: ", "Fatal ")
    return any(mark in line for mark in marks)


def count(step, report, status):
    """(passed, names of what failed) of one step."""
    name = " ".join(pathlib.Path(each).name for each in step.command[:2])
    if step.report is None:
        if status == 0:
            return (0 if step.prepares else 1, [])
        return 0, [f"{name}: {'over budget' if status is None else f'exit {status}'}"]
    passed, failed, total = 0, [], 0
    # swift test writes XCTest's report beside Swift Testing's; the first is empty here.
    for path in sorted(LOGS.glob(f"{report.stem}*.xml")):
        try:
            tree = ElementTree.parse(path)
        except ElementTree.ParseError as error:
            failed.append(f"{path.name}: {error}")
            continue
        cases = list(tree.iter("testcase"))
        if step.report == "pytest":
            # One that was tried again has an entry for each time; the last one holds.
            cases = {(case.get("classname"), case.get("name")): case for case in cases}.values()
        for case in cases:
            if case.find("skipped") is not None:
                continue
            total += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(f"{case.get('classname')}.{case.get('name')}")
            else:
                passed += 1
    faults = report.with_suffix(".faults")
    if faults.exists():
        failed += [f"{name} (crash or sanitizer report)" for name in sorted(set(faults.read_text().splitlines()))]
    if total == 0:
        failed.append(f"{name}: no test ran")
    if status != 0 and not failed:
        failed.append(f"{name}: {'over budget' if status is None else f'exit {status}'}, though no test failed")
    return passed, failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--long", action="store_true", help="also tests that take minutes")
    arguments.add_argument("parts", nargs="*")
    options = arguments.parse_args()
    known = parts(options.long)
    names = [part.name for part in known]
    for name in options.parts:
        if name not in names:
            arguments.error(f"unknown part {name!r}; there are {', '.join(names)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    runner = Runner()
    wanted = [part for part in known if not options.parts or part.name in options.parts]
    ahead = Ahead([step for part in wanted if part.name in ("asan", "tsan") for step in part.steps])
    try:
        for part in wanted:
            if part.is_idle:
                ahead.start()
            elif part.name in ("asan", "tsan"):
                ahead.wait()
            runner.run(part)
    finally:
        ahead.end()
    print(f"\n=== {time.monotonic() - started:.0f} s")
    print("\n".join(runner.lines))
    for failure in runner.failures:
        print(f"FAILED {failure}")
    print(f"{runner.passed} passed, {runner.failed} failed")
    return 1 if runner.failed or not runner.passed else 0


if __name__ == "__main__":
    sys.exit(main())
