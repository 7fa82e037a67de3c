// The load generator for passthrough and TCP entry ports: requests of 64 bytes, answers of a given size, one thread.
//   stream_load PORT LANES COUNT keep|new SIZE SERVER_NAME|-
// `keep`: COUNT answers over LANES connections that stay; `new`: COUNT connections with one answer each, LANES at a
// time. With a server name each connection begins with a ClientHello that names it; nothing after it is TLS.
// Every answer is checked: its length, the pattern at both ends of every read. Connections end with RST.
// Prints "ready" once the connections that stay are there and answered once, waits for a line, and at the end prints
// {"requests":N,"errors":N,"seconds":S,"connections_opened":N}
#define _GNU_SOURCE
#include "net.h"
#include "stream.h"

enum { READ_SIZE = 512 * 1024, HELLO_SIZE = 517 };

struct lane {
    int fd;
    size_t seen;  // bytes of the answer under way
};

static struct lane lanes[LANE_LIMIT];
static int poller, port, is_keeping;
static uint64_t lane_count, started, finished, wanted, errors, opened;
static size_t answer_size, hello_size;
static char opening[HELLO_SIZE + REQUEST_SIZE];  // hello and request, as a connection begins
static char scratch[READ_SIZE];

static unsigned char *put(unsigned char *at, const void *bytes, size_t count) {
    memcpy(at, bytes, count);
    return at + count;
}

static unsigned char *put16(unsigned char *at, size_t value) {
    *at++ = (unsigned char)(value >> 8);
    *at++ = (unsigned char)value;
    return at;
}

/// A TLS 1.3 hello as browsers send it, padded to 517 bytes.
static void write_hello(unsigned char *hello, const char *name) {
    static const unsigned char suites[] = {0, 6, 0x13, 1, 0x13, 2, 0x13, 3, 1, 0};
    static const unsigned char versions[] = {0, 43, 0, 3, 2, 3, 4};
    static const unsigned char groups[] = {0, 10, 0, 4, 0, 2, 0, 29};
    static const unsigned char signatures[] = {0, 13, 0, 6, 0, 4, 4, 3, 8, 4};
    static const unsigned char share[] = {0, 51, 0, 38, 0, 36, 0, 29, 0, 32};
    size_t length = strlen(name);
    if (length > 200) die("stream_load: the name is too long");
    memset(hello, 0, HELLO_SIZE);
    unsigned char *at = put(hello, "\x16\x03\x01", 3);
    at = put16(at, HELLO_SIZE - 5);
    at = put(at, "\x01\x00", 2);
    at = put16(at, HELLO_SIZE - 9);
    at = put(at, "\x03\x03", 2);
    memset(at, 0x5a, 32);
    at += 32;
    *at++ = 32;
    memset(at, 0x3c, 32);
    at = put(at + 32, suites, sizeof suites);
    unsigned char *extensions = at;
    at = put16(at + 2, 0);  // server_name
    at = put16(at, length + 5);
    at = put16(at, length + 3);
    *at++ = 0;
    at = put16(at, length);
    at = put(at, name, length);
    at = put(at, versions, sizeof versions);
    at = put(at, groups, sizeof groups);
    at = put(at, signatures, sizeof signatures);
    at = put(at, share, sizeof share);
    memset(at, 0x77, 32);
    at = put16(at + 32, 21);  // padding
    put16(at, (size_t)(hello + HELLO_SIZE - at) - 2);
    put16(extensions, (size_t)(hello + HELLO_SIZE - extensions) - 2);
}

/// Small enough for any socket buffer: a short write would be a surprise.
static void send_all(struct lane *it, const char *bytes, size_t count) {
    if (write(it->fd, bytes, count) != (ssize_t)count) errors++;
}

static void open_lane(struct lane *it) {
    it->fd = connect_to(port);
    it->seen = 0;
    opened++;
    watch(poller, it->fd, (uint64_t)(it - lanes));
    send_all(it, opening, hello_size + REQUEST_SIZE);
}

static void answered(struct lane *it) {
    finished++;
    it->seen = 0;
    if (!is_keeping) close_with_reset(it->fd);
    if (started == wanted) {
        if (!is_keeping) it->fd = -1;
        return;
    }
    started++;
    if (is_keeping) send_all(it, opening + hello_size, REQUEST_SIZE);
    else open_lane(it);
}

static void on_readable(struct lane *it) {
    while (it->fd >= 0) {
        ssize_t count = read(it->fd, scratch, sizeof scratch);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) die("stream_load: connection lost: %s", count == 0 ? "closed" : strerror(errno));
        if (it->seen + (size_t)count > answer_size) die("stream_load: more bytes than asked for");
        if (scratch[0] != pattern_at(it->seen) || scratch[count - 1] != pattern_at(it->seen + (size_t)count - 1))
            die("stream_load: wrong bytes");
        it->seen += (size_t)count;
        int fd = it->fd;
        if (it->seen == answer_size) answered(it);
        if (it->fd != fd || (size_t)count < sizeof scratch) return;
    }
}

/// Until `goal` answers are there.
static void run(uint64_t goal) {
    struct epoll_event events[EVENT_BATCH];
    while (finished < goal) {
        int count = epoll_wait(poller, events, EVENT_BATCH, 20000);
        if (count == 0) die("stream_load: no answer for 20 seconds (%llu of %llu)", (unsigned long long)finished,
            (unsigned long long)goal);
        for (int i = 0; i < count; i++) on_readable(&lanes[events[i].data.u64]);
    }
}

int main(int argument_count, char **arguments) {
    if (argument_count != 7) die("usage: stream_load PORT LANES COUNT keep|new SIZE SERVER_NAME|-");
    signal(SIGPIPE, SIG_IGN);
    port = atoi(arguments[1]);
    lane_count = strtoull(arguments[2], NULL, 10);
    uint64_t count = strtoull(arguments[3], NULL, 10);
    is_keeping = strcmp(arguments[4], "keep") == 0;
    answer_size = strtoull(arguments[5], NULL, 10);
    if (lane_count == 0 || lane_count > LANE_LIMIT || count < lane_count) die("stream_load: 1 to %d lanes, and not "
        "more than there are answers", LANE_LIMIT);
    if (strcmp(arguments[6], "-") != 0) {
        hello_size = HELLO_SIZE;
        write_hello((unsigned char *)opening, arguments[6]);
    }
    memset(opening + hello_size, 'x', REQUEST_SIZE);
    snprintf(opening + hello_size, 17, "%016zu", answer_size);
    opening[hello_size + 16] = 'x';
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (is_keeping) {
        started = wanted = lane_count;
        for (uint64_t i = 0; i < lane_count; i++) open_lane(&lanes[i]);
        run(lane_count);
    }
    wait_for_go();
    double begin = now();
    finished = 0;
    wanted = count;
    started = lane_count;
    for (uint64_t i = 0; i < lane_count; i++) {
        if (is_keeping) send_all(&lanes[i], opening + hello_size, REQUEST_SIZE);
        else open_lane(&lanes[i]);
    }
    run(wanted);
    double seconds = now() - begin;
    for (uint64_t i = 0; is_keeping && i < lane_count; i++) close_with_reset(lanes[i].fd);
    return report(finished, errors, seconds, opened);
}
