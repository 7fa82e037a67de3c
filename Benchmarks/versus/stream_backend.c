// The task behind passthrough and TCP entry ports: one thread, one epoll, and no TLS. A proxy that passes bytes
// through looks at the ClientHello only, so what follows it may be anything.
//   stream_backend PORT
// A connection may begin with one TLS record, which is swallowed. Then each request is REQUEST_SIZE bytes that begin
// with the size of the answer in digits; the answer is that many bytes of the pattern.
#define _GNU_SOURCE
#include "net.h"
#include "stream.h"

enum { CONNECTION_LIMIT = 65536 };

struct connection {
    int fd;
    int has_begun;          // the first byte was seen
    size_t record_left;     // of the ClientHello
    size_t held;            // bytes of an incomplete record header or request
    size_t output_at, output_size;
    char kept[REQUEST_SIZE];
};

static struct connection *connections[CONNECTION_LIMIT];
static char *pattern;
static char scratch[64 * 1024];

static void drop(struct connection *it) {
    connections[it->fd] = NULL;
    close_with_reset(it->fd);
    free(it);
}

/// Writes what the socket takes. False: the connection is gone.
static int flush_output(struct connection *it) {
    while (it->output_at < it->output_size) {
        ssize_t count = write(it->fd, pattern + it->output_at, it->output_size - it->output_at);
        if (count < 0) {
            if (errno == EAGAIN) return 1;
            drop(it);
            return 0;
        }
        it->output_at += (size_t)count;
    }
    return 1;
}

/// Takes `count` bytes as they came. False: the connection is gone.
static int take(struct connection *it, const char *bytes, size_t count) {
    while (count > 0) {
        if (it->record_left > 0) {
            size_t skipped = count < it->record_left ? count : it->record_left;
            it->record_left -= skipped;
            bytes += skipped;
            count -= skipped;
            continue;
        }
        int is_header = !it->has_begun && (it->held > 0 ? it->kept[0] : bytes[0]) == 0x16;
        size_t wanted = is_header ? RECORD_HEADER : REQUEST_SIZE;
        size_t taken = count < wanted - it->held ? count : wanted - it->held;
        memcpy(it->kept + it->held, bytes, taken);
        it->held += taken;
        bytes += taken;
        count -= taken;
        if (it->held < wanted) return 1;
        it->held = 0;
        it->has_begun = 1;
        if (is_header) {
            it->record_left = (size_t)(unsigned char)it->kept[3] << 8 | (unsigned char)it->kept[4];
            continue;
        }
        if (it->output_at < it->output_size) die("stream_backend: a request before the answer was taken");
        it->output_at = 0;
        it->output_size = strtoull(it->kept, NULL, 10);
        if (it->output_size == 0 || it->output_size > ANSWER_LIMIT) die("stream_backend: not a request");
        if (!flush_output(it)) return 0;
    }
    return 1;
}

static void on_readable(struct connection *it) {
    for (;;) {
        ssize_t count = read(it->fd, scratch, sizeof scratch);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            drop(it);
            return;
        }
        if (!take(it, scratch, (size_t)count) || (size_t)count < sizeof scratch) return;
    }
}

static void accept_all(int poller, int listener) {
    for (int accepted; (accepted = accept_from(listener)) >= 0;) {
        if (accepted >= CONNECTION_LIMIT) die("stream_backend: too many connections");
        struct connection *it = calloc(1, sizeof *it);
        if (it == NULL) die("out of memory");
        it->fd = accepted;
        connections[accepted] = it;
        watch(poller, accepted, (uint64_t)accepted);
    }
}

int main(int argument_count, char **arguments) {
    if (argument_count != 2) die("usage: stream_backend PORT");
    signal(SIGPIPE, SIG_IGN);
    pattern = make_pattern(ANSWER_LIMIT);
    int listener = listen_on(atoi(arguments[1]));
    int poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener, (uint64_t)listener);
    struct epoll_event events[EVENT_BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, EVENT_BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u64;
            if (fd == listener) {
                accept_all(poller, listener);
                continue;
            }
            if ((events[i].events & EPOLLOUT) && connections[fd] != NULL) flush_output(connections[fd]);
            if ((events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && connections[fd] != NULL)
                on_readable(connections[fd]);
        }
    }
}
