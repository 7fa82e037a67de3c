"""Threat 41: the SNI of a connection is one host, the Host of a request another.

421 where the other host has another TLS policy, is a passthrough host, or is not covered by the certificate shown (the
default certificate excepted); otherwise the request is served. Same rules on kept connections, in any order.
"""

import pytest

from harness import RecordingBackend, authority, certificate, context, secured, service
from rows import message

#: SNI, Host, whether the client shows a certificate, status.
ROWS = [
    # One certificate for both, one policy.
    ("a.pair.test", "b.pair.test", False, 200),
    ("a.pair.test", "A.PAIR.TEST", False, 200),
    ("a.pair.test", "a.pair.test.", False, 200),
    ("a.pair.test", "a.pair.test:8443", False, 200),
    ("A.Pair.Test", "a.pair.test", False, 200),
    # Covered by a wildcard of the certificate, one policy.
    ("x.wild.test", "y.wild.test", False, 200),
    # The route's wildcard goes deeper than a certificate's can.
    ("x.wild.test", "deep.y.wild.test", False, 421),
    ("x.wild.test", "wild.test", False, 421),
    # Not covered by the certificate shown.
    ("a.pair.test", "alone.test", False, 421),
    ("alone.test", "a.pair.test", False, 421),
    # Not covered, and nobody's host at all.
    ("a.pair.test", "nobody.test", False, 421),
    # Covered, and claimed by the wildcard of the route.
    ("x.wild.test", "nobody.wild.test", False, 200),
    # Other policies.
    ("a.pair.test", "strict.pair.test", False, 421),
    ("strict.pair.test", "a.pair.test", False, 421),
    ("a.pair.test", "must.pair.test", False, 421),
    ("a.pair.test", "must.pair.test", True, 421),
    ("a.pair.test", "may.pair.test", True, 421),
    ("must.pair.test", "a.pair.test", True, 421),
    ("must.pair.test", "may.pair.test", True, 421),
    ("must.pair.test", "must.pair.test", True, 200),
    ("must.pair.test", "must2.pair.test", True, 200),
    # Passthrough.
    ("a.pair.test", "through.pair.test", False, 421),
    ("x.wild.test", "through.wild.test", False, 421),
    # The default certificate covers nothing and excuses everything but policies and passthrough.
    ("nobody.test", "plain.test", False, 200),
    (None, "plain.test", False, 200),
    (None, "nobody.test", False, 503),
    (None, "a.pair.test", False, 200),
    (None, "strict.pair.test", False, 421),
    (None, "must.pair.test", True, 421),
    (None, "through.pair.test", False, 421),
    ("plain.test", "must.pair.test", True, 421),
    ("plain.test", "a.pair.test", False, 200),
    ("a.pair.test", "plain.test", False, 421),
]
PAIR = ("a.pair.test", "b.pair.test", "strict.pair.test", "must.pair.test", "must2.pair.test", "may.pair.test",
        "through.pair.test")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    from harness import Interlock
    with RecordingBackend() as task:
        secrets = {"ca.pem": authority().pem, "default.pem": certificate("default.test").bundle}
        pair, wild, alone = certificate(*PAIR), certificate("*.wild.test"), certificate("alone.test")
        demands = {"ssl_client_ca": "ca.pem", "ssl_client_auth": "required"}
        services = [
            secured(secrets, "pair", [task], pair, hosts="a.pair.test,b.pair.test"),
            secured(secrets, "strict", [task], pair, hosts="strict.pair.test", ssl_min_version="1.3"),
            secured(secrets, "must", [task], pair, hosts="must.pair.test,must2.pair.test", **demands),
            secured(secrets, "may", [task], pair, hosts="may.pair.test", **{**demands, "ssl_client_auth": "optional"}),
            secured(secrets, "wild", [task], wild, hosts="*.wild.test,wild.test"),
            secured(secrets, "alone", [task], alone, hosts="alone.test"),
            service("plain", [task], hosts="plain.test"),
            service("through", [task], hosts="through.pair.test,through.wild.test", ssl_passthrough=True),
        ]
        with Interlock(services, directory=tmp_path_factory.mktemp("misdirected"), https=True, secrets=secrets,
                       environment={"INTERLOCK_DEFAULT_CERT": "default.pem"}) as proxy:
            yield proxy, task


def connect(proxy, server_name, shows):
    shown = certificate("me", usage="clientAuth") if shows else None
    return proxy.connect_tls(server_name, tls=context(verify=False, certificate=shown))


@pytest.mark.parametrize("server_name, host, shows, status", ROWS, ids=lambda each: str(each))
def test_41(stage, server_name, host, shows, status):
    proxy, task = stage
    with connect(proxy, server_name, shows) as connection:
        count = len(task.requests)
        connection.send(message(b"GET /asked HTTP/1.1", host=host.encode()))
        answer = connection.read_response()
        assert answer.status == status, answer
        assert len(task.requests) - count == (1 if status == 200 else 0)


@pytest.mark.parametrize("host", ["alone.test", "strict.pair.test", "through.pair.test"])
def test_41_after_a_good_request_and_before_one(stage, host):
    """A refusal concerns its request alone: what is pipelined behind it is answered, or the connection ends."""
    proxy, task = stage
    with connect(proxy, "a.pair.test", False) as connection:
        connection.request(host="a.pair.test")
        assert connection.read_response().status == 200
        count = len(task.requests)
        connection.send(message(b"POST /no HTTP/1.1", b"Content-Length: 5", host=host.encode(), body=b"hello")
                        + message(b"GET /yes HTTP/1.1", host=b"b.pair.test"))
        answer = connection.read_response()
        assert answer.status == 421
        if answer.header("connection", "").lower() == "close":
            connection.expect_end()
            assert len(task.requests) == count
        else:
            assert connection.read_response().status == 200
            assert [each.target for each in task.requests[count:]] == ["/yes"]


def test_41_an_absolute_target_counts_as_the_host(stage):
    proxy, task = stage
    with connect(proxy, "a.pair.test", False) as connection:
        connection.send(message(b"GET http://alone.test/ HTTP/1.1", host=b"a.pair.test"))
        assert connection.read_response().status == 421


def test_41_is_logged_and_counted(stage):
    proxy, _ = stage
    before = proxy.metric("interlock_requests_rejected_total", reason="misdirected")
    with connect(proxy, "a.pair.test", False) as connection:
        connection.request(host="alone.test")
        assert connection.read_response().status == 421
    assert proxy.metric("interlock_requests_rejected_total", reason="misdirected") == before + 1


def test_41_plain_http_knows_no_misdirection(stage):
    proxy, _ = stage
    for host in ("a.pair.test", "alone.test", "plain.test"):
        assert proxy.get(host=host).status == 200
