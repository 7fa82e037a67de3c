"""Sessions are resumed by tickets that every worker, and every node with the same key, can read; and by nobody else.

Resumption skips the questions that a handshake asks. So it never leads from one policy to another (threat 43).
"""

import contextlib
import secrets as randomness
import ssl
import time

import pytest

from harness import (
    Authority, Certificate, authority, certificate, context, refusal, s_client, secured, service, wait_until)

VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


def start(interlock, backend, hosts=("web.test",), environment=None, workers=1, secrets=None, labels=None):
    """Every host has a service and a certificate of its own. `labels`: host -> its labels."""
    secrets = dict(secrets or {})
    services = [
        secured(secrets, host.replace(".", "-"), [backend()], certificate(host), hosts=host,
                **(labels or {}).get(host, {}))
        for host in hosts]
    return interlock(services, secrets=secrets, https=True, environment=environment, workers=workers)


def visit(proxy, tls, host="web.test", session=None, server_name=None):
    """One request. (resumed?, the session to resume next time, status)"""
    with proxy.connect_tls(server_name or host, tls=tls, session=session) as connection:
        connection.request(host=host)
        status = connection.read_response().status
        return connection.socket.session_reused, connection.socket.session, status


def only(version, **options):
    return context(minimum=version, maximum=version, **options)


@VERSIONS
@pytest.mark.parametrize("workers", [1, 2])
def test_every_later_connection_is_resumed(interlock, backend, version, workers):
    proxy, tls = start(interlock, backend, workers=workers), only(version)
    resumed, session, _ = visit(proxy, tls)
    assert not resumed and session.has_ticket
    for _ in range(30):
        resumed, newer, status = visit(proxy, tls, session=session)
        assert (resumed, status) == (True, 200)
    # And the ticket of a resumed session is as good.
    assert visit(proxy, tls, session=newer)[0]
    number = "1.2" if version == ssl.TLSVersion.TLSv1_2 else "1.3"
    assert proxy.metric("interlock_tls_handshakes_total", version=number, result="resumed") == 31
    assert proxy.metric("interlock_tls_handshakes_total", version=number, result="full") == 1


