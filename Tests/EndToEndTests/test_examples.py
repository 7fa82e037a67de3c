"""The examples of LABELS.md and MIGRATING.md with traffic.

Each is deployed on a scripted engine, with a real server behind the address of every task; a client of the real
binary tries each line about routes, redirects and TLS that is shown under it. That the lines are right to the letter,
and that no label is without an example, is what ExampleTests hold. Left out: examples whose tasks are reached over
other networks or ports of nodes, which the engine here does not have, and fixed entry ports (test_tcp_clients.py has
their like).
"""

import os
import pathlib
import re
import socket
import ssl
import threading

import pytest

from harness import authority, certificate, context, get, request_bytes, response, wait_until
from harness.files import PREFIX
from harness.tls import TLSConnection

DOCUMENTS = pathlib.Path(__file__).resolve().parents[2] / "docs"


class Example:
    def __init__(self, name, files, lines):
        self.name, self.lines = name, lines
        self.settings, self.services = {}, []
        for file in files:
            self._read(file)

    def _read(self, text):
        """Services with their labels: what ExampleTests refuse to read is not in the documents."""
        stack = None
        for line in text.split("\n"):
            key, _, value = line.strip().removeprefix("- ").partition(": ")
            value = value.strip('"')
            if line.startswith("# stack: "):
                stack = line[9:]
            elif line.startswith("# proxy: "):
                self.settings.update(part.split("=", 1) for part in line[9:].split())
            elif re.fullmatch(r"  [\w-]+:", line):
                name = line.strip(" :")
                self.services.append({"name": f"{stack}_{name}" if stack else name, "stack": stack, "labels": {},
                                      "replicas": 1})
            elif key.startswith(PREFIX):
                self.services[-1]["labels"][key] = value
            elif key == "replicas":
                self.services[-1]["replicas"] = int(value)

    def is_for_this_engine(self):
        return not {"INTERLOCK_NETWORK", "INTERLOCK_TCP_PORTS"} & self.settings.keys()


def examples():
    for name in ("LABELS.md", "MIGRATING.md"):
        text = (DOCUMENTS / name).read_text()
        for found in re.finditer(r"((?:^```yaml\n(?:.*\n)*?```\n+)+)```text\n((?:.*\n)*?)```", text, re.MULTILINE):
            files = re.findall(r"```yaml\n((?:.*\n)*?)```", found[1])
            example = Example(f"{name}:{text.count(chr(10), 0, found.start()) + 1}", files, found[2].splitlines())
            if example.is_for_this_engine():
                yield pytest.param(example, id=example.name)


