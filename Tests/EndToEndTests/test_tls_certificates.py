"""Which certificate a client sees: by label, by SNI, by its own names, by default; and what happens when it is bad.

The rule behind every row: a host is served with its own certificate, or its handshakes are refused. Never another
host's certificate.
"""

import json
import os
import ssl

import pytest

from harness import (authority, certificate, context, intermediate, refusal, response, s_client, secured, service,
                     wait_until)


def start(interlock, services, secrets=None, environment=None, **options):
    return interlock(services, secrets=secrets, https=True, environment=environment, **options)


def one(interlock, backend, shown=None, environment=None, **labels):
    """A proxy with web.test behind one certificate."""
    secrets = {}
    services = [secured(secrets, "web", [backend()], shown or certificate("web.test"), hosts="web.test", **labels)]
    return start(interlock, services, secrets, environment)


def shown_to(proxy, server_name, tls=None):
    """The serial number of the certificate that a client with that SNI gets."""
    with proxy.connect_tls(server_name, tls=tls or context(verify=False)) as connection:
        return connection.serial


# Where a certificate comes from.


def test_a_certificate_and_a_key_by_label(interlock, backend):
    task, shown = backend(default=lambda _: response(200, b"hello")), certificate("web.test")
    proxy = start(
        interlock, [service("web", [task], hosts="web.test", ssl_cert="web.crt", ssl_key="web.key")],
        {"web.crt": shown.chain, "web.key": shown.key})
    answer = proxy.get_tls("/a?b=c")
    assert (answer.status, answer.body) == (200, b"hello")
    assert task.last.line == "GET /a?b=c HTTP/1.1" and task.last.header("host") == "web.test"
    assert (task.last.header("x-forwarded-proto"), task.last.header("x-forwarded-port")) == (
        "https", str(proxy.https_port))
    assert shown_to(proxy, "web.test") == shown.serial
    # HTTP stays open beside it.
    assert proxy.get().status == 200 and task.last.header("x-forwarded-proto") == "http"


@pytest.mark.parametrize("text", ["chain then key", "key then chain"])
def test_one_file_holds_both(interlock, backend, text):
    shown = intermediate().issue("web.test")
    pem = shown.chain + shown.key if text == "chain then key" else shown.key + shown.chain
    proxy = start(interlock, [service("web", [backend()], hosts="web.test", ssl_cert="both")], {"both": pem})
    # The client knows the root only, so the intermediate must have been sent.
    assert proxy.get_tls().status == 200


def test_intermediates_are_sent_in_order(interlock, backend):
    shown = intermediate().issue("web.test")
    proxy = one(interlock, backend, shown)
    seen = s_client(proxy.https_port, "-showcerts")
    assert seen.count("BEGIN CERTIFICATE") == 2 and "Verify return code: 0 (ok)" in seen, seen


@pytest.mark.parametrize("names, taken", [
    (("cert", "shop_cert"), "cert"), (("shop_cert",), "shop_cert"), (("cert",), "cert"), (("other_cert",), None)])
def test_the_stack_prefixes_its_secrets(interlock, backend, names, taken):
    made = {name: authority().issue("web.test", number=index) for index, name in enumerate(names)}
    proxy = start(
        interlock,
        [service("shop_web", [backend()], {"com.docker.stack.namespace": "shop"}, hosts="web.test", ssl_cert="cert")],
        {name: each.bundle for name, each in made.items()})
    if taken is None:
        assert refusal(proxy.https_port) == "handshake_failure"
    else:
        assert shown_to(proxy, "web.test") == made[taken].serial


