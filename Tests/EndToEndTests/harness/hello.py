"""ClientHellos made by hand: any order, any extension, any lie. RFC 8446 section 4.1.2, RFC 6066 section 3.

A hello without key shares and versions is one of TLS 1.2: what the server answers then comes in clear, so that a test
can read its certificate without any cryptography.
"""

import dataclasses
import os

from .tls import records

ECDHE_GCM = (0xC02B, 0xC02F, 0xC02C, 0xC030)
SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURES, ALPN, PADDING = 0, 10, 11, 13, 16, 21
EXTENDED_MASTER_SECRET, SUPPORTED_VERSIONS, KEY_SHARE, ECH = 23, 43, 51, 0xFE0D
GREASE = (0x0A0A, 0x1A1A, 0xFAFA)
ALERT_NAMES = {
    0: "close_notify", 10: "unexpected_message", 22: "record_overflow", 40: "handshake_failure",
    47: "illegal_parameter", 50: "decode_error", 70: "protocol_version", 71: "insufficient_security",
    80: "internal_error", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
}


def vector(size, data):
    """`data` behind its length in `size` bytes."""
    return len(data).to_bytes(size, "big") + data


def numbers(values):
    return b"".join(each.to_bytes(2, "big") for each in values)


def extension(kind, data):
    return kind.to_bytes(2, "big") + vector(2, data)


def server_name(*names, kind=0):
    """The SNI extension; more than one name is against the rules and that is what it is for."""
    return extension(SERVER_NAME, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def usual_extensions():
    """What makes an ECDHE handshake of TLS 1.2 possible."""
    return [
        extension(GROUPS, vector(2, numbers([29, 23, 24]))),
        extension(POINT_FORMATS, vector(1, b"\x00")),
        extension(SIGNATURES, vector(2, numbers([0x0403, 0x0804, 0x0401, 0x0503, 0x0805]))),
        extension(EXTENDED_MASTER_SECRET, b""),
    ]


def hello(*extensions, version=0x0303, ciphers=ECDHE_GCM, session=b"", compressions=b"\x00", usual=True):
    """The handshake message. `extensions` go before the usual ones."""
    body = version.to_bytes(2, "big") + os.urandom(32) + vector(1, session) + vector(2, numbers(ciphers))
    body += vector(1, compressions)
    body += vector(2, b"".join([*extensions, *(usual_extensions() if usual else [])]))
    return b"\x01" + vector(3, body)


def hello_record(*extensions, **options):
    return records(hello(*extensions, **options))


@dataclasses.dataclass
class Answer:
    """What came back: an alert's name, the leaf certificate (DER) of a TLS 1.2 answer, or just the end."""

    alert: str = None
    certificate: bytes = None
    version: int = None
    ended: str = None


def read_answer(connection):
    """Reads records until the first alert, the end of the server's flight, or the end."""
    answer, handshake = Answer(), b""
    while True:
        try:
            head = connection.read_exactly(5)
            body = connection.read_exactly(int.from_bytes(head[3:5], "big"))
        except ConnectionError:
            answer.ended = "reset"
            return answer
        except AssertionError:
            answer.ended = "closed"
            return answer
        assert head[1] == 3 and head[0] in (20, 21, 22, 23), f"no TLS record: {head!r}"
        if head[0] == 21 and len(body) == 2 and body[0] == 1 and body[1]:
            continue  # a warning; what counts comes after it
        if head[0] == 21 and len(body) == 2:
            answer.alert = ALERT_NAMES.get(body[1], str(body[1]))
            return answer
        if head[0] == 20:
            continue
        if head[0] != 22:
            return answer
        handshake += body
        while len(handshake) >= 4 and len(handshake) >= 4 + int.from_bytes(handshake[1:4], "big"):
            size = int.from_bytes(handshake[1:4], "big")
            message, handshake = handshake[:4 + size], handshake[4 + size:]
            if message[0] == 2:
                answer.version = int.from_bytes(message[4:6], "big")
            if message[0] == 11:
                length = int.from_bytes(message[7:10], "big")
                answer.certificate = message[10:10 + length]
            if message[0] == 14:
                return answer
