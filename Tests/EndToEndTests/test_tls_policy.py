"""What is offered and what is not: versions, ciphers, groups, ALPN, staples; nothing old, nothing that was ever abused.

The default is Mozilla's "intermediate" recommendation without finite-field Diffie-Hellman.
"""

import re
import ssl
import subprocess

import pytest

from harness import (authority, certificate, context, intermediate, old_context, refusal, response, s_client, secured,
                     wait_until)
from rows import message

TLS10, TLS11 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def start(interlock, backend, shown=None, environment=None, task=None, **labels):
    secrets = {}
    shown = shown or certificate("web.test")
    services = [secured(secrets, "web", [task or backend()], shown, hosts="web.test", **labels)]
    return interlock(services, secrets=secrets, https=True, environment=environment)


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """One proxy of the default policy with an RSA and an ECDSA certificate."""
    from harness import Interlock, RecordingBackend
    with RecordingBackend() as task:
        secrets = {}
        both = [certificate("web.test", kind=kind) for kind in ("rsa", "p256")]
        services = [secured(secrets, "web", [task], both, hosts="web.test")]
        with Interlock(services, directory=tmp_path_factory.mktemp("policy"), https=True, secrets=secrets) as proxy:
            yield proxy


# Versions.


@pytest.mark.parametrize("version", [TLS10, TLS11], ids=["1.0", "1.1"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(standard, version):
    assert refusal(standard.https_port, tls=old_context(version)) == "protocol_version"


@pytest.mark.parametrize("version, name", [(TLS12, "TLSv1.2"), (TLS13, "TLSv1.3")])
def test_versions_that_are_offered(standard, version, name):
    with standard.connect_tls(tls=context(minimum=version, maximum=version)) as connection:
        assert connection.socket.version() == name
        connection.request()
        assert connection.read_response().status == 200


def test_the_newest_is_taken(standard):
    with standard.connect_tls() as connection:
        assert connection.socket.version() == "TLSv1.3"


@pytest.mark.parametrize("how", ["label", "setting"])
def test_a_minimum_of_1_3(interlock, backend, how):
    if how == "label":
        proxy = start(interlock, backend, ssl_min_version="1.3")
    else:
        proxy = start(interlock, backend, environment={"INTERLOCK_TLS_MIN_VERSION": "1.3"})
    assert refusal(proxy.https_port, tls=context(maximum=TLS12)) == "protocol_version"
    assert proxy.get_tls().status == 200


def test_the_minimum_is_by_host(interlock, backend):
    secrets = {}
    services = [
        secured(secrets, "strict", [backend()], certificate("strict.test"), hosts="strict.test", ssl_min_version="1.3"),
        secured(secrets, "plain", [backend()], certificate("plain.test"), hosts="plain.test"),
    ]
    proxy = interlock(services, secrets=secrets, https=True)
    old = context(maximum=TLS12)
    assert proxy.get_tls(host="plain.test", tls=old).status == 200
    assert refusal(proxy.https_port, "strict.test", tls=context(maximum=TLS12)) == "protocol_version"
    assert proxy.get_tls(host="strict.test").status == 200
    # In capitals and with a dot it is the same host, and the same policy.
    for name in ("STRICT.test", "strict.test."):
        assert refusal(proxy.https_port, name, tls=context(verify=False, maximum=TLS12)) == "protocol_version"


def test_a_label_cannot_lower_what_the_setting_asks(interlock, backend):
    proxy = start(interlock, backend, environment={"INTERLOCK_TLS_MIN_VERSION": "1.3"}, ssl_min_version="1.2")
    assert refusal(proxy.https_port, tls=context(maximum=TLS12)) == "protocol_version"


# Ciphers and groups.

WEAK = ["AES128-SHA", "AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256", "ADH-AES128-GCM-SHA256",
        "AECDH-AES128-SHA", "NULL-SHA256", "ECDHE-RSA-CAMELLIA128-SHA256"]
GOOD = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]


def known_ciphers():
    return subprocess.run(["openssl", "ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], capture_output=True, text=True,
                          check=True).stdout.strip().split(":")


@pytest.mark.parametrize("cipher", WEAK)
def test_weak_ciphers_are_refused(standard, cipher):
    if cipher not in known_ciphers():
        pytest.fail(f"this OpenSSL does not know {cipher}")
    tls = context(verify=False, maximum=TLS12, ciphers=f"{cipher}:@SECLEVEL=0")
    assert refusal(standard.https_port, tls=tls) == "handshake_failure"


@pytest.mark.parametrize("cipher", GOOD)
def test_good_ciphers_are_taken(standard, cipher):
    tls = context(maximum=TLS12, ciphers=cipher)
    with standard.connect_tls(tls=tls) as connection:
        assert connection.socket.cipher()[0] == cipher


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_suites_of_1_3(standard, suite):
    assert f"Cipher is {suite}" in s_client(standard.https_port, "-tls1_3", "-ciphersuites", suite)


@pytest.mark.parametrize("suite", ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"])
def test_suites_of_1_3_that_are_not_offered(standard, suite):
    assert "Cipher is (NONE)" in s_client(standard.https_port, "-tls1_3", "-ciphersuites", suite)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_groups(standard, group, version):
    seen = s_client(standard.https_port, version, "-groups", group)
    assert re.search("Server Temp Key: .*" + group.replace("P-256", "prime256v1|ECDH, .*256").replace(
        "P-384", "secp384r1|ECDH, .*384"), seen), seen


def test_ciphers_groups_and_suites_by_setting(interlock, backend):
    proxy = start(interlock, backend, certificate("web.test", kind="rsa"), {
        "INTERLOCK_TLS_CIPHERS": "ECDHE-RSA-AES256-GCM-SHA384",
        "INTERLOCK_TLS_CIPHERSUITES": "TLS_AES_256_GCM_SHA384",
        "INTERLOCK_TLS_GROUPS": "P-384",
    })
    with proxy.connect_tls(tls=context(maximum=TLS12)) as connection:
        assert connection.socket.cipher()[0] == "ECDHE-RSA-AES256-GCM-SHA384"
    with proxy.connect_tls() as connection:
        assert connection.socket.cipher()[0] == "TLS_AES_256_GCM_SHA384"
    assert refusal(proxy.https_port, tls=context(maximum=TLS12, ciphers="ECDHE-RSA-AES128-GCM-SHA256"))
    assert "384" in s_client(proxy.https_port).partition("Server Temp Key")[2][:40]


# ALPN.


@pytest.mark.parametrize("offered, chosen", [
    ((), None), (("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "http/1.1"), (("http/1.1", "http/1.0"), "http/1.1"),
])
def test_alpn(standard, offered, chosen):
    with standard.connect_tls(tls=context(alpn=offered)) as connection:
        assert connection.socket.selected_alpn_protocol() == chosen
        connection.request()
        assert connection.read_response().status == 200


def test_alpn_without_anything_in_common(standard):
    """RFC 7301, 3.2: no_application_protocol; or the extension is ignored. Never a protocol nobody offered."""
    for offered in (("spdy/3",), ("acme-tls/1",)):
        reason = refusal(standard.https_port, tls=context(verify=False, alpn=offered))
        assert reason in ("no_application_protocol", None)


# What is never done.


def test_no_renegotiation(standard):
    """A client that asks for it gets no second handshake, and the proxy does not mind."""
    seen = s_client(standard.https_port, "-tls1_2", data=b"R\n", timeout=5)
    assert "RENEGOTIATING" in seen and re.search("no renegotiation|alert|error|unexpected", seen, re.I), seen
    assert standard.get_tls().status == 200


def test_secure_renegotiation_is_signalled(standard):
    assert "Secure Renegotiation IS supported" in s_client(standard.https_port, "-tls1_2")


def test_no_compression(standard):
    for version in ("-tls1_2", "-tls1_3"):
        assert "Compression: NONE" in s_client(standard.https_port, version, "-comp")


def test_no_early_data(standard, tmp_path):
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(message(b"GET /early HTTP/1.1"))
    first, second = (message(b"GET /%d HTTP/1.1" % number, b"Connection: close") for number in (1, 2))
    seen = s_client(standard.https_port, "-tls1_3", "-sess_out", session, data=first)
    assert session.exists(), seen
    assert "Max Early Data: 0" in seen or "Max Early Data" not in seen, seen
    seen = s_client(standard.https_port, "-tls1_3", "-sess_in", session, "-early_data", early,
                    data=second)
    assert "Early data was accepted" not in seen and "HTTP/1.1 200" in seen, seen


def test_extended_master_secret_and_encrypt_then_mac_need_no_fallback(standard):
    seen = s_client(standard.https_port, "-tls1_2")
    assert "Extended master secret: yes" in seen, seen


def test_fallback_is_noticed(standard):
    """TLS_FALLBACK_SCSV of a client that could do better (RFC 7507)."""
    seen = s_client(standard.https_port, "-tls1_2", "-fallback_scsv")
    assert "inappropriate fallback" in seen, seen


# Staples.


@pytest.mark.parametrize("suffix", ["web.pem.ocsp", "web.ocsp"])
def test_a_staple_beside_the_certificate(interlock, backend, suffix):
    shown = authority().issue("web.test")
    proxy = start(interlock, backend, shown)
    assert "OCSP response: no response sent" in s_client(proxy.https_port, "-status")
    path = proxy.secrets_path / suffix
    path.with_suffix(".new").write_bytes(authority().staple(shown))
    path.with_suffix(".new").replace(path)
    seen = wait_until(lambda: (seen := s_client(proxy.https_port, "-status"))
                      and "OCSP Response Status: successful" in seen and seen)
    assert "Cert Status: good" in seen
    assert "OCSP Response Status: successful" in s_client(proxy.https_port, "-status", "-tls1_2")
    # Nobody gets it who did not ask.
    assert proxy.get_tls().status == 200


def test_a_staple_in_the_directory_of_certificates(interlock, backend, tmp_path):
    shown, directory = authority().issue("web.test", kind="rsa"), tmp_path / "certs"
    directory.mkdir()
    (directory / "web.crt").write_text(shown.chain)
    (directory / "web.key").write_text(shown.key)
    (directory / "web.ocsp").write_bytes(authority().staple(shown))
    secrets = {}
    from harness import service
    proxy = interlock([service("web", [backend()], hosts="web.test")], secrets=secrets, https=True,
                      environment={"INTERLOCK_CERTS_DIR": str(directory)})
    assert "Cert Status: good" in s_client(proxy.https_port, "-status")


@pytest.mark.parametrize("staple", [b"", b"rubbish", b"\x30\x03\x0a\x01\x06"], ids=["empty", "rubbish", "error"])
def test_a_bad_staple_is_not_sent(interlock, backend, staple):
    proxy = start(interlock, backend)
    (proxy.secrets_path / "web.pem.ocsp").write_bytes(staple)
    renewed = authority().issue("web.test")
    proxy.write_secret("web.pem", renewed.bundle)
    wait_until(lambda: proxy.connect_tls(tls=context(verify=False)).serial == renewed.serial)
    seen = s_client(proxy.https_port, "-status")
    assert "no response sent" in seen and "Verify return code: 0" in seen, seen


def test_a_staple_of_another_certificate_is_not_sent(interlock, backend):
    """A client that gets one may break off, and rightly: then it is better sent none."""
    shown, other = authority().issue("web.test"), intermediate().issue("web.test")
    proxy = start(interlock, backend, shown)
    (proxy.secrets_path / "web.pem.ocsp").write_bytes(intermediate().staple(other))
    proxy.write_secret("web.pem", shown.bundle + "\n")
    proxy.write_secret("noise", "x")
    assert proxy.get_tls().status == 200
    seen = s_client(proxy.https_port, "-status")
    assert "Cert Status: good" not in seen or hex(shown.serial)[2:].upper() in seen.upper(), seen


def test_a_server_answers_with_its_scheme_and_port(interlock, backend):
    task = backend(default=lambda _: response(200, b"ok"))
    proxy = start(interlock, backend, task=task, environment={"INTERLOCK_HTTPS_PUBLIC_PORT": "8443"})
    proxy.get_tls()
    assert task.last.header("x-forwarded-proto") == "https"
    assert task.last.header("x-forwarded-port") == str(proxy.https_port)
