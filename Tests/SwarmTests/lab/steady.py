"""Steady load, as a program: so many requests a second over so many kept connections, until standard input is closed.

    python steady.py ADDRESS PORT HOST [--rate 400] [--connections 20] [--methods GET,POST] [--patience 30] [--fresh]

With --fresh each request has a connection of its own.

It is a process of its own, so that a test that looks at the Swarm does not slow it down. Each connection sends one
request at a time, at its own beat; a beat that an answer outlasted is left out, never made up for. Nothing is ever sent
twice. Every answer is read to its end and compared with what was sent, so a wrong one is seen as well.

A failure is: an answer other than 200, one to something else, none within the patience, a connection that cannot be
made, or one that ends after a request was sent. A connection that had ended before the next request is made anew, as
every client does, and counted by itself.

It prints a line of JSON twenty times a second: requests so far, failures so far. The last one tells everything.
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
import zlib

BODY_SIZE = 2000


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.methods, self.failures, self.instances = {}, [], {}
        self.count = self.failed = self.reconnects = 0
        self.longest, self.longest_at = 0.0, 0.0

    def add(self, method, started, failure, instance):
        waited = time.time() - started
        with self.lock:
            self.count += 1
            self.methods[method] = self.methods.get(method, 0) + 1
            if instance:
                self.instances[instance] = self.instances.get(instance, 0) + 1
            if waited > self.longest:
                self.longest, self.longest_at = waited, started
            if failure:
                self.failed += 1
                if len(self.failures) < 200:
                    self.failures.append((round(started, 3), method, round(waited, 3), failure))

    def told(self, everything):
        with self.lock:
            told = {"count": self.count, "failed": self.failed, "at": time.time()}
            if everything:
                told.update(
                    failures=self.failures, methods=self.methods, instances=self.instances,
                    reconnects=self.reconnects, longest=self.longest, longest_at=self.longest_at)
            return json.dumps(told)


class Failure(Exception):
    """A request that came to nothing."""


class Client:
    """One connection after the other; `ask` sends one request and reads its answer."""

    def __init__(self, options, number):
        self.options, self.number = options, number
        self.socket, self.buffer, self.served = None, b"", 0

    def connect(self):
        try:
            self.socket = socket.create_connection((self.options.address, self.options.port), self.options.patience)
        except OSError as error:
            raise Failure(f"connect: {error}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.served = b"", 0

    def has_ended(self):
        """Whether the other side ended the connection while nothing was under way."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(self.options.patience)

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def ask(self, method, mark):
        """The instance that answered."""
        body = b""
        if method == "POST":
            body = (f"{mark} ".encode() * BODY_SIZE)[:BODY_SIZE]
        path = f"/upload?{mark}" if body else f"/{mark}"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.options.host}\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        deadline = time.monotonic() + self.options.patience
        try:
            self.socket.sendall(head.encode() + b"\r\n" + body)
            status, fields, answer = self.read_answer(deadline)
        except OSError as error:
            raise Failure(f"request {self.served + 1} of its connection: {error!r}") from None
        self.served += 1
        if fields.get("connection", "").lower() == "close":
            self.close()
        if status != 200:
            raise Failure(f"{status} {answer[:160].decode('utf-8', 'replace')}")
        told = json.loads(answer)
        if body and (told["bytes"], told["crc32"]) != (len(body), f"{zlib.crc32(body):08x}"):
            raise Failure(f"the task received another body: {told}")
        if not body and told["path"] != path:
            raise Failure(f"the answer is to {told['path']}, not to {path}")
        return told["name"]

    def read_answer(self, deadline):
        while b"\r\n\r\n" not in self.buffer:
            self.read_more(deadline, "its head")
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines[1:])}
        size = int(fields["content-length"])
        while len(self.buffer) < size:
            self.read_more(deadline, f"a body of {size}")
        answer, self.buffer = self.buffer[:size], self.buffer[size:]
        return int(lines[0].split(" ")[1]), fields, answer

    def read_more(self, deadline, what):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Failure(f"no answer within {self.options.patience} s")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise Failure(f"no answer within {self.options.patience} s") from None
        if not data:
            raise Failure(
                f"request {self.served + 1} of its connection: ended after {len(self.buffer)} bytes of {what}")
        self.buffer += data


def run(options, counts, number, end):
    client = Client(options, number)
    methods = options.methods.split(",")
    interval = options.connections / options.rate
    due = time.monotonic() + interval * number / options.connections
    sent = 0
    while not end.wait(max(0.0, due - time.monotonic())):
        due = max(due + interval, time.monotonic())
        if client.socket and client.has_ended():
            client.close()
            with counts.lock:
                counts.reconnects += 1
        method = methods[(sent + number) % len(methods)]
        sent += 1
        started, failure, instance = time.time(), None, None
        try:
            if not client.socket:
                client.connect()
            instance = client.ask(method, f"{number}-{sent}-{random.getrandbits(32):x}")
        except (Failure, ValueError, KeyError) as error:
            failure = str(error) if isinstance(error, Failure) else repr(error)
            client.close()
        if options.fresh:
            client.close()
        counts.add(method, started, failure, instance)
    client.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("address")
    arguments.add_argument("port", type=int)
    arguments.add_argument("host")
    arguments.add_argument("--rate", type=float, default=400)
    arguments.add_argument("--connections", type=int, default=20)
    arguments.add_argument("--methods", default="GET,POST")
    arguments.add_argument("--patience", type=float, default=30)
    arguments.add_argument("--fresh", action="store_true")
    options = arguments.parse_args()
    counts, end = Counts(), threading.Event()
    threads = [threading.Thread(target=run, args=(options, counts, number, end), daemon=True)
               for number in range(options.connections)]
    for thread in threads:
        thread.start()

    def tell():
        while not end.wait(0.05):
            print(counts.told(False), flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    sys.stdin.read()
    end.set()
    for thread in threads:
        thread.join(options.patience + 5)
    teller.join()
    print(counts.told(True), flush=True)


if __name__ == "__main__":
    main()
