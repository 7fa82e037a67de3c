"""One services file and one table of requests, for the proxy and for the load balancers that extensions configure.

Whoever routes by the same services must give the same answers: which task, which path and headers it saw, which status
and location the client got. `Fleet` makes the tasks and the services, `ROWS` are the requests, `check` compares.
"""

import contextlib
import dataclasses
import pathlib
import re
import socket
import ssl
import subprocess
import threading

from harness import (RawConnection, RecordingBackend, TLSConnection, authority, binary_path, certificate, context,
                     free_port, refusal, response, secured, service, wait_until, write_atomically)

PUBLIC_HTTPS_PORT = 8443


@dataclasses.dataclass
class Target:
    """Something that serves the services: the proxy, nginx, haproxy."""

    name: str
    http_port: int
    https_port: int
    tcp_ports: dict

    def connect(self, row):
        if not row.tls:
            return RawConnection(self.http_port)
        made = context(certificate=certificate("client", usage="clientAuth") if row.certificate else None)
        made.check_hostname = False
        return TLSConnection(self.https_port, row.sni or row.host, tls=made)


@dataclasses.dataclass(frozen=True)
class Row:
    """A request, and what must come of it. What is None is not looked at."""

    name: str
    host: str
    target: str = "/"
    method: str = "GET"
    headers: tuple = ()
    tls: bool = False
    #: Another server name than the host.
    sni: str = ""
    certificate: bool = False
    body: bytes = b""
    status: int = 200
    location: str | None = None
    #: Who answered; "" is nobody.
    task: str | None = None
    #: The target that the task saw.
    seen: str | None = None
    #: Headers that the task saw; None: it must not see the header.
    told: tuple = ()
    #: Headers of the answer.
    answered: tuple = ()
    #: Targets that differ, and the documents say so.
    unless: tuple = ()


class TLSTask:
    """A task with TLS of its own: answers each request with its name."""

    def __init__(self, name, wants_header=False):
        self.name, self.headers, self.wants_header = name, [], wants_header
        shown = certificate(name)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(shown.path, shown.key_path)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(accepted,), daemon=True).start()

    def _answer(self, accepted):
        with contextlib.suppress(OSError):
            if self.wants_header:
                line = b""
                while not line.endswith(b"\r\n"):
                    line += accepted.recv(1)
                self.headers.append(line)
            with self.context.wrap_socket(accepted, server_side=True) as stream:
                data = b""
                while b"\r\n\r\n" not in data:
                    more = stream.recv(65536)
                    if not more:
                        return
                    data += more
                stream.sendall(response(200, self.name.encode(), {"Connection": "close"}))

    def close(self):
        self.socket.close()