def test_rsa_and_ecdsa_side_by_side(interlock, backend):
    secrets, task = {}, backend()
    rsa, ec = certificate("web.test", kind="rsa"), certificate("web.test")
    proxy = start(interlock, [secured(secrets, "web", [task], (rsa, ec), hosts="web.test")], secrets)
    for version, arguments, wanted in [
        ("TLSv1.2", ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], rsa),
        ("TLSv1.2", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], ec),
        ("TLSv1.3", ["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], rsa),
        ("TLSv1.3", ["-tls1_3", "-sigalgs", "ECDSA+SHA256"], ec),
        ("TLSv1.3", ["-tls1_3"], ec),
        ("TLSv1.2", ["-tls1_2"], ec),
    ]:
        seen = s_client(proxy.https_port, *arguments)
        assert wanted.pem.strip() in seen and version in seen, (arguments, seen)


def test_certificates_and_keys_in_lists(interlock, backend):
    rsa, ec = certificate("web.test", kind="rsa"), certificate("web.test")
    proxy = start(
        interlock,
        [service("web", [backend()], hosts="web.test", ssl_cert="rsa.crt, ec.crt", ssl_key="rsa.key,ec.key")],
        {"rsa.crt": rsa.chain, "rsa.key": rsa.key, "ec.crt": ec.chain, "ec.key": ec.key})
    for algorithm, wanted in (("RSA-PSS+SHA256", rsa), ("ECDSA+SHA256", ec)):
        assert wanted.pem.strip() in s_client(proxy.https_port, "-sigalgs", algorithm)


def test_one_of_two_is_bad(interlock, backend):
    """The other one serves whoever can use it; who cannot is refused."""
    rsa = certificate("web.test", kind="rsa")
    proxy = start(interlock, [service("web", [backend()], hosts="web.test", ssl_cert="rsa.pem,ec.pem")],
                  {"rsa.pem": rsa.bundle, "ec.pem": "torn"})
    assert shown_to(proxy, "web.test") == rsa.serial
    assert "ec.pem" in tls_findings(proxy)


def test_the_oldest_service_decides_for_the_host(interlock, backend):
    secrets, task = {}, backend()
    first, second = authority().issue("web.test"), authority().issue("web.test")
    services = [secured(secrets, "a", [task], first, hosts="web.test"),
                secured(secrets, "b", [task], second, hosts="web.test", context_root="/b"),
                service("c", [task], hosts="web.test", context_root="/c")]
    proxy = start(interlock, services, secrets)
    assert {shown_to(proxy, "web.test") for _ in range(5)} == {first.serial}
    assert [proxy.get_tls(path).status for path in ("/", "/b", "/c")] == [200] * 3
    assert "ssl_cert" in proxy.admin("/api/routes").text, "no warning"


@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_a_key_of_one_kind_serves_both_versions(interlock, backend, kind):
    proxy = one(interlock, backend, certificate("web.test", kind=kind))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert proxy.get_tls(tls=context(minimum=version, maximum=version)).status == 200


# Which one by SNI. The same matcher as for hosts: exact, then the longest suffix.

PLACES = ("a.test", "*.a.test", "*.b.a.test", "x.b.a.test", "other.test")
CHOICES = [
    ("a.test", "a.test"),
    ("A.Test", "a.test"),
    ("a.test.", "a.test"),
    ("A.TEST.", "a.test"),
    ("www.a.test", "*.a.test"),
    ("WWW.A.TEST", "*.a.test"),
    ("deep.down.a.test", "*.a.test"),
    ("b.a.test", "*.a.test"),
    ("www.b.a.test", "*.b.a.test"),
    ("x.b.a.test", "x.b.a.test"),
    ("y.x.b.a.test", "*.b.a.test"),
    ("other.test", "other.test"),
    ("www.other.test", None),
    ("aa.test", None),
    ("test", None),
    ("nobody.example", None),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A proxy with one certificate for each of PLACES."""
    from harness import Interlock, RecordingBackend
    with RecordingBackend() as task:
        secrets = {}
        services = [
            secured(secrets, f"s{index}", [task], certificate(host), hosts=host) for index, host in enumerate(PLACES)]
        with Interlock(services, directory=tmp_path_factory.mktemp("places"), https=True, secrets=secrets) as proxy:
            yield proxy


@pytest.mark.parametrize("server_name, wanted", CHOICES, ids=[name for name, _ in CHOICES])
def test_the_server_name_chooses(places, server_name, wanted):
    if wanted is None:
        assert refusal(places.https_port, server_name) == "unrecognized_name"
    else:
        assert shown_to(places, server_name) == certificate(wanted).serial
        assert places.get_tls(host=server_name, tls=context(verify=False)).status == 200


def test_no_server_name_and_no_default(places):
    seen = s_client(places.https_port, server_name=None)
    assert "alert missing extension" in seen or "alert number 109" in seen, seen


# By its own names, from the directory of certificates.


def test_the_directory_of_certificates(interlock, backend, tmp_path):
    directory = tmp_path / "certs"
    directory.mkdir()
    both, wild, apart = certificate("web.test"), certificate("*.web.test"), certificate("apart.test", "two.test")
    (directory / "both.pem").write_text(both.bundle)
    (directory / "wild.pem").write_text(wild.bundle)
    (directory / "apart.crt").write_text(apart.chain)
    (directory / "apart.key").write_text(apart.key)
    (directory / "notes.txt").write_text("not a certificate")
    proxy = start(
        interlock, [service("web", [backend()], hosts="web.test,*.web.test,apart.test,two.test,none.test")],
        environment={"INTERLOCK_CERTS_DIR": str(directory)})
    for host, wanted in [("web.test", both), ("www.web.test", wild), ("apart.test", apart), ("two.test", apart)]:
        assert shown_to(proxy, host) == wanted.serial, host
        assert proxy.get_tls(host=host).status == 200
    # A certificate's wildcard is one label deep, whatever a route's is.
    assert refusal(proxy.https_port, "a.b.web.test") == "unrecognized_name"
    assert refusal(proxy.https_port, "none.test") == "unrecognized_name"
    # One that is added later is found by itself.
    (directory / "none.pem").write_text(certificate("none.test").bundle)
    wait_until(lambda: shown_to(proxy, "none.test") == certificate("none.test").serial)


@pytest.mark.parametrize("fault", ["emptied", "a pipe", "a dead link", "the directory is gone"])
def test_the_directory_keeps_what_cannot_be_read(interlock, backend, tmp_path, fault):
    """Only a file that is taken away ends its certificate."""
    directory = tmp_path / "certs"
    directory.mkdir()
    for host in ("web.test", "other.test"):
        (directory / f"{host}.pem").write_text(certificate(host).bundle)
    proxy = start(interlock, [service("web", [backend()], hosts="web.test,other.test")],
                  environment={"INTERLOCK_CERTS_DIR": str(directory)})
    path = directory / "web.test.pem"
    if fault == "emptied":
        path.write_text("")
    elif fault == "the directory is gone":
        directory.rename(tmp_path / "elsewhere")
    else:
        new = directory / "new"
        os.mkfifo(new) if fault == "a pipe" else new.symlink_to("nowhere")
        new.rename(path)
    proxy.wait_for_log("secret not to be had")
    for _ in range(3):
        assert shown_to(proxy, "web.test") == certificate("web.test").serial
        assert shown_to(proxy, "other.test") == certificate("other.test").serial
    assert proxy.metric("interlock_certificate_problems") == 1
    if fault == "the directory is gone":
        return
    path.unlink()
    wait_until(lambda: refusal(proxy.https_port, "web.test") == "unrecognized_name")
    assert shown_to(proxy, "other.test") == certificate("other.test").serial


def test_a_label_goes_before_the_directory(interlock, backend, tmp_path):
    directory = tmp_path / "certs"
    directory.mkdir()
    mine, other = authority().issue("web.test"), authority().issue("web.test")
    (directory / "web.pem").write_text(other.bundle)
    secrets = {}
    proxy = start(interlock, [secured(secrets, "web", [backend()], mine, hosts="web.test")], secrets,
                  {"INTERLOCK_CERTS_DIR": str(directory)})
    assert shown_to(proxy, "web.test") == mine.serial


# The default.


@pytest.mark.parametrize("where", ["secret", "path"])
def test_the_default_certificate(interlock, backend, tmp_path, where):
    default, secrets = certificate("default.test"), {}
    services = [
        secured(secrets, "web", [backend()], certificate("web.test"), hosts="web.test"),
        service("plain", [backend()], hosts="plain.test"),
        service("broken", [backend()], hosts="broken.test", ssl_cert="missing"),
    ]
    if where == "secret":
        secrets |= {"main.crt": default.chain, "main.key": default.key}
        names = ("main.crt", "main.key")
    else:
        (tmp_path / "main.crt").write_text(default.chain)
        (tmp_path / "main.key").write_text(default.key)
        names = (tmp_path / "main.crt", tmp_path / "main.key")
    proxy = start(interlock, services, secrets,
                  {"INTERLOCK_DEFAULT_CERT": names[0], "INTERLOCK_DEFAULT_KEY": names[1]})
    assert shown_to(proxy, "web.test") == certificate("web.test").serial
    for name in ("plain.test", "nobody.test", None):
        assert shown_to(proxy, name) == default.serial, name
    assert proxy.get_tls(host="plain.test", tls=context(verify=False)).status == 200
    # A host whose own certificate is missing does not fall back to it.
    assert refusal(proxy.https_port, "broken.test") == "handshake_failure"
    # A connection without a name may ask for any host that demands nothing more.
    with proxy.connect_tls(None, tls=context(verify=False)) as connection:
        for host, status in (("plain.test", 200), ("nobody.test", 503)):
            connection.request(host=host)
            assert connection.read_response().status == status


def test_a_default_in_one_file(interlock, backend):
    default = certificate("default.test")
    proxy = start(interlock, [service("web", [backend()], hosts="web.test")], {"all": default.bundle},
                  {"INTERLOCK_DEFAULT_CERT": "all"})
    assert shown_to(proxy, "web.test") == default.serial


def test_without_any_certificate_it_still_listens(interlock, backend):
    proxy = start(interlock, [service("web", [backend()], hosts="web.test")])
    assert refusal(proxy.https_port) == "unrecognized_name"
    assert proxy.get().status == 200


# Bad ones.


def good():
    return certificate("web.test")


def foreign_key():
    return certificate("x.test", fresh=True).key


BAD = {
    "missing": lambda: {},
    "empty": lambda: {"cert": ""},
    "not-pem": lambda: {"cert": "hello"},
    "torn": lambda: {"cert": good().bundle[:300]},
    "no-key": lambda: {"cert": good().chain},
    "no-certificate": lambda: {"cert": good().key},
    "other-key": lambda: {"cert": good().chain + foreign_key()},
    "spoilt-base64": lambda: {"cert": good().bundle.replace("M", "!")},
}


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_certificate_that_cannot_be_used(interlock, backend, bad):
    """The handshake is refused, the operator is told by name, other hosts are served, and it heals by itself."""
    secrets = {"other.pem": certificate("other.test").bundle, **BAD[bad]()}
    proxy = start(interlock, [
        service("web", [backend()], hosts="web.test", ssl_cert="cert"),
        service("other", [backend()], hosts="other.test", ssl_cert="other.pem"),
    ], secrets)
    assert refusal(proxy.https_port, "web.test") == "handshake_failure"
    assert proxy.get_tls(host="other.test").status == 200
    assert proxy.get().status == 200, "plain HTTP of a host that does not ask for ssl_only"
    told = wait_until(lambda: '"cert"' in tls_findings(proxy) and tls_findings(proxy))
    assert "web.test" in told, told
    assert proxy.metric("interlock_certificate_problem", host="web.test") == 1
    assert not proxy.metric("interlock_certificate_problem", host="other.test")
    proxy.wait_for_log(r'"cert"')
    proxy.write_secret("cert", good().bundle)
    wait_until(lambda: refusal(proxy.https_port, "web.test") is None, message="the mended certificate is used")
    assert shown_to(proxy, "web.test") == good().serial


def tls_findings(proxy):
    """What the API says about certificates, as text."""
    answer = proxy.admin("/api/certificates")
    assert answer.status == 200, answer
    return answer.text


@pytest.mark.parametrize("bad", ["", "torn", None, "key"], ids=["empty", "torn", "removed", "other-key"])
def test_the_last_good_one_is_kept(interlock, backend, bad):
    proxy = one(interlock, backend, good())
    assert shown_to(proxy, "web.test") == good().serial
    if bad is None:
        (proxy.secrets_path / "web.pem").unlink()
    else:
        proxy.write_secret("web.pem", {"": "", "torn": good().bundle[:400],
                                       "key": good().chain + foreign_key()}[bad])
    proxy.wait_for_log(r"web\.pem")
    for _ in range(5):
        assert shown_to(proxy, "web.test") == good().serial
    assert proxy.get_tls().status == 200
    renewed = authority().issue("web.test")
    proxy.write_secret("web.pem", renewed.bundle)
    wait_until(lambda: shown_to(proxy, "web.test") == renewed.serial)


def test_a_label_may_come_before_its_secret(interlock, backend):
    """A host moves to another secret: until that is there it keeps what it had, and a new host gets nothing of it."""
    proxy = one(interlock, backend, good())
    assert shown_to(proxy, "web.test") == good().serial
    task, renewed = backend(), authority().issue("web.test")
    proxy.write_services([service("web", [task], hosts="web.test,new.test", ssl_cert="next.pem")])
    wait_until(lambda: refusal(proxy.https_port, "new.test") == "handshake_failure")
    for _ in range(5):
        assert shown_to(proxy, "web.test") == good().serial
    assert proxy.get_tls().status == 200
    problems = json.loads(tls_findings(proxy))["problems"]
    assert {(each["host"], each["refused"]) for each in problems} == {("web.test", False), ("new.test", True)}
    proxy.write_secret("next.pem", renewed.bundle)
    wait_until(lambda: shown_to(proxy, "web.test") == renewed.serial)
    problems = json.loads(tls_findings(proxy))["problems"]
    assert [(each["host"], each["problem"]) for each in problems] == [("new.test", "wrong_name")]


@pytest.mark.parametrize("shown, word", [
    (lambda: certificate("web.test", days=(-10, -1)), "expired"),
    (lambda: certificate("other.test"), "name"),
    (lambda: certificate(common_name="web.test"), "name"),
    (lambda: certificate("web.test", days=(1, 10)), "valid"),
], ids=["expired", "wrong-name", "common-name-only", "not-yet-valid"])
def test_doubtful_certificates_are_served_with_a_warning(interlock, backend, shown, word):
    proxy = one(interlock, backend, shown())
    assert shown_to(proxy, "web.test") == shown().serial
    assert proxy.get_tls(tls=context(verify=False)).status == 200
    proxy.wait_for_log(rf'"level":"warning".*{word}')
    wait_until(lambda: proxy.metric("interlock_certificate_problems"))
    assert proxy.metric("interlock_certificate_problem", host="web.test") == 1
    assert "web.pem" in tls_findings(proxy)


def test_expiry_is_a_metric(interlock, backend):
    proxy = one(interlock, backend, good())
    name = "interlock_certificate_not_after_timestamp_seconds"
    assert proxy.metric(name, certificate="web.pem") == good().not_after, sorted(proxy.metrics())
    assert proxy.metric("interlock_certificates") == 1 and proxy.metric("interlock_certificate_problems") == 0
    renewed = authority().issue("web.test", days=(-1, 200))
    proxy.write_secret("web.pem", renewed.bundle)
    wait_until(lambda: proxy.metric(name, certificate="web.pem") == renewed.not_after)
    shown = json.loads(tls_findings(proxy))
    assert "web.test" in json.dumps(shown), shown


def test_the_name_in_a_log_is_harmless(interlock, backend):
    """SNI is what a stranger sends: no line of the log may be made by it."""
    proxy = one(interlock, backend, environment={"INTERLOCK_LOG_LEVEL": "debug"})
    refusal(proxy.https_port, "evil-\"}{.test")
    proxy.stop()
    assert all(line.startswith("{") for line in proxy.log.splitlines())
