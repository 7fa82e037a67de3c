"""Threat 42: ClientHellos of every shape. A name is read as hosts are, or the handshake is refused; nothing is guessed.

Each row ends with a handshake of an ordinary client, so that "refused" never means "broken".
"""

import contextlib
import os
import ssl
import time

import pytest

from harness import (Interlock, ManualHandshake, RawConnection, RecordingBackend, certificate, context, fragmented,
                     records, refusal, secured)
from harness.hello import (ALPN, ECH, GREASE, KEY_SHARE, PADDING, SERVER_NAME, SUPPORTED_VERSIONS, extension,
                           hello, hello_record, numbers, read_answer, server_name, usual_extensions, vector)
from rows import message

HOST = b"web.test"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """web.test with an RSA certificate; strict.test from TLS 1.3 on; short deadlines."""
    with RecordingBackend() as task:
        secrets = {}
        services = [
            secured(secrets, "web", [task], certificate("web.test"), hosts="web.test"),
            secured(secrets, "strict", [task], certificate("strict.test"), hosts="strict.test", ssl_min_version="1.3"),
        ]
        with Interlock(services, directory=tmp_path_factory.mktemp("hello"), https=True, secrets=secrets,
                       environment={"INTERLOCK_TLS_HELLO_TIMEOUT": "1s",
                                    "INTERLOCK_TLS_HANDSHAKE_TIMEOUT": "1s"}) as proxy:
            yield proxy
            assert proxy.process.poll() is None


def ask(proxy, data, size=0, pause=0.0):
    """Sends a hand-made first flight; what the server says to it."""
    with RawConnection(proxy.https_port, timeout=5) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send_in_pieces(data, size or len(data), pause)
        answer = read_answer(connection)
    assert proxy.get_tls().status == 200, "an ordinary client is not served afterwards"
    return answer


def served(answer):
    return answer.certificate == certificate("web.test").der


# How it is cut.


