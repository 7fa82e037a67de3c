"""Controllers that are broken or none: the proxy serves on with its last table, never goes back, and follows a good
controller as soon as there is one.

`harness.feed_client.FalseController` holds a controller's credential, as a broken controller does, and says whatever a
test wants.
"""

import os
import struct
import time

import pytest

from harness import free_port, service, wait_until
from harness.feed import source
from harness.feed_client import (ACK, EMPTY, MANIFEST, PIECE, WANT, FalseController, FeedClient, digest_of, frame,
                                 heartbeat, linger, manifest, order, serve, welcome)

pytestmark = pytest.mark.plain
FAR = 1 << 62


def web(*tasks, host="web.test", name="web", **labels):
    return service(name, tasks, hosts=host, **labels)


class Scene:
    """A good controller that says `web.test`, its content as pieces, and a proxy that knows it and a false one."""

    def __init__(self, its, task, tmp_path):
        self.its, self.task = its, task
        self.state = tmp_path / "state"
        self.state.mkdir()
        self.good = its.controller([web(task)])
        with FeedClient(self.good.feed_port, its.credential("proxy")) as client:
            self.offer = client.offer()
            self.pieces = client.fetch(self.offer)
        self.port = free_port()

    def false(self, behave, role="controller", **limits):
        return FalseController(self.port, self.its.credential(role), behave, **limits)

    def proxy(self, others=True, **options):
        """It knows both, or only the false one, and has been served."""
        proxy = self.its.proxy(self.good, environment={
            "INTERLOCK_FEED_CONNECT": f"127.0.0.1:{self.good.feed_port}," * others + f"127.0.0.1:{self.port}",
            "INTERLOCK_STATE_DIR": str(self.state)}, **options)
        assert proxy.get().status == 200
        return proxy

    def good_is_followed(self, proxy, within=10.0):
        """After the good one is back with something new."""
        self.good.write_services([web(self.task, host="web.test,new.test")])
        if self.good.process.poll() is not None:
            self.good.start()
        proxy.wait_for_status(200, host="new.test", timeout=within)
        assert f":{self.good.feed_port}" in source(proxy)["controller"]


@pytest.fixture
def scene(feed, backend, tmp_path):
    return Scene(feed(), backend(), tmp_path)


def later():
    return order(listed=time.time_ns() + 1_000_000_000)


def wrong_pieces(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(digest_of(b"one"), 3)]))
    connection.expect(WANT)
    connection.send(frame(PIECE, b"two"))
    linger(connection, 5)


def other_sizes(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(digest_of(b"one"), 4)]))
    connection.expect(WANT)
    connection.send(frame(PIECE, b"one"))
    linger(connection, 5)


def garbage_that_hashes(connection, *_):
    connection.send(welcome(offered=later()))
    while True:
        piece = b"\x01\x01" + os.urandom(50)
        connection.send(manifest(later(), [(digest_of(piece), len(piece))]))
        connection.expect(WANT)
        connection.send(frame(PIECE, piece))
        connection.expect(ACK)


def too_large(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(os.urandom(32), 2 << 20) for _ in range(300)]))
    linger(connection, 5)


def too_many(connection, *_):
    connection.send(welcome(offered=later()), b"\xff\xff\xff\xff\x03")
    linger(connection, 5)


def endless_manifests(connection, *_):
    connection.send(welcome(offered=later()))
    while True:
        connection.send(manifest(later(), [(os.urandom(32), 100)]), heartbeat())


def closing(connection, _, number):
    steps = [welcome(offered=later()), manifest(later(), [(os.urandom(32), 9)]), b"\x00\x00\x00\x05\x05ab"]
    connection.send(*steps[:number % 4])


def silent(connection, *_):
    connection.send(welcome(offered=later()))
    linger(connection, 5, beats=False)


def of_another_swarm(connection, *_):
    connection.send(welcome(offered=later()))
    for number in range(1 << 30):
        offered = order(cluster="swarm" + str(number), version=FAR)
        connection.send(manifest(offered, [(digest_of(each), len(each)) for each in EMPTY]))
        if number > 20:
            linger(connection, 5)


def version_of_tomorrow(connection, *_):
    connection.send(welcome(version=2))
    linger(connection, 5)


def not_a_welcome(connection, *_):
    connection.send(manifest(later(), []))
    linger(connection, 5)


BROKEN = [wrong_pieces, other_sizes, garbage_that_hashes, too_large, too_many, endless_manifests, closing, silent,
          version_of_tomorrow, not_a_welcome]


@pytest.mark.parametrize("behave", BROKEN, ids=lambda each: each.__name__)
def test_a_broken_controller_changes_nothing(scene, behave):
    proxy = scene.proxy()
    with scene.false(behave) as false:
        version = proxy.api_routes()["version"]
        descriptors = proxy.descriptors()
        scene.good.kill()
        wait_until(lambda: false.accepted >= 1)
        memory, size = proxy.resident_size(), len(proxy.log)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert proxy.get().status == 200
            time.sleep(0.05)
        assert proxy.api_routes()["version"] == version
        assert proxy.has_grown_by_less_than(32 << 20, memory)
        assert len(proxy.log) - size < 32_768, proxy.log[-4000:]
        assert (scene.state / "last-good").read_bytes().count(b"web.test")
        scene.good_is_followed(proxy)
        assert false.accepted < 200
        wait_until(lambda: proxy.descriptors() <= descriptors + 6)


def never_pieces(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(os.urandom(32), 100)]))
    linger(connection, 60)


