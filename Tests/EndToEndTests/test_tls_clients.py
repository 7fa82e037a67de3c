"""Client certificates: demanded, optional, failing closed; what the task is told, and that nobody else can say it."""

import base64
import re
import ssl

import pytest

from harness import Authority, authority, certificate, context, get, intermediate, refusal, secured, service, wait_until
from harness.certificates import openssl
from rows import message

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
IDENTITY = ("Client-Cert", "X-SSL-Client-Verify", "X-SSL-Client-S-DN")


def start(interlock, task, demand="required", ca="ca.pem", files=None, **options):
    secrets = {"ca.pem": authority().pem, **(files or {})}
    services = [
        secured(secrets, "web", [task], certificate("web.test"), hosts="web.test", ssl_client_ca=ca,
                ssl_client_auth=demand),
        secured(secrets, "open", [task], certificate("open.test"), hosts="open.test"),
    ]
    return interlock(services, secrets=secrets, https=True, **options)


def client(issuer=authority, **options):
    return issuer().issue("me", usage="clientAuth", **options)


def told(request):
    return {name: request.header(name) for name in IDENTITY}


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("demand", ["required", "optional"])
@pytest.mark.parametrize("issuer", [authority, intermediate])
def test_a_good_certificate_is_told_to_the_task(interlock, backend, version, demand, issuer):
    task, shown = backend(), client(issuer)
    proxy = start(interlock, task, demand)
    tls = context(certificate=shown, minimum=version, maximum=version)
    with proxy.connect_tls(tls=tls) as connection:
        for _ in range(3):
            connection.request()
            assert connection.read_response().status == 200
            # RFC 9440: a byte sequence of RFC 8941, the leaf alone.
            assert task.last.header("client-cert") == f":{base64.b64encode(shown.der).decode()}:"
            assert task.last.header("x-ssl-client-verify") == "SUCCESS"
            assert re.fullmatch(r"(CN=me,O=Interlock test suite|O=Interlock test suite,CN=me)",
                                task.last.header("x-ssl-client-s-dn"))


@pytest.mark.parametrize("version, alert", [(TLS12, "handshake_failure"), (TLS13, "certificate_required")])
def test_required_and_none_shown(interlock, backend, version, alert):
    task = backend()
    proxy = start(interlock, task)
    assert refusal(proxy.https_port, tls=context(minimum=version, maximum=version)) == alert
    assert not task.requests
    assert proxy.get_tls(host="open.test").status == 200
    assert not any(task.last.all(name) for name in IDENTITY)


def test_optional_and_none_shown(interlock, backend):
    task = backend()
    proxy = start(interlock, task, "optional")
    assert proxy.get_tls().status == 200
    assert told(task.last) == {"Client-Cert": None, "X-SSL-Client-Verify": "NONE", "X-SSL-Client-S-DN": None}


@pytest.mark.parametrize("demand", ["required", "optional"])
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("shown", [
    lambda: Authority("Stranger").issue("me", usage="clientAuth"),
    lambda: authority().issue("me", usage="clientAuth", days=(-10, -1)),
    lambda: authority().issue("me", usage="clientAuth", days=(1, 10)),
    lambda: authority().issue("me", usage="serverAuth"),
], ids=["stranger", "expired", "not-yet", "wrong-usage"])
def test_a_bad_certificate(interlock, backend, demand, version, shown):
    """Refused in the handshake; where it is optional it may also be passed as not verified, but never as good."""
    task = backend()
    proxy = start(interlock, task, demand)
    refused = refusal(proxy.https_port, tls=context(certificate=shown(), minimum=version, maximum=version))
    if demand == "required":
        assert refused and not task.requests
    elif refused is None:
        assert task.last.header("x-ssl-client-verify").startswith("FAILED")
    assert proxy.get_tls(host="open.test").status == 200


