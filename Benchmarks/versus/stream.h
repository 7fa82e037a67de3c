// What the two programs of the byte streams agree on: the size of a request and of the largest answer; and what all
// generators that open new connections need.
#ifndef VERSUS_STREAM_H
#define VERSUS_STREAM_H

#include <time.h>

#include "net.h"

enum { REQUEST_SIZE = 64, RECORD_HEADER = 5, ANSWER_LIMIT = 1 << 20, LANE_LIMIT = 1024 };

static inline char *make_pattern(size_t size) {
    char *bytes = malloc(size);
    if (bytes == NULL) die("out of memory");
    for (size_t i = 0; i < size; i++) bytes[i] = pattern_at(i);
    return bytes;
}

/// Ends a connection so that no TIME_WAIT is left.
static inline void close_with_reset(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/// Says that everything is prepared and waits for a line, so that the caller can begin to measure.
static inline void wait_for_go(void) {
    puts("ready");
    fflush(stdout);
    while (getchar() != '\n') {
        if (feof(stdin)) exit(1);
    }
}

/// The one line of JSON that every generator ends with.
static inline int report(uint64_t done, uint64_t errors, double seconds, uint64_t opened) {
    printf("{\"requests\":%llu,\"errors\":%llu,\"seconds\":%.6f,\"connections_opened\":%llu}\n",
        (unsigned long long)done, (unsigned long long)errors, seconds, (unsigned long long)opened);
    return 0;
}

#endif
