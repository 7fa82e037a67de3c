"""What end-to-end tests are written with: the real binary, a raw client and a scripted, recording backend.

Nothing here knows HTTP better than the test does: bytes are sent as given, answers are read strictly by RFC 9112 and
anything else raises, so that a test never passes because a helper was forgiving.
"""

from .backend import Close, Pause, ReadExactly, RecordedRequest, RecordingBackend, Release, Reset, Send, ShutdownWrite
from .backend import chunked, response
from .client import ProtocolViolation, RawConnection, Response, exchange, get, request_bytes
from .certificates import Authority, Certificate, authority, certificate, intermediate
from .engine import ScriptedEngine
from .files import secured, service, write_atomically
from .process import Interlock, StartFailure, binary_path, run_binary
from .tls import ManualHandshake, TLSConnection, context, fragmented, old_context, records, refusal, s_client
from .waiting import free_port, wait_until

__all__ = [
    "Authority",
    "Certificate",
    "Close",
    "Interlock",
    "ManualHandshake",
    "Pause",
    "ProtocolViolation",
    "RawConnection",
    "ReadExactly",
    "RecordedRequest",
    "RecordingBackend",
    "Release",
    "Reset",
    "Response",
    "ScriptedEngine",
    "Send",
    "ShutdownWrite",
    "StartFailure",
    "TLSConnection",
    "authority",
    "binary_path",
    "certificate",
    "chunked",
    "context",
    "exchange",
    "fragmented",
    "free_port",
    "get",
    "intermediate",
    "old_context",
    "records",
    "refusal",
    "request_bytes",
    "response",
    "run_binary",
    "s_client",
    "secured",
    "service",
    "wait_until",
    "write_atomically",
]
