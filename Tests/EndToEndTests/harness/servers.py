"""Real servers of other people: PostgreSQL, Redis, mosquitto. Each is started by a test in a directory of its own and
ended by its id. None of the machine's own services is touched.
"""

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

from . import certificates
from .waiting import free_port, wait_until


def program(name):
    """The path of a program that must be there."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert path, f"{name} is not installed: scripts/install.sh test"
    return path


class Server:
    """One process that listens on `.port`; ended with the test."""

    def __init__(self, command, port, directory, environment=None):
        self.port, self.directory = port, pathlib.Path(directory)
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(each) for each in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                env={**os.environ, **(environment or {})})
        wait_until(self._listens, timeout=30, message=f"{command[0]} listens on {port}")

    def _listens(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"ended with {self.process.returncode}: {self.log[-4000:]}")
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True

    @property
    def log(self):
        return (self.directory / "server.log").read_text("utf-8", "replace")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


@contextlib.contextmanager
def running(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def directory_of(user=None):
    """A new directory that this user can reach and owns."""
    path = tempfile.mkdtemp(prefix="interlock-server-")
    try:
        if user and os.geteuid() == 0:
            shutil.chown(path, user)
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def redis(shown=None):
    """redis-server, with TLS if a certificate is given."""
    @contextlib.contextmanager
    def make():
        port = free_port()
        command = [program("redis-server"), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if shown:
            command += ["--port", 0, "--tls-port", port, "--tls-cert-file", shown.path,
                        "--tls-key-file", shown.key_path, "--tls-ca-cert-file", shown.path, "--tls-auth-clients", "no"]
        else:
            command += ["--port", port]
        with directory_of() as directory, running(command, port, directory) as server:
            yield server
    return make()


def mosquitto(shown=None):
    """An MQTT broker, with TLS if a certificate is given."""
    @contextlib.contextmanager
    def make():
        port = free_port()
        with directory_of() as directory:
            lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false",
                     "log_type all", "log_dest stderr"]
            if os.geteuid() == 0:
                lines.append("user root")
            if shown:
                lines += [f"certfile {shown.path}", f"keyfile {shown.key_path}"]
            (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")
            command = [program("mosquitto"), "-c", directory / "mosquitto.conf"]
            with running(command, port, directory) as server:
                yield server
    return make()


@contextlib.contextmanager
def postgresql(shown):
    """A database cluster that speaks TLS inside its own protocol, and trusts everybody on loopback."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    assert found, "postgresql is not installed: scripts/install.sh test"
    tools, port = pathlib.Path(found[-1]), free_port()
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    as_user = ["runuser", "-u", user, "--"] if user else []
    with directory_of(user) as directory:
        data = directory / "data"
        subprocess.run([*as_user, tools / "initdb", "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "-E",
                        "UTF8", "--locale=C"], check=True, capture_output=True, cwd=directory)
        for name, text in (("server.crt", shown.chain), ("server.key", shown.key)):
            (data / name).write_text(text)
            (data / name).chmod(0o600)
            if user:
                os.chown(data / name, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        command = [*as_user, tools / "postgres", "-D", data, "-p", port, "-k", directory, "-c",
                   "listen_addresses=127.0.0.1", "-c", "ssl=on", "-c", "fsync=off", "-c", "max_connections=60"]
        (directory / "server.log").touch()
        with running(command, port, directory) as server:
            wait_until(lambda: psql(port, "select 1") == "1", timeout=30)
            yield server


def psql(port, query, *arguments, sslmode="disable", data=None, timeout=60.0, **parameters):
    """What psql prints for that query, without decoration; an error is an AssertionError with what it said."""
    settings = {"host": "127.0.0.1", "port": port, "user": "tester", "dbname": "postgres", "sslmode": sslmode,
                "connect_timeout": 10, **parameters}
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    done = subprocess.run([program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", text, *arguments,
                           "-c", query], input=data, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def with_hosts(command, *names):
    """The command where those names lead to 127.0.0.1: for clients that take their SNI from the name they look up."""
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    path = certificates.new_path(".hosts")
    path.write_text("127.0.0.1 localhost " + " ".join(names) + "\n")
    namespaces = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    return [program("unshare"), *namespaces, "sh", "-c", script, str(path), *[str(each) for each in command]]
