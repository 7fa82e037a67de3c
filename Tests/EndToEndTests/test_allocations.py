"""Steady state allocates nothing for a request on a kept connection: counted at malloc, in the real binary.

A preloaded library counts every call of malloc and its kin in a file that the test reads before and after.
"""

import pytest

from harness import RawConnection, service
from harness.backend import response
from harness.preload import Counter

COUNTER = r"""
#include <errno.h>
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) { one(); return __libc_malloc(size); }
void *calloc(size_t number, size_t size) { one(); return __libc_calloc(number, size); }
void *realloc(void *old, size_t size) { one(); return __libc_realloc(old, size); }
void *memalign(size_t alignment, size_t size) { one(); return __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { one(); return __libc_memalign(alignment, size); }
int posix_memalign(void **place, size_t alignment, size_t size) {
    one();
    *place = __libc_memalign(alignment, size);
    return *place ? 0 : ENOMEM;
}
"""

REQUESTS = 5000
BODY = b"x" * 1024


@pytest.fixture
def counter(tmp_path):
    return Counter(COUNTER, tmp_path)


def allocations(interlock, counter, monkeypatch, services, method="GET", body=b"", headers=(), access_log="off"):
    """How many the proxy makes for REQUESTS requests of one connection."""
    counter.arm(monkeypatch)
    proxy = interlock(services, environment={"INTERLOCK_ACCESS_LOG": access_log})
    assert counter() > 0, "the counter is not in the process"
    with RawConnection(proxy.port) as client:
        def ask(times):
            for _ in range(times):
                client.request(method, "/", headers=headers, body=body)
                answer = client.read_response(method)
                assert (answer.status, answer.body) == (200, BODY)
        ask(300)
        before = counter()
        ask(REQUESTS)
        return counter() - before


@pytest.mark.load  # sanitizers bring an allocator of their own
@pytest.mark.parametrize("access_log", ["off", "json"])
@pytest.mark.parametrize("method, body", [("GET", b""), ("POST", BODY)], ids=["get", "post"])
def test_a_request_on_a_kept_connection_allocates_nothing(
        interlock, backend, counter, monkeypatch, access_log, method, body):
    task = backend(default=[response(200, BODY)])
    services = [service("web", [task.address], hosts="web.test")]
    made = allocations(interlock, counter, monkeypatch, services, method, body, access_log=access_log)
    # The log's own thread and the control plane may do something now and then: one for a hundred requests is theirs.
    assert made < REQUESTS / 100, f"{made} allocations for {REQUESTS} requests"


@pytest.mark.load
@pytest.mark.parametrize("labels", [
    {"lb": "least_conn"}, {"lb": "random"}, {"lb": "hash:header:x-user"}, {"ip_hash": True},
    {"sticky_session_cookie": "sid"}, {"slow_start": "1h"},
], ids=lambda labels: "-".join(str(each) for each in labels.items()))
def test_no_way_of_picking_a_task_allocates(interlock, backend, counter, monkeypatch, labels):
    """By weight, in two services, behind a route whose conditions are asked first and fail."""
    tasks = [backend(default=[response(200, BODY)]) for _ in range(4)]
    services = [
        service("blue", tasks[:2], hosts="web.test", weight=70, **labels),
        service("green", tasks[2:], hosts="web.test", weight=30, **labels),
        service("preview", [], hosts="web.test", match_headers="X-Preview: green;X-User", match_methods="GET,POST"),
    ]
    headers = [("X-User", "one"), ("Cookie", "a=b"), ("Cookie", "c; sid=0123456789abcdef"), ("X-Preview", "blue")]
    made = allocations(interlock, counter, monkeypatch, services, headers=headers)
    assert made < REQUESTS / 100, f"{made} allocations for {REQUESTS} requests"