def test_one_ticket_is_sent(interlock, backend):
    proxy = start(interlock, backend)
    seen = s_client(proxy.https_port, "-tls1_3", data=b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
    assert seen.count("Post-Handshake New Session Ticket arrived") == 1, seen


@VERSIONS
def test_nodes_with_the_same_key_share_sessions(interlock, backend, version):
    """Two processes: with one key they resume each other's sessions, without one they do not, and serve anyway."""
    key, other = randomness.token_hex(48), randomness.token_hex(48)
    tls = only(version)

    def node(value):
        environment = {"INTERLOCK_TICKET_KEY": "ticket.key"} if value else {}
        return start(interlock, backend, environment=environment, secrets={"ticket.key": value} if value else {})

    first, second, stranger, alone = node(key), node(key), node(other), node(None)
    _, session, _ = visit(first, tls)
    for proxy, expected in ((second, True), (stranger, False), (alone, False), (first, True)):
        resumed, _, status = visit(proxy, tls, session=session)
        assert (resumed, status) == (expected, 200)
    for proxy in (first, second, stranger):
        for text in (key, other):
            assert text not in proxy.log and text not in proxy.admin("/api/routes").text


@VERSIONS
def test_a_ticket_key_that_vanishes_or_spoils_stays_in_force(interlock, backend, version):
    tls = only(version)
    proxy = start(interlock, backend, environment={"INTERLOCK_TICKET_KEY": "ticket.key"},
                  secrets={"ticket.key": randomness.token_hex(48)})
    _, session, _ = visit(proxy, tls)
    for spoil in (lambda: proxy.write_secret("ticket.key", "short"), (proxy.secrets_path / "ticket.key").unlink):
        spoil()
        wait_until(lambda: proxy.metric("interlock_certificate_problem", problem="ticket_key"))
        resumed, session, status = visit(proxy, tls, session=session)
        assert (resumed, status) == (True, 200)
    # Another key is another key.
    proxy.write_secret("ticket.key", randomness.token_hex(48))
    wait_until(lambda: not visit(proxy, tls, session=session)[0])
    assert proxy.metric("interlock_certificate_problems") == 0


@VERSIONS
def test_sessions_outlive_changes_that_do_not_concern_them(interlock, backend, version):
    proxy, tls = start(interlock, backend), only(version)
    _, session, _ = visit(proxy, tls)
    task = backend()
    proxy.write_services([
        service("web-test", [task], hosts="web.test", ssl_cert="web-test.pem"),
        service("new", [task], hosts="new.test")])
    proxy.wait_for_status(200, host="new.test")
    assert visit(proxy, tls, session=session)[0], "a change of the table threw the ticket keys away"
    proxy.write_secret("web-test.pem", authority().issue("web.test").bundle)
    wait_until(lambda: proxy.connect_tls(tls=context()).certificate != certificate("web.test").der)
    assert visit(proxy, tls, session=session)[2] == 200


# Never across policies.


def client(name="me"):
    return certificate(name, usage="clientAuth")


DEMANDS = {"ssl_client_ca": "ca.pem", "ssl_client_auth": "required"}


def trusted():
    return {"ca.pem": authority().pem}


@VERSIONS
def test_43_a_session_without_a_client_certificate_opens_no_host_that_demands_one(interlock, backend, version):
    proxy = start(interlock, backend, ("open.test", "closed.test"), secrets=trusted(), labels={"closed.test": DEMANDS})
    tls = only(version)
    tls.check_hostname = False
    _, session, _ = visit(proxy, tls, "open.test")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        visit(proxy, tls, "closed.test", session=session)
    # By another Host on the connection of the open one: 421.
    assert visit(proxy, tls, "closed.test", session=session, server_name="open.test")[2] == 421


@VERSIONS
def test_43_nor_the_other_way_round(interlock, backend, version):
    """A session with a client certificate is not taken where none is asked for: the hosts' policies differ."""
    proxy = start(interlock, backend, ("open.test", "closed.test"), secrets=trusted(), labels={"closed.test": DEMANDS})
    tls = only(version, certificate=client())
    tls.check_hostname = False
    resumed, session, status = visit(proxy, tls, "closed.test")
    assert (resumed, status) == (False, 200)
    assert visit(proxy, tls, "closed.test", session=session)[0]
    resumed, _, status = visit(proxy, tls, "open.test", session=session)
    assert (resumed, status) == (False, 200)


@VERSIONS
def test_a_client_certificate_is_remembered_by_its_session(interlock, backend, version):
    task, secrets = backend(), trusted()
    proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", **DEMANDS)],
                      secrets=secrets, https=True, workers=2)
    tls = only(version, certificate=client())
    _, session, _ = visit(proxy, tls)
    first = task.last.header("client-cert")
    assert first
    for _ in range(8):
        assert visit(proxy, tls, session=session)[0]
        assert task.last.header("client-cert") == first, "a resumed session forgot who the client is"


def policy_changes():
    other = {"other.pem": authority().pem + certificate("unrelated.test").pem}
    return {
        "a certificate is demanded": ({}, DEMANDS, {}),
        "the minimum is raised": ({}, {"ssl_min_version": "1.3"}, {}),
        "another authority": (DEMANDS, {**DEMANDS, "ssl_client_ca": "other.pem"}, other),
        "optional to required": ({**DEMANDS, "ssl_client_auth": "optional"}, DEMANDS, {}),
    }


@pytest.mark.parametrize("change", ["a certificate is demanded", "the minimum is raised", "another authority",
                                    "optional to required"])
@VERSIONS
def test_43_tickets_end_with_their_policy(interlock, backend, version, change):
    before, after, files = policy_changes()[change]
    task, secrets = backend(), {**trusted(), **files}
    proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", **before)],
                      secrets=secrets, https=True)
    tls = only(version, certificate=client())
    _, session, status = visit(proxy, tls)
    assert status == 200 and visit(proxy, tls, session=session)[0]
    proxy.write_services([
        service("web", [task], hosts="web.test", ssl_cert="web.pem", **after),
        service("mark", [task], hosts="mark.test")])
    proxy.wait_for_status(200, host="mark.test")
    try:
        resumed, _, _ = visit(proxy, tls, session=session)
    except (ssl.SSLError, ConnectionError, AssertionError):
        resumed = False
    assert not resumed


