// Linux system calls and constants that Swift's Glibc module does not show.
// Thin by rule: each function is one system call; errors are returned as -errno, never through errno,
// so that nothing can overwrite it between the call and the look.
#ifndef INTERLOCK_CLINUX_H
#define INTERLOCK_CLINUX_H

#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

// Polling.
int il_epoll_create(void);
int il_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token);
int il_epoll_wait(int epoll, struct epoll_event *events, int capacity, int timeout_ms);
static inline uint64_t il_epoll_event_token(const struct epoll_event *event) { return event->data.u64; }
static inline uint32_t il_epoll_event_flags(const struct epoll_event *event) { return event->events; }
enum {
    IL_EPOLL_ADD = EPOLL_CTL_ADD,
    IL_EPOLL_MODIFY = EPOLL_CTL_MOD,
    IL_EPOLL_DELETE = EPOLL_CTL_DEL,
};
#define IL_EPOLLIN ((uint32_t)EPOLLIN)
#define IL_EPOLLOUT ((uint32_t)EPOLLOUT)
#define IL_EPOLLERR ((uint32_t)EPOLLERR)
#define IL_EPOLLHUP ((uint32_t)EPOLLHUP)
#define IL_EPOLLRDHUP ((uint32_t)EPOLLRDHUP)
#define IL_EPOLLET ((uint32_t)EPOLLET)
#define IL_EPOLLEXCLUSIVE ((uint32_t)EPOLLEXCLUSIVE)

// Wake-ups, signals, files.
int il_eventfd(void);
int il_signalfd(const int *signals, int count);
/// Waits for one signal from il_signalfd; returns its number.
int il_signalfd_read(int descriptor);
int il_inotify(void);
int il_inotify_watch(int inotify, const char *path, uint32_t mask);
uint32_t il_inotify_mask_directory(void);

// Sockets. All are created non-blocking and close-on-exec.
int il_socket(int domain, int type, int protocol);
int il_accept(int listener, struct sockaddr_storage *peer, socklen_t *length);
int il_connect(int descriptor, const struct sockaddr *address, socklen_t length);
int il_bind(int descriptor, const struct sockaddr *address, socklen_t length);
int il_listen(int descriptor, int backlog);
int il_shutdown(int descriptor, int how);
int il_set_option(int descriptor, int level, int option, int value);
int il_get_option(int descriptor, int level, int option, int *value);
int il_set_linger_reset(int descriptor);
/// New connections of that listener's SO_REUSEPORT group go to its sockets `first` to `first + count - 1`, counted in
/// the order in which they began to listen; if there is none of that number, to any, as without it.
int il_steer_reuseport(int descriptor, uint32_t first, uint32_t count);
/// Takes that back; -ENOENT if there was nothing.
int il_unsteer_reuseport(int descriptor);
/// Bytes written that the peer has not acknowledged (SIOCOUTQ).
int il_queued_count(int descriptor);
int il_close(int descriptor);
ssize_t il_read(int descriptor, void *buffer, size_t count);
ssize_t il_receive(int descriptor, void *buffer, size_t count, int flags);
ssize_t il_write(int descriptor, const void *buffer, size_t count);
/// send(2) with MSG_NOSIGNAL.
ssize_t il_send(int descriptor, const void *buffer, size_t count, int more);
/// sendmsg(2) with MSG_NOSIGNAL.
ssize_t il_send_vector(int descriptor, const struct iovec *vector, int count);
int il_local_name(int descriptor, struct sockaddr_storage *address, socklen_t *length);
int il_peer_name(int descriptor, struct sockaddr_storage *address, socklen_t *length);
int il_poll(int descriptor, int events, int timeout_ms);
/// Waits for either of two; what is ready of each is 0 after the timeout.
int il_poll_pair(int first, int first_events, int second, int second_events, int timeout_ms, int *first_ready,
                 int *second_ready);
int il_pipe(int descriptors[2]);
/// A descriptor of a child that is readable when it has ended; close-on-exec.
int il_pidfd_open(pid_t process);
/// The child has nothing open from that number on.
int il_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

// Processors and limits.
int il_processor_count(void);
int il_pin_thread(int processor);
int il_raise_descriptor_limit(uint64_t *soft);
void il_name_thread(const char *name);
/// CLOCK_MONOTONIC, nanoseconds.
uint64_t il_monotonic_ns(void);
/// CLOCK_REALTIME, nanoseconds since 1970.
uint64_t il_realtime_ns(void);
int il_random(void *buffer, size_t count);

#endif