class Fleet:
    """The tasks behind the services of the table, by name."""

    #: Task name -> number of tasks.
    HTTP = {
        "web": 1, "app": 1, "deep": 1, "rewrite": 1, "wild": 1, "wilder": 1, "special": 1, "only": 1, "exposed": 1,
        "preview": 1, "reader": 1, "writer": 1, "blue": 1, "green": 4, "sticky": 3, "hashed": 3, "moved": 1,
        "client": 1, "modern": 1, "small": 1, "least": 2, "random": 2, "cold": 1, "pattern": 1,
        "client_optional": 1, "escaped": 1,
    }

    def __init__(self):
        self.backends = {
            f"{name}-{index}": RecordingBackend(
                default=lambda request, text=f"{name}-{index}": response(200, text.encode()))
            for name, count in self.HTTP.items() for index in range(count)}
        self.secure = TLSTask("secure.internal")
        self.passed = TLSTask("pass.test")
        self.passed_wild = TLSTask("any.pass.test")
        self.announced = TLSTask("announced.test", wants_header=True)
        self.echo = Echo(b"raw")
        self.echo_named = Echo(b"named")

    def tasks(self, name):
        return [each for key, each in self.backends.items() if key.rpartition("-")[0] == name]

    def services(self, tcp_ports):
        """The services, and the secrets that they name."""
        secrets = {"ca.pem": authority().pem, "clients.pem": authority().pem}
        shared = certificate("shop.test", "*.shop.test", "only.test", "modern.test")
        rsa, ecdsa = certificate("two.test", kind="rsa"), certificate("two.test")
        secrets["two-rsa.pem"], secrets["two-ecdsa.pem"] = rsa.chain, ecdsa.bundle
        secrets["two-rsa.key"] = rsa.key

        def plain(name, **labels):
            return service(name, self.tasks(name), **labels)

        services = [
            secured(secrets, "web", self.tasks("web"), shared, hosts="shop.test,two-paths.test", hsts="max-age=60"),
            plain("app", hosts="shop.test", context_root="/app"),
            plain("deep", hosts="shop.test", context_root="/app/deep"),
            plain("rewrite", hosts="shop.test", context_root="/cut/off", context_root_rewrite=True),
            plain("escaped", hosts="escaped.test", context_root="/a b~$x/(1)".replace(" ", "+")),
            plain("wild", hosts="*.shop.test"),
            plain("wilder", hosts="*.deep.shop.test"),
            plain("special", hosts="special.deep.shop.test"),
            secured(secrets, "only", self.tasks("only"), shared, hosts="only.test", ssl_only=True,
                    hsts="max-age=31536000;includeSubDomains"),
            plain("exposed", hosts="*.only.test"),
            plain("preview", hosts="shop.test", match_headers="X-Preview: gr$en{};X-Team"),
            plain("reader", hosts="methods.test", match_methods="GET,HEAD"),
            plain("writer", hosts="methods.test", match_methods="POST", context_root="/w"),
            plain("blue", hosts="weights.test", weight=60),
            plain("green", hosts="weights.test", weight=40),
            plain("sticky", hosts="sticky.test", sticky_session_cookie="sess-id"),
            plain("hashed", hosts="hashed.test", lb="hash:header:X-Key"),
            secured(secrets, "moved", self.tasks("moved"), certificate("moved.test", "www.moved.test"),
                    hosts="moved.test,www.moved.test",
                    redirects="www.moved.test,https://moved.test/new;http://moved.test,https://moved.test"),
            secured(secrets, "client", self.tasks("client"), certificate("client.test"), hosts="client.test",
                    ssl_client_ca="clients.pem"),
            secured(secrets, "client_optional", self.tasks("client_optional"), certificate("optional.test"),
                    hosts="optional.test", ssl_client_ca="clients.pem", ssl_client_auth="optional"),
            secured(secrets, "modern", self.tasks("modern"), shared, hosts="modern.test", ssl_min_version="1.3"),
            plain("small", hosts="small.test", max_body_size="10"),
            plain("least", hosts="least.test", lb="least_conn"),
            plain("random", hosts="random.test", lb="random"),
            plain("cold", hosts="cold.test", weight=0),
            service("none", [], hosts="none.test"),
            service("two", self.tasks("web"), hosts="two.test", ssl_cert="two-rsa.pem,two-ecdsa.pem",
                    ssl_key="two-rsa.key,two-ecdsa.pem"),
            service("secure", [self.secure], hosts="secure.test", ssl_backend=True, ssl_backend_ca="ca.pem",
                    ssl_backend_name="secure.internal"),
            service("mistrusted", [self.secure], hosts="mistrusted.test", ssl_backend=True, ssl_backend_ca="ca.pem"),
            service("passed", [self.passed], hosts="pass.test", ssl_passthrough=True),
            service("passed-wild", [self.passed_wild], hosts="*.pass.test", ssl_passthrough=True),
            secured(secrets, "pattern", self.tasks("pattern"), certificate("not.pass.test"), hosts="not.pass.test"),
            service("announced", [self.announced], hosts="announced.test", ssl_passthrough=True, proxy_protocol="v1"),
            service("raw", [self.echo], tcp_port=tcp_ports["raw"]),
            secured(secrets, "named", [self.echo_named], certificate("mqtt.test"), tcp_port=tcp_ports["named"],
                    hosts="mqtt.test"),
            service("named-passed", [self.passed], tcp_port=tcp_ports["named"], hosts="pass.test",
                    ssl_passthrough=True),
        ]
        return services, secrets

    def requests_of(self, name):
        return [request for each in self.tasks(name) for request in each.requests]

    def close(self):
        for each in [*self.backends.values(), self.secure, self.passed, self.passed_wild, self.announced, self.echo,
                     self.echo_named]:
            each.close()


