"""Programs of other people through TCP entry ports and passthrough: PostgreSQL, Redis, mosquitto, and their clients.

They know nothing of the proxy. What they say about the connection (its certificate, its cipher, its data) is the proof.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import threading

import pytest

from harness import Interlock, authority, certificate, free_port, secured, service, wait_until
from harness.servers import mosquitto, postgresql, program, psql, redis, with_hosts


@pytest.fixture(scope="module")
def database():
    with postgresql(certificate("db.test", kind="rsa")) as server:
        yield server


@contextlib.contextmanager
def proxy_of(services, ports, secrets=None, tmp=None, **options):
    """A proxy with these TCP entry ports."""
    with Interlock(services, https=True, secrets=secrets, environment={
            "INTERLOCK_TCP_PORTS": ",".join(str(port) for port in ports), **options}) as proxy:
        for port in ports:
            wait_until(lambda port=port: socket.create_connection(("127.0.0.1", port), 1).close() or True)
        yield proxy


# PostgreSQL: raw, its own TLS inside.


def test_postgresql_raw(database):
    port = free_port()
    with proxy_of([service("db", [database.port], tcp_port=port)], [port]) as proxy:
        assert psql(port, "select 6 * 7") == "42"
        # A megabyte each way, compared by what the database itself says of it.
        text = os.urandom(500_000).hex()
        assert psql(port, "create table t (x text); copy t from stdin; select md5(x) from t", data=text + "\n") == \
            hashlib.md5(text.encode()).hexdigest()
        assert psql(port, "select x from t") == text
        psql(port, "drop table t")
        assert proxy.process.poll() is None


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_postgresql_with_tls_end_to_end(database, mode):
    """sslmode: TLS begins inside PostgreSQL's own protocol, and ends in the database. The proxy sees bytes."""
    port = free_port()
    with proxy_of([service("db", [database.port], tcp_port=port)], [port]):
        shown = psql(port, "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()", sslmode=mode,
                     host="db.test", hostaddr="127.0.0.1", sslrootcert=authority().path)
        assert shown.startswith("t|TLSv1."), shown


def test_pgbench_through_the_proxy(database):
    """Some hundred transactions of several clients at once, over TLS of the database's own."""
    port = free_port()
    with proxy_of([service("db", [database.port], tcp_port=port)], [port]):
        environment = {**os.environ, "PGSSLMODE": "require"}
        common = ["-h", "127.0.0.1", "-p", str(port), "-U", "tester"]
        for arguments in (["-i", "-q"], ["-c", "4", "-j", "2", "-t", "50"], ["-S", "-C", "-c", "2", "-t", "20"]):
            done = subprocess.run([program("pgbench"), *arguments, *common, "postgres"], env=environment,
                                  capture_output=True, text=True, timeout=100, check=False)
            assert done.returncode == 0, done.stderr
        assert "number of failed transactions: 0" in done.stdout or "failed" not in done.stdout, done.stdout


def test_a_session_outlives_changes_of_the_table(database):
    """A transaction that is open while services come and go is committed."""
    port, other = free_port(), free_port()
    steady = service("db", [database.port], tcp_port=port)
    with proxy_of([steady], [port, other][:1], INTERLOCK_TCP_PORTS=f"{port},{other}") as proxy:
        session = subprocess.Popen(
            [program("psql"), "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(port), "-U", "tester", "postgres"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            session.stdin.write("begin; create table if not exists swaps (n int); insert into swaps values (1);\n")
            session.stdin.flush()
            for number in range(5):
                proxy.write_services([steady, service(f"new{number}", [database.port], tcp_port=other,
                                                      hosts=f"new{number}.test")])
                wait_until(lambda: f"new{number}" in proxy.admin("/api/routes").text)
            output, errors = session.communicate("commit; select count(*) from swaps; drop table swaps;\n", timeout=20)
        finally:
            session.kill()
            session.wait()
        assert (output.strip(), errors) == ("1", "")


def test_ports_appear_and_go_with_their_services(database):
    port = free_port()
    with Interlock([], environment={"INTERLOCK_TCP_PORTS": f"{port}"}) as proxy:
        def is_open():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                return False
            return True

        assert not is_open()
        for _ in range(2):
            proxy.write_services([service("db", [database.port], tcp_port=port)])
            wait_until(is_open)
            assert psql(port, "select 1") == "1"
            proxy.write_services([])
            wait_until(lambda: not is_open())


def test_a_port_nobody_allowed(database):
    allowed, other = free_port(), free_port()
    with Interlock([service("db", [database.port], tcp_port=other)],
                   environment={"INTERLOCK_TCP_PORTS": str(allowed)}) as proxy:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other), 1)
        shown = proxy.admin("/api/routes").text
        assert "tcp_port" in shown and "INTERLOCK_TCP_PORTS" in shown, shown


# Redis: TLS ended here, and passed through.


def redis_cli(port, *arguments, sni=None, data=None, insecure=False):
    command = [program("redis-cli"), "-h", "127.0.0.1", "-p", str(port)]
    if sni:
        command += ["--tls", "--sni", sni, *(["--insecure"] if insecure else ["--cacert", str(authority().path)])]
    done = subprocess.run([*command, *arguments], input=data, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout + done.stderr).strip()


