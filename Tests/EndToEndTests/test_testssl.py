"""testssl.sh, an auditor that nobody here wrote, on the default policy: no finding above "low"."""

import json
import re
import shutil
import subprocess

import pytest

from harness import authority, intermediate, response, secured

#: Severities of testssl.sh that are findings; LOW is what is left of taste.
FINDINGS = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
#: About testssl.sh itself and the OpenSSL it runs with.
ABOUT_ITSELF = ("engine_problem", "scanTime", "scanProblem")
#: Security headers are the application's to send; here it sends them.
HEADERS = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
           "Content-Security-Policy": "default-src 'self'", "Referrer-Policy": "no-referrer"}


@pytest.mark.load
@pytest.mark.timeout(400)
def test_testssl_finds_nothing_above_low(interlock, backend, tmp_path):
    assert shutil.which("testssl"), "testssl.sh is not installed: scripts/install.sh test"
    secrets, task = {}, backend(default=lambda _: response(200, b"hello", HEADERS))
    issuer = intermediate()
    both = [issuer.issue("web.test", kind=kind, extensions="authorityInfoAccess=OCSP;URI:http://ocsp.test/\n")
            for kind in ("rsa", "p256")]
    services = [secured(secrets, "web", [task], both, hosts="web.test", ssl_only=True,
                        hsts="max-age=31536000;includeSubDomains")]
    secrets |= {"web.pem.ocsp": issuer.staple(both[0]), "web-1.pem.ocsp": issuer.staple(both[1])}
    proxy = interlock(services, secrets=secrets, https=True)
    report = tmp_path / "report.json"
    done = subprocess.run(
        ["testssl", "--quiet", "--warnings", "batch", "--color", "0", "--ip", "127.0.0.1", "--nodns", "none",
         "--add-ca", authority().path, "--jsonfile", report, "-p", "-P", "-f", "-S", "-h", "-U",
         f"web.test:{proxy.https_port}"],
        capture_output=True, text=True, check=False, timeout=390, cwd=tmp_path)
    findings = json.loads(report.read_text())
    said = {each["id"]: each["finding"] for each in findings}
    bad = [f"{each['severity']} {each['id']}: {each['finding']}" for each in findings
           if each["severity"] in FINDINGS and each["id"] not in ABOUT_ITSELF]
    assert not bad, "\n".join([*bad, done.stdout[-6000:]])
    # It has looked at what it was asked to look at, and seen it.
    assert len(findings) > 60, done.stdout
    assert "offered" in said["TLS1_2"] and "offered" in said["TLS1_3"]
    for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert said[name].startswith("not offered"), (name, said[name])
    assert re.search("server", said["cipher_order"]), said["cipher_order"]
    assert said["cert_numbers"] == "2" and "31536000" in said["HSTS_time"], said
    assert sum("passed" in value for name, value in said.items() if name.startswith("cert_chain_of_trust")) == 2
    assert sum("offered" == value for name, value in said.items() if name.startswith("OCSP_stapling")) == 2, said
    for name in ("heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_client_renego", "CRIME_TLS", "SWEET32", "FREAK",
                 "DROWN", "BEAST", "RC4", "LUCKY13"):
        assert said[name].startswith("not vulnerable"), (name, said[name])