class Echo:
    """Says its name and then what it gets."""

    def __init__(self, greeting):
        self.greeting = greeting
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.socket.accept()
                threading.Thread(target=self._echo, args=(accepted,), daemon=True).start()

    def _echo(self, accepted):
        with contextlib.suppress(OSError), accepted:
            accepted.sendall(self.greeting)
            while data := accepted.recv(65536):
                accepted.sendall(data)

    def close(self):
        self.socket.close()


OWN_ADDRESS = (("x-real-ip", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1"))
LIES = (("X-Forwarded-For", "10.9.9.9"), ("X-Real-IP", "10.9.9.9"), ("Forwarded", "for=10.9.9.9"),
        ("X-Forwarded-Proto", "https"), ("X-Forwarded-Prefix", "/lie"), ("Client-Cert", ":bGll:"),
        ("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-S-DN", "CN=lie"))

ROWS = [
    # Hosts and paths.
    Row("exact", "shop.test", "/", task="web", seen="/"),
    Row("any-case", "SHOP.Test", "/x?y=%20", task="web", seen="/x?y=%20"),
    Row("port-and-dot", "shop.test.:8080", "/", task="web"),
    Row("segments", "shop.test", "/app", task="app", seen="/app"),
    Row("segments-below", "shop.test", "/app/x?q", task="app", seen="/app/x?q"),
    Row("segments-apple", "shop.test", "/apple", task="web"),
    Row("longest", "shop.test", "/app/deep/er", task="deep", seen="/app/deep/er"),
    Row("escaped-path", "shop.test", "/app/%41%2Fb?c=%2F", task="app", seen="/app/%41%2Fb?c=%2F"),
    Row("odd-root", "escaped.test", "/a+b~$x/(1)/z", task="escaped", seen="/a+b~$x/(1)/z"),
    Row("odd-root-else", "escaped.test", "/a+b~$x/", status=404),
    Row("dot-segments", "shop.test", "/app/../x", status=400),
    Row("escaped-slash", "shop.test", "/x/..%2fapp", status=400),
    Row("double-slash", "shop.test", "//app", status=400),
    Row("escaped-letter", "shop.test", "/%61pp/x", status=400),
    Row("leaves-root", "two-paths.test", "/../x", status=400),
    Row("unknown-path", "escaped.test", "/b", status=404, task=""),
    Row("unknown-host", "nobody.test", "/", status=503, task=""),
    Row("no-task", "none.test", "/", status=503, answered=(("retry-after", "1"),)),
    Row("weight-0", "cold.test", "/", status=503, answered=(("retry-after", "1"),)),
    Row("wildcard", "a.shop.test", "/", task="wild"),
    Row("wildcard-two-deep", "a.b.shop.test", "/", task="wild"),
    Row("wildcard-longest", "x.y.deep.shop.test", "/", task="wilder"),
    Row("wildcard-exact-first", "special.deep.shop.test", "/", task="special"),
    # Rewriting.
    Row("rewrite", "shop.test", "/cut/off/x%2Fy?z=/cut/off", task="rewrite", seen="/x%2Fy?z=/cut/off",
        told=(("x-forwarded-prefix", "/cut/off"),)),
    Row("rewrite-root", "shop.test", "/cut/off/", task="rewrite", seen="/"),
    Row("rewrite-bare", "shop.test", "/cut/off?a=b", status=301, location="/cut/off/?a=b", task=""),
    Row("rewrite-bare-post", "shop.test", "/cut/off", method="POST", status=308, location="/cut/off/", task=""),
    Row("rewrite-not-apple", "shop.test", "/cut/offer", task="web", told=(("x-forwarded-prefix", None),)),
    # What tasks are told.
    Row("identity", "shop.test:81", "/", task="web",
        told=OWN_ADDRESS + (("x-forwarded-proto", "http"), ("x-forwarded-host", "shop.test:81"),
                            ("host", "shop.test:81"))),
    Row("lies", "shop.test", "/", headers=LIES, task="web",
        told=OWN_ADDRESS + (("x-forwarded-proto", "http"), ("forwarded", None), ("x-forwarded-prefix", None),
                            ("client-cert", None), ("x-ssl-client-verify", None), ("x-ssl-client-s-dn", None))),
    Row("body", "shop.test", "/", method="POST", body=b"x" * 1000, task="web"),
    Row("too-large", "small.test", "/", method="POST", body=b"x" * 11, status=413, task=""),
    Row("large-enough", "small.test", "/", method="POST", body=b"x" * 10, task="small"),
    # Conditions.
    Row("conditions", "shop.test", "/", headers=(("X-Preview", "gr$en{}"), ("X-Team", "a")), task="preview"),
    Row("conditions-value-case", "shop.test", "/", headers=(("X-Preview", "GR$EN{}"), ("X-Team", "a")), task="web"),
    Row("conditions-one-of-two", "shop.test", "/", headers=(("X-Preview", "gr$en{}"),), task="web"),
    Row("methods", "methods.test", "/w/x", task="reader"),
    Row("methods-head", "methods.test", "/", method="HEAD", task="reader"),
    Row("methods-post", "methods.test", "/w/x", method="POST", task="writer"),
    Row("methods-none", "methods.test", "/w", method="PUT", status=404, task=""),
    Row("methods-shorter", "methods.test", "/", method="POST", status=404, task=""),
    # TLS.
    Row("tls", "shop.test", "/", tls=True, task="web", answered=(("strict-transport-security", "max-age=60"),),
        told=OWN_ADDRESS + (("x-forwarded-proto", "https"),)),
    Row("tls-path", "shop.test", "/app/deep", tls=True, task="deep",
        answered=(("strict-transport-security", None),)),
    Row("tls-two-kinds", "two.test", "/", tls=True, task="web"),
    Row("tls-other-host-of-certificate", "only.test", "/", tls=True, sni="shop.test", task="only"),
    Row("tls-other-host", "client.test", "/", tls=True, sni="shop.test", status=421, task=""),
    Row("tls-other-certificate", "moved.test", "/", tls=True, sni="shop.test", status=421, task=""),
    Row("tls-passed-host", "pass.test", "/", tls=True, sni="shop.test", status=421),
    Row("tls-unknown-host", "nobody.test", "/", tls=True, sni="shop.test", status=421),
    Row("tls-modern", "modern.test", "/", tls=True, task="modern"),
    Row("hsts-not-on-http", "shop.test", "/", answered=(("strict-transport-security", None),)),
    # ssl_only and redirects.
    Row("ssl-only", "only.test", "/a?b", status=301, location=f"https://only.test:{PUBLIC_HTTPS_PORT}/a?b", task=""),
    Row("ssl-only-port", "ONLY.test:8080", "/", status=301, location=f"https://only.test:{PUBLIC_HTTPS_PORT}/",
        task=""),
    Row("ssl-only-post", "only.test", "/", method="POST", status=308,
        location=f"https://only.test:{PUBLIC_HTTPS_PORT}/", task=""),
    Row("ssl-only-challenge", "only.test", "/.well-known/acme-challenge/abc-1_2", task="only"),
    Row("ssl-only-false-challenge", "only.test", "/.well-known/acme-challenge/../x", status=301),
    Row("ssl-only-tls", "only.test", "/", tls=True, task="only",
        answered=(("strict-transport-security", "max-age=31536000; includeSubDomains"),)),
    Row("redirect", "www.moved.test", "/a?b", status=302, location="https://moved.test/new/a?b", task=""),
    Row("redirect-tls", "www.moved.test", "/a?b", tls=True, status=302, location="https://moved.test/new/a?b", task=""),
    Row("redirect-http-alone", "moved.test", "/", status=302, location="https://moved.test/", task=""),
    Row("redirect-not-tls", "moved.test", "/", tls=True, task="moved"),
    Row("passed-http", "pass.test", "/x", status=301, location=f"https://pass.test:{PUBLIC_HTTPS_PORT}/x"),
    Row("beside-passed", "not.pass.test", "/", tls=True, task="pattern",
        told=OWN_ADDRESS + (("x-forwarded-proto", "https"),)),
    # Client certificates.
    Row("client-certificate", "client.test", "/", tls=True, certificate=True, task="client",
        told=(("x-ssl-client-verify", "SUCCESS"), ("x-ssl-client-s-dn", "CN=client,O=Interlock test suite"))),
    Row("client-http", "client.test", "/", status=301, task=""),
    Row("client-optional", "optional.test", "/", tls=True, headers=LIES, task="client_optional",
        told=(("x-ssl-client-verify", "NONE"), ("client-cert", None), ("x-ssl-client-s-dn", None))),
    Row("client-optional-shown", "optional.test", "/", tls=True, certificate=True, task="client_optional",
        told=(("x-ssl-client-verify", "SUCCESS"),)),
    # Tasks with TLS.
    Row("secure-task", "secure.test", "/", task="secure.internal"),
    Row("mistrusted-task", "mistrusted.test", "/", status=502),
]


def echo_step(connection):
    """A step for a backend's script: sends back what comes, until the end."""
    while connection.fill():
        connection.socket.sendall(connection.take(len(connection.received) - connection.position))


def ask(target, row):
    with target.connect(row) as connection:
        connection.request(row.method, row.target, row.host, row.headers, row.body)
        return connection.read_response(row.method)


def check(target, fleet, row):
    """Asks, and compares all that the row says."""
    before = {name: len(each.requests) for name, each in fleet.backends.items()}
    answer = ask(target, row)
    assert answer.status == row.status, answer
    if row.location is not None:
        assert answer.header("location") == row.location, answer
    for name, value in row.answered:
        assert answer.header(name) == value, answer
    answered = [name for name, each in fleet.backends.items() if len(each.requests) > before[name]]
    if row.task == "":
        assert not answered, answered
    elif row.task in fleet.HTTP:
        assert [name.rpartition("-")[0] for name in answered] == [row.task], (answered, answer)
        request = fleet.backends[answered[0]].last
        if row.seen is not None:
            assert request.target == row.seen
        for name, value in row.told:
            assert request.header(name) == value, (name, request)
        assert len(request.header("x-request-id")) == 32 == len(answer.header("x-request-id"))
        assert request.body == row.body
    elif row.task is not None:
        assert answer.body.decode() == row.task, answer


def answers(target, host, count, headers=lambda index: ()):
    """Who answered `count` requests, in order."""
    found = []
    with RawConnection(target.http_port) as connection:
        for index in range(count):
            connection.request(host=host, headers=headers(index))
            answer = connection.read_response()
            assert answer.status == 200, answer
            found.append(answer.body.decode())
    return found


def refused(target, server_name, **options):
    """The alert by which a handshake is refused; None: it was not."""
    return refusal(target.https_port, server_name, context(verify=False, **options))


def render(kind, directory, services, secrets, *, tcp_ports=None, settings=None, http_port=None, https_port=None):
    """Runs `interlock render`; the Target to start a program for, and what was said on standard error."""
    directory = pathlib.Path(directory)
    (directory / "secrets").mkdir(parents=True, exist_ok=True)
    for name, text in secrets.items():
        (directory / "secrets" / name).write_text(text)
    write_atomically(str(directory / "services.json"), services)
    target = Target(kind, http_port or free_port(), https_port or free_port(), tcp_ports or {})
    environment = {
        "INTERLOCK_SECRETS_DIR": str(directory / "secrets"), "INTERLOCK_DOCKER": "off", "PATH": "/usr/bin:/bin",
        "INTERLOCK_TCP_PORTS": ",".join(str(each) for each in target.tcp_ports.values()) or "",
        **{key: str(value) for key, value in (settings or {}).items()}}
    done = subprocess.run(
        [binary_path(), "render", kind, str(directory / "services.json"), "--directory", str(directory / "made"),
         "--http-listen", f"127.0.0.1:{target.http_port}", "--https-listen", f"127.0.0.1:{target.https_port}",
         "--tcp-listen", "127.0.0.1", "--public-https-port", str(PUBLIC_HTTPS_PORT)],
        env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return target, done.stderr


@contextlib.contextmanager
def program(command, port, log_path):
    """A program that serves until the block ends; it has started once the port answers."""
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def listens():
        assert process.poll() is None, pathlib.Path(log_path).read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(listens, 15, message=f"{command[0]} listens")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def findings(text):
    """What `render` said, as (severity, service, label)."""
    return {match.groups() for match in re.finditer(r"(?m)^(error|warning) +(\S+?):?(?: ([a-z_]+)=|\s|$)", text)}