def long_named(number):
    """An authority whose name alone has 12 KiB."""
    units = "".join(f"/OU={number:04}{index:04}{'x' * 56}" for index in range(160))
    return openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                   "/dev/null", "-days", "30", "-subj", units).decode()


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("bundle", ["one many times", "long names"])
def test_a_bundle_of_authorities_is_not_too_long(interlock, backend, version, bundle):
    """What clients are told of the authorities has room for 64 KiB of names."""
    task = backend()
    others = "".join(map(long_named, range(6))) if bundle == "long names" else authority().pem * 1200
    proxy = start(interlock, task, files={"ca.pem": others + authority().pem})
    tls = context(certificate=client(), minimum=version, maximum=version)
    assert proxy.get_tls(tls=tls).status == 200
    assert task.last.header("x-ssl-client-verify") == "SUCCESS"
    assert refusal(proxy.https_port, tls=context(minimum=version, maximum=version))


# Failing closed (threat 44).


@pytest.mark.parametrize("demand", ["required", "optional"])
@pytest.mark.parametrize("ca", [None, "", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
                         ids=["missing", "empty", "rubbish", "torn"])
def test_44_without_a_usable_authority_nobody_comes_in(interlock, backend, demand, ca):
    task = backend()
    proxy = start(interlock, task, demand, ca="other.pem", files={} if ca is None else {"other.pem": ca})
    for tls in (context(), context(certificate=client()), context(maximum=TLS12)):
        assert refusal(proxy.https_port, tls=tls)
    # Nor over plain HTTP: who demands a certificate is not served without TLS.
    assert demand == "optional" or proxy.get().status != 200
    assert not task.requests
    assert proxy.get_tls(host="open.test").status == 200
    assert "other.pem" in proxy.admin("/api/certificates").text
    proxy.write_secret("other.pem", authority().pem)
    wait_until(lambda: proxy.get_tls(tls=context(certificate=client())).status == 200)


def test_44_plain_http_of_a_host_that_demands_certificates(interlock, backend):
    """There is no certificate in plain HTTP, so the request is not served there."""
    task = backend()
    proxy = start(interlock, task)
    answer = proxy.get()
    assert answer.status != 200 and not task.requests, answer
    assert proxy.get(host="open.test").status == 200


def test_44_the_authority_s_file_goes_away(interlock, backend):
    """The last good one counts, or nobody comes in; never everybody."""
    task = backend()
    proxy = start(interlock, task)
    assert proxy.get_tls(tls=context(certificate=client())).status == 200
    proxy.write_secret("ca.pem", "")
    proxy.wait_for_log(r"ca\.pem")
    count = len(task.requests)
    for tls in (context(), context(certificate=Authority("S").issue("x", usage="clientAuth"))):
        assert refusal(proxy.https_port, tls=tls)
    assert len(task.requests) == count


def test_a_demand_without_an_authority_is_a_diagnostic(interlock, backend):
    secrets = {}
    proxy = interlock(
        [secured(secrets, "web", [backend()], certificate("web.test"), hosts="web.test", ssl_client_auth="required")],
        secrets=secrets, https=True)
    assert refusal(proxy.https_port)
    assert proxy.get().status != 200
    assert "ssl_client" in proxy.admin("/api/routes").text


# Nobody else can say it.

FORGED = [
    [b"Client-Cert: :Zm9yZ2Vk:"],
    [b"CLIENT-CERT: forged"],
    [b"Client_Cert: forged"],
    [b"Client-Cert-Chain: forged"],
    [b"X-SSL-Client-Verify: SUCCESS", b"X-SSL-Client-S-DN: CN=forged"],
    [b"x-ssl-client-verify: SUCCESS", b"x-ssl-client-s-dn: CN=forged"],
    [b"X_SSL_Client_Verify: SUCCESS", b"X_SSL_CLIENT_S_DN: CN=forged"],
    [b"X-SSL_Client-Verify: SUCCESS", b"X-SSL-Client_S-DN: CN=forged"],
    [b"Connection: Client-Cert, X-SSL-Client-Verify", b"Client-Cert: forged", b"X-SSL-Client-Verify: SUCCESS"],
    [b"Client-Cert: forged", b"Client-Cert: forged again"],
]


@pytest.fixture(scope="module")
def stripping(tmp_path_factory):
    """A proxy that trusts its peers, with a host that demands, one that takes, and one that knows no certificates."""
    from harness import Interlock, RecordingBackend
    with RecordingBackend() as task:
        secrets = {"ca.pem": authority().pem}
        services = [
            secured(secrets, "must", [task], certificate("must.test"), hosts="must.test", ssl_client_ca="ca.pem",
                    ssl_client_auth="required"),
            secured(secrets, "may", [task], certificate("may.test"), hosts="may.test", ssl_client_ca="ca.pem",
                    ssl_client_auth="optional"),
            secured(secrets, "open", [task], certificate("open.test"), hosts="open.test"),
        ]
        with Interlock(services, directory=tmp_path_factory.mktemp("strip"), https=True, secrets=secrets,
                       environment={"INTERLOCK_TRUSTED_PROXIES": "127.0.0.0/8"}) as proxy:
            yield proxy, task


@pytest.mark.parametrize("fields", FORGED, ids=[each[0].decode().replace(": ", "=") for each in FORGED])
@pytest.mark.parametrize("place", ["http", "open", "may", "may-shown", "must"])
def test_44_forged_identities_are_stripped(stripping, place, fields):
    proxy, task = stripping
    host = {"http": "open.test", "open": "open.test", "must": "must.test"}.get(place, "may.test")
    shown = certificate("me", usage="clientAuth") if place in ("must", "may-shown") else None
    connection = proxy.connect() if place == "http" else proxy.connect_tls(host, tls=context(certificate=shown))
    with connection:
        connection.send(message(b"GET / HTTP/1.1", *fields, host=host.encode()))
        answer = connection.read_response()
        if answer.status == 400:
            return  # a refusal is as good: nothing was forwarded
        assert answer.status == 200
    seen = task.last
    head = seen.raw_head.lower()
    assert b"forged" not in head and b"zm9yz2vk" not in head, head
    names = [name for name, _ in seen.headers if name.lower().replace("_", "-") in
             ("client-cert", "client-cert-chain", "x-ssl-client-verify", "x-ssl-client-s-dn")]
    assert not any("_" in name for name in names), names
    if shown:
        assert seen.header("x-ssl-client-verify") == "SUCCESS" and seen.header("client-cert").startswith(":")
    elif place == "may":
        assert seen.header("x-ssl-client-verify") == "NONE" and not seen.all("client-cert")
    else:
        assert not names


def test_a_name_that_breaks_lines(interlock, backend):
    """A subject with line ends, quotes and commas is one harmless header line."""
    task, name = backend(), 'a\\, b"c'
    shown = authority().issue(usage="clientAuth", common_name=name.replace("/", ""))
    proxy = start(interlock, task)
    assert proxy.get_tls(tls=context(certificate=shown)).status == 200
    subject = task.last.header("x-ssl-client-s-dn")
    assert "CN=" in subject and "\n" not in subject
    assert get(proxy.port, host="open.test").status == 200


def test_services_of_one_host_must_agree(interlock, backend):
    """The younger service that asks for less is not routed; the host keeps what was asked first."""
    secrets = {"ca.pem": authority().pem}
    task, other = backend(), backend()
    proxy = interlock([
        secured(secrets, "a", [task], certificate("web.test"), hosts="web.test", ssl_client_ca="ca.pem",
                ssl_client_auth="required"),
        service("b", [other], hosts="web.test", context_root="/open"),
    ], secrets=secrets, https=True)
    assert refusal(proxy.https_port)
    assert proxy.get("/open").status != 200 and not other.requests
    assert proxy.get_tls(tls=context(certificate=client())).status == 200