class Task:
    """Says its service and the target it was asked for; over TLS and behind a PROXY header where the labels say so."""

    def __init__(self, service, address, port):
        self.service, self.labels = service["name"], {k.removeprefix(PREFIX): v for k, v in service["labels"].items()}
        self.tls = None
        if "true" in (self.labels.get("ssl_backend"), self.labels.get("ssl_passthrough")):
            shown = certificate(self.labels.get("ssl_backend_name") or self.labels["hosts"])
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(shown.path, shown.key_path)
        self.listener = socket.create_server((address, port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        try:
            with connection:
                connection.settimeout(10)
                self._skip_proxy_header(connection)
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (more := connection.recv(65536)):
                        return
                    data += more
                body = f"{self.service} {data.split()[1].decode()}".encode()
                connection.sendall(response(200, body, [("Connection", "close")]))
                connection.close()
        except OSError:
            """A probe, or a client that has seen enough."""

    def _skip_proxy_header(self, connection):
        version = self.labels.get("proxy_protocol")
        if version == "v1":
            while connection.recv(1) != b"\n":
                pass
        elif version == "v2":
            head = connection.recv(16, socket.MSG_WAITALL)
            connection.recv(int.from_bytes(head[14:16], "big"), socket.MSG_WAITALL)


class Stage:
    """The example's services, their tasks, and the proxy."""

    def __init__(self, example, engine, interlock):
        self.example, self.tasks = example, []
        self.labels = {service["name"]: service["labels"] for service in example.services}
        secrets = {"default.pem": certificate(*sorted({host for each in example.services
                                                       for host in self._hosts(each)} or {"a.test"})).bundle}
        for index, service in enumerate(example.services, 1):
            self._deploy(engine, index, service)
            self._keep_secrets(service, secrets)
        self.proxy = interlock(None, https=True, secrets=secrets, environment={
            **engine.environment, "INTERLOCK_HOLD": "0", "INTERLOCK_DEFAULT_CERT": "default.pem", **example.settings})

    def _hosts(self, service):
        return [host for host in service["labels"].get(PREFIX + "hosts", "").split(",") if host]

    def _deploy(self, engine, index, service):
        labels = dict(service["labels"])
        # Other runs have the same examples; ports below 1024 are not for everybody.
        net = f"127.{20 + os.getpid() % 200}.{index}"
        port = int(labels[PREFIX + "port"])
        port = labels[PREFIX + "port"] = port if port > 1023 else port + 20_000
        is_virtual = labels.get(PREFIX + "backend_mode") == "vip"
        engine.add_service(service["name"], labels={key: str(value) for key, value in labels.items()},
                           stack=service["stack"], replicas=service["replicas"],
                           vip=f"{net}.254" if is_virtual else None)
        ports = {port, int(labels.get(PREFIX + "health_port", port))}
        for number in range(1, service["replicas"] + 1):
            engine.add_task(service["name"], f"{net}.{number}", slot=number)
            if not is_virtual:
                self.tasks += [Task(service, f"{net}.{number}", each) for each in ports]
        if is_virtual:
            self.tasks.append(Task(service, f"{net}.254", port))

    def _keep_secrets(self, service, secrets):
        def names(label):
            return [name for name in service["labels"].get(PREFIX + label, "").split(",") if name]

        for index, name in enumerate(names("ssl_cert")):
            made = certificate(*self._hosts(service), kind="rsa" if "rsa" in name else "p256")
            keys = names("ssl_key")
            secrets[name] = made.chain if keys else made.bundle
            if keys:
                secrets[keys[index]] = made.key
        for name in names("ssl_client_ca") + names("ssl_backend_ca"):
            secrets[name] = authority().pem

    def answering(self, names):
        """Of these services, those that can answer."""
        return {name for name in names if self.labels[name].get(PREFIX + "weight") != "0" and any(
            task.service == name for task in self.tasks)}

    def close(self):
        for task in self.tasks:
            # Its thread waits in `accept`: without this the port stays taken.
            task.listener.shutdown(socket.SHUT_RDWR)
            task.listener.close()

    # What a client sees.

    def ask(self, host, target, is_secure=False, method="GET", headers=()):
        if not is_secure:
            return get(self.proxy.port, target, host, headers, method)
        with TLSConnection(self.proxy.https_port, host, context()) as connection:
            connection.send(request_bytes(method, target, host, headers))
            return connection.read_response(method)

    def try_route(self, host, path, conditions, names, terms):
        host = "nobody.test" if host == "*" else host.replace("*.", "any.")
        target = path.rstrip("/") + "/x?y=1"
        # What no route of the example takes for itself.
        claimed = " ".join(re.findall(r"\[(.*?)\]", "\n".join(self.example.lines)))
        headers, method = [], "PUT" if re.search(r"\bGET\b", claimed) else "GET"
        for condition in conditions:
            if condition == condition.upper():
                method = condition.split(", ")[0]
            else:
                name, _, value = condition.partition(": ")
                headers.append((name, value or "any"))
        is_secure = "TLS only" in terms
        if is_secure:
            plain = self.ask(host, target)
            assert (plain.status, plain.header("location")) == (301, f"https://{host}{target}")
        if self.is_redirected(host, is_secure):
            return
        wanted, found = self.answering(names), set()
        seen = target.removeprefix(path) if "without its prefix" in terms else target
        # As many as it takes to meet a service with one part of ten; what grows slowly may not be met at all.
        slow = {name for name in wanted if PREFIX + "slow_start" in self.labels[name]}
        for _ in range(40):
            answer = self.ask(host, target, is_secure, method, headers)
            if not wanted:
                assert answer.status == 503, answer
                return
            name, _, asked = answer.text.partition(" ")
            assert answer.status == 200 and name in wanted and asked == seen, answer
            found.add(name)
            if found == wanted:
                return
        assert found >= wanted - slow, found

    def is_redirected(self, host, is_secure):
        scheme = "https" if is_secure else "http"
        return any(line.startswith(f"redirect {scheme}://{host} ") for line in self.example.lines)

    def try_line(self, line):
        kind, _, rest = line.partition(" ")
        rest = rest.strip()
        if kind == "route":
            found = re.fullmatch(r"([^/]+)(/\S*)(?: \[(.*)\])? -> (.*?)(?: \((.*)\))?", rest)
            host, path, conditions, names, terms = found.groups()
            self.try_route(host, path, (conditions or "").split("; ") if conditions else [], names.split(", "),
                           (terms or "").split("; "))
        elif kind == "redirect":
            scheme, host, target = re.fullmatch(r"(https?)://(\S+) -> (\S+)", rest).groups()
            answer = self.ask(host, "/a/b?c=d", scheme == "https")
            assert (answer.status, answer.header("location")) == (302, target + "/a/b?c=d")
        elif kind == "tls" and " passed on -> " in rest:
            host, name = rest.split(" passed on -> ")
            assert self.ask(host, "/x", is_secure=True).text == f"{name} /x"
            assert self.ask(host, "/x").header("location") == f"https://{host}/x"
        elif kind == "tls":
            # Verified by the client: another host's certificate would not do.
            host = rest.partition(": ")[0]
            versions = {"maximum": ssl.TLSVersion.TLSv1_2} if "TLS 1.3 at least" in rest else {}
            if versions:
                with pytest.raises(ssl.SSLError):
                    TLSConnection(self.proxy.https_port, host, context(**versions)).close()
            assert self.ask(host, "/", is_secure=True).status in (200, 302)


@pytest.mark.plain
@pytest.mark.parametrize("example", list(examples()))
def test_an_example_does_what_is_shown_under_it(engine, interlock, example):
    stage = Stage(example, engine, interlock)
    try:
        if any("probed" in line for line in example.lines):
            wait_until(lambda: stage.proxy.metric("interlock_checked_tasks", health="unknown") == 0)
        for line in example.lines:
            stage.try_line(line)
    finally:
        stage.close()


def test_most_examples_are_tried():
    assert len(list(examples())) > 30
