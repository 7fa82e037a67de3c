"""A small C library that is loaded into the proxy and counts something in a file that the test reads."""

import mmap
import pathlib
import shutil
import struct
import subprocess

import pytest

from .process import binary_path

BEGIN = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
static unsigned long nowhere, *count = &nowhere;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PRELOAD_COUNT");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) count = page;
}
static void one(void) { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }
"""


class Counter:
    """C `source` calls `one()` for what it counts. `arm` before the proxy starts, then call it for the count so far."""

    def __init__(self, source, directory):
        if "release" not in pathlib.Path(binary_path()).resolve().parts:
            pytest.skip("only an optimised build promises it: set INTERLOCK_BINARY")
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            pytest.skip("no C compiler")
        text, self.library, self.path = directory / "count.c", directory / "count.so", directory / "count"
        text.write_text(BEGIN + source)
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", self.library, text], check=True)
        self.path.write_bytes(bytes(4096))
        with open(self.path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)

    def arm(self, monkeypatch):
        monkeypatch.setenv("LD_PRELOAD", str(self.library))
        monkeypatch.setenv("PRELOAD_COUNT", str(self.path))

    def __call__(self):
        return struct.unpack("<Q", self.page[:8])[0]