@pytest.mark.parametrize("sizes", [(), (1,), (4,), (5,), (1, 1, 1, 1, 1), (100,), (60, 60)], ids=str)
@pytest.mark.parametrize("pieces", [0, 1, 7, 64], ids=["whole", "bytes", "sevens", "64s"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_42_cut_into_records_and_packets(stage, sizes, pieces, version):
    with ManualHandshake(stage.https_port, tls=context(minimum=version, maximum=version)) as client:
        data = fragmented(client.hello(), *sizes)
        for start in range(0, len(data), pieces or len(data)):
            client.send(data[start:start + (pieces or len(data))])
        client.finish()
        assert client.exchange(message()).startswith(b"HTTP/1.1 200")


def test_42_one_record_for_each_byte(stage):
    with ManualHandshake(stage.https_port) as client:
        client.send(fragmented(client.hello(), *[1] * 600))
        try:
            client.finish()
        except (ssl.SSLError, ConnectionError):
            return  # OpenSSL may find it too much; it is not served wrongly
        assert client.exchange(message()).startswith(b"HTTP/1.1 200")


def test_42_in_two_packets_with_a_pause(stage):
    with ManualHandshake(stage.https_port) as client:
        data = client.hello()
        client.send(data[:50])
        time.sleep(0.3)
        client.send(data[50:])
        client.finish()
        assert client.exchange(message()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("minor", [0, 1, 2, 3])
def test_42_the_record_s_version_does_not_matter(stage, minor):
    assert served(ask(stage, records(hello(server_name(HOST)), version=bytes([3, minor]))))


# Names.


@pytest.mark.parametrize("name", [b"web.test", b"WEB.TEST", b"wEb.TeSt", b"web.test.", b"WEB.test."])
def test_42_one_host_has_many_spellings(stage, name):
    assert served(ask(stage, hello_record(server_name(name))))


@pytest.mark.parametrize("name", [b"STRICT.TEST", b"strict.test.", b"Strict.Test."])
def test_42_no_spelling_leads_to_a_weaker_policy(stage, name):
    assert ask(stage, hello_record(server_name(name))).alert == "protocol_version"


REFUSED_NAMES = {
    "empty": b"", "nul": b"web.test\x00", "nul-inside": b"web\x00.test", "nul-then-other": b"web.test\x00.evil.test",
    "space": b"web .test", "port": b"web.test:443", "slash": b"web.test/x", "at": b"a@web.test", "comma": b"web.test,b",
    "newline": b"web.test\r\n", "not-ascii": "wéb.test".encode(), "ipv4": b"127.0.0.1", "ipv6": b"::1",
    "ipv6-brackets": b"[::1]", "dot": b".", "two-dots": b"web..test", "leading-dot": b".web.test",
    "long": b"a" * 300 + b".test", "wildcard": b"*.test", "percent": b"web%2etest", "backslash": b"web\\.test",
    "two-trailing-dots": b"web.test..",
}


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_42_names_that_are_none(stage, name):
    answer = ask(stage, hello_record(server_name(REFUSED_NAMES[name])))
    assert answer.certificate is None, f"served with {REFUSED_NAMES[name]!r} as its name"
    assert answer.alert in ("decode_error", "illegal_parameter", "unrecognized_name", "missing_extension"), answer


def test_42_no_name(stage):
    assert ask(stage, hello_record()).alert == "missing_extension"


def test_42_no_extensions_at_all(stage):
    body = b"\x03\x03" + os.urandom(32) + b"\x00" + vector(2, numbers([0xC02F])) + b"\x01\x00"
    answer = ask(stage, records(b"\x01" + vector(3, body)))
    assert answer.certificate is None and answer.alert in ("missing_extension", "decode_error", "handshake_failure")


@pytest.mark.parametrize("extensions", [
    [server_name(HOST), server_name(b"strict.test")],
    [server_name(b"strict.test"), server_name(HOST)],
    [server_name(HOST), server_name(HOST)],
    [server_name(HOST, b"strict.test")],
    [server_name(HOST, kind=1)],
    [extension(SERVER_NAME, b"")],
    [extension(SERVER_NAME, b"\x00\x00")],
    [extension(SERVER_NAME, vector(2, b"\x00" + vector(2, HOST)) + b"more")],
    [extension(SERVER_NAME, b"\x00\xff\x00\x00\x08web.test")],
    [extension(SERVER_NAME, vector(2, b"\x00\x00\xff" + HOST))],
    [server_name(HOST), extension(ALPN, vector(2, vector(1, b"h2"))), extension(ALPN, vector(2, vector(1, b"x")))],
], ids=["two", "two-turned", "twice", "two-in-one", "other-kind", "no-list", "empty-list", "bytes-after", "list-long",
        "name-long", "alpn-twice"])
def test_42_extensions_that_two_readers_read_differently(stage, extensions):
    answer = ask(stage, hello_record(*extensions))
    assert answer.certificate is None, "served"
    assert answer.alert in ("decode_error", "illegal_parameter", "unrecognized_name", "missing_extension"), answer


# What honest clients do and old servers trip over.


@pytest.mark.parametrize("shape", ["grease", "ech", "name-last", "padded", "post-quantum", "unknown", "session-id"])
def test_42_unusual_and_good(stage, shape):
    grease = extension(GREASE[0], b"")
    data = {
        "grease": lambda: hello_record(grease, server_name(HOST), extension(GREASE[1], b"\x00"),
                                       ciphers=(GREASE[2], 0xC02B, 0xC02F)),
        "ech": lambda: hello_record(server_name(HOST), extension(ECH, b"\x00" + os.urandom(200))),
        "name-last": lambda: hello_record(*usual_extensions(), server_name(HOST), usual=False),
        "padded": lambda: hello_record(server_name(HOST), extension(PADDING, bytes(3000))),
        "post-quantum": lambda: hello_record(server_name(HOST), extension(0x7777, os.urandom(1300))),
        "unknown": lambda: hello_record(*[extension(0x5000 + each, b"x") for each in range(20)], server_name(HOST)),
        "session-id": lambda: hello_record(server_name(HOST), session=os.urandom(32)),
    }[shape]()
    assert served(ask(stage, data))


def test_42_the_outer_name_of_encrypted_hello_decides(stage):
    """ECH is not spoken here: the outer name counts, and its policy."""
    ech = extension(ECH, b"\x00" + os.urandom(200))
    assert ask(stage, hello_record(server_name(b"strict.test"), ech)).alert == "protocol_version"
    assert ask(stage, hello_record(server_name(b"public.example"), ech)).alert == "unrecognized_name"


# What is no hello.

GARBAGE = {
    "http": message(),
    "http-long": b"GET /" + b"a" * 20_000,
    "sslv2": b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "data": b"\x17\x03\x03\x00\x10" + bytes(16),
    "change-cipher": b"\x14\x03\x03\x00\x01\x01",
    "empty-record": b"\x16\x03\x01\x00\x00",
    "record-too-long": b"\x16\x03\x01\xff\xff" + bytes(5000),
    "version-9": b"\x16\x09\x00\x00\x10" + bytes(16),
    "server-hello": records(b"\x02" + vector(3, bytes(40))),
    "finished": records(b"\x14" + vector(3, bytes(12))),
    "zeros": bytes(2000),
    "random": os.urandom(2000),
    "proxy-header": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
    "hello-of-16-MiB": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
    "more-after-hello": records(hello(server_name(HOST)) + b"\x00\x00"),
    "length-too-small": records(b"\x01" + vector(3, hello(server_name(HOST))[4:-4])[:3] + hello(server_name(HOST))[4:]),
    "cut-inside": records(hello(server_name(HOST))[:60] + b"\x00" * 20),
    "ciphers-odd": records(b"\x01" + vector(3, b"\x03\x03" + bytes(32) + b"\x00\x00\x03\xc0\x2f\x00\x01\x00\x00\x00")),
    "session-of-33": hello_record(server_name(HOST), session=bytes(33)),
    "no-ciphers": hello_record(server_name(HOST), ciphers=()),
    "65-extensions": hello_record(*[extension(0x5000 + each, b"") for each in range(80)], server_name(HOST)),
    "over-16-KiB": fragmented(
        b"\x16\x03\x01\xff\xff" + hello(server_name(HOST), extension(0x5000, bytes(60_000))), *[16_000] * 4),
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("size", [0, 1], ids=["whole", "bytes"])
def test_42_no_hello(stage, name, size):
    data = GARBAGE[name]
    if size and len(data) > 3000:
        size = 1000
    answer = ask(stage, data, size)
    assert answer.certificate is None, "served"
    assert answer.alert not in ("internal_error", "close_notify"), answer


def test_plain_http_to_the_tls_port_ends_at_once(stage):
    began = time.monotonic()
    with RawConnection(stage.https_port) as connection:
        connection.send(message())
        try:
            rest = connection.read_to_end()
        except ConnectionResetError:
            rest = b""
    assert time.monotonic() - began < 0.9, "it waited for a deadline"
    # An alert, or an answer that browsers show.
    assert rest == b"" or rest[:1] == b"\x15" or rest.startswith(b"HTTP/1."), rest


def test_tls_to_the_plain_port_ends_at_once(stage):
    with RawConnection(stage.port) as connection:
        connection.send(hello_record(server_name(HOST)))
        rest = connection.read_to_end()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400"), rest


def test_a_version_that_is_too_old(stage):
    for version in (0x0300, 0x0301, 0x0302):
        answer = ask(stage, hello_record(server_name(HOST), version=version))
        assert answer.certificate is None and answer.alert in ("protocol_version", "handshake_failure"), answer


def test_a_version_of_the_future(stage):
    answer = ask(stage, hello_record(
        server_name(HOST), extension(SUPPORTED_VERSIONS, vector(1, numbers([0x0A0A, 0x0399, 0x0303])))))
    assert served(answer)


def test_a_hello_retry(stage):
    """The client guesses a group that the server does not like, and is asked again, still for the same host."""
    data = hello_record(
        server_name(HOST), extension(SUPPORTED_VERSIONS, vector(1, numbers([0x0304]))),
        extension(KEY_SHARE, b"\x00\x00"), ciphers=(0x1301,), session=bytes(32))
    with RawConnection(stage.https_port) as connection:
        connection.send(data)
        head = connection.read_exactly(5)
        assert head[0] == 22
        body = connection.read_exactly(int.from_bytes(head[3:5], "big"))
        # RFC 8446, 4.1.3: the random that says HelloRetryRequest.
        assert body[6:10] == bytes.fromhex("cf21ad74")
        # The second hello names another host: that may not change anything any more.
        connection.send(hello_record(
            server_name(b"strict.test"), extension(SUPPORTED_VERSIONS, vector(1, numbers([0x0304]))),
            extension(KEY_SHARE, vector(2, numbers([29]) + vector(2, bytes([9] + [0] * 31)))), ciphers=(0x1301,),
            session=bytes(32)))
        answer = read_answer(connection)
    assert answer.alert or answer.ended, answer


@pytest.mark.parametrize(
    "group, share", [(23, b"\x04" + bytes(64)), (23, b"\x04"), (29, bytes(32)), (24, b"\xff" * 97)],
    ids=["no point", "half a point", "a small order", "outside"])
def test_42_a_key_share_that_is_none(stage, group, share):
    """What only the mathematics finds out is the client's fault, too, and is not counted as ours."""
    answer = ask(stage, hello_record(
        server_name(HOST), extension(SUPPORTED_VERSIONS, vector(1, numbers([0x0304]))),
        extension(KEY_SHARE, vector(2, numbers([group]) + vector(2, share))), ciphers=(0x1301,), session=bytes(32)))
    assert answer.alert in ("illegal_parameter", "decode_error", "internal_error"), answer
    assert not stage.metric("interlock_tls_handshake_failures_total", reason="tls_internal")


# Deadlines.


@pytest.mark.parametrize("data", [
    b"", b"\x16", b"\x16\x03\x01\x02\x00", hello_record(server_name(HOST))[:-1], hello_record(server_name(HOST))[:40],
], ids=["nothing", "one-byte", "record-head", "all-but-one", "half"])
def test_42_a_hello_that_does_not_come(stage, data):
    began = time.monotonic()
    with RawConnection(stage.https_port) as connection:
        connection.send(data)
        answer = read_answer(connection)
        assert answer.certificate is None
    assert 0.7 < time.monotonic() - began < 4


def test_42_one_byte_at_a_time_does_not_move_the_deadline(stage):
    began = time.monotonic()
    with RawConnection(stage.https_port) as connection:
        data = hello_record(server_name(HOST), extension(PADDING, bytes(8000)))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in data:
                connection.send(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - began > 15:
                    break
    assert time.monotonic() - began < 6


def test_42_a_handshake_that_stops(stage):
    """The hello was good, the server has answered, and then nothing comes."""
    began = time.monotonic()
    with RawConnection(stage.https_port) as connection:
        connection.send(hello_record(server_name(HOST)))
        assert served(read_answer(connection))
        with contextlib.suppress(ConnectionResetError):
            connection.read_to_end()
    assert 0.7 < time.monotonic() - began < 4


def test_42_a_handshake_that_crawls(stage):
    began = time.monotonic()
    with ManualHandshake(stage.https_port) as client:
        client.send(client.hello())
        client.incoming.write(client.socket.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            client.object.do_handshake()
        data = client.outgoing.read()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in data + bytes(1000):
                client.send(bytes([byte]))
                time.sleep(0.05)
                assert time.monotonic() - began < 15
    assert time.monotonic() - began < 6


def test_42_stalled_hellos_hold_nobody_up(stage):
    """A hundred connections stop at every point of the handshake; others are served meanwhile, and all are ended."""
    held = []
    flight = hello_record(server_name(HOST))
    for index in range(100):
        connection = RawConnection(stage.https_port)
        connection.send(flight[:index % (len(flight) + 1)] if index % 2 else flight)
        held.append(connection)
    began = time.monotonic()
    for _ in range(10):
        assert stage.get_tls().status == 200
    assert time.monotonic() - began < 5
    for connection in held:
        connection.timeout = 5
        with contextlib.suppress(ConnectionResetError):
            connection.read_to_end()
        connection.close()


def test_42_a_client_that_leaves_in_the_middle(stage):
    descriptors = stage.descriptors()
    flight = hello_record(server_name(HOST))
    for count in range(0, len(flight), 9):
        connection = RawConnection(stage.https_port)
        connection.send(flight[:count])
        connection.reset() if count % 2 else connection.close()
    assert stage.get_tls().status == 200
    deadline = time.monotonic() + 5
    while stage.descriptors() > descriptors and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stage.descriptors() <= descriptors


def test_42_random_hellos(stage):
    """A good hello with random damage, many times over: it is served rightly or refused, and the process lives."""
    import random
    dice = random.Random(42)
    good = bytearray(hello_record(server_name(HOST), extension(ALPN, vector(2, vector(1, b"http/1.1")))))
    for _ in range(300):
        data = bytearray(good)
        for _ in range(dice.choice([1, 1, 2, 8])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with RawConnection(stage.https_port, timeout=5) as connection:
            connection.send(bytes(data))
            connection.shutdown_write()
            answer = read_answer(connection)
            assert answer.certificate in (None, certificate("web.test").der), "another host's certificate"
            assert answer.alert != "internal_error", bytes(data).hex()
    assert stage.get_tls().status == 200
    assert refusal(stage.https_port) is None
