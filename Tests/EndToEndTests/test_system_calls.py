"""What a request on kept connections costs in system calls, with and without TLS: counted in the real binary."""

import pytest

from harness import certificate, response, secured, service
from harness.preload import Counter

CALLS = r"""
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t read(int file, void *to, size_t size) { one(); return syscall(SYS_read, file, to, size); }
ssize_t write(int file, const void *from, size_t size) { one(); return syscall(SYS_write, file, from, size); }
ssize_t recv(int file, void *to, size_t size, int flags) {
    one();
    return syscall(SYS_recvfrom, file, to, size, flags, NULL, NULL);
}
ssize_t send(int file, const void *from, size_t size, int flags) {
    one();
    return syscall(SYS_sendto, file, from, size, flags, NULL, 0);
}
ssize_t sendmsg(int file, const struct msghdr *message, int flags) {
    one();
    return syscall(SYS_sendmsg, file, message, flags);
}
"""
REQUESTS = 1000


@pytest.mark.load
@pytest.mark.plain
@pytest.mark.parametrize("over", ["plain", "tls"])
def test_two_reads_and_two_writes(interlock, backend, monkeypatch, tmp_path, over):
    """A request and its answer are each read once and written once; a small TLS record is one read, not two."""
    counter = Counter(CALLS, tmp_path)
    counter.arm(monkeypatch)
    task, secrets = backend(default=[response(200, b"x" * 512)]), {}
    if over == "plain":
        proxy = interlock([service("web", [task], hosts="web.test")], environment={"INTERLOCK_ACCESS_LOG": "off"})
        opened = proxy.connect()
    else:
        proxy = interlock([secured(secrets, "web", [task], certificate("web.test"), hosts="web.test")],
                          secrets=secrets, https=True, environment={"INTERLOCK_ACCESS_LOG": "off"})
        opened = proxy.connect_tls()
    with opened as client:
        def ask(times):
            for _ in range(times):
                client.request()
                assert client.read_response().status == 200
        ask(50)
        before = counter()
        ask(REQUESTS)
        made = (counter() - before) / REQUESTS
    # The control plane looks at files and clocks now and then.
    assert 4 <= made <= 4.2, f"{made} reads and writes for a request"
