// The floor: the least that any forwarder with keep-alive on both sides can do on this machine.
//   floor PORT BACKEND_PORT
// One thread, one epoll, four system calls per small request (two reads, two writes) and a shared epoll_wait.
// It looks for the end of each head and for Content-Length, adds and removes nothing, has no timeout, no limit
// and no protection: not a proxy, a measuring stick.
#define _GNU_SOURCE
#include "net.h"

enum { SCRATCH = 256 * 1024, FD_LIMIT = 65536, POOL_LIMIT = 4096 };

struct side {
    int fd;
    int is_client;
    struct side *peer;      // the other side of the exchange under way
    int in_body;            // of the message this side is sending us
    int64_t body_left;
    size_t held;            // an incomplete head, kept in `kept`
    char *pending;          // what this side has not taken yet; its peer is not read meanwhile
    size_t pending_offset, pending_size;
    char kept[HEAD_LIMIT];
};

static int poller, backend_port;
static struct side *sides[FD_LIMIT];
static struct side *pool[POOL_LIMIT];
static size_t pool_size;
static char scratch[SCRATCH];

static struct side *adopt(int fd, int is_client) {
    if (fd >= FD_LIMIT) die("floor: too many descriptors");
    struct side *it = calloc(1, sizeof *it);
    if (it == NULL) die("out of memory");
    it->fd = fd;
    it->is_client = is_client;
    sides[fd] = it;
    watch(poller, fd, (uint64_t)fd);
    return it;
}

static void drop(struct side *it) {
    if (it == NULL) return;
    sides[it->fd] = NULL;
    close(it->fd);
    free(it->pending);
    free(it);
}

static void drop_both(struct side *it) {
    struct side *peer = it->peer;
    if (peer == NULL && !it->is_client) {
        for (size_t i = 0; i < pool_size; i++) {
            if (pool[i] == it) pool[i] = pool[--pool_size];
        }
    }
    drop(it);
    drop(peer);
}

/// Writes to `to`, keeping what it does not take. False: both sides are gone.
static int forward(struct side *to, const char *bytes, size_t count) {
    ssize_t written = write(to->fd, bytes, count);
    if (written < 0) {
        if (errno != EAGAIN) {
            drop_both(to);
            return 0;
        }
        written = 0;
    }
    if ((size_t)written < count) {
        if (to->pending == NULL && (to->pending = malloc(SCRATCH)) == NULL) die("out of memory");
        to->pending_offset = 0;
        to->pending_size = count - (size_t)written;
        memcpy(to->pending, bytes + written, to->pending_size);
    }
    return 1;
}

/// Accounts for message bytes from `from`; returns 1 when that message is complete, -1 on nonsense, 0 otherwise.
static int account(struct side *from, const char *bytes, size_t count) {
    if (!from->in_body) {
        size_t head = head_size(bytes, count);
        if (head == 0) return -1;
        int64_t length = content_length(bytes, head);
        from->in_body = 1;
        from->body_left = length < 0 ? 0 : length;
        count -= head;
    }
    if ((int64_t)count > from->body_left) return -1;
    from->body_left -= (int64_t)count;
    return from->body_left == 0;
}

static void finish_exchange(struct side *upstream) {
    struct side *client = upstream->peer;
    client->peer = upstream->peer = NULL;
    client->in_body = upstream->in_body = 0;
    if (pool_size == POOL_LIMIT) drop(upstream);
    else pool[pool_size++] = upstream;
}

static void on_readable(struct side *from) {
    for (;;) {
        struct side *to = from->peer;
        if (to != NULL && to->pending_size > 0) return;  // read again once it has drained
        size_t held = from->held;
        if (held > 0) memcpy(scratch, from->kept, held);
        ssize_t count = read(from->fd, scratch + held, sizeof scratch - held);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            drop_both(from);
            return;
        }
        size_t total = held + (size_t)count;
        if (!from->in_body && head_size(scratch, total) == 0) {
            if (total > sizeof from->kept) die("floor: head too large");
            memcpy(from->kept, scratch, total);
            from->held = total;
            continue;
        }
        from->held = 0;
        if (to == NULL) {
            if (!from->is_client) die("floor: an answer nobody asked for");
            to = pool_size > 0 ? pool[--pool_size] : adopt(connect_to(backend_port), 0);
            from->peer = to;
            to->peer = from;
        }
        int complete = account(from, scratch, total);
        if (complete < 0) die("floor: unusable framing");
        if (!forward(to, scratch, total)) return;
        if (complete && !from->is_client && to->pending_size == 0) finish_exchange(from);
        if ((size_t)count < sizeof scratch - held) return;
    }
}

static void on_writable(struct side *it) {
    if (it->pending_size == 0) return;
    ssize_t written = write(it->fd, it->pending + it->pending_offset, it->pending_size);
    if (written < 0) {
        if (errno != EAGAIN) drop_both(it);
        return;
    }
    it->pending_offset += (size_t)written;
    it->pending_size -= (size_t)written;
    if (it->pending_size > 0) {
        on_writable(it);
        return;
    }
    struct side *from = it->peer;
    if (it->is_client && from->in_body && from->body_left == 0) finish_exchange(from);
    else on_readable(from);
}

int main(int argument_count, char **arguments) {
    if (argument_count != 3) die("usage: floor PORT BACKEND_PORT");
    signal(SIGPIPE, SIG_IGN);
    backend_port = atoi(arguments[2]);
    int listener = listen_on(atoi(arguments[1]));
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener, (uint64_t)listener);
    struct epoll_event events[EVENT_BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, EVENT_BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u64;
            if (fd == listener) {
                for (int accepted; (accepted = accept_from(listener)) >= 0;) adopt(accepted, 1);
                continue;
            }
            if ((events[i].events & EPOLLOUT) && sides[fd] != NULL) on_writable(sides[fd]);
            if ((events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && sides[fd] != NULL)
                on_readable(sides[fd]);
        }
    }
}
