// The task behind every proxy of the comparison: one thread, one epoll, answers kept ready in memory.
//   backend PORT
// GET /1m is answered with 1 MiB, every other GET with 1 KiB; the body of a POST or PUT is swallowed and
// answered with its size as 16 digits. Connections are kept open for ever.
#define _GNU_SOURCE
#include "net.h"

enum { SMALL = 1024, LARGE = 1 << 20, SWALLOW = 512 * 1024, CONNECTION_LIMIT = 65536 };

struct answer {
    char *bytes;
    size_t size;
};

struct connection {
    size_t held;           // bytes of an incomplete head
    int64_t body_left;     // of the request that is being swallowed
    int64_t body_size;
    const char *output;    // what is left to write
    size_t output_left;
    char own_answer[256];  // an upload's answer
    char head[HEAD_LIMIT];
};

static struct connection *connections[CONNECTION_LIMIT];
static struct answer small, large;
static char scratch[SWALLOW];

static struct answer make_answer(size_t body_size) {
    struct answer made;
    made.bytes = malloc(body_size + 512);
    if (made.bytes == NULL) die("out of memory");
    int head = sprintf(made.bytes,
        "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body_size);
    for (size_t i = 0; i < body_size; i++) made.bytes[(size_t)head + i] = pattern_at(i);
    made.size = (size_t)head + body_size;
    return made;
}

static void drop(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

/// Writes what the socket takes. False: the connection is gone.
static int flush_output(int fd, struct connection *it) {
    while (it->output_left > 0) {
        ssize_t count = write(fd, it->output, it->output_left);
        if (count < 0) {
            if (errno == EAGAIN) return 1;
            drop(fd);
            return 0;
        }
        it->output += count;
        it->output_left -= (size_t)count;
    }
    return 1;
}

static int answer_upload(int fd, struct connection *it) {
    it->output_left = (size_t)sprintf(it->own_answer,
        "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: 16\r\n\r\n%016lld", (long long)it->body_size);
    it->output = it->own_answer;
    return flush_output(fd, it);
}

/// Handles the complete head at the start of `it->head`; `count` bytes are there in all.
static int handle_head(int fd, struct connection *it, size_t head, size_t count) {
    size_t rest = count - head;
    if (memcmp(it->head, "GET ", 4) == 0) {
        if (rest > 0) die("backend: bytes after a GET");
        const struct answer *answer = memcmp(it->head + 4, "/1m ", 4) == 0 ? &large : &small;
        it->held = 0;
        it->output = answer->bytes;
        it->output_left = answer->size;
        return flush_output(fd, it);
    }
    it->body_size = content_length(it->head, head);
    if (it->body_size < 0 || (int64_t)rest > it->body_size) die("backend: an upload without a usable length");
    it->body_left = it->body_size - (int64_t)rest;
    it->held = 0;
    return it->body_left > 0 ? 1 : answer_upload(fd, it);
}

static void on_readable(int fd, struct connection *it) {
    for (;;) {
        int swallowing = it->body_left > 0;
        char *into = swallowing ? scratch : it->head + it->held;
        size_t room = swallowing ? sizeof scratch : sizeof it->head - it->held;
        if (room == 0) die("backend: head too large");
        ssize_t count = read(fd, into, room);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            drop(fd);
            return;
        }
        if (swallowing) {
            if (count > it->body_left) die("backend: bytes after an upload");
            it->body_left -= count;
            if (it->body_left == 0 && !answer_upload(fd, it)) return;
        } else {
            it->held += (size_t)count;
            size_t head = head_size(it->head, it->held);
            if (head > 0 && !handle_head(fd, it, head, it->held)) return;
        }
        if ((size_t)count < room) return;  // a short read: the next event tells of more
    }
}

int main(int argument_count, char **arguments) {
    if (argument_count != 2) die("usage: backend PORT");
    signal(SIGPIPE, SIG_IGN);
    small = make_answer(SMALL);
    large = make_answer(LARGE);
    int listener = listen_on(atoi(arguments[1]));
    int poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener, (uint64_t)listener);
    struct epoll_event events[EVENT_BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, EVENT_BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u64;
            if (fd == listener) {
                for (int accepted; (accepted = accept_from(listener)) >= 0;) {
                    if (accepted >= CONNECTION_LIMIT) die("backend: too many connections");
                    connections[accepted] = calloc(1, sizeof(struct connection));
                    if (connections[accepted] == NULL) die("out of memory");
                    watch(poller, accepted, (uint64_t)accepted);
                }
                continue;
            }
            struct connection *it = connections[fd];
            if (it == NULL) continue;
            if ((events[i].events & EPOLLOUT) && it->output_left > 0 && !flush_output(fd, it)) continue;
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) on_readable(fd, it);
        }
    }
}
