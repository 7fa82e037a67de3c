"""Certificates change under way: the next handshake has the new one, and nobody who is connected notices."""

import os
import shutil
import threading
import time

import pytest

from harness import Release, authority, certificate, context, response, secured, service, wait_until


def start(interlock, task, shown, **options):
    secrets = {}
    services = [secured(secrets, "web", [task], shown, hosts="web.test")]
    return interlock(services, secrets=secrets, https=True, **options)


def serial(proxy):
    with proxy.connect_tls(tls=context(verify=False)) as connection:
        return connection.serial


def replace_in_one_step(proxy, text):
    proxy.write_secret("web.pem", text)


def write_over(proxy, text):
    """As an editor or `cp` does: truncate, then write, in two steps that can be seen."""
    with open(proxy.secrets_path / "web.pem", "w", encoding="ascii") as file:
        file.write(text[:700])
        file.flush()
        time.sleep(0.05)
        file.write(text[700:])


def remove_and_make(proxy, text):
    (proxy.secrets_path / "web.pem").unlink()
    time.sleep(0.05)
    (proxy.secrets_path / "web.pem").write_text(text)


@pytest.mark.parametrize("way", [replace_in_one_step, write_over, remove_and_make])
def test_the_next_handshake_has_the_new_one(interlock, backend, way):
    task, event = backend(), threading.Event()
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    proxy = start(interlock, task, old)
    with proxy.connect_tls() as idle, proxy.connect_tls() as busy:
        assert idle.serial == old.serial
        idle.request()
        assert idle.read_response().status == 200
        task.play(Release(event), response(200, b"finished"))
        busy.request(target="/busy")
        task.wait_for_requests(2)
        way(proxy, new.bundle)
        wait_until(lambda: serial(proxy) == new.serial)
        idle.request(target="/after")
        assert idle.read_response().status == 200, "a renewal closed an open connection"
        event.set()
        assert busy.read_response().body == b"finished", "a renewal cut a request in flight"
        busy.request(target="/after")
        assert busy.read_response().status == 200


def test_certificate_and_key_in_two_files(interlock, backend):
    """The two change one after the other: between the two the pair does not match, and the old one is kept."""
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    proxy = interlock(
        [service("web", [backend()], hosts="web.test", ssl_cert="c.pem", ssl_key="k.pem")],
        secrets={"c.pem": old.chain, "k.pem": old.key}, https=True)
    assert serial(proxy) == old.serial
    proxy.write_secret("c.pem", new.chain)
    proxy.wait_for_log("[ck].pem")
    assert serial(proxy) == old.serial
    proxy.write_secret("k.pem", new.key)
    wait_until(lambda: serial(proxy) == new.serial)


def test_symbolic_links_swapped(interlock, backend, tmp_path):
    """The directory as Kubernetes mounts it: every file is a link through a link that is replaced."""
    mount = tmp_path / "mount"
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    for number, shown in enumerate((old, new)):
        (mount / f"..{number}").mkdir(parents=True)
        (mount / f"..{number}" / "web.pem").write_text(shown.bundle)
    os.symlink("..0", mount / "..data")
    os.symlink("..data/web.pem", mount / "web.pem")
    proxy = interlock([service("web", [backend()], hosts="web.test", ssl_cert="web.pem")], https=True,
                      environment={"INTERLOCK_SECRETS_DIR": str(mount)})
    assert serial(proxy) == old.serial
    os.symlink("..1", mount / "..data_tmp")
    os.replace(mount / "..data_tmp", mount / "..data")
    shutil.rmtree(mount / "..0")
    wait_until(lambda: serial(proxy) == new.serial)


def test_certbot_replaces_the_link_itself(interlock, backend, tmp_path):
    live, archive = tmp_path / "live", tmp_path / "archive"
    live.mkdir()
    archive.mkdir()
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    for number, shown in ((1, old), (2, new)):
        (archive / f"web{number}.pem").write_text(shown.bundle)
    os.symlink("../archive/web1.pem", live / "web.pem")
    proxy = interlock([service("web", [backend()], hosts="web.test")], https=True,
                      environment={"INTERLOCK_CERTS_DIR": str(live)})
    assert serial(proxy) == old.serial
    (live / "web.pem").unlink()
    os.symlink("../archive/web2.pem", live / "web.pem")
    wait_until(lambda: serial(proxy) == new.serial)


