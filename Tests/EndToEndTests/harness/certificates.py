"""Certificates as tests need them, made by the `openssl` program: chains, wrong names, expired ones, staples.

Keys are made once in a run and shared, since nothing here depends on a key being of its own; a test that needs another
key says so by `fresh=True`. What is written down is Unix time, PEM text and DER bytes, nothing else.
"""

import atexit
import calendar
import dataclasses
import functools
import itertools
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

DAY = 86_400
NUMBERS = itertools.count(1)
KEY_ARGUMENTS = {
    "rsa": ("RSA", "rsa_keygen_bits:2048"),
    "p256": ("EC", "ec_paramgen_curve:P-256"),
}


def openssl(*arguments, stdin=b"", check=True):
    """Runs the program; its standard output."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0 or not check, f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}"
    return done.stdout


@functools.cache
def workshop():
    """The directory of this run, removed at its end."""
    path = tempfile.mkdtemp(prefix="interlock-certificates-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return pathlib.Path(path)


def new_path(suffix):
    return workshop() / f"{next(NUMBERS)}{suffix}"


def make_key(kind):
    """A new private key, PEM (PKCS#8)."""
    algorithm, option = KEY_ARGUMENTS[kind]
    return openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", option).decode()


@functools.cache
def shared_key(kind, number=0):
    return make_key(kind)


@dataclasses.dataclass
class Certificate:
    """`pem` is the leaf alone, `chain` leaf and intermediates, `key` the private key, `bundle` both in one file."""

    pem: str
    key: str
    chain: str

    @property
    def bundle(self):
        return self.chain + self.key

    @functools.cached_property
    def path(self):
        """A file with the chain and one with the key, for programs that read files."""
        path = new_path(".pem")
        path.write_text(self.chain)
        path.with_suffix(".key").write_text(self.key)
        path.with_suffix(".key").chmod(0o644)
        return path

    @property
    def key_path(self):
        return self.path.with_suffix(".key")

    def _field(self, name):
        text = openssl("x509", "-noout", f"-{name}", stdin=self.pem.encode()).decode()
        return text.partition("=")[2].strip()

    @functools.cached_property
    def serial(self):
        return int(self._field("serial"), 16)

    @functools.cached_property
    def not_after(self):
        return calendar.timegm(time.strptime(self._field("enddate"), "%b %d %H:%M:%S %Y GMT"))

    @functools.cached_property
    def der(self):
        return openssl("x509", "-outform", "DER", stdin=self.pem.encode())

    def secret_parts(self):
        """Texts of which none may be seen outside: the lines of the key, and its bytes in hex."""
        lines = [line for line in self.key.splitlines() if "-----" not in line and len(line) > 16]
        text = openssl("pkey", "-text", "-noout", stdin=self.key.encode()).decode()
        private = re.search(r"(?:priv|privateExponent):\n((?:\s+[0-9a-f:]+\n)+)", text)[1]
        numbers = re.sub(r"[^0-9a-f]", "", private).removeprefix("00")
        return [*lines, numbers[:64]]


class Authority:
    """A certificate authority: issues leaves, intermediates and OCSP staples."""

    def __init__(self, name, parent=None, kind="p256", days=(-30, 3650)):
        self.name, self.parent = name, parent
        self.directory = workshop() / f"authority{next(NUMBERS)}"
        self.directory.mkdir()
        for file in ("index.txt", "index.txt.attr"):
            (self.directory / file).write_text("unique_subject = no\n" if file.endswith("attr") else "")
        self.key = make_key(kind)
        (self.directory / "key.pem").write_text(self.key)
        usage = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n"
        issuer = parent or self
        self.pem = issuer.sign(self.key, name, usage, days, own=self if parent is None else None)
        (self.directory / "certificate.pem").write_text(self.pem)

    @property
    def path(self):
        """PEM file of this authority's own certificate."""
        return self.directory / "certificate.pem"

    def sign(self, key, common_name, extensions, days, own=None):
        """One certificate as PEM. `days`: begin and end, from now; `own`: the authority that signs itself."""
        key_path, request, result = new_path(".key"), new_path(".csr"), new_path(".crt")
        key_path.write_text(key)
        subject = f"/O=Interlock test suite/CN={common_name}" if common_name else "/O=Interlock test suite"
        openssl("req", "-new", "-key", key_path, "-subj", subject, "-out", request, "-config", self._configuration())
        extension_path = new_path(".ext")
        extension_path.write_text(extensions + "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        signer = ["-selfsign"] if own else ["-cert", self.path]
        begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + each * DAY)) for each in days)
        openssl("ca", "-batch", "-notext", "-config", self._configuration(), "-in", request, "-out", result,
                "-keyfile", self.directory / "key.pem", *signer, "-extfile", extension_path,
                "-startdate", begin, "-enddate", end)
        return result.read_text()

    def issue(self, *names, kind="p256", common_name=None, days=(-1, 90), usage="serverAuth", fresh=False, number=0,
              extensions=""):
        """A certificate for those DNS names (none: CN only). `number`: which of the shared keys."""
        key = make_key(kind) if fresh else shared_key(kind, number)
        text = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
        text += f"extendedKeyUsage={usage}\n{extensions}"
        if names:
            text += "subjectAltName=" + ",".join(f"DNS:{each}" for each in names) + "\n"
        common_name = common_name if common_name is not None else (names[0] if names else "")
        pem = self.sign(key, common_name, text, days)
        return Certificate(pem, key, pem + self.intermediates())

    def intermediates(self):
        """What a server must send beside the leaf: every authority below the root."""
        return "" if self.parent is None else self.pem + self.parent.intermediates()

    def staple(self, certificate, days=7):
        """An OCSP answer about that certificate, DER."""
        leaf, question, answer = new_path(".pem"), new_path(".req"), new_path(".der")
        leaf.write_text(certificate.pem)
        openssl("ocsp", "-issuer", self.path, "-cert", leaf, "-no_nonce", "-reqout", question)
        openssl("ocsp", "-index", self.directory / "index.txt", "-CA", self.path, "-rsigner", self.path,
                "-rkey", self.directory / "key.pem", "-reqin", question, "-respout", answer, "-ndays", days)
        return answer.read_bytes()

    def _configuration(self):
        path = self.directory / "openssl.cnf"
        if not path.exists():
            path.write_text(f"""
[req]
distinguished_name = subject
[subject]
[ca]
default_ca = own
[own]
database = {self.directory}/index.txt
new_certs_dir = {self.directory}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
email_in_dn = no
[any]
organizationName = optional
commonName = optional
""")
        return path


@functools.cache
def authority():
    """The root that the tests' clients trust."""
    return Authority("Interlock Test Root")


@functools.cache
def intermediate():
    return Authority("Interlock Test Intermediate", parent=authority())


@functools.cache
def certificate(*names, **options):
    """A certificate of that root, made once for all tests that ask for the same."""
    return authority().issue(*names, **options)