def never_an_offer(connection, *_):
    connection.send(welcome(offered=later()))
    linger(connection, 60)


def one_piece_of_two(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(digest_of(b"one"), 3), (os.urandom(32), 9)]))
    connection.expect(WANT)
    connection.send(frame(PIECE, b"one"))
    linger(connection, 60)


def half_a_piece(connection, *_):
    connection.send(welcome(offered=later()), manifest(later(), [(os.urandom(32), 1 << 20)]))
    connection.expect(WANT)
    connection.send(struct.pack("!IB", 1 << 20, 5))
    for _ in range(600):
        connection.send(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize("behave", [never_pieces, never_an_offer, one_piece_of_two, half_a_piece],
                         ids=lambda each: each.__name__)
def test_a_controller_that_promises_and_does_not_deliver_is_left(scene, behave):
    """It beats on as if all were well, and says that it has something newer."""
    proxy = scene.proxy()
    with scene.false(behave):
        scene.good.kill()
        wait_until(lambda: source(proxy)["connected"] and f":{scene.port}" in source(proxy)["controller"])
        scene.good_is_followed(proxy, within=40)
        assert proxy.get().status == 200


def test_a_new_proxy_does_not_wait_for_a_controller_that_delivers_nothing(scene):
    with scene.false(never_pieces):
        scene.good.kill()
        proxy = scene.its.proxy(scene.good, wait=False, environment={
            "INTERLOCK_FEED_CONNECT": f"127.0.0.1:{scene.port},127.0.0.1:{scene.good.feed_port}"})
        wait_until(lambda: proxy.admin("/readyz").status == 503 and source(proxy)["connected"])
        scene.good.start()
        proxy.wait_ready(timeout=40)


def of_version(version, pieces):
    def behave(connection, *_):
        offered = order(cluster="ours", version=version)
        connection.send(welcome(offered=offered))
        serve(connection, offered, pieces)
    return behave


def test_older_orders_wait_and_newer_ones_win(scene):
    """A controller that is behind: the proxy does not go back while a better one can be had."""
    with scene.false(of_version(7, scene.pieces)):
        proxy = scene.proxy(others=False)
    with scene.false(of_version(3, EMPTY)) as false:
        wait_until(lambda: false.greeted >= 1)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            assert proxy.get().status == 200
            time.sleep(0.05)
    with scene.false(of_version(8, scene.pieces)):
        wait_until(lambda: source(proxy)["connected"] and source(proxy)["version"] == 8)
        assert proxy.get().status == 200 and proxy.metric("interlock_feed_steps_back_total") == 0


def test_another_swarm_is_never_followed(scene):
    """Not its empty table, not over a restart; and what is said about it has an end."""
    settings = {"INTERLOCK_STATE_DIR": str(scene.state)}
    with scene.false(of_version(7, scene.pieces)) as false:
        proxy = scene.its.proxy(false, environment=settings)
        assert proxy.get().status == 200
    with scene.false(of_another_swarm) as false:
        wait_until(lambda: false.greeted >= 1)
        for _ in range(40):
            assert proxy.get().status == 200
            time.sleep(0.05)
        assert "cannot follow one of the Swarm ours" in source(proxy)["problem"] + proxy.log
        proxy.stop()
        again = scene.its.proxy(false, environment=settings)
        wait_until(lambda: false.greeted >= 2)
        time.sleep(0.5)
        assert again.get().status == 200


def test_endless_names_of_swarms_do_not_fill_the_log(scene):
    def many(connection, *_):
        connection.send(welcome(offered=order(cluster="x", version=FAR)))
        for number in range(1 << 30):
            offered = order(cluster=f"swarm {number} " + "y" * 200, version=FAR)
            connection.send(manifest(offered, [(digest_of(each), len(each)) for each in EMPTY]))
            connection.expect(ACK)

    with scene.false(of_version(7, scene.pieces)) as false:
        proxy = scene.its.proxy(false)
        assert proxy.get().status == 200
    size, memory = len(proxy.log), proxy.resident_size()
    with scene.false(many) as false:
        wait_until(lambda: false.greeted >= 1)
        time.sleep(4)
        assert proxy.get().status == 200
        assert len(proxy.log) - size < 200_000, f"{len(proxy.log) - size} bytes of log"
        assert proxy.has_grown_by_less_than(16 << 20, memory)


@pytest.mark.parametrize("role", ["proxy", "extension", "foreign"])
def test_who_is_no_controller_is_not_followed(scene, feed, role):
    def eager(connection, *_):
        connection.send(welcome(offered=later()))
        serve(connection, later(), EMPTY)

    credential = feed(name="others").credential("controller") if role == "foreign" else scene.its.credential(role)
    proxy = scene.proxy()
    with FalseController(scene.port, credential, eager, trusts=False) as false:
        scene.good.kill()
        wait_until(lambda: false.accepted >= 2)
        proxy.wait_for_log("signed by another CA|it is not a controller's|not of the role")
        for _ in range(20):
            assert proxy.get().status == 200 and not source(proxy)["connected"]
            time.sleep(0.05)
        assert false.greeted == 0
        scene.good_is_followed(proxy)


def test_an_empty_table_that_a_controller_means_is_taken(scene):
    """The counterpart: it is not the emptiness that is refused."""
    def empty(connection, *_):
        connection.send(welcome(offered=later()))
        serve(connection, later(), EMPTY)

    proxy = scene.proxy()
    with scene.false(empty):
        scene.good.kill()
        proxy.wait_for_status(503)