@VERSIONS
def test_the_authority_s_file_changes(interlock, backend, version):
    """Taking an authority out of the file shuts its clients out, resumed or not."""
    gone = Authority("Gone")
    task, secrets = backend(), {"ca.pem": authority().pem + gone.pem}
    proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", **DEMANDS)],
                      secrets=secrets, https=True)
    tls = only(version, certificate=gone.issue("them", usage="clientAuth"))
    _, session, status = visit(proxy, tls)
    assert status == 200
    proxy.write_secret("ca.pem", authority().pem)

    def shut_out():
        with contextlib.suppress(ssl.SSLError, ConnectionError, AssertionError):
            visit(proxy, tls, session=session)
            return False
        return True

    wait_until(shut_out, message="sessions of an authority that was taken out are refused")
    assert refusal(proxy.https_port, tls=tls)
    assert visit(proxy, only(version, certificate=client()))[2] == 200


@VERSIONS
@pytest.mark.parametrize("whose", ["own", "intermediate"])
@pytest.mark.parametrize("demand", ["required", "optional"])
def test_a_session_ends_with_the_client_s_certificate(interlock, backend, version, demand, whose):
    """A ticket says that the certificate was good, and brings the next ticket: it must not outlive it, nor any of the
    certificates that it was good by."""
    task, secrets = backend(), trusted()
    labels = {**DEMANDS, "ssl_client_auth": demand}
    proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", **labels)],
                      secrets=secrets, https=True)
    days = (-1, 4 / 86_400)
    if whose == "own":
        brief = authority().issue("brief", usage="clientAuth", days=days)
        end = brief.not_after
    else:
        inner = Authority("Brief", parent=authority(), days=days)
        brief = inner.issue("brief", usage="clientAuth")
        end = Certificate(inner.pem, "", "").not_after
    tls = only(version, certificate=brief)
    _, session, status = visit(proxy, tls)
    resumed, session, _ = visit(proxy, tls, session=session)
    # The session of a resumed one is no longer of use than the first.
    assert status == 200 and resumed
    assert task.last.header("x-ssl-client-verify") == "SUCCESS"
    time.sleep(max(0, end - time.time()) + 1.5)
    if demand == "required":
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            visit(proxy, tls, session=session)
        assert proxy.metric("interlock_tls_handshake_failures_total", reason="tls_expired_certificate") == 1
    else:
        assert visit(proxy, tls, session=session)[0] is False
        assert task.last.header("x-ssl-client-verify") == "FAILED:tls_expired_certificate"
        assert not task.last.header("client-cert")


@VERSIONS
def test_a_ticket_for_another_host_of_the_same_policy_harms_nobody(interlock, backend, version):
    proxy = start(interlock, backend, ("a.test", "b.test"))
    tls = only(version)
    tls.check_hostname = False
    _, session, _ = visit(proxy, tls, "a.test")
    resumed, _, status = visit(proxy, tls, "b.test", session=session)
    assert status == 200
    # The certificate that counts for 421 is the one of this connection's name, not of the session's.
    assert visit(proxy, tls, "a.test", session=session, server_name="b.test")[2] == 421


@VERSIONS
def test_a_spoilt_ticket_is_a_full_handshake(interlock, backend, version, tmp_path):
    proxy = start(interlock, backend)
    name = "-tls1_2" if version == ssl.TLSVersion.TLSv1_2 else "-tls1_3"
    path = tmp_path / "session"
    request = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"
    s_client(proxy.https_port, name, "-sess_out", path, data=request)
    good = s_client(proxy.https_port, name, "-sess_in", path, data=request)
    assert "Reused, TLS" in good, good
    import base64
    text = path.read_text().splitlines()
    der = bytearray(base64.b64decode("".join(text[1:-1])))
    # Somewhere inside the ticket, which makes up most of the session: every byte of it is authenticated.
    at = der.rfind(b"\xaa\x81") if der.rfind(b"\xaa\x81") > 0 else len(der) // 2
    der[at + 60] ^= 0x40
    body = base64.b64encode(bytes(der)).decode()
    path.write_text("\n".join([text[0], *[body[i:i + 64] for i in range(0, len(body), 64)], text[-1]]) + "\n")
    spoilt = s_client(proxy.https_port, name, "-sess_in", path, data=request)
    assert "New, TLS" in spoilt and "HTTP/1.1 200" in spoilt, spoilt
