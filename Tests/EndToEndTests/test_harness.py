"""The harness against itself: a client that forgives would make every other test worthless."""

import threading

import pytest

from harness import (Close, Pause, ProtocolViolation, RawConnection, RecordingBackend, Release, Reset, Send, chunked,
                     exchange, get, request_bytes, response, wait_until)


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
])
def test_the_client_refuses_what_is_not_http(backend, answer):
    peer = backend()
    peer.play(answer, Close())
    with pytest.raises(ProtocolViolation):
        get(peer.port)


def test_the_client_reads_every_framing(backend):
    peer = backend()
    peer.play(response(200, b"abc"))
    coded = response(200, length=False, headers={"Transfer-Encoding": "chunked"})
    peer.play(coded, chunked(b"ab", b"c", trailers=b"T: v\r\n"))
    peer.play(b"HTTP/1.1 100 Continue\r\n\r\n", response(204, length=False))
    peer.play(response(200, length=False), b"until the end", Close())
    with RawConnection(peer.port) as connection:
        connection.request()
        assert connection.read_response().body == b"abc"
        connection.request()
        answer = connection.read_response()
        assert (answer.body, answer.chunks, answer.trailers) == (b"abc", [b"ab", b"c"], [("T", "v")])
        connection.request()
        answer = connection.read_response()
        assert answer.status == 204 and answer.interim[0].status == 100
        connection.request()
        assert connection.read_response().body == b"until the end"
        connection.expect_end()
    assert len(peer.requests) == 4 and len(peer.connections) == 1


def test_the_backend_records_bytes_exactly(backend):
    peer = backend()
    first = request_bytes("POST", "/x?y", headers=[("a", "1"), ("A", "2")], body=b"\x00\xff")
    body = chunked(b"hello", trailers=b"T: v\r\n")
    second = request_bytes("PUT", headers={"Transfer-Encoding": "chunked"}, body=body)
    with RawConnection(peer.port) as connection:
        connection.send_in_pieces(first + second, size=7)
        assert [connection.read_response().status for _ in range(2)] == [200, 200]
    assert peer.connections[0].received == first + second
    assert peer.requests[0].body == b"\x00\xff" and peer.requests[0].all("a") == ["1", "2"]
    assert peer.requests[1].body == b"hello" and peer.requests[1].trailers == b"T: v\r\n"
    wait_until(lambda: peer.connections[0].ended == "closed")


def test_scripts_reset_pause_and_wait(backend):
    peer, event = backend(), threading.Event()
    peer.play(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Reset())
    with pytest.raises((ConnectionResetError, ProtocolViolation)):
        get(peer.port)
    peer.play(Release(event), Pause(0.01), Send(response(200, b"late"), size=1))
    with RawConnection(peer.port) as connection:
        connection.request()
        connection.expect_silence(0.05)
        event.set()
        assert connection.read_response().body == b"late"


def test_a_backend_that_stopped_refuses_and_can_return():
    with RecordingBackend() as peer:
        peer.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            get(peer.port)
        peer.listen_again()
        assert exchange(peer.port, request_bytes()).status == 200
