"""How a task is picked: by weight, by load, by cookie, client or header; for requests and for connections."""

import collections
import socket
import ssl
import threading

import pytest

from harness import Close, Release, Reset, certificate, context, free_port, response, service, wait_until


def fleet(backend, name, count):
    """Tasks that answer with `name-N`."""
    return [backend(default=lambda request, text=f"{name}-{index}": response(200, text.encode()))
            for index in range(count)]


def answers(proxy, count, headers=lambda index: (), **options):
    """Who answered, in order, over one connection."""
    with proxy.connect(**options) as connection:
        found = []
        for index in range(count):
            connection.request(headers=headers(index))
            answer = connection.read_response()
            assert answer.status == 200, answer
            found.append(answer.body.decode())
        return found


def shares(found):
    """By service."""
    return collections.Counter(each.split("-")[0] for each in found)


# Weights.


def test_services_are_split_by_weight_whatever_their_tasks(interlock, backend):
    blue, green = fleet(backend, "blue", 1), fleet(backend, "green", 4)
    proxy = interlock([service("blue", blue, hosts="web.test", weight=90),
                       service("green", green, hosts="web.test", weight=10)])
    found = answers(proxy, 500)
    assert abs(shares(found)["blue"] - 450) <= 4
    counts = collections.Counter(each for each in found if each.startswith("green"))
    assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1


def test_one_weight_counts_for_all_and_the_others_count_100(interlock, backend):
    proxy = interlock([service("old", fleet(backend, "old", 5), hosts="web.test"),
                       service("new", fleet(backend, "new", 1), hosts="web.test", weight=300)])
    assert abs(shares(answers(proxy, 400))["new"] - 300) <= 4


def test_blue_green_by_weight_and_back_keeps_the_warm_tasks(interlock, backend):
    blue, green = fleet(backend, "blue", 2), fleet(backend, "green", 2)

    def services(weight_of_blue, weight_of_green):
        return [service("blue", blue, hosts="web.test", weight=weight_of_blue),
                service("green", green, hosts="web.test", weight=weight_of_green)]

    proxy = interlock(services(100, 0))
    assert shares(answers(proxy, 40)) == {"blue": 40}
    assert not any(task.open_connections for task in green)
    with proxy.connect() as connection:
        def ask():
            connection.request()
            answer = connection.read_response()
            assert answer.status == 200
            return answer.body.decode().split("-")[0]

        proxy.write_services(services(0, 100))
        wait_until(lambda: ask() == "green")
        assert {ask() for _ in range(40)} == {"green"}
        # Warm: nothing was drained, its connections wait.
        assert any(task.open_connections for task in blue)
        proxy.write_services(services(100, 0))
        wait_until(lambda: ask() == "blue")
        assert {ask() for _ in range(40)} == {"blue"}


def test_weight_zero_gets_nothing_even_if_the_others_are_down(interlock, backend):
    blue, green = fleet(backend, "blue", 1), fleet(backend, "green", 1)
    blue[0].stop_listening()
    proxy = interlock([service("blue", blue, hosts="web.test", hold=0),
                       service("green", green, hosts="web.test", weight=0, hold=0)])
    assert proxy.get().status in (502, 503)
    assert green[0].requests == []


# Keys.


@pytest.mark.parametrize("labels, field", [
    ({"sticky_session_cookie": "sid"}, lambda key: ("Cookie", f"theme=dark; sid={key}; x=1")),
    ({"lb": "hash:header:X-User"}, lambda key: ("x-user", key)),
], ids=["cookie", "header"])
def test_equal_keys_go_to_one_task_on_every_proxy(interlock, backend, labels, field):
    tasks = fleet(backend, "web", 5)
    first, second = (interlock([service("web", tasks, hosts="web.test", **labels)], workers=workers)
                     for workers in (1, 2))
    keys = [f"user{index}" for index in range(100)]
    found = answers(first, 100, headers=lambda index: [field(keys[index])])
    assert len(set(found)) == 5
    assert answers(first, 100, headers=lambda index: [field(keys[index])]) == found
    # Another process says the same, on whatever worker a connection lands.
    for _ in range(4):
        assert answers(second, 100, headers=lambda index: [field(keys[index])]) == found
    # Without the key each in turn.
    assert set(collections.Counter(answers(first, 50)).values()) == {10}


def test_a_task_more_takes_its_share_and_moves_nothing_else(interlock, backend):
    tasks = fleet(backend, "web", 5)

    def services(count):
        return [service("web", tasks[:count], hosts="web.test", sticky_session_cookie="sid")]

    def owners():
        return answers(proxy, 400, headers=lambda index: [("Cookie", f"sid={index}")])

    proxy = interlock(services(4))
    before = owners()
    proxy.write_services(services(5))
    wait_until(lambda: "web-4" in owners())
    after = owners()
    moved = [new for old, new in zip(before, after) if old != new]
    assert set(moved) == {"web-4"}
    assert 40 <= len(moved) <= 120, "about a fifth of 400"
    proxy.write_services(services(4))
    wait_until(lambda: owners() == before)


