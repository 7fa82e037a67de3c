"""Certificates by the thousand, loaded in one swap while traffic goes on: nobody waits for it, nobody fails.

Each of them has a key of its own. `named`: a service each, whose label names the secret. `found`: one service, and a
directory of certificates that are chosen by the names in them.
"""

import random
import shutil
import statistics
import subprocess
import threading
import time

import pytest

from harness import authority, certificate, service, wait_until

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
#: The longest that any request may take while the certificates are loaded. On a quiet machine it is a few milliseconds;
#: two busy cores, and this process beside the proxy, need the rest.
LONGEST_WAIT = 0.5
MANY = [1000, pytest.param(10_000, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def issue(tmp_path_factory):
    """issue(count, directory) writes hostNNNNN.pem for hostNNNNN.many.test, that many, of the tests' authority."""
    if not COMPILER:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("programs") / "certificates"
    source = __file__.replace("test_tls_many.py", "programs/certificates.c")
    subprocess.run([COMPILER, "-O2", "-o", str(program), source, "-lcrypto"], check=True)

    def make(count, directory):
        root = authority()
        subprocess.run(
            [str(program), str(count), str(directory), "many.test", str(root.path), str(root.directory / "key.pem")],
            check=True, timeout=200)

    return make


@pytest.fixture
def figure(capsys):
    """figure(text) shows a measured figure while the tests run."""
    def tell(text):
        with capsys.disabled():
            print(f"\nmeasured: {text}")

    return tell


def name_of(index):
    return f"host{index:05}.many.test"


class Watch:
    """Asks without a pause between two answers, until the block ends: one client that keeps its TLS connection, one
    that makes a new one each time, one without TLS. `times` are seconds, `failures` what was no 200."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.times, self.failures = {"kept": [], "new": [], "plain": []}, []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in self.times]

    def __enter__(self):
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for each in self._threads:
            each.join(30)

    def _run(self, kind):
        connection = None
        try:
            while not self._end.is_set():
                began = time.monotonic()
                if connection is None:
                    connection = self.proxy.connect() if kind == "plain" else self.proxy.connect_tls()
                connection.request()
                answer = connection.read_response()
                self.times[kind].append(time.monotonic() - began)
                if answer.status != 200:
                    self.failures.append(f"{kind}: {answer}")
                if kind == "new":
                    connection.close()
                    connection = None
                time.sleep(0.002)
        except (OSError, AssertionError) as error:
            self.failures.append(f"{kind}: {error!r}")

    def longest(self):
        return max(max(times) for times in self.times.values())

    def told(self):
        return ", ".join(
            f"{kind} {statistics.median(times) * 1000:.1f} ms at most {max(times) * 1000:.0f} ms"
            for kind, times in self.times.items())


def served_serial(proxy, index):
    answer = proxy.get_tls(host=name_of(index))
    assert answer.status == 200, answer
    with proxy.connect_tls(name_of(index)) as connection:
        return connection.serial


@pytest.mark.parametrize("way", ["named", "found"])
@pytest.mark.parametrize("count", MANY)
def test_many_certificates_in_one_swap(interlock, backend, issue, figure, tmp_path, count, way):
    task = backend()
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    issue(count, prepared)
    first = [service("web", [task], hosts="web.test", ssl_cert="web")]
    directory = tmp_path / "certificates"
    if way == "named":
        added = [service(f"s{index}", [task], hosts=name_of(index), ssl_cert=f"host{index:05}.pem")
                 for index in range(count)]
    else:
        directory.mkdir()
        added = [service("many", [task], hosts="*.many.test")]
    proxy = interlock(first, https=True, workers=2, secrets={"web": certificate("web.test").bundle},
                      environment={"INTERLOCK_CERTS_DIR": directory} if way == "found" else {})
    if way == "named":
        for path in prepared.iterdir():
            path.rename(proxy.secrets_path / path.name)
    with Watch(proxy) as quiet:
        wait_until(lambda: len(quiet.times["new"]) > 100, 30)
    resident = proxy.resident_size()

    with Watch(proxy) as watch:
        began = time.monotonic()
        if way == "found":
            for path in prepared.iterdir():
                path.rename(directory / path.name)
        proxy.write_services(first + added)
        wait_until(lambda: proxy.get_tls(host=name_of(count - 1)).status == 200, 120, message="the last is served")
        wait_until(lambda: proxy.get_tls(host=name_of(0)).status == 200, 60, message="and the first")
        took = time.monotonic() - began
        wait_until(lambda: len(watch.times["new"]) > 100, 30)
    each = (proxy.resident_size() - resident) / count / 1024
    figure(f"{count} certificates, {way}: served after {took:.2f} s; {each:.1f} KiB each; "
           f"while loading: {watch.told()}; before: {quiet.told()}")
    assert not watch.failures, watch.failures[:5]
    assert watch.longest() < LONGEST_WAIT, watch.told()
    assert each < 64

    # A handshake verifies that the certificate is the host's own.
    for index in random.Random(count).sample(range(count), 100):
        assert proxy.get_tls(host=name_of(index)).status == 200
    check_renewal(proxy, issue, figure, tmp_path, proxy.secrets_path if way == "named" else directory, count)


def check_renewal(proxy, issue, figure, tmp_path, directory, count):
    """One among all is renewed: the next handshake has it, and again nobody waits."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    issue(1, fresh)
    old = served_serial(proxy, 0)
    with Watch(proxy) as watch:
        began = time.monotonic()
        (fresh / "host00000.pem").rename(directory / "host00000.pem")
        wait_until(lambda: served_serial(proxy, 0) != old, 60, message="the renewed certificate is served")
        took = time.monotonic() - began
        wait_until(lambda: len(watch.times["new"]) > 50, 30)
    figure(f"one of {count} renewed: served after {took:.2f} s; meanwhile: {watch.told()}")
    assert not watch.failures, watch.failures[:5]
    assert watch.longest() < LONGEST_WAIT, watch.told()
