"""A proxy somewhere in the lab, seen from outside: its address and ports, its admin pages, and load through it."""

import threading
import time

from harness import RawConnection, TLSConnection, get, wait_until


class Proxied:
    """`get` asks through the proxy; `api_routes` and `metrics` ask its admin port. `at`: the address it listens on."""

    def __init__(self, at, port=80, admin_port=9180, tls_port=443):
        self.address, self.port, self.admin_port, self.tls_port = at, port, admin_port, tls_port

    def get(self, host, target="/", timeout=5.0, **options):
        return get(self.port, target, host=host, address=self.address, timeout=timeout, **options)

    def connect(self, **options):
        return RawConnection(self.port, host=self.address, **options)

    def connect_tls(self, host, **options):
        """A connection over TLS, verified as a browser does, with that server name."""
        return TLSConnection(self.tls_port, host, host=self.address, **options)

    def get_tls(self, host, target="/", timeout=5.0, **options):
        """(the answer, the serial number of the certificate that was served) of one request over TLS."""
        with self.connect_tls(host, timeout=timeout, **options) as connection:
            connection.request(target=target, host=host)
            return connection.read_response(), connection.serial

    def wait_for_tls(self, host, certificate, timeout=15.0):
        """Asks until that host answers 200 over TLS with that certificate; the answer."""
        def asked():
            answer, serial = self.get_tls(host)
            assert answer.status == 200 and serial == certificate.serial, (answer, serial)
            return answer
        return wait_until(asked, timeout, message=f"https://{host}/ answers with the certificate {certificate.serial}")

    def admin(self, path):
        return get(self.admin_port, path, host="localhost", address=self.address, timeout=5.0)

    def api_routes(self):
        answer = self.admin("/api/routes")
        assert answer.status == 200, answer
        return answer.json()

    def metrics_text(self):
        answer = self.admin("/metrics")
        assert answer.status == 200, answer
        return answer.text

    def is_ready(self):
        return self.admin("/readyz").status == 200

    def wait_for(self, host, status=200, target="/", timeout=15.0, interval=0.005):
        """Asks until that host answers with that status; (the answer, the time of the wall clock at its arrival)."""
        def asked():
            answer = self.get(host, target)
            assert answer.status == status, answer
            return answer, time.time()
        return wait_until(asked, timeout, interval, message=f"{host}{target} answers {status}")

    def wait_for_unknown_host(self, host, timeout=15.0):
        """Asks until the answer is the one for a host that nobody claims."""
        def asked():
            answer = self.get(host, headers={"Accept": "application/json"})
            assert answer.status == 503 and "unknown_host" in answer.text, answer
            return answer
        return wait_until(asked, timeout, message=f"{host} is unknown")

    def instances(self, host, count, target="/", keep_alive=True):
        """{instance: answers} over `count` requests, on one connection or each on its own."""
        seen = {}
        connection = self.connect() if keep_alive else None
        for _ in range(count):
            if keep_alive:
                connection.request(target=target, host=host)
                answer = connection.read_response()
            else:
                answer = self.get(host, target)
            assert answer.status == 200, answer
            name = instance_of(answer)
            seen[name] = seen.get(name, 0) + 1
        if connection:
            connection.close()
        return seen


def instance_of(answer):
    """Which task answered: the demo backend's name, by default its container's host name."""
    return answer.json()["name"]


class Load:
    """Requests in the background until the block ends; then `count` and `failures` tell. Half keep their connection.

    `connect` opens a connection another way, over TLS for one.
    """

    def __init__(self, proxy, host, target="/", threads=4, pause=0.002, expected=200, connect=None):
        self.connect = connect or (lambda: proxy.connect(timeout=20.0))
        self.host, self.target = host, target
        self.pause, self.expected = pause, expected
        self.count, self.failures = 0, []
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(index % 2 == 0,), daemon=True) for index in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, keeps):
        connection = None
        while not self._end.is_set():
            started = time.time()
            try:
                connection = connection or self.connect()
                connection.request(target=self.target, host=self.host)
                answer = connection.read_response()
                failure = None if answer.status == self.expected else f"{answer.status} {answer.text[:200]}"
                if not keeps or (answer.header("connection") or "").lower() == "close":
                    connection.close()
                    connection = None
            except (OSError, AssertionError) as error:
                failure, connection = repr(error), None
            with self._lock:
                self.count += 1
                if failure:
                    self.failures.append((round(started, 3), round(time.time() - started, 3), failure))
            time.sleep(self.pause)
        if connection:
            connection.close()