def test_a_cookie_in_one_or_several_fields(interlock, backend):
    tasks = fleet(backend, "web", 8)
    proxy = interlock([service("web", tasks, hosts="web.test", sticky_session_cookie="sid")])
    whole = answers(proxy, 1, headers=lambda _: [("Cookie", "sid=abc")])[0]
    for fields in ([("cookie", "a=1; sid=abc")], [("Cookie", "a=1"), ("Cookie", "sid=abc; b=2")],
                   [("Cookie", "sid=; sid=abc")], [("Cookie", "SID=x; xsid=y; sid=abc")]):
        assert answers(proxy, 3, headers=lambda _: fields) == [whole] * 3, fields
    # What is another cookie does not count: in turn.
    for fields in ([("Cookie", "SID=abc")], [("Cookie", "sid")], [("Cookie", "sid=")], [("X-Cookie", "sid=abc")]):
        assert len(set(answers(proxy, 8, headers=lambda _: fields))) == 8, fields


def test_when_its_task_is_down_a_key_goes_to_one_other(interlock, backend):
    tasks = fleet(backend, "web", 4)
    proxy = interlock([service("web", tasks, hosts="web.test", sticky_session_cookie="sid")])

    def owners():
        return answers(proxy, 60, headers=lambda index: [("Cookie", f"sid={index}")])

    before = owners()
    tasks[0].stop_listening()
    tasks[0].close_connections()
    during = owners()
    assert "web-0" not in during
    for old, new in zip(before, during):
        assert old == new or old == "web-0"
    assert len({new for old, new in zip(before, during) if old == "web-0"}) > 1, "its keys are spread"
    assert owners() == during


@pytest.mark.plain  # binds its clients to addresses of their own
def test_ip_hash_goes_by_the_real_client(interlock, backend):
    tasks = fleet(backend, "web", 6)
    services = [service("web", tasks, hosts="web.test", ip_hash=True)]
    proxy = interlock(services)
    found = {}
    for last in range(1, 25):
        source = f"127.0.1.{last}"
        owners = set(answers(proxy, 3, source=source)) | set(answers(proxy, 3, source=source))
        assert len(owners) == 1
        found[source] = owners.pop()
    # The tasks' names, ports among them, differ from run to run.
    assert len(set(found.values())) >= 3
    # What a stranger claims does not move it.
    claim = answers(proxy, 6, headers=lambda index: [("X-Forwarded-For", f"127.0.1.{index + 1}")])
    assert len(set(claim)) == 1
    # Behind a proxy that is trusted, the client is who that proxy says; and who it is, is the same.
    trusting = interlock(services, environment={"INTERLOCK_TRUSTED_PROXIES": "127.0.0.1/32"})
    for source, owner in found.items():
        for chain in (source, f"9.9.9.9, {source}", f"[::ffff:{source}]:4711"):
            assert answers(trusting, 1, headers=lambda _: [("X-Forwarded-For", chain)]) == [owner], chain


# Load.


def test_least_conn_avoids_the_busy_task(interlock, backend):
    tasks = fleet(backend, "web", 3)
    release = threading.Event()
    busy = backend(default=lambda request: [Release(release), response(200, b"busy-0")])
    proxy = interlock([service("web", [*tasks, busy], hosts="web.test", lb="least_conn")])
    waiting = []
    try:
        # Until the busy one has one request, each in turn.
        while not busy.requests:
            waiting.append(proxy.connect())
            waiting[-1].request()
            wait_until(lambda: sum(len(each.requests) for each in (*tasks, busy)) >= len(waiting))
        assert len(waiting) <= 4
        found = answers(proxy, 60)
        assert collections.Counter(found) == {f"web-{index}": 20 for index in range(3)}
        assert len(busy.requests) == 1
    finally:
        release.set()
        for each in waiting:
            each.close()


