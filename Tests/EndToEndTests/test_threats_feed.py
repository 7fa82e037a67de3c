"""The feed's port under attack, with and without a credential: the controller refuses, says why, gives nobody what is
not his, and stays bounded; meanwhile a proxy follows it and gets what is new.

`harness.feed_client` is the attacker: the protocol out of docs/FEED.md, and nothing of the binary.
"""

import contextlib
import re
import socket
import ssl
import threading
import time

import pytest

from harness import certificate, service, wait_until
from harness.feed import clients, source
from harness.feed_client import (ACK, APPLIED, HEARTBEAT, HELLO, NO_DIGEST, PIECE, REFUSED, WELCOME, FeedClient,
                                 FeedEnd, FeedFault, FeedSigner, acknowledgement, connect, frame, heartbeat, hello,
                                 manifest, order, tls_context, want)

pytestmark = pytest.mark.plain
MEBIBYTE = 1 << 20
VERSION, ROLE, CLUSTER, EXPIRED, FULL, BROKEN, DEADLINE = range(1, 8)


def web(*tasks, host="web.test", name="web", **labels):
    return service(name, tasks, hosts=host, **labels)


class Stage:
    """A controller with two groups and a secret in each, and a proxy that follows it."""

    def __init__(self, its, task):
        self.its, self.task, self.turn = its, task, 0
        secrets = {"web.pem": certificate("web.test").bundle, "blue.pem": certificate("blue.test").bundle}
        self.services = [web(task, ssl_cert="web.pem"),
                         web(task, host="blue.test", name="blue", ssl_cert="blue.pem", service_cluster="blue")]
        self.controller = its.controller(self.services, secrets=secrets)
        self.proxy = its.proxy(self.controller, https=True)
        self.port = self.controller.feed_port
        self.mine = its.credential("proxy")

    def still_tells(self, within=3.0):
        """An update reaches the proxy, whatever goes on; returns how long it took."""
        self.turn += 1
        host = f"turn{self.turn}.test"
        self.services[0] = web(self.task, host=f"web.test,{host}", ssl_cert="web.pem")
        connections = source(self.proxy)["connections"]
        started = time.monotonic()
        self.controller.write_services(self.services)
        self.proxy.wait_for_status(200, host=host, timeout=within)
        assert source(self.proxy)["connections"] == connections, "the proxy had to call again"
        return time.monotonic() - started

    def threads(self):
        text = open(f"/proc/{self.controller.process.pid}/status", encoding="ascii").read()
        return int(re.search(r"Threads:\s+(\d+)", text)[1])


@pytest.fixture
def stage(feed, backend):
    return Stage(feed(clusters=["blue"]), backend())


def refusal_of(stage, *frames, credential=None, greets=True):
    """What the controller says when a client sends this."""
    made = FeedClient(stage.port, credential or stage.mine) if greets else connect(
        stage.port, credential or stage.mine)
    with made as connection:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.send(*frames)
        with pytest.raises(FeedEnd) as ended:
            while True:
                connection.read_frame()
        return ended.value.refusal


# Who is let in.


def test_what_is_no_tls_is_refused(stage):
    for data in (b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", b"\x00" * 4096, hello(), b"\x80\x2e\x01\x03\x01", b"",
                 b"\x16\x03\x01\xff\xff" + b"x" * 70_000):
        with socket.create_connection(("127.0.0.1", stage.port), timeout=8) as plain:
            with contextlib.suppress(ConnectionError):
                plain.sendall(data)
                while plain.recv(4096):
                    pass
    stage.controller.wait_for_log("it does not speak TLS")
    assert stage.still_tells() < 3


def test_only_tls_1_3_is_spoken(stage):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(stage.port, stage.mine, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_2)
    stage.controller.wait_for_log("it does not speak TLS 1.3")


