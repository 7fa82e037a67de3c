"""`interlock feed-init` and docker/setup.sh: what they make, what they keep, and what others say about it (openssl)."""

import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest

from harness import binary_path, run_binary
from harness.process import ROOT

SETUP = ROOT / "docker" / "setup.sh"
CREDENTIALS = ["feed-controller.pem", "feed-extension.pem", "feed-proxy.pem"]


def feed_init(directory, *words, status=0):
    result = run_binary("feed-init", "--directory", str(directory), *words)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def openssl(*words):
    result = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=20, check=False)
    return result.stdout + result.stderr


def verify(purpose, credential, authority):
    """What openssl says to a peer that shows the first certificate of the file."""
    words = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority, credential]
    return openssl(*words).strip().endswith(": OK")


def parts(path):
    """The certificates and the keys of a file."""
    text = pathlib.Path(path).read_text()
    blocks = re.findall(r"-----BEGIN ([A-Z ]+)-----\n(.*?)-----END", text, re.S)
    return [body for kind, body in blocks if kind == "CERTIFICATE"], [
        body for kind, body in blocks if kind == "PRIVATE KEY"]


def names(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


# feed-init.


def test_makes_credentials_that_openssl_accepts(tmp_path):
    told = feed_init(tmp_path / "made")
    made = tmp_path / "made"
    assert names(made) == ["feed-ca.pem", *CREDENTIALS]
    for path in made.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert str(path) in told
    authority = made / "feed-ca.pem"
    assert verify("sslserver", made / "feed-controller.pem", authority)
    assert verify("sslclient", made / "feed-proxy.pem", authority)
    assert verify("sslclient", made / "feed-extension.pem", authority)
    # Nobody's credential is good for another's part.
    assert not verify("sslclient", made / "feed-controller.pem", authority)
    assert not verify("sslserver", made / "feed-proxy.pem", authority)
    assert not verify("sslserver", authority, authority)
    for name in CREDENTIALS:
        certificates, keys = parts(made / name)
        assert (len(certificates), len(keys)) == (2, 1)
        assert certificates[1] == parts(authority)[0][0]
    text = openssl("x509", "-noout", "-text", "-in", made / "feed-proxy.pem")
    assert "URI:interlock:proxy:\n" in text
    assert "ecdsa-with-SHA256" in text
    assert "docker secret create --label com.docker.lb.reserved=true interlock_feed_proxy " in told
    assert "PRIVATE" not in told


def test_validity(tmp_path):
    feed_init(tmp_path, "--days", "10")

    def ends_within(name, days):
        status = subprocess.run(
            ["openssl", "x509", "-noout", "-checkend", str(days * 86400), "-in", str(tmp_path / name)],
            capture_output=True, timeout=20, check=False)
        return status.returncode == 1

    assert ends_within("feed-proxy.pem", 11)
    assert not ends_within("feed-proxy.pem", 9)
    assert ends_within("feed-ca.pem", 3651)
    assert not ends_within("feed-ca.pem", 3600)


def test_keeps_what_is_there(tmp_path):
    feed_init(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "kept" in feed_init(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # Another cluster later, by the same CA.
    assert "cluster blue" in feed_init(tmp_path, "--clusters", "blue")
    assert verify("sslclient", tmp_path / "feed-proxy-blue.pem", tmp_path / "feed-ca.pem")
    assert "URI:interlock:proxy:blue\n" in openssl(
        "x509", "-noout", "-text", "-in", tmp_path / "feed-proxy-blue.pem")
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content


def test_authority_elsewhere(tmp_path):
    feed_init(tmp_path / "first")
    feed_init(tmp_path / "second", "--authority", str(tmp_path / "first" / "feed-ca.pem"))
    assert names(tmp_path / "second") == CREDENTIALS
    assert verify("sslclient", tmp_path / "second" / "feed-proxy.pem", tmp_path / "first" / "feed-ca.pem")


def test_renewal_keeps_the_authority(tmp_path):
    feed_init(tmp_path, "--clusters", "blue")
    authority = (tmp_path / "feed-ca.pem").read_bytes()
    before = {name: parts(tmp_path / name) for name in names(tmp_path)}
    told = feed_init(tmp_path, "--renew")
    assert (tmp_path / "feed-ca.pem").read_bytes() == authority
    assert "docker service update --secret-rm OLD --secret-add source=interlock_feed_proxy_blue_" in told
    for name in [*CREDENTIALS, "feed-proxy-blue.pem", "feed-extension-blue.pem"]:
        assert parts(tmp_path / name)[1] != before[name][1]


def test_force_begins_again(tmp_path):
    feed_init(tmp_path)
    authority = parts(tmp_path / "feed-ca.pem")
    feed_init(tmp_path, "--force")
    assert parts(tmp_path / "feed-ca.pem") != authority
    assert verify("sslclient", tmp_path / "feed-proxy.pem", tmp_path / "feed-ca.pem")


def test_rotation(tmp_path):
    """In each step, who has the credentials of the step before or after is understood both ways, and nobody else."""
    feed_init(tmp_path)
    steps = [{name: (tmp_path / name).read_text() for name in CREDENTIALS}]
    for step in ("Step 1 of 3", "Step 2 of 3", "Step 3 of 3"):
        assert step in feed_init(tmp_path, "--rotate")
        steps.append({name: (tmp_path / name).read_text() for name in CREDENTIALS})
    assert len(parts(tmp_path / "feed-ca.pem")[0]) == 1

    def trusts(one, other):
        anchors, shown = tmp_path / "anchors", tmp_path / "shown"
        certificates = one["feed-controller.pem"].split("-----END CERTIFICATE-----\n")[1:]
        anchors.write_text("-----END CERTIFICATE-----\n".join(certificates))
        shown.write_text(other["feed-proxy.pem"])
        return verify("sslclient", shown, anchors)

    for index, one in enumerate(steps):
        for other_index, other in enumerate(steps):
            is_mutual = trusts(one, other) and trusts(other, one)
            assert is_mutual == (abs(index - other_index) <= 1), (index, other_index)


def test_a_rotation_waits_for_its_step(tmp_path):
    feed_init(tmp_path)
    old = (tmp_path / "feed-proxy.pem").read_bytes()
    feed_init(tmp_path, "--rotate")
    (tmp_path / "feed-proxy.pem").write_bytes(old)
    authority = (tmp_path / "feed-ca.pem").read_bytes()
    assert "finish that one first" in feed_init(tmp_path, "--rotate", status=2)
    assert (tmp_path / "feed-ca.pem").read_bytes() == authority
    assert "make it anew (--renew)" in feed_init(tmp_path, status=1)
    feed_init(tmp_path, "--renew")
    feed_init(tmp_path, "--rotate")


@pytest.mark.parametrize(
    "words, told",
    [
        (["--days", "0"], "must be a number of days from 1 to"),
        (["--days", "many"], "must be a number of days from 1 to"),
        (["--days"], "--days needs a value"),
        (["--nights", "1"], "unknown option \"--nights\""),
        (["--renew"], "there is no CA in"),
        (["--rotate"], "there is no CA in"),
        (["--renew", "--force"], "three different things"),
        (["--clusters", "a b"], "a cluster cannot be called \"a b\""),
        (["--clusters", "x" * 256], "a cluster cannot be called"),
        (["--directory", "/proc/nowhere"], "cannot make /proc/nowhere"),
        (["--authority", "/dev/null"], "/dev/null: the CA file must hold"),
    ],
)
def test_refuses(tmp_path, words, told):
    assert told in feed_init(tmp_path, *words, status=2)
    assert names(tmp_path) == []


def test_a_lost_authority_is_noticed(tmp_path):
    feed_init(tmp_path)
    (tmp_path / "feed-ca.pem").unlink()
    assert "no CA in" in feed_init(tmp_path, status=2)
    assert names(tmp_path) == CREDENTIALS


def test_leaves_other_files_alone(tmp_path):
    (tmp_path / "feed-proxy.pem").write_text("mine\n")
    assert "is not the credential of that name" in feed_init(tmp_path, status=2)
    assert names(tmp_path) == ["feed-proxy.pem"]
    (tmp_path / "feed-ca.pem").write_text("mine\n")
    assert "must hold the certificate of the feed's CA" in feed_init(tmp_path, status=2)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine\n"}


# docker/setup.sh, with a `docker` that only remembers.

FAKE_DOCKER = '''#!%s
import json, os, pathlib, sys
state = pathlib.Path(os.environ["FAKE_DOCKER"])
words = sys.argv[1:]
with open(state / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
secrets, networks = state / "secrets", state / "networks"
if words[:1] == ["info"]:
    print((state / "swarm").read_text())
elif words[:2] == ["secret", "ls"]:
    print("\\n".join(sorted(path.name for path in secrets.iterdir())))
elif words[:2] == ["secret", "create"]:
    # No label of a service may have it attached to anything.
    if words[2:4] != ["--label", "com.docker.lb.reserved=true"]:
        sys.exit("the secret is not reserved")
    path = secrets / words[4]
    if path.exists() or (state / "broken").exists():
        sys.exit("cannot create the secret")
    path.write_bytes(sys.stdin.buffer.read())
    print("id")
elif words[:2] == ["network", "inspect"]:
    path = networks / words[-1]
    if not path.exists():
        sys.exit("no such network")
    print(path.read_text())
elif words[:2] == ["network", "create"]:
    (networks / words[-1]).write_text("overlay swarm")
elif words[:2] == ["image", "inspect"]:
    pass
elif words[:1] == ["run"]:
    folder = words[words.index("--volume") + 1].split(":")[0]
    image = words.index("interlock:test")
    rest = [folder if word == "/out" else word for word in words[image + 1:]]
    os.execv(os.environ["FAKE_BINARY"], ["interlock", *rest])
else:
    sys.exit(f"unexpected: {words}")
'''


class FakeSwarm:
    def __init__(self, folder):
        self.folder = folder
        for name in ("secrets", "networks", "home", "memory"):
            (folder / name).mkdir()
        (folder / "swarm").write_text("active true")
        docker = folder / "docker"
        docker.write_text(FAKE_DOCKER % sys.executable)
        docker.chmod(0o755)

    def setup(self, *words, status=0, image=False):
        environment = {**os.environ, "FAKE_DOCKER": str(self.folder), "FAKE_BINARY": binary_path(),
                       "DOCKER": str(self.folder / "docker"), "INTERLOCK_IMAGE": "interlock:test",
                       "XDG_RUNTIME_DIR": str(self.folder / "memory")}
        environment.pop("INTERLOCK_BINARY", None)
        if not image:
            environment["INTERLOCK_BINARY"] = binary_path()
        result = subprocess.run(
            [str(SETUP), *words], env=environment, cwd=self.folder / "home", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout + result.stderr

    @property
    def secrets(self):
        return {path.name: path.read_bytes() for path in (self.folder / "secrets").iterdir()}

    @property
    def calls(self):
        return (self.folder / "calls").read_text()


@pytest.fixture
def swarm(tmp_path):
    return FakeSwarm(tmp_path)


SECRETS = [
    "interlock_admin_token", "interlock_feed_controller", "interlock_feed_extension", "interlock_feed_proxy",
    "interlock_proxy_token", "interlock_ticket_key",
]


@pytest.mark.parametrize("image", [False, True])
def test_setup_makes_everything(swarm, image):
    told = swarm.setup(image=image)
    assert sorted(swarm.secrets) == SECRETS
    authority = swarm.folder / "home" / "feed-ca.pem"
    assert names(swarm.folder / "home") == ["feed-ca.pem"]
    assert stat.S_IMODE(authority.stat().st_mode) == 0o600
    assert verify("sslserver", swarm.folder / "secrets" / "interlock_feed_controller", authority)
    assert verify("sslclient", swarm.folder / "secrets" / "interlock_feed_proxy", authority)
    assert (swarm.folder / "networks" / "web").read_text() == "overlay swarm"
    assert "docker stack deploy -c docker/stack.yaml lb" in told
    for token in ("interlock_admin_token", "interlock_proxy_token"):
        assert swarm.secrets[token].decode() in told
    assert len(swarm.secrets["interlock_ticket_key"]) == 64
    # A key on a command line is seen by everybody.
    for secret in swarm.secrets.values():
        assert secret.decode().strip().splitlines()[-1] not in swarm.calls
    assert names(swarm.folder / "memory") == []


def test_setup_can_be_run_again(swarm):
    swarm.setup()
    before = swarm.secrets
    told = swarm.setup()
    assert swarm.secrets == before
    for name in SECRETS:
        assert f"kept secret {name}" in told
    assert "kept network web" in told
    assert before["interlock_admin_token"].decode() not in told


def test_setup_sees_its_secrets_among_many(swarm):
    """Those of others fill more than the buffers between two programs."""
    swarm.setup()
    before = swarm.secrets
    for number in range(3000):
        (swarm.folder / "secrets" / f"zz_of_somebody_else_{number:040}").write_bytes(b"x")
    told = swarm.setup()
    for name in SECRETS:
        assert f"kept secret {name}" in told
    assert {name: swarm.secrets[name] for name in SECRETS} == before


def test_setup_adds_clusters_by_the_same_authority(swarm):
    swarm.setup()
    swarm.setup("--clusters", "blue,green")
    assert {"interlock_feed_proxy_blue", "interlock_feed_extension_green"} <= set(swarm.secrets)
    assert verify(
        "sslclient", swarm.folder / "secrets" / "interlock_feed_proxy_blue", swarm.folder / "home" / "feed-ca.pem")


def test_setup_wants_the_authority_of_what_is_there(swarm):
    swarm.setup()
    (swarm.folder / "home" / "feed-ca.pem").unlink()
    before = swarm.secrets
    assert "--authority" in swarm.setup("--clusters", "blue", status=1)
    assert swarm.secrets == before


@pytest.mark.parametrize(
    "state, told",
    [("active false", "run it on a manager"), ("inactive false", "docker swarm init"), ("pending false", "Swarm")],
)
def test_setup_wants_a_manager(swarm, state, told):
    (swarm.folder / "swarm").write_text(state)
    assert told in swarm.setup(status=1)
    assert swarm.secrets == {} and names(swarm.folder / "home") == []


def test_setup_leaves_no_key_when_it_fails(swarm):
    (swarm.folder / "broken").touch()
    swarm.setup(status=1)
    # The CA is there for the next attempt.
    assert names(swarm.folder / "home") == ["feed-ca.pem"]
    assert names(swarm.folder / "memory") == []
    (swarm.folder / "broken").unlink()
    swarm.setup()
    assert sorted(swarm.secrets) == SECRETS


@pytest.mark.parametrize(
    "words, told", [(["--frobnicate"], "unknown argument"), (["--image"], "needs a value"),
                    (["--clusters", "a b"], "feed-init"), (["--clusters", "$(id)"], "feed-init")])
def test_setup_refuses_words(swarm, words, told):
    assert told in swarm.setup(*words, status=1)
    assert swarm.secrets == {}


def test_setup_refuses_another_network(swarm):
    (swarm.folder / "networks" / "web").write_text("bridge local")
    assert "no overlay of the Swarm" in swarm.setup(status=1)
