"""Steady state allocates nothing for a request on a kept connection: counted at malloc, in the real binary.

A preloaded library counts every call of malloc and its kin in a file that the test reads before and after.
"""

import mmap
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

from harness import RawConnection, binary_path, service
from harness.backend import response

COUNTER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static unsigned long nowhere, *count = &nowhere;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ALLOCATION_COUNT");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) count = page;
}
static void one(void) { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }
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
    """(environment for the proxy, a function that tells the calls so far)."""
    if "release" not in pathlib.Path(binary_path()).resolve().parts:
        pytest.skip("only an optimised build promises it: set INTERLOCK_BINARY")
    compiler = shutil.which("cc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler")
    source, library, count = tmp_path / "count.c", tmp_path / "count.so", tmp_path / "count"
    source.write_text(COUNTER)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    count.write_bytes(bytes(4096))
    with open(count, "r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)
    return str(library), str(count), lambda: struct.unpack("<Q", page[:8])[0]


def allocations(interlock, counter, monkeypatch, services, method="GET", body=b"", headers=(), access_log="off"):
    """How many the proxy makes for REQUESTS requests of one connection."""
    library, path, count = counter
    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("ALLOCATION_COUNT", path)
    proxy = interlock(services, environment={"INTERLOCK_ACCESS_LOG": access_log})
    assert count() > 0, "the counter is not in the process"
    with RawConnection(proxy.port) as client:
        def ask(times):
            for _ in range(times):
                client.request(method, "/", headers=headers, body=body)
                answer = client.read_response(method)
                assert (answer.status, answer.body) == (200, BODY)
        ask(300)
        before = count()
        ask(REQUESTS)
        return count() - before


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
