"""The real binary as a child process: free ports, a services file, a wait for /readyz, its log, and a clean end.

It starts exactly one process and ends exactly that one, by its id.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from . import certificates, tls
from .client import RawConnection, get
from .files import write_atomically
from .tls import TLSConnection
from .waiting import free_port, wait_until

#: INTERLOCK_TEST_TLS=1: whatever a test sends to a proxy's HTTP port it sends over TLS instead, with a default
#: certificate for every host. So tests of HTTP are run again over TLS; those marked `plain` cannot be.
IS_OVER_TLS = os.environ.get("INTERLOCK_TEST_TLS") == "1"
ROOT = pathlib.Path(__file__).resolve().parents[3]


class StartFailure(AssertionError):
    """The process ended, or was not ready, instead of serving."""


def binary_path():
    """INTERLOCK_BINARY, or the debug build of this tree."""
    return os.environ.get("INTERLOCK_BINARY") or str(ROOT / ".build" / "debug" / "interlock")


class Interlock:
    """One running `interlock`. Use as a context manager, or through the `interlock` fixture.

    `services`: a list for the services file (see `service`), bytes/text for a file as given, or None for no file.
    `environment`: INTERLOCK_* settings on top of the harness's own; a value None removes one of those.
    `https`: listen for TLS on `.https_port`; otherwise not at all.
    `secrets`: file name -> text, for the secrets directory.
    """

    def __init__(self, services=(), environment=None, role=None, arguments=(), directory=None, workers=1,
                 wait=True, timeout=15.0, listen_host="127.0.0.1", binary=None, https=False, secrets=None):
        self._owned_directory = None if directory else tempfile.TemporaryDirectory(prefix="interlock-e2e-")
        self.directory = pathlib.Path(directory or self._owned_directory.name)
        self.services_path = self.directory / "services.json"
        self.log_path = self.directory / "stderr.log"
        self.output_path = self.directory / "stdout.log"
        self.listen_host, self.workers, self.role, self.arguments = listen_host, workers, role, list(arguments)
        self.extra, self.binary = dict(environment or {}), binary or binary_path()
        self.has_services = services is not None
        self.is_over_tls = IS_OVER_TLS and not https and listen_host == "127.0.0.1"
        self.has_https, self.https_port = https or self.is_over_tls, None
        self.secrets_path = self.directory / "secrets"
        self.secrets_path.mkdir(exist_ok=True)
        for name, text in (secrets or {}).items():
            self.write_secret(name, text)
        if self.is_over_tls:
            self.write_secret("everyone.pem", certificates.certificate("everyone.test").bundle)
        self.process = None
        if self.has_services:
            self.write_services(list(services) if isinstance(services, tuple) else services)
        self.start(wait, timeout)

    # Life.

    def start(self, wait=True, timeout=15.0):
        """Starts the process (again). A port that was taken meanwhile is tried anew, twice."""
        for attempt in range(3):
            self.port, self.admin_port = free_port(self.listen_host), free_port()
            self.https_port = free_port(self.listen_host) if self.has_https else None
            self._spawn()
            if not wait:
                return
            try:
                self.wait_ready(timeout)
                return
            except StartFailure as failure:
                if attempt == 2 or "in use" not in str(failure):
                    self.kill()
                    raise

    def wait_ready(self, timeout=15.0):
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise StartFailure(f"exit {self.process.returncode} before ready:\n{self.log}")
            try:
                answer = self.admin("/readyz", timeout=2.0)
                if answer.status == 200:
                    return
                last = f"/readyz says {answer.status} {answer.text[:200]}"
            except (OSError, AssertionError) as error:
                last = repr(error)
            if time.monotonic() > deadline:
                raise StartFailure(f"not ready within {timeout:g} s ({last}):\n{self.log}")
            time.sleep(0.01)

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=20.0):
        """The exit status (negative for a signal)."""
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=20.0):
        """Signals and returns the exit status; kills after `timeout` seconds and raises."""
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {timeout:g} s:\n{self.log}") from None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def close(self):
        """Ends it whatever happened; the log stays readable until the directory goes."""
        self.kill()
        self.final_log = self.log
        if self._owned_directory:
            self._owned_directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What it says.

    @property
    def log(self):
        try:
            return self.log_path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return getattr(self, "final_log", "")

    @property
    def log_lines(self):
        """Lines of the log that are JSON objects, parsed."""
        lines = []
        for line in self.log.splitlines():
            if line.startswith("{"):
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    pass
        return lines

    @property
    def output(self):
        """Standard output (an access log that goes there, --help, ...)."""
        return self.output_path.read_text("utf-8", "replace")

    def wait_for_log(self, pattern, timeout=10.0):
        """The match of a regular expression in the log."""
        return wait_until(lambda: re.search(pattern, self.log), timeout, message=f"log matches {pattern!r}")

    def admin(self, path, method="GET", headers=(), body=b"", timeout=10.0):
        return get(self.admin_port, path, host="localhost", method=method, headers=headers, body=body, timeout=timeout)

    def api_routes(self):
        answer = self.admin("/api/routes")
        assert answer.status == 200, answer
        return answer.json()

    def metrics(self):
        """{'name{label="value"}': float} of /metrics, as written.

        A worker counts a request after it has sent the answer's last byte: it gets a moment for that.
        """
        time.sleep(0.02)
        answer = self.admin("/metrics")
        assert answer.status == 200, answer
        values = {}
        for line in answer.text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def metric(self, name, **labels):
        """The sum of all samples of that name which carry all those labels; None if there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [value for key, value in self.metrics().items()
                 if key.partition("{")[0] == name and all(each in key for each in wanted)]
        return sum(found) if found else None

    # What it is told and asked.

    def write_services(self, content):
        """Replaces the services file in one step; see `wait_for_status` for waiting until it is served."""
        write_atomically(str(self.services_path), content)

    def write_secret(self, name, text):
        """Replaces or makes that file of the secrets directory in one step."""
        write_atomically(str(self.secrets_path / name), text)

    def connect(self, **options):
        if self.is_over_tls:
            return TLSConnection(self.https_port, tls=tls.context(verify=False), **options)
        return RawConnection(self.port, host=self.listen_host, **options)

    def get(self, target="/", host="web.test", **options):
        if self.is_over_tls:
            return self.get_tls(target, host, "web.test", tls=tls.context(verify=False), **options)
        return get(self.port, target, host=host, address=self.listen_host, **options)

    def connect_tls(self, server_name="web.test", **options):
        """A TLSConnection; `tls=` takes a context, `session=` one to resume."""
        return TLSConnection(self.https_port, server_name, host=self.listen_host, **options)

    def get_tls(self, target="/", host="web.test", server_name=None, method="GET", headers=(), body=b"", **options):
        """One request on a new TLS connection."""
        with self.connect_tls(server_name or host.partition(":")[0], **options) as connection:
            connection.request(method, target, host, headers, body)
            return connection.read_response(method)

    def wait_for_status(self, status, target="/", host="web.test", timeout=10.0, **options):
        """Asks until the answer has that status; returns it."""
        def answered():
            answer = self.get(target, host, **options)
            assert answer.status == status, answer
            return answer
        return wait_until(answered, timeout, message=f"{host}{target} answers {status}")

    def descriptors(self):
        """The number of open file descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_size(self):
        """Resident memory in bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def has_grown_by_less_than(self, size, since=0):
        """Whether it holds less than `size` bytes more than it did. Sanitizers keep what is freed for a while: with one
        of them nobody can tell, and so it has."""
        return bool({"ASAN_OPTIONS", "TSAN_OPTIONS"} & set(os.environ)) or self.resident_size() - since < size

    # Inside.

    def _spawn(self):
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("INTERLOCK_", "DOCKER_"))}
        settings = {
            "INTERLOCK_HTTP_LISTEN": f"{self._bracketed(self.listen_host)}:{self.port}",
            "INTERLOCK_HTTPS_LISTEN": "off",
            "INTERLOCK_SECRETS_DIR": str(self.secrets_path),
            "INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "INTERLOCK_DOCKER": "off",
            "INTERLOCK_WORKERS": str(self.workers),
        }
        if self.has_https:
            settings["INTERLOCK_HTTPS_LISTEN"] = f"{self._bracketed(self.listen_host)}:{self.https_port}"
        if self.is_over_tls:
            settings["INTERLOCK_DEFAULT_CERT"] = "everyone.pem"
        if self.has_services:
            settings["INTERLOCK_SERVICES_FILE"] = str(self.services_path)
        settings.update(self.extra)
        environment.update({key: str(value) for key, value in settings.items() if value is not None})
        command = [self.binary] + ([self.role] if self.role else []) + self.arguments
        with open(self.log_path, "wb") as log, open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=log, cwd=self.directory)
        self.started_at = time.monotonic()

    @staticmethod
    def _bracketed(host):
        return f"[{host}]" if ":" in host else host


def run_binary(*arguments, environment=None, timeout=20.0):
    """Runs the binary to its end: `--help`, `version`, a bad setting. Returns CompletedProcess with text."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("INTERLOCK_", "DOCKER_"))}
    clean["INTERLOCK_HTTPS_LISTEN"] = "off"
    clean.update(environment or {})
    return subprocess.run(
        [binary_path(), *arguments], env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout, check=False)