def test_redis_with_tls_that_ends_here():
    """Two databases on one port, told apart by SNI; each has its own data. A third name is nobody's."""
    port, secrets = free_port(), {}
    with redis() as first, redis() as second:
        services = [
            secured(secrets, "one", [first.port], certificate("one.test"), hosts="one.test", tcp_port=port),
            secured(secrets, "two", [second.port], certificate("two.test", kind="rsa"), hosts="two.test",
                    tcp_port=port),
        ]
        with proxy_of(services, [port], secrets):
            for name in ("one.test", "two.test"):
                assert redis_cli(port, "set", "name", name, sni=name) == "OK"
            for name in ("one.test", "two.test", "ONE.test", "two.test."):
                assert redis_cli(port, "get", "name", sni=name) == name.lower().rstrip(".")
            assert redis_cli(first.port, "get", "name") == "one.test"
            refused = redis_cli(port, "get", "name", sni="three.test")
            assert "Could not connect" in refused or "SSL" in refused or "rror" in refused, refused
            # A megabyte both ways.
            value = "x" * 1_000_000
            assert redis_cli(port, "-x", "set", "big", sni="one.test", data=value) == "OK"
            assert redis_cli(port, "get", "big", sni="one.test") == value
            # Twenty thousand commands in a pipeline.
            text = "".join(f"SET key{number} {number}\r\n" for number in range(20_000))
            assert "errors: 0, replies: 20000" in redis_cli(port, "--pipe", sni="two.test", data=text)
            assert redis_cli(second.port, "dbsize") == "20001"


@pytest.mark.parametrize("where", ["https", "tcp"])
def test_redis_with_tls_passed_through(where):
    """The certificate is Redis' own; the proxy holds none."""
    port = free_port()
    with redis(certificate("cache.test")) as server:
        labels = {"tcp_port": port} if where == "tcp" else {}
        services = [service("cache", [server.port], hosts="cache.test", ssl_passthrough=True, **labels)]
        with proxy_of(services, [port] if where == "tcp" else [], INTERLOCK_TCP_PORTS=port) as proxy:
            entry = port if where == "tcp" else proxy.https_port
            assert redis_cli(entry, "set", "a", "b", sni="cache.test") == "OK"
            assert redis_cli(entry, "get", "a", sni="CACHE.test") == "b"
            assert redis_cli(entry, "get", "a", sni="other.test") != "b"
            text = "".join(f"SET key{number} {number}\r\n" for number in range(20_000))
            assert "errors: 0, replies: 20000" in redis_cli(entry, "--pipe", sni="cache.test", data=text)


def test_redis_raw():
    port = free_port()
    with redis() as server, proxy_of([service("cache", [server.port], tcp_port=port)], [port]):
        assert redis_cli(port, "ping") == "PONG"
        done = subprocess.run([program("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-q", "-n", "5000", "-c",
                               "20", "-t", "set,get"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and "GET" in done.stdout and "rror" not in done.stdout, done


# MQTT: long-lived, both ways, silent for a while.


class Subscriber:
    """mosquitto_sub as a process; `lines` is what it received."""

    def __init__(self, port, name, count, *arguments):
        self.process = subprocess.Popen(
            with_hosts([program("mosquitto_sub"), "-h", name, "-p", port, "-t", "news", "-C", count, "-W", 30,
                        *arguments], name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self):
        output, errors = self.process.communicate(timeout=40)
        assert self.process.returncode == 0, errors
        return output.splitlines()


def publish(port, name, text, *arguments):
    done = subprocess.run(
        with_hosts([program("mosquitto_pub"), "-h", name, "-p", port, "-t", "news", "-m", text, "-q", 1, *arguments],
                   name),
        capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def talk(port, name, broker, *arguments):
    """A subscriber that stays, and publishers that come and go: everything arrives, in order."""
    before = broker.log.count("Sending SUBACK")
    subscriber = Subscriber(port, name, 5, "--cafile", authority().path, *arguments)
    try:
        wait_until(lambda: broker.log.count("Sending SUBACK") > before, timeout=15)
        for number in range(5):
            publish(port, name, f"message {number}", "--cafile", authority().path, *arguments)
        assert subscriber.finish() == [f"message {number}" for number in range(5)]
    finally:
        subscriber.process.kill()
        subscriber.process.wait()


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquitto_with_tls_that_ends_here(version):
    port, secrets = free_port(), {}
    with mosquitto() as broker:
        services = [secured(secrets, "mq", [broker.port], certificate("mq.test"), hosts="mq.test", tcp_port=port)]
        with proxy_of(services, [port], secrets):
            talk(port, "mq.test", broker, "--tls-version", version)


@pytest.mark.parametrize("where", ["https", "tcp"])
def test_mosquitto_passed_through(where):
    port = free_port()
    with mosquitto(certificate("mq.test", kind="rsa")) as broker:
        labels = {"tcp_port": port} if where == "tcp" else {}
        services = [service("mq", [broker.port], hosts="mq.test", ssl_passthrough=True, **labels)]
        with proxy_of(services, [port] if where == "tcp" else [], INTERLOCK_TCP_PORTS=port) as proxy:
            talk(port if where == "tcp" else proxy.https_port, "mq.test", broker)


def test_brokers_side_by_side_on_one_port():
    """One ends here, one is passed through, by SNI on the same port; both talk at the same time."""
    port, secrets = free_port(), {}
    with mosquitto() as ended, mosquitto(certificate("through.test")) as through:
        services = [
            secured(secrets, "ended", [ended.port], certificate("ended.test"), hosts="ended.test", tcp_port=port),
            service("through", [through.port], hosts="through.test", tcp_port=port, ssl_passthrough=True),
        ]
        with proxy_of(services, [port], secrets):
            wrong = []

            def run(name, broker):
                try:
                    talk(port, name, broker)
                except Exception as error:  # noqa: BLE001 - shown by the test
                    wrong.append(f"{name}: {error!r}")

            talks = [threading.Thread(target=run, args=each)
                     for each in (("ended.test", ended), ("through.test", through))]
            for each in talks:
                each.start()
            for each in talks:
                each.join(60)
            assert not wrong, wrong
