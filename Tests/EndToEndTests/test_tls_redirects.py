"""From http to https and from host to host: `ssl_only`, `hsts`, `redirects`. No loop, and no way around.
"""

import subprocess

import pytest

from harness import authority, certificate, context, secured, service
from rows import message

ACME = "/.well-known/acme-challenge/token"


def start(interlock, backend, environment=None, hosts="web.test", task=None, **labels):
    secrets, task = {}, task or backend()
    shown = certificate(*hosts.split(","))
    proxy = interlock([secured(secrets, "web", [task], shown, hosts=hosts, **labels)], secrets=secrets, https=True,
                      environment=environment)
    return proxy, task


def location(answer):
    return answer.status, answer.header("location")


# ssl_only.


@pytest.mark.parametrize("method, status", [
    ("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("PATCH", 308), ("OPTIONS", 308)])
def test_every_method_is_sent_to_https(interlock, backend, method, status):
    proxy, task = start(interlock, backend, ssl_only=True)
    answer = proxy.get("/a/b?c=d&e=%2f", method=method, body=b"x" if method in ("POST", "PUT", "PATCH") else b"")
    assert location(answer) == (status, "https://web.test/a/b?c=d&e=%2f")
    assert not task.requests
    assert proxy.get_tls("/a/b?c=d", method=method).status == 200


@pytest.mark.parametrize("host, target, port, wanted", [
    ("web.test", "/", None, "https://web.test/"),
    ("WEB.test", "/", None, "https://web.test/"),
    ("web.test:8080", "/x", None, "https://web.test/x"),
    ("web.test.", "/", None, "https://web.test/"),
    ("web.test", "http://web.test/abs?x=1", None, "https://web.test/abs?x=1"),
    ("web.test", "/", "8443", "https://web.test:8443/"),
    ("web.test:80", "/y?z", "8443", "https://web.test:8443/y?z"),
])
def test_where_it_leads(interlock, backend, host, target, port, wanted):
    environment = {"INTERLOCK_HTTPS_PUBLIC_PORT": port} if port else None
    proxy, _ = start(interlock, backend, environment, ssl_only=True)
    status, found = location(proxy.get(target, host=host))
    assert status == 301 and found.lower().replace("web.test.", "web.test") == wanted


@pytest.mark.parametrize("target", [
    "//evil.test/", "/\\evil.test", "/%0d%0aX: y", "/?\"><script>", "/%00"])
def test_a_location_is_only_ever_our_host(interlock, backend, target):
    proxy, _ = start(interlock, backend, ssl_only=True)
    with proxy.connect() as connection:
        connection.request(target=target)
        answer = connection.read_response()
    if answer.status in (301, 308):
        assert answer.header("location").startswith("https://web.test/"), answer
        assert not answer.all("x")
    else:
        assert answer.status == 400


@pytest.mark.parametrize("host", ["evil.test", "web.test@evil.test", "web.test/evil"])
def test_a_foreign_host_gets_no_redirect(interlock, backend, host):
    proxy, _ = start(interlock, backend, ssl_only=True)
    assert proxy.get(host=host).status in (400, 503)


def test_the_wildcard_keeps_the_asked_host(interlock, backend):
    proxy, _ = start(interlock, backend, hosts="*.web.test", ssl_only=True)
    assert location(proxy.get("/x", host="a.web.test")) == (301, "https://a.web.test/x")


def test_acme_challenges_are_answered_without_tls(interlock, backend):
    """Otherwise no certificate could ever be fetched for the host."""
    proxy, task = start(interlock, backend, ssl_only=True)
    assert proxy.get(ACME).status == 200 and task.last.target == ACME
    for target in ("/.well-known/acme-challenge/../../admin", "/.well-known/acme-challenge", "/x" + ACME,
                   "/.well-known/acme-challenge/%2e%2e/%2e%2e/admin", "/.well-known/acme-challenge/..%2f..%2fadmin"):
        count = len(task.requests)
        assert proxy.get(target).status in (301, 400), target
        assert len(task.requests) == count


def test_a_kept_connection_after_the_redirect(interlock, backend):
    proxy, task = start(interlock, backend, ssl_only=True)
    with proxy.connect() as connection:
        connection.send(message(b"POST /a HTTP/1.1", b"Content-Length: 5", body=b"hello")
                        + message(b"GET /b HTTP/1.1"))
        first = connection.read_response()
        assert location(first) == (308, "https://web.test/a")
        if first.header("connection", "").lower() == "close":
            connection.expect_end()
        else:
            assert location(connection.read_response()) == (301, "https://web.test/b")
    with proxy.connect() as connection:
        connection.send(message(b"GET /a HTTP/1.1") + message(b"GET /b HTTP/1.1"))
        for path in "ab":
            assert location(connection.read_response()) == (301, f"https://web.test/{path}")
    assert not task.requests


@pytest.mark.parametrize("trusted", [True, False])
def test_behind_another_terminator_there_is_no_loop(interlock, backend, trusted):
    """A trusted peer that says https has spoken TLS with the client; anybody else who says so has not."""
    proxy, task = start(interlock, backend, {"INTERLOCK_TRUSTED_PROXIES": "127.0.0.0/8"} if trusted else None,
                        ssl_only=True)
    answer = proxy.get(headers={"X-Forwarded-Proto": "https"})
    if trusted:
        assert answer.status == 200 and task.last.header("x-forwarded-proto") == "https"
        assert proxy.get(headers={"X-Forwarded-Proto": "http"}).status == 301
        assert proxy.get().status == 301
    else:
        assert location(answer) == (301, "https://web.test/") and not task.requests


@pytest.mark.parametrize("fields", [
    {"X-Forwarded-Proto": "https"}, {"X_Forwarded_Proto": "https"}, {"X-Forwarded-Ssl": "on"},
    {"Forwarded": "proto=https"}, {"Front-End-Https": "on"}, {"X-Forwarded-Protocol": "ssl"},
    {"X-Url-Scheme": "https"}, {"Connection": "X-Forwarded-Proto", "X-Forwarded-Proto": "https"},
])
def test_nobody_talks_their_way_around(interlock, backend, fields):
    proxy, task = start(interlock, backend, ssl_only=True)
    assert proxy.get(headers=fields).status == 301 and not task.requests


@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_ssl_only_for_all(interlock, backend, value):
    proxy, task = start(interlock, backend, {"INTERLOCK_SSL_ONLY": value})
    assert location(proxy.get("/x")) == (301, "https://web.test/x")
    assert proxy.get(ACME).status == 200
    assert proxy.get(host="nobody.test").status in (301, 503)
    assert proxy.get_tls().status == 200


@pytest.mark.parametrize("by", ["label", "setting"])
def test_ssl_only_with_a_broken_certificate_is_never_plain(interlock, backend, by):
    task = backend()
    labels, environment = ({"ssl_only": True}, {}) if by == "label" else ({}, {"INTERLOCK_SSL_ONLY": "true"})
    proxy = interlock([service("web", [task], hosts="web.test", ssl_cert="missing", **labels)], https=True,
                      environment=environment)
    assert proxy.get().status in (301, 503) and not task.requests


def test_ssl_only_does_not_resolve_downwards(interlock, backend):
    """Two services of one host and path: the younger may not open what the older has closed."""
    secrets, task, other = {}, backend(), backend()
    proxy = interlock([
        secured(secrets, "a", [task], certificate("web.test"), hosts="web.test", ssl_only=True),
        service("b", [other], hosts="web.test"),
    ], secrets=secrets, https=True)
    assert proxy.get().status == 301
    assert {proxy.get_tls().status for _ in range(4)} == {200}
    assert not other.requests


def test_a_passthrough_host_on_the_plain_port(interlock, backend):
    task = backend()
    proxy = interlock([service("through", [task], hosts="through.test", ssl_passthrough=True)], https=True,
                      environment={"INTERLOCK_HTTPS_PUBLIC_PORT": "8443"})
    assert location(proxy.get("/x?y", host="through.test")) == (301, "https://through.test:8443/x?y")
    assert location(proxy.get("/x", host="through.test", method="POST"))[0] == 308
    assert not task.requests


# HSTS.


@pytest.mark.parametrize("label, wanted", [
    ("31536000", "max-age=31536000"),
    ("max-age=300;includeSubDomains", "max-age=300; includeSubDomains"),
    ("max-age=63072000; includesubdomains; preload", "max-age=63072000; includeSubDomains; preload"),
])
def test_hsts_is_said_on_https_only(interlock, backend, label, wanted):
    proxy, task = start(interlock, backend, hsts=label)
    answer = proxy.get_tls()
    assert answer.header("strict-transport-security").replace(" ", "") == wanted.replace(" ", "")
    assert proxy.get().header("strict-transport-security") is None
    # On what the proxy answers itself for that route, too; and a task's own is not doubled.
    from harness import response
    task.play(response(200, b"ok", {"Strict-Transport-Security": "max-age=1"}))
    assert len(proxy.get_tls().all("strict-transport-security")) == 1


def test_hsts_and_ssl_only(interlock, backend):
    proxy, _ = start(interlock, backend, hsts="600", ssl_only=True)
    answer = proxy.get()
    assert answer.status == 301 and not answer.all("strict-transport-security"), "RFC 6797, 7.2"
    assert proxy.get_tls().header("strict-transport-security") == "max-age=600"


# Redirects.


@pytest.mark.parametrize("redirects, asks", [
    ("http://old.test,https://web.test", [("http", "old.test", "https://web.test"), ("https", "old.test", None)]),
    ("https://old.test,https://web.test", [("https", "old.test", "https://web.test"), ("http", "old.test", None)]),
    ("old.test,https://web.test",
     [("http", "old.test", "https://web.test"), ("https", "old.test", "https://web.test")]),
    ("http://old.test,https://web.test;https://old.test,https://web.test/new",
     [("http", "old.test", "https://web.test"), ("https", "old.test", "https://web.test/new")]),
    ("http://old.test,http://other.test:8080/base", [("http", "old.test", "http://other.test:8080/base")]),
    ("http://web.test,https://web.test", [("http", "web.test", "https://web.test"), ("https", "web.test", None)]),
])
def test_redirects(interlock, backend, redirects, asks):
    proxy, task = start(interlock, backend, hosts="web.test,old.test", redirects=redirects)
    for scheme, host, wanted in asks:
        ask = proxy.get if scheme == "http" else proxy.get_tls
        for target in ("/", "/a/b?c=d", "/%41?x=http://y"):
            answer = ask(target, host=host)
            if wanted:
                assert location(answer) == (302, wanted + target), (scheme, host)
            else:
                assert answer.status == 200, (scheme, host)
        for method in ("POST", "HEAD"):
            assert ask("/", host=host, method=method).status == (302 if wanted else 200)
    assert proxy.get("/", host="web.test").status in (200, 302)


@pytest.mark.parametrize("redirects", [
    "http://a.test,http://a.test", "https://a.test,https://a.test",
    "http://a.test,http://b.test;http://b.test,http://a.test",
    "a.test,https://b.test;b.test,http://a.test",
    "a.test,https://b.test;b.test,https://a.test",
])
def test_loops_are_found_and_said(interlock, backend, redirects):
    proxy, task = start(interlock, backend, hosts="a.test,b.test", redirects=redirects)
    shown = proxy.admin("/api/routes").text
    assert "redirects" in shown and ("loop" in shown or "itself" in shown or "circle" in shown), shown
    seen, scheme, host, target = set(), "http", "a.test", "/"
    for _ in range(5):
        answer = (proxy.get if scheme == "http" else proxy.get_tls)(target, host=host)
        if answer.status not in (301, 302, 308):
            break
        scheme, _, rest = answer.header("location").partition("://")
        host, _, path = rest.partition("/")
        target = "/" + path
        assert (scheme, host, target) not in seen, f"a loop: {seen}"
        seen.add((scheme, host, target))
    else:
        raise AssertionError(f"it goes on and on: {seen}")


@pytest.mark.parametrize("redirects", ["nonsense", "http://a.test", "http://a.test,ftp://b.test", "a.test,", ",b.test",
                                       "http://a.test,https://b.test/\r\nx", "http://a b.test,https://b.test"])
def test_a_bad_pair_is_a_diagnostic_and_harms_its_service_alone(interlock, backend, redirects):
    task = backend()
    proxy = interlock([service("bad", [task], hosts="a.test", redirects=redirects),
                       service("good", [task], hosts="good.test")])
    assert proxy.get(host="good.test").status == 200
    assert "redirects" in proxy.admin("/api/routes").text


def test_ssl_only_and_a_redirect_meet(interlock, backend):
    """http to https of the same host, or straight on: at most two steps, and the end is served."""
    proxy, _ = start(interlock, backend, hosts="web.test,www.web.test", ssl_only=True,
                     redirects="https://www.web.test,https://web.test")
    done = subprocess.run(
        ["curl", "-sS", "-L", "--max-redirs", "3", "--cacert", authority().path,
         "--connect-to", f"web.test:443:127.0.0.1:{proxy.https_port}",
         "--connect-to", f"www.web.test:443:127.0.0.1:{proxy.https_port}",
         "--connect-to", f"www.web.test:80:127.0.0.1:{proxy.port}",
         "-w", " %{http_code} %{num_redirects} %{url_effective}", "http://www.web.test/x?y"],
        capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 and done.stdout.startswith("ok 200 "), done
    assert done.stdout.endswith("https://web.test/x?y") and int(done.stdout.split()[2]) <= 2


def test_acme_is_exempt_from_redirects_to_https_of_the_same_host(interlock, backend):
    proxy, _ = start(interlock, backend, hosts="web.test", ssl_only=True)
    assert proxy.get(ACME).status == 200
    assert proxy.get_tls(ACME, tls=context()).status == 200
