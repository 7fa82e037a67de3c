// What the three C programs of the comparison share: sockets on 127.0.0.1 and the few facts of an
// HTTP/1.1 head that they need. They trust each other and the proxies between them, and stop at the
// first surprise: a benchmark that limps on measures nothing.
#ifndef VERSUS_NET_H
#define VERSUS_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_LIMIT = 16384, EVENT_BATCH = 256 };

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void set_option(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value) != 0) die("setsockopt: %s", strerror(errno));
}

static inline int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    struct sockaddr_in address = loopback(port);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind %d: %s", port, strerror(errno));
    if (listen(fd, 1024) != 0) die("listen: %s", strerror(errno));
    return fd;
}

/// Connects and waits for it (loopback: at once), then makes the socket non-blocking.
static inline int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect %d: %s", port, strerror(errno));
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl: %s", strerror(errno));
    return fd;
}

static inline int accept_from(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == ECONNABORTED) return -1;
        die("accept: %s", strerror(errno));
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
}

static inline void watch(int poller, int fd, uint64_t token) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = token};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

/// The size of the head (with its empty line), or 0 while it is incomplete.
static inline size_t head_size(const char *bytes, size_t count) {
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - bytes) + 4;
}

/// The value of Content-Length in a head, or -1 if it has none.
static inline int64_t content_length(const char *head, size_t size) {
    static const char name[] = "content-length:";
    const char *end = head + size;
    for (const char *line = head; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL) break;
        if ((*line | 0x20) == 'c' && (size_t)(next - line) > sizeof name - 1
            && strncasecmp(line, name, sizeof name - 1) == 0) {
            return strtoll(line + sizeof name - 1, NULL, 10);
        }
        line = next + 1;
    }
    return -1;
}

/// Bodies are this pattern, so that a byte out of place is noticed wherever a read happens to begin or end.
static inline char pattern_at(size_t offset) { return (char)('a' + offset % 23); }

#endif
