#include "CLinux.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#define RETRY(type, call)                                   \
    type result;                                            \
    do result = (call);                                     \
    while (result < 0 && errno == EINTR);                   \
    return result < 0 ? -errno : result

int il_epoll_create(void) {
    RETRY(int, epoll_create1(EPOLL_CLOEXEC));
}

int il_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    RETRY(int, epoll_ctl(epoll, operation, descriptor, &event));
}

int il_epoll_wait(int epoll, struct epoll_event *events, int capacity, int timeout_ms) {
    int result = epoll_wait(epoll, events, capacity, timeout_ms);
    if (result < 0) return errno == EINTR ? 0 : -errno;
    return result;
}

int il_eventfd(void) {
    RETRY(int, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

int il_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    int blocked = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (blocked != 0) return -blocked;
    RETRY(int, signalfd(-1, &set, SFD_CLOEXEC));
}

int il_signalfd_read(int descriptor) {
    struct signalfd_siginfo info;
    ssize_t count;
    do count = read(descriptor, &info, sizeof info);
    while (count < 0 && errno == EINTR);
    if (count < 0) return -errno;
    return count == sizeof info ? (int)info.ssi_signo : -EIO;
}

int il_inotify(void) {
    RETRY(int, inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

int il_inotify_watch(int inotify, const char *path, uint32_t mask) {
    RETRY(int, inotify_add_watch(inotify, path, mask));
}

uint32_t il_inotify_mask_directory(void) {
    return IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
}

int il_socket(int domain, int type, int protocol) {
    RETRY(int, socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

int il_accept(int listener, struct sockaddr_storage *peer, socklen_t *length) {
    RETRY(int, accept4(listener, (struct sockaddr *)peer, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int il_connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    RETRY(int, connect(descriptor, address, length));
}

int il_bind(int descriptor, const struct sockaddr *address, socklen_t length) {
    RETRY(int, bind(descriptor, address, length));
}

int il_listen(int descriptor, int backlog) {
    RETRY(int, listen(descriptor, backlog));
}

int il_shutdown(int descriptor, int how) {
    RETRY(int, shutdown(descriptor, how));
}

int il_set_option(int descriptor, int level, int option, int value) {
    RETRY(int, setsockopt(descriptor, level, option, &value, sizeof value));
}

int il_get_option(int descriptor, int level, int option, int *value) {
    socklen_t length = sizeof *value;
    RETRY(int, getsockopt(descriptor, level, option, value, &length));
}

int il_set_linger_reset(int descriptor) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    RETRY(int, setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

int il_steer_reuseport(int descriptor, uint32_t first, uint32_t count) {
    struct sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)},
        {BPF_ALU | BPF_MOD | BPF_K, 0, 0, count > 0 ? count : 1},
        {BPF_ALU | BPF_ADD | BPF_K, 0, 0, first},
        {BPF_RET | BPF_A, 0, 0, 0},
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    RETRY(int, setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program));
}

int il_unsteer_reuseport(int descriptor) {
    int none = 0;
    RETRY(int, setsockopt(descriptor, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof none));
}

int il_queued_count(int descriptor) {
    int count = 0;
    int result = ioctl(descriptor, SIOCOUTQ, &count);
    return result < 0 ? -errno : count;
}

int il_close(int descriptor) {
    // On Linux the descriptor is gone even when close says EINTR: never repeat it.
    return close(descriptor) < 0 ? -errno : 0;
}

ssize_t il_read(int descriptor, void *buffer, size_t count) {
    RETRY(ssize_t, read(descriptor, buffer, count));
}

ssize_t il_receive(int descriptor, void *buffer, size_t count, int flags) {
    RETRY(ssize_t, recv(descriptor, buffer, count, flags));
}

ssize_t il_write(int descriptor, const void *buffer, size_t count) {
    RETRY(ssize_t, write(descriptor, buffer, count));
}

ssize_t il_send(int descriptor, const void *buffer, size_t count, int more) {
    RETRY(ssize_t, send(descriptor, buffer, count, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
}

ssize_t il_send_vector(int descriptor, const struct iovec *vector, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count};
    RETRY(ssize_t, sendmsg(descriptor, &message, MSG_NOSIGNAL));
}

int il_local_name(int descriptor, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, getsockname(descriptor, (struct sockaddr *)address, length));
}

int il_peer_name(int descriptor, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, getpeername(descriptor, (struct sockaddr *)address, length));
}

int il_poll(int descriptor, int events, int timeout_ms) {
    struct pollfd entry = {.fd = descriptor, .events = (short)events};
    int result = poll(&entry, 1, timeout_ms);
    if (result < 0) return errno == EINTR ? 0 : -errno;
    return result == 0 ? 0 : entry.revents;
}

int il_poll_pair(int first, int first_events, int second, int second_events, int timeout_ms, int *first_ready,
                 int *second_ready) {
    struct pollfd entries[2] = {
        {.fd = first, .events = (short)first_events},
        {.fd = second, .events = (short)second_events},
    };
    int result = poll(entries, 2, timeout_ms);
    *first_ready = result > 0 ? entries[0].revents : 0;
    *second_ready = result > 0 ? entries[1].revents : 0;
    return result < 0 && errno != EINTR ? -errno : 0;
}

int il_pipe(int descriptors[2]) {
    RETRY(int, pipe2(descriptors, O_CLOEXEC));
}

int il_pidfd_open(pid_t process) {
    RETRY(int, (int)syscall(SYS_pidfd_open, process, 0));
}

int il_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return -posix_spawn_file_actions_addclosefrom_np(actions, first);
}

int il_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) return count;
    }
    return 1;
}

int il_pin_thread(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    RETRY(int, sched_setaffinity(0, sizeof set, &set));
}

int il_raise_descriptor_limit(uint64_t *soft) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    *soft = limit.rlim_cur;
    return 0;
}

void il_name_thread(const char *name) {
    char shortened[16];
    strncpy(shortened, name, sizeof shortened - 1);
    shortened[sizeof shortened - 1] = 0;
    pthread_setname_np(pthread_self(), shortened);
}

uint64_t il_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t il_realtime_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int il_random(void *buffer, size_t count) {
    uint8_t *position = buffer;
    while (count > 0) {
        ssize_t result = getrandom(position, count, 0);
        if (result < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        position += result;
        count -= (size_t)result;
    }
    return 0;
}