@pytest.mark.parametrize("kind, told", [
    ("none", "it shows no certificate"), ("expired", "expired"), ("early", "not valid yet"),
    ("foreign", "signed by another CA"), ("controller", "not of the role"),
    ("authority", "feed's CA|invalid|accepted"), ("two names", "no certificate of a feed"),
    ("server", "role that it is used for|key usage"), ("shouting", "no certificate of a feed"),
])
def test_credentials_that_are_none(stage, feed, tmp_path, kind, told):
    signer = FeedSigner(stage.its.credential("ca"))
    path = tmp_path / "made.pem"
    credential = {
        "none": lambda: tls_context(None),
        "expired": lambda: signer.credential(path, days=(-9, -1)),
        "early": lambda: signer.credential(path, days=(2, 9)),
        "foreign": lambda: feed(name="others").credential("proxy"),
        "controller": lambda: stage.its.credential("controller"),
        "authority": lambda: stage.its.credential("ca"),
        "two names": lambda: signer.credential(path, uri="interlock:proxy:,URI:interlock:proxy:blue"),
        "server": lambda: signer.credential(path, usage="serverAuth"),
        "shouting": lambda: signer.credential(path, uri="INTERLOCK:proxy:"),
    }[kind]()
    if kind != "none":
        credential = tls_context(credential)
        credential.verify_mode = ssl.CERT_NONE
    with pytest.raises((FeedEnd, ssl.SSLError, ConnectionError)):
        with connect(stage.port, credential) as connection:
            connection.send(hello())
            connection.expect(WELCOME)
    stage.controller.wait_for_log(told)
    assert {each["role"] for each in clients(stage.controller)} == {"proxy"} and len(clients(stage.controller)) == 1


def test_the_cluster_is_the_certificates(stage):
    found = refusal_of(stage, hello(cluster="blue"), greets=False)
    assert found.code == CLUSTER and "blue" in found.reason
    found = refusal_of(stage, hello(cluster=""), greets=False, credential=stage.its.credential("proxy", "blue"))
    assert found.code == CLUSTER
    stage.controller.wait_for_log("asks for the cluster")


@pytest.mark.parametrize("version", [0, 2, 65535])
def test_other_versions_are_told_which_one(stage, version):
    found = refusal_of(stage, hello(version=version), greets=False)
    assert found.code == VERSION and found.versions == (1, 1)
    found = refusal_of(stage, frame(HELLO, version.to_bytes(2, "big") + b"whatever a later one says"), greets=False)
    assert found.code == VERSION
    stage.controller.wait_for_log(f"speaks version {version} of the feed")


# Frames.


def test_frames_before_the_greeting(stage):
    for data in (heartbeat(), want([NO_DIGEST]), acknowledgement(order(), NO_DIGEST), manifest(order(), []),
                 frame(PIECE, b"x"), frame(0), frame(9), frame(255), frame(HELLO, b""), frame(HELLO, b"\x00"),
                 frame(HELLO, b"\x00\x01" + b"\xff" * 30), hello(name="a\nb"), hello(name=b"\xff\xfe"),
                 hello(name="n" * 300), b"\xff\xff\xff\xff\x01", b"\x00\x00\x08\x01\x01"):
        found = refusal_of(stage, data, greets=False)
        assert found and found.code == BROKEN, (data[:40], found)
    assert len(clients(stage.controller)) == 1


def test_frames_after_the_greeting(stage):
    for data in (hello(), frame(WELCOME), manifest(order(), []), frame(PIECE, b"x"), frame(0), frame(9, b"x" * 100),
                 want([]), want([NO_DIGEST]), acknowledgement(order(), NO_DIGEST), frame(HEARTBEAT, b"\x02"),
                 frame(HEARTBEAT), frame(ACK, b"\x00" * 20), frame(4, b"\x00\x00\x00\x02" + NO_DIGEST),
                 frame(4, b"\xff\xff\xff\xff"), b"\xff\xff\xff\xff\x07", b"\x00\x00\x00\x02\x07",
                 b"\x7f\xff\xff\xff\x04"):
        found = refusal_of(stage, data)
        assert found and found.code == BROKEN, (data[:40], found)
    assert stage.still_tells() < 3


