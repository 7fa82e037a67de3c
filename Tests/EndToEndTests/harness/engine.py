"""A scripted Docker engine on a unix socket: a Swarm's manager whose services, tasks and failures a test writes down.

It answers what the proxy asks, filters tasks as the real engine does, and knows nothing of the proxy.

    engine = ScriptedEngine(directory)
    engine.add_service("web", hosts="web.test", port=8080)
    engine.add_task("web", "127.0.0.11")
    engine.emit()                                   # an event: look again
    engine.fail("/services", 503)                   # until `heal`
    engine.configs                                  # what was created with POST /configs/create, by id
"""

import base64
import http.server
import json
import os
import queue
import re
import socketserver
import threading
import time
import urllib.parse

from .files import PREFIX

NETWORK = "front-network"
EVENT = b'{"Type":"service","Action":"update","Actor":{"ID":"x"},"timeNano":%d}'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.engine.serve(self)

    def do_POST(self):
        if urllib.parse.urlsplit(self.path).path.endswith("/update"):
            self.server.engine.take(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        else:
            self.server.engine.serve(self)

    do_DELETE = do_GET

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        """A client that goes away in the middle of an answer is none of ours."""


class ScriptedEngine:
    def __init__(self, directory):
        self.path = str(directory / "docker.sock")
        self.services, self.tasks, self.nodes, self.secrets, self.configs = {}, {}, {}, {}, {}
        self.networks = [{"Id": NETWORK, "Name": "front", "Scope": "swarm"}]
        self.updates = []  # names of services that were updated over the API
        self.update_state = "completed"  # of updates that replace tasks
        self.requests = []
        self.writes = []  # (method, path) of everything that is no GET
        self.reverses = False  # lists come in the opposite order
        self._faults = {}
        self._streams = []
        self._lock = threading.RLock()
        self._version = 100
        self._server = _Server(self.path, _Handler)
        self._server.engine = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.add_node("n1")

    @property
    def environment(self):
        """Settings of a proxy that watches this engine; it looks by itself once a minute only."""
        return {"INTERLOCK_DOCKER": f"unix://{self.path}", "INTERLOCK_POLL_INTERVAL": "60s"}

    # What there is.

    def add_node(self, name, state="ready"):
        with self._lock:
            self.nodes[name] = {
                "ID": name, "Version": {"Index": self._next()}, "Spec": {"Role": "manager", "Availability": "active"},
                "Description": {"Hostname": name}, "Status": {"State": state, "Addr": "127.0.0.1"}}

    def add_service(self, name, labels=None, stack=None, created=None, replicas=1, previous=None, vip=None,
                    networks=(NETWORK,), secrets=(), **short):
        """`hosts="a.test"` is the label com.docker.lb.hosts; `labels` are taken as written. Again: it is updated.

        `previous`: short labels of the spec before. `created`: seconds; without, the order of the calls.
        """
        written = {PREFIX + key: str(value) for key, value in short.items()}
        written.update(labels or {})
        if stack:
            written["com.docker.stack.namespace"] = stack
        with self._lock:
            version = self._next()
            known = self.services.get(name)
            at = created if created is not None else version
            service = {
                "ID": f"id-{name}", "Version": {"Index": version},
                "CreatedAt": known["CreatedAt"] if known and created is None else moment(at),
                "Spec": {
                    "Name": name, "Labels": written, "Mode": {"Replicated": {"Replicas": replicas}},
                    "TaskTemplate": {
                        "ContainerSpec": {"Secrets": [
                            {"File": {"Name": each}, "SecretID": f"id-{each}", "SecretName": each}
                            for each in secrets]},
                        "Networks": [{"Target": each} for each in networks]}},
                "Endpoint": {"VirtualIPs": [{"NetworkID": NETWORK, "Addr": f"{vip}/8"}] if vip else []}}
            if previous is not None:
                labels = {PREFIX + key: str(value) for key, value in previous.items()}
                service["PreviousSpec"] = {
                    "Name": name, "Labels": labels | ({"com.docker.stack.namespace": stack} if stack else {})}
            self.services[name] = service

    def add_secret(self, name, labels=None):
        with self._lock:
            self.secrets[name] = {
                "ID": f"id-{name}", "Version": {"Index": self._next()}, "Spec": {"Name": name, "Labels": labels or {}}}

    def remove_service(self, name):
        with self._lock:
            del self.services[name]
            self.tasks = {id: task for id, task in self.tasks.items() if task["ServiceID"] != f"id-{name}"}

    def add_task(self, service, address, id=None, desired="running", state="running", slot=1, node="n1"):
        """A task with that address on the network; again with its id: it is updated."""
        with self._lock:
            version = self._next()
            id = id or f"task-{version}"
            self.tasks[id] = {
                "ID": id, "Version": {"Index": version}, "ServiceID": f"id-{service}", "Slot": slot, "NodeID": node,
                "DesiredState": desired, "Status": {"State": state, "Timestamp": moment(version)},
                "NetworksAttachments": [{"Network": {"ID": NETWORK}, "Addresses": [f"{address}/8"]}]}
            return id

    def set_task(self, id, desired=None, state=None):
        with self._lock:
            task = self.tasks[id]
            task["Version"] = {"Index": self._next()}
            task["DesiredState"] = desired or task["DesiredState"]
            task["Status"] = dict(task["Status"], State=state or task["Status"]["State"])

    def remove_task(self, id):
        with self._lock:
            del self.tasks[id]

    def add_config(self, name, labels, data):
        """A config with these bytes; its id."""
        with self._lock:
            version = self._next()
            id = f"config{version}"
            self.configs[id] = {
                "ID": id, "Version": {"Index": version}, "CreatedAt": moment(version), "UpdatedAt": moment(version),
                "Spec": {"Name": name, "Labels": labels, "Data": base64.b64encode(data).decode()}}
            return id

    def remove_config(self, id):
        with self._lock:
            del self.configs[id]

    def changes(self):
        """`with engine.changes():` nobody sees a part of what is changed inside."""
        return self._lock

    # What goes wrong.

    def fail(self, path, fault):
        """Every answer of that path from now on: a status, bytes as the body, or "silence"."""
        with self._lock:
            self._faults[path] = fault

    def heal(self):
        with self._lock:
            self._faults.clear()

    def emit(self, line=None, ending=b"\n"):
        """One line to everybody who listens to events; without one, a plain event of now."""
        data = (EVENT % time.time_ns() if line is None else line) + ending
        with self._lock:
            for stream in self._streams:
                stream.put(data)

    def cut_events(self, last=b""):
        """Ends all event streams, after these bytes."""
        with self._lock:
            for stream in self._streams:
                stream.put(last)
                stream.put(None)

    @property
    def listener_count(self):
        with self._lock:
            return len(self._streams)

    def count(self, path):
        with self._lock:
            return sum(1 for each in self.requests if each[0] == path)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for stream in self._streams:
                stream.put(None)
        if os.path.exists(self.path):
            os.unlink(self.path)

    # Its threads.

    def serve(self, handler):
        target = urllib.parse.urlsplit(handler.path)
        path = target.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        filters = json.loads(urllib.parse.parse_qs(target.query).get("filters", ["{}"])[0])
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            if handler.command == "GET":
                self.requests.append((path, filters))
            else:
                self.writes.append((handler.command, path))
            fault = self._faults.get(path)
        if fault == "silence":
            while self._faults.get(path) == "silence":
                time.sleep(0.05)
            handler.close_connection = True
            return
        if path == "/events":
            return self._tell_events(handler)
        if isinstance(fault, int):
            return self._answer(handler, fault, b'{"message":"scripted"}')
        if handler.command != "GET":
            return self._answer(handler, *self._write(handler.command, path, body))
        self._answer(handler, 200, fault if isinstance(fault, bytes) else self._content(path, filters))

    def _write(self, method, path, body):
        """The status and the body of an answer; events of configs go to everybody who listens."""
        with self._lock:
            if (method, path) == ("POST", "/configs/create"):
                spec = json.loads(body)
                data = base64.b64decode(spec["Data"], validate=True)
                is_name = re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}", spec["Name"])
                if not is_name or not 0 < len(data) <= 500 * 1024:
                    return 400, b'{"message":"rpc error: code = InvalidArgument"}'
                if any(config["Spec"]["Name"] == spec["Name"] for config in self.configs.values()):
                    return 409, b'{"message":"rpc error: code = AlreadyExists"}'
                id = self.add_config(spec["Name"], spec.get("Labels") or {}, data)
                answer = 201, json.dumps({"ID": id}).encode()
            elif method == "DELETE" and path.startswith("/configs/"):
                if self.configs.pop(path.rsplit("/", 1)[1], None) is None:
                    return 404, b'{"message":"config not found"}'
                answer = 204, b""
            else:
                return 404, b'{"message":"page not found"}'
        self.emit(EVENT.replace(b"service", b"config") % time.time_ns())
        return answer

    def take(self, handler, body):
        """POST /services/{id}/update, as Swarm takes it: only over the version that was read."""
        target = urllib.parse.urlsplit(handler.path)
        path = "/" + target.path.split("/", 2)[2]
        version = int(urllib.parse.parse_qs(target.query)["version"][0])
        with self._lock:
            self.requests.append(("POST " + path, {}))
            service = next((each for each in self.services.values() if path == f"/services/{each['ID']}/update"), None)
            if service is None:
                return self._answer(handler, 404, b'{"message":"no such service"}')
            if service["Version"]["Index"] != version:
                return self._answer(handler, 500, b'{"message":"rpc error: update out of sequence"}')
            replaces = body["TaskTemplate"] != service["Spec"]["TaskTemplate"]
            service["PreviousSpec"], service["Spec"] = service["Spec"], body
            service["UpdateStatus"] = {"State": self.update_state} if replaces else None
            service["Version"] = {"Index": self._next()}
            self.updates.append(body["Name"])
        self._answer(handler, 200, b'{"Warnings":null}')
        self.emit()

    def _content(self, path, filters):
        with self._lock:
            found = {
                "/_ping": b"OK",
                "/info": {"ServerVersion": "20.10.24", "Swarm": {
                    "NodeID": "n1", "LocalNodeState": "active", "ControlAvailable": True, "Cluster": {"ID": "c1"}}},
                "/networks": self.networks, "/secrets": list(self.secrets.values()),
                "/nodes": list(self.nodes.values()), "/configs": list(self.configs.values()),
                "/containers/json": [],
                "/services": list(self.services.values()),
                "/tasks": [task for task in self.tasks.values() if self._is_asked_for(task, filters)],
                **{f"/services/{each['ID']}": each for each in self.services.values()},
            }[path]
            if isinstance(found, list) and self.reverses:
                found = found[::-1]
            return found if isinstance(found, bytes) else json.dumps(found).encode()

    @staticmethod
    def _is_asked_for(task, filters):
        if "id" in filters:
            return task["ID"] in filters["id"]
        return task["DesiredState"] in filters.get("desired-state", [task["DesiredState"]])

    @staticmethod
    def _answer(handler, status, body):
        handler.send_response(status)
        handler.send_header("Api-Version", "1.41")
        handler.send_header("Content-Type", "application/json")
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _tell_events(self, handler):
        lines = queue.SimpleQueue()
        handler.send_response(200)
        handler.send_header("Api-Version", "1.41")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True
        with self._lock:
            self._streams.append(lines)
        try:
            while (data := lines.get()) is not None:
                if data:
                    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        finally:
            with self._lock:
                self._streams.remove(lines)

    def _next(self):
        self._version += 1
        return self._version


def moment(seconds):
    """RFC 3339, as the engine writes it; 0 is a day in 2026."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_795_000_000 + seconds)) + ".000000001Z"