def test_least_conn_forgets_no_request_however_it_ended(interlock, backend):
    """Counts of requests under way that do not come back to nothing would leave a task out for ever."""
    tasks = fleet(backend, "web", 3)
    proxy = interlock([service("web", tasks, hosts="web.test", lb="least_conn", retries=0, hold=0, max_fails=0)])
    assert collections.Counter(answers(proxy, 30)) == {f"web-{index}": 10 for index in range(3)}
    never = threading.Event()
    victim = tasks[1]
    for steps in ([Reset()], [Close()], [b"nonsense\r\n\r\n"], [response(200, b"x" * 9)[:-3], Reset()],
                  [response(200, b"x" * 9)[:-3], Close()]):
        victim.play(*steps)
        # Some connection comes to the victim within a turn of everybody.
        for _ in range(3):
            with proxy.connect() as connection:
                connection.request()
                connection.fill()
    for task in tasks:
        task.play(Release(never))
    left = [proxy.connect() for _ in range(3)]
    for each in left:
        each.request()
    wait_until(lambda: all(task.requests and not task._scripts for task in tasks))
    # All three are busy; then their clients go away.
    for each in left:
        each.reset()
    never.set()
    wait_until(lambda: proxy.metric("interlock_requests_active") == 0)
    assert collections.Counter(answers(proxy, 30)) == {f"web-{index}": 10 for index in range(3)}
    closed = threading.Event()
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: thing\r\n\r\n"
    for task in tasks:
        task.play(switch, Release(closed))
    with proxy.connect() as tunnel:
        tunnel.request(headers=[("Connection", "upgrade"), ("Upgrade", "thing")])
        assert tunnel.read_head().status == 101
        for task in tasks:
            task._scripts.clear()
        assert sorted(collections.Counter(answers(proxy, 30)).values()) == [15, 15], "one has a tunnel"
    closed.set()
    wait_until(lambda: proxy.metric("interlock_tunnels") == 0)
    assert set(collections.Counter(answers(proxy, 30)).values()) == {10}


def test_random_reaches_everybody(interlock, backend):
    proxy = interlock([service("web", fleet(backend, "web", 4), hosts="web.test", lb="random")])
    counts = collections.Counter(answers(proxy, 400))
    assert len(counts) == 4 and all(50 < count < 160 for count in counts.values())


def test_a_new_task_begins_slowly(interlock, backend):
    tasks = fleet(backend, "web", 3)

    def services(count):
        return [service("web", tasks[:count], hosts="web.test", slow_start="1h")]

    proxy = interlock(services(2))
    # What is there when the proxy starts is not new.
    assert collections.Counter(answers(proxy, 40)) == {"web-0": 20, "web-1": 20}
    proxy.write_services(services(3))
    wait_until(lambda: str(tasks[2].port) in str(proxy.api_routes()))
    counts = collections.Counter(answers(proxy, 400))
    assert counts["web-2"] < 20
    assert abs(counts["web-0"] - counts["web-1"]) <= 1


# Connections.


class Greeter:
    """A TCP task that says its name to who connects."""

    def __init__(self, name, tls=None):
        self.name, self.tls = name, tls
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        try:
            while True:
                accepted, _ = self.socket.accept()
                if self.tls:
                    accepted = self.tls.wrap_socket(accepted, server_side=True)
                accepted.sendall(self.name.encode())
                accepted.close()
        except OSError:
            pass


@pytest.fixture
def greeters():
    made = []

    def make(name, count):
        made.extend(new := [Greeter(f"{name}-{index}") for index in range(count)])
        return new

    yield make
    for each in made:
        each.socket.close()


def greeting(port, source=None):
    with socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0) if source else None) as stream:
        return stream.makefile().read()


def test_connections_of_an_entry_port_are_split_by_weight_and_kept_by_address(interlock, greeters):
    weighted, kept = free_port(), free_port()
    proxy = interlock(
        [service("blue", greeters("blue", 1), tcp_port=weighted, weight=75),
         service("green", greeters("green", 3), tcp_port=weighted, weight=25),
         service("kept", greeters("kept", 6), tcp_port=kept, ip_hash=True)],
        environment={"INTERLOCK_TCP_PORTS": f"{weighted},{kept}"})
    wait_until(lambda: _answers(weighted) and _answers(kept))
    counts = shares(greeting(weighted) for _ in range(120))
    assert abs(counts["blue"] - 90) <= 4
    owners = {}
    for last in range(1, 21):
        owners[last] = {greeting(kept, f"127.0.2.{last}") for _ in range(3)}
    assert all(len(owner) == 1 for owner in owners.values())
    assert len({next(iter(owner)) for owner in owners.values()}) >= 4
    assert proxy.process.poll() is None


def _answers(port):
    try:
        return bool(greeting(port))
    except OSError:
        return False


@pytest.mark.plain
def test_tls_that_is_passed_on_is_kept_by_address(interlock):
    own = certificate("kept.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own.path, own.key_path)
    tasks = [Greeter(f"kept-{index}", server) for index in range(5)]
    try:
        proxy = interlock([service("kept", tasks, hosts="kept.test", ssl_passthrough=True, ip_hash=True)], https=True)

        def ask(source):
            with socket.create_connection(("127.0.0.1", proxy.https_port), 10, source_address=(source, 0)) as stream:
                with context(verify=False).wrap_socket(stream, server_hostname="kept.test") as tls:
                    return tls.recv(100).decode()

        owners = {last: {ask(f"127.0.3.{last}") for _ in range(3)} for last in range(1, 16)}
        assert all(len(owner) == 1 for owner in owners.values())
        assert len({next(iter(owner)) for owner in owners.values()}) >= 3
    finally:
        for task in tasks:
            task.socket.close()