def test_a_frame_that_never_ends_ends_its_connection(stage):
    for data in (hello()[:-1], b"\x00", b"\x00\x00\x00\x20\x01"):
        with connect(stage.port, stage.mine) as connection:
            connection.send(data)
            started = time.monotonic()
            with pytest.raises(FeedEnd):
                connection.expect(WELCOME)
            assert time.monotonic() - started < 8
    with FeedClient(stage.port, stage.mine) as connection:
        connection.send(b"\x00\x1f\x00\x00\x04" + b"\x00" * 1000)
        with pytest.raises(FeedEnd) as ended:
            for _ in range(100):
                connection.read_frame()
        assert ended.value.refusal.code == DEADLINE


def test_frames_twice_and_out_of_order(stage):
    with FeedClient(stage.port, stage.mine) as good:
        offer = good.offer()
        good.fetch(offer)
        # The same answer again is harmless: what waited was applied.
        good.send(acknowledgement(offer.raw_order, offer.digest))
        good.send(heartbeat())
        good.expect(HEARTBEAT)
        good.send(want([offer.digests[0]]))
        with pytest.raises(FeedEnd) as ended:
            good.expect(PIECE)
        assert "nothing" in ended.value.refusal.reason
    for twist in (
        lambda it, offer: it.send(want(offer.digests), want(offer.digests)),
        lambda it, offer: it.send(want(offer.digests + offer.digests[:1])),
        lambda it, offer: it.send(want(offer.digests * 2)),
        lambda it, offer: it.send(want(offer.digests), acknowledgement(offer.raw_order, offer.digest)),
        lambda it, offer: it.send(acknowledgement(order(version=9), offer.digest)),
        lambda it, offer: it.send(acknowledgement(offer.raw_order, NO_DIGEST)),
    ):
        with FeedClient(stage.port, stage.mine) as broken:
            twist(broken, broken.offer())
            with pytest.raises(FeedEnd) as ended:
                while True:
                    broken.read_frame()
            assert ended.value.refusal.code == BROKEN


# What is not theirs.


def test_pieces_of_another_group_are_not_given(stage):
    blue_credential = stage.its.credential("proxy", "blue")
    with FeedClient(stage.port, blue_credential, cluster="blue") as blue:
        theirs = blue.offer()
        contents = b"".join(blue.fetch(theirs))
    assert b"blue.test" in contents and b"PRIVATE KEY" in contents and b"web.test" not in contents
    with FeedClient(stage.port, stage.mine) as client:
        mine = client.offer()
        contents = b"".join(client.fetch(mine))
    assert b"blue.test" not in contents and b"web.test" in contents
    foreign = [each for each in theirs.digests if each not in mine.digests]
    assert foreign
    for wanted in ([foreign[0]], [mine.digests[0], foreign[-1]]):
        with FeedClient(stage.port, stage.mine) as thief:
            thief.offer()
            thief.send(want(wanted))
            with pytest.raises(FeedEnd) as ended:
                thief.expect(PIECE)
            assert ended.value.refusal.code == BROKEN and "not offered" in ended.value.refusal.reason


def test_an_extension_gets_no_secrets_by_their_digests_either(stage):
    with FeedClient(stage.port, stage.mine) as proxy:
        everything = proxy.offer()
    credential = stage.its.credential("extension")
    with FeedClient(stage.port, credential) as extension:
        offer = extension.offer()
        assert b"PRIVATE KEY" not in b"".join(extension.fetch(offer))
    secret = [each for each in everything.digests if each not in offer.digests]
    with FeedClient(stage.port, credential) as thief:
        thief.offer()
        thief.send(want(secret[:1]))
        with pytest.raises(FeedEnd):
            thief.expect(PIECE)


# Many, slow and loud ones.


def test_half_open_connections_are_bounded(stage):
    """Those who say nothing, and those who stop in the middle of TLS."""
    descriptors, memory = stage.controller.descriptors(), stage.controller.resident_size()
    with contextlib.ExitStack() as stack:
        most, slowest = 0, 0.0
        for index in range(3000):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", stage.port), timeout=10))
            if index % 3 == 0:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            if index % 500 == 250:
                most = max(most, stage.controller.descriptors())
                slowest = max(slowest, stage.still_tells())
        most = max(most, stage.controller.descriptors())
        with FeedClient(stage.port, stage.mine) as late:
            late.fetch(late.offer())
        grown = stage.controller.resident_size() - memory
        print(f"3000 half-open: {most} descriptors at most ({descriptors} before), {stage.threads()} threads, "
              f"{grown / MEBIBYTE:.1f} MiB more, slowest update {slowest:.2f} s")
        assert most < descriptors + 2 * 256 + 150
        assert stage.controller.has_grown_by_less_than(64 * MEBIBYTE, memory)
    wait_until(lambda: stage.controller.descriptors() <= descriptors + 4, timeout=12)


