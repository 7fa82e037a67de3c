// The load generator: a fixed number of requests over a fixed number of keep-alive connections, one thread.
//   load PORT CONNECTIONS REQUESTS get PATH ANSWER_SIZE
//   load PORT CONNECTIONS REQUESTS put PATH BODY_SIZE
// Every answer is checked: status 200, its length, the pattern at both ends of every read; an upload's answer
// must name the number of bytes sent. A wrong answer or a closed connection is an error; the connection is
// replaced, at most 1,000 times. Ends every connection with RST, so that no TIME_WAIT piles up.
// Prints one JSON line: {"requests":N,"errors":N,"seconds":S,"connections_opened":N}
#define _GNU_SOURCE
#include <time.h>

#include "net.h"

enum { READ_SIZE = 512 * 1024, REOPEN_LIMIT = 1000, CONNECTION_LIMIT = 4096 };

struct connection {
    int fd;
    int busy;               // a request is under way
    size_t held;            // bytes of an incomplete answer head
    int in_body;
    size_t body_size, body_seen;
    size_t request_sent;    // of head + body
    char head[HEAD_LIMIT];
    char upload_answer[17];
};

static struct connection *connections;
static int poller, port, uploads;
static char request_head[1024];
static size_t request_head_size, upload_size, expected_size;
static char *request_bytes;     // head and, for an upload, the body
static size_t request_size;
static uint64_t started, finished, wanted, errors, opened, connection_count;
static char scratch[READ_SIZE];

static void open_connection(struct connection *it) {
    if (++opened > connection_count + REOPEN_LIMIT) die("load: too many connections lost");
    it->fd = connect_to(port);
    it->busy = 0;
    watch(poller, it->fd, (uint64_t)(it - connections));
}

static void close_with_reset(struct connection *it) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(it->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(it->fd);
}

static void send_more(struct connection *it) {
    while (it->busy && it->request_sent < request_size) {
        ssize_t count = write(it->fd, request_bytes + it->request_sent, request_size - it->request_sent);
        if (count < 0) return;  // EAGAIN: the next event; anything else shows up in read
        it->request_sent += (size_t)count;
    }
}

static void begin_request(struct connection *it) {
    if (started == wanted) return;
    started++;
    it->busy = 1;
    it->held = it->body_seen = it->request_sent = 0;
    it->in_body = 0;
    send_more(it);
}

static void fail(struct connection *it, const char *why) {
    if (errors < 5) fprintf(stderr, "load: %s\n", why);
    errors++;
    if (it->busy) finished++;
    close_with_reset(it);
    open_connection(it);
    begin_request(it);
}

/// Takes body bytes. NULL: good so far.
static const char *take_body(struct connection *it, const char *bytes, size_t count) {
    if (it->body_seen + count > it->body_size) return "more bytes than the length says";
    if (count > 0) {
        if (uploads) {
            memcpy(it->upload_answer + it->body_seen, bytes, count);
        } else if (bytes[0] != pattern_at(it->body_seen)
            || bytes[count - 1] != pattern_at(it->body_seen + count - 1)) {
            return "wrong bytes in the body";
        }
    }
    it->body_seen += count;
    if (it->body_seen < it->body_size) return NULL;
    if (uploads && strtoull(it->upload_answer, NULL, 10) != upload_size) return "the upload arrived with another size";
    if (it->request_sent < request_size) return "an answer before the request was sent";
    finished++;
    it->busy = 0;
    begin_request(it);
    return NULL;
}

static const char *take_head(struct connection *it, const char *bytes, size_t count) {
    size_t size = head_size(bytes, count);
    if (size == 0) {
        if (count >= HEAD_LIMIT) return "an endless head";
        if (it->held == 0) memcpy(it->head, bytes, count);
        it->held = count;
        return NULL;
    }
    if (memcmp(bytes, "HTTP/1.1 200 ", 13) != 0) return "status is not 200";
    int64_t length = content_length(bytes, size);
    if (length < 0 || (size_t)length != expected_size) return "wrong length";
    it->in_body = 1;
    it->body_size = expected_size;
    return take_body(it, bytes + size, count - size);
}

static void on_readable(struct connection *it) {
    for (;;) {
        int joining = !it->in_body && it->held > 0;
        char *into = joining ? it->head + it->held : scratch;
        size_t room = joining ? sizeof it->head - it->held : sizeof scratch;
        ssize_t count = read(it->fd, into, room);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            fail(it, count == 0 ? "connection closed" : strerror(errno));
            return;
        }
        const char *wrong;
        if (!it->busy) wrong = "bytes nobody asked for";
        else if (it->in_body) wrong = take_body(it, into, (size_t)count);
        else if (joining) wrong = take_head(it, it->head, it->held + (size_t)count);
        else wrong = take_head(it, into, (size_t)count);
        if (wrong != NULL) {
            fail(it, wrong);
            return;
        }
        if ((size_t)count < room) return;
    }
}

static void prepare(char **arguments) {
    uploads = strcmp(arguments[4], "put") == 0;
    size_t size = strtoull(arguments[6], NULL, 10);
    upload_size = uploads ? size : 0;
    expected_size = uploads ? 16 : size;
    request_bytes = malloc(sizeof request_head + upload_size);
    if (request_bytes == NULL) die("out of memory");
    request_head_size = (size_t)snprintf(request_head, sizeof request_head,
        "%s %s HTTP/1.1\r\nHost: web.test\r\nUser-Agent: load/1.0\r\nAccept: */*\r\n",
        uploads ? "PUT" : "GET", arguments[5]);
    if (uploads) {
        request_head_size += (size_t)sprintf(request_head + request_head_size,
            "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n", upload_size);
    }
    request_head_size += (size_t)sprintf(request_head + request_head_size, "\r\n");
    memcpy(request_bytes, request_head, request_head_size);
    for (size_t i = 0; i < upload_size; i++) request_bytes[request_head_size + i] = pattern_at(i);
    request_size = request_head_size + upload_size;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argument_count, char **arguments) {
    if (argument_count != 7) die("usage: load PORT CONNECTIONS REQUESTS get|put PATH SIZE");
    signal(SIGPIPE, SIG_IGN);
    port = atoi(arguments[1]);
    connection_count = strtoull(arguments[2], NULL, 10);
    wanted = strtoull(arguments[3], NULL, 10);
    if (connection_count == 0 || connection_count > CONNECTION_LIMIT)
        die("load: 1 to %d connections", CONNECTION_LIMIT);
    prepare(arguments);
    poller = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(connection_count, sizeof *connections);
    if (connections == NULL) die("out of memory");
    double begin = now();
    for (uint64_t i = 0; i < connection_count; i++) open_connection(&connections[i]);
    for (uint64_t i = 0; i < connection_count; i++) begin_request(&connections[i]);
    struct epoll_event events[EVENT_BATCH];
    while (finished < wanted) {
        int count = epoll_wait(poller, events, EVENT_BATCH, 20000);
        if (count == 0) die("load: no answer for 20 seconds (%llu of %llu)", (unsigned long long)finished,
            (unsigned long long)wanted);
        for (int i = 0; i < count; i++) {
            struct connection *it = &connections[events[i].data.u64];
            if (events[i].events & EPOLLOUT) send_more(it);
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) on_readable(it);
        }
    }
    double seconds = now() - begin;
    for (uint64_t i = 0; i < connection_count; i++) close_with_reset(&connections[i]);
    printf("{\"requests\":%llu,\"errors\":%llu,\"seconds\":%.6f,\"connections_opened\":%llu}\n",
        (unsigned long long)finished, (unsigned long long)errors, seconds, (unsigned long long)opened);
    return 0;
}
