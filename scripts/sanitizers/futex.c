// Preloaded into a ThreadSanitizer run: tells TSan about the contended path of Synchronization.Mutex. That path lives
// in the toolchain's own, uninstrumented library: it spins, or waits in the kernel; TSan sees neither and reports a
// race on what the lock protects. Here both of its functions are wrapped, and announced as an acquire and a release
// of the lock's address. Nothing else changes, and no real race is hidden: only addresses that are locks get an order.
// Needs the toolchain's clang, for Swift's calling convention.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// Present only when the executable was built with TSan; elsewhere (the driver, the shell) they are null.
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

// Synchronization._MutexHandle._lockSlow(UInt32) and ._unlockSlow(), by their mangled names.
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
#define METHOD __attribute__((swiftcall)) void
#define SELF __attribute__((swift_context)) void *lock

typedef METHOD (*Lock)(uint32_t owner, SELF);
typedef METHOD (*Unlock)(SELF);

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

METHOD lockSlow(uint32_t owner, SELF) __asm__(LOCK);
METHOD lockSlow(uint32_t owner, SELF) {
    ((Lock)next(LOCK))(owner, lock);
    if (__tsan_acquire) __tsan_acquire(lock);
}

METHOD unlockSlow(SELF) __asm__(UNLOCK);
METHOD unlockSlow(SELF) {
    if (__tsan_release) __tsan_release(lock);
    ((Unlock)next(UNLOCK))(lock);
}