def test_a_storm_of_connections(stage):
    """With a credential, and all at once, again and again."""
    descriptors, memory = stage.controller.descriptors(), stage.controller.resident_size()
    ends, counts = threading.Event(), [0]

    def storm():
        context = tls_context(stage.mine)
        while not ends.is_set():
            with contextlib.suppress(OSError, FeedEnd, FeedFault):
                with connect(stage.port, context) as connection:
                    connection.send(hello(name="storm"))
                    counts[0] += 1

    threads = [threading.Thread(target=storm) for _ in range(8)]
    for each in threads:
        each.start()
    try:
        took = []
        for _ in range(4):
            took.append(stage.still_tells(within=10))
            time.sleep(1)
    finally:
        ends.set()
        for each in threads:
            each.join()
    print(f"{counts[0]} connections; updates took {max(took):.2f} s at most")
    wait_until(lambda: stage.controller.descriptors() <= descriptors + 4, timeout=12)
    assert stage.controller.has_grown_by_less_than(64 * MEBIBYTE, memory)


def test_slow_readers_are_slow_alone(stage):
    """They ask for much and take nothing."""
    stage.services += [web(stage.task, host=f"h{index}.test", name=f"s{index}") for index in range(4000)]
    stage.still_tells(within=20)
    memory = stage.controller.resident_size()
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(40):
            client = stack.enter_context(FeedClient(stage.port, stage.mine))
            client.send(want(client.offer().digests))
            slow.append(client)
        took = [stage.still_tells(within=10) for _ in range(3)]
        grown = stage.controller.resident_size() - memory
        print(f"40 slow readers: {grown / MEBIBYTE:.1f} MiB more, updates took {max(took):.2f} s")
        assert stage.controller.has_grown_by_less_than(96 * MEBIBYTE, memory)
        wait_until(lambda: len(clients(stage.controller)) == 1, timeout=20)


def test_who_repeats_himself_does_not_fill_the_log(stage):
    """A proxy that is broken or stolen says the same in other words, thousands of times."""
    before = len(stage.controller.log)
    with contextlib.suppress(FeedEnd, ConnectionError, ssl.SSLError):
        with FeedClient(stage.port, stage.mine) as loud:
            offer = loud.offer()
            loud.fetch(offer)
            for index in range(5000):
                loud.send(acknowledgement(offer.raw_order, offer.digest, REFUSED, reason=f"reason {index}" + "x" * 900))
            loud.send(acknowledgement(offer.raw_order, offer.digest, APPLIED))
            loud.expect(HEARTBEAT)
            loud.expect(HEARTBEAT)
    time.sleep(0.5)
    assert len(stage.controller.log) - before < 200_000
    assert stage.still_tells() < 3


def test_who_has_many_names_does_not_fill_the_log(stage, tmp_path, feed):
    """Without a credential of ours: each try with another name in the certificate."""
    signer = FeedSigner(feed(name="others").credential("ca"))
    contexts = []
    for index in range(12):
        contexts.append(tls_context(signer.credential(tmp_path / f"{index}.pem", name=f"stranger {index}")))
        contexts[-1].verify_mode = ssl.CERT_NONE
    names = 0
    for index in range(600):
        with contextlib.suppress(OSError, FeedEnd):
            with connect(stage.port, stage.mine) as connection:
                connection.send(hello(cluster=f"cluster {index}"))
                connection.expect(WELCOME)
    for context in contexts:
        with contextlib.suppress(OSError, FeedEnd):
            with connect(stage.port, context) as connection:
                connection.expect(WELCOME)
        names += 1
    lines = [each for each in stage.controller.log_lines if "is refused" in each.get("message", "")
             or "is refused" in str(each)]
    assert len(lines) <= 300, f"{len(lines)} lines for {600 + names} tries"
