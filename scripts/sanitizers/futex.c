// Preloaded into a ThreadSanitizer run: tells TSan about the futexes of Synchronization.Mutex.
// Its contended path lives in the toolchain's own, uninstrumented library, which enters the kernel through syscall(2);
// TSan sees neither the wait nor the wake, and reports a race on what the lock protects. Here each PI futex call is
// announced as an acquire or a release of its address. It never changes what the call does, and it hides no real race:
// only addresses that are really used as locks get an order.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

// Present only when the executable was built with TSan; elsewhere (the driver, the shell) they are null.
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

typedef long (*SystemCall)(long, ...);

long syscall(long number, ...) {
    static SystemCall next;
    if (!next) next = (SystemCall)dlsym(RTLD_NEXT, "syscall");
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);

    int operation = number == SYS_futex ? (int)b & FUTEX_CMD_MASK : -1;
    if (operation == FUTEX_UNLOCK_PI && __tsan_release) __tsan_release((void *)a);
    long result = next(number, a, b, c, d, e, f);
    if ((operation == FUTEX_LOCK_PI || operation == FUTEX_TRYLOCK_PI) && result == 0 && __tsan_acquire)
        __tsan_acquire((void *)a);
    return result;
}