def test_a_directory_that_is_made_later(interlock, backend, tmp_path):
    directory = tmp_path / "later"
    proxy = interlock([service("web", [backend()], hosts="web.test")], https=True,
                      environment={"INTERLOCK_CERTS_DIR": str(directory)})
    directory.mkdir()
    (directory / "web.pem").write_text(certificate("web.test").bundle)
    wait_until(lambda: proxy.get_tls().status == 200, timeout=20)


def test_sighup_looks_again(interlock, backend):
    import signal
    old, new = authority().issue("web.test"), authority().issue("web.test", fresh=True)
    proxy = start(interlock, backend(), old)
    proxy.write_secret("web.pem", new.bundle)
    proxy.send_signal(signal.SIGHUP)
    wait_until(lambda: serial(proxy) == new.serial)
    assert proxy.process.poll() is None


def test_a_label_names_another_secret(interlock, backend):
    """Docker's secrets cannot change: a new certificate has a new name, and the service's label moves to it."""
    task, old, new = backend(), authority().issue("web.test"), authority().issue("web.test", fresh=True)
    proxy = interlock([service("web", [task], hosts="web.test", ssl_cert="v1")], https=True,
                      secrets={"v1": old.bundle, "v2": new.bundle})
    with proxy.connect_tls() as connection:
        assert connection.serial == old.serial
        proxy.write_services([service("web", [task], hosts="web.test", ssl_cert="v2")])
        wait_until(lambda: serial(proxy) == new.serial)
        connection.request()
        assert connection.read_response().status == 200


def test_a_secret_that_is_attached_later(interlock, backend):
    task = backend()
    proxy = interlock([service("web", [task], hosts="web.test")], https=True)
    proxy.write_services([service("web", [task], hosts="web.test", ssl_cert="late")])
    proxy.wait_for_log("late")
    proxy.write_secret("late", certificate("web.test").bundle)
    wait_until(lambda: proxy.get_tls().status == 200)


@pytest.mark.load
@pytest.mark.parametrize("workers", [1, 2])
def test_renewal_under_load_fails_no_request(interlock, backend, workers):
    """Clients that keep connections and clients that shake hands each time, while the certificate changes."""
    task = backend(default=lambda _: response(200, b"x" * 1000))
    shown = [authority().issue("web.test", number=index) for index in range(3)]
    proxy = start(interlock, task, shown[0], workers=workers)
    stop, wrong, counts, seen = threading.Event(), [], [0, 0], set()

    def kept():
        try:
            with proxy.connect_tls() as connection:
                while not stop.is_set():
                    connection.request()
                    assert connection.read_response().body == b"x" * 1000
                    counts[0] += 1
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(repr(error))

    def fresh():
        tls = context()
        try:
            while not stop.is_set():
                with proxy.connect_tls(tls=tls) as connection:
                    connection.request()
                    assert connection.read_response().body == b"x" * 1000
                    seen.add(connection.certificate)
                    counts[1] += 1
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(repr(error))

    clients = [threading.Thread(target=each) for each in (kept, kept, fresh, fresh)]
    for each in clients:
        each.start()
    try:
        for turn in range(10):
            replace_in_one_step(proxy, shown[(turn + 1) % 3].bundle)
            wait_until(lambda: serial(proxy) == shown[(turn + 1) % 3].serial)
    finally:
        stop.set()
        for each in clients:
            each.join(20)
    assert not wrong, wrong
    assert min(counts) > 20 and seen == {each.der for each in shown}, (counts, len(seen))
    print(f"{counts[0]} requests on kept connections, {counts[1]} handshakes, 10 renewals")


@pytest.mark.load  # sanitizers keep what is freed for a while
def test_many_renewals_leave_nothing_behind(interlock, backend):
    """Memory and descriptors after a hundred renewals are what they were."""
    task = backend()
    shown = [authority().issue("web.test", number=index) for index in range(2)]
    proxy = start(interlock, task, shown[0])

    def renew(turns):
        for turn in range(turns):
            replace_in_one_step(proxy, shown[(turn + 1) % 2].bundle)
            wait_until(lambda: serial(proxy) == shown[(turn + 1) % 2].serial)

    renew(20)
    descriptors, resident = proxy.descriptors(), proxy.resident_size()
    renew(60)
    wait_until(lambda: proxy.descriptors() <= descriptors + 2)
    assert proxy.resident_size() - resident < 4 << 20
