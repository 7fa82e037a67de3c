// The load generator for TLS 1.3: small requests over HTTP/1.1, one thread, OpenSSL on this side too.
//   tls_load PORT LANES COUNT keep|full|resumed CERTIFICATE
// `keep`: COUNT requests over LANES connections that stay; `full`: COUNT connections with a full handshake and one
// request each, no ticket offered; `resumed`: the same, each with the newest ticket that its lane was given.
// All sides are held to one suite and one group (TLS_AES_128_GCM_SHA256, X25519). Every connection is checked: version,
// suite, certificate, resumed or not as wanted; so is every answer: status, length, pattern. Connections end with RST.
// Prints "ready" once every lane was answered once, waits for a line, and at the end prints
// {"requests":N,"errors":N,"seconds":S,"connections_opened":N}
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "net.h"
#include "stream.h"

enum { ANSWER_SIZE = 1024, KEPT = 4096 };

struct lane {
    int fd, is_open;
    SSL *ssl;
    SSL_SESSION *session;  // the newest ticket
    size_t held;           // bytes of the answer under way
    char kept[KEPT];
};

static const char request[] =
    "GET /1k HTTP/1.1\r\nHost: web.test\r\nUser-Agent: load/1.0\r\nAccept: */*\r\n\r\n";
static struct lane lanes[LANE_LIMIT];
static SSL_CTX *context;
static int poller, port, is_keeping, is_resuming;
static int warming;  // the first connections of `resumed` have no ticket yet
static uint64_t started, finished, wanted, opened;

__attribute__((noreturn)) static void die_of_tls(const char *what) {
    fprintf(stderr, "tls_load: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int take_ticket(SSL *ssl, SSL_SESSION *session) {
    struct lane *it = SSL_get_app_data(ssl);
    SSL_SESSION_free(it->session);
    it->session = session;
    return 1;  // kept
}

static SSL_CTX *make_context(const char *certificate) {
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    if (made == NULL || SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1
        || SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256") != 1
        || SSL_CTX_set1_groups_list(made, "X25519") != 1
        || SSL_CTX_load_verify_locations(made, certificate, NULL) != 1
        || SSL_CTX_set_alpn_protos(made, alpn, sizeof alpn - 1) != 0) die_of_tls("context");
    SSL_CTX_set_verify(made, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(made, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(made, 1);
    if (is_resuming) {
        SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(made, take_ticket);
    } else {
        SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    }
    return made;
}

static void open_lane(struct lane *it) {
    it->fd = connect_to(port);
    it->is_open = 0;
    it->held = 0;
    it->ssl = SSL_new(context);
    opened++;
    if (it->ssl == NULL || SSL_set_fd(it->ssl, it->fd) != 1 || SSL_set_tlsext_host_name(it->ssl, "web.test") != 1
        || SSL_set1_host(it->ssl, "web.test") != 1) die_of_tls("connection");
    SSL_set_app_data(it->ssl, it);
    if (is_resuming && !warming && SSL_set_session(it->ssl, it->session) != 1) die_of_tls("no ticket to resume with");
    SSL_set_connect_state(it->ssl);
    watch(poller, it->fd, (uint64_t)(it - lanes));
}

static void close_lane(struct lane *it) {
    close_with_reset(it->fd);
    SSL_set_quiet_shutdown(it->ssl, 1);
    SSL_shutdown(it->ssl);  // else OpenSSL takes the session for a broken one
    SSL_free(it->ssl);
    it->ssl = NULL;
}

static void send_request(struct lane *it) {
    if (SSL_write(it->ssl, request, sizeof request - 1) != (int)sizeof request - 1) die_of_tls("short write");
}

/// False while the handshake waits for the server.
static int shake_hands(struct lane *it) {
    int result = SSL_do_handshake(it->ssl);
    if (result != 1) {
        if (SSL_get_error(it->ssl, result) != SSL_ERROR_WANT_READ) die_of_tls("handshake failed");
        return 0;
    }
    if (SSL_version(it->ssl) != TLS1_3_VERSION
        || strcmp(SSL_CIPHER_get_name(SSL_get_current_cipher(it->ssl)), "TLS_AES_128_GCM_SHA256") != 0)
        die_of_tls("not what was asked for");
    if (SSL_session_reused(it->ssl) != (is_resuming && !warming)) die_of_tls("resumed, or not, against the plan");
    it->is_open = 1;
    send_request(it);
    return 1;
}

/// True when the answer is complete.
static int take_answer(struct lane *it) {
    size_t head = head_size(it->kept, it->held);
    if (head == 0 || it->held < head + ANSWER_SIZE) {
        if (it->held == KEPT) die("tls_load: an endless answer");
        return 0;
    }
    const char *body = it->kept + head;
    if (memcmp(it->kept, "HTTP/1.1 200 ", 13) != 0) die("tls_load: status is not 200: %.40s", it->kept);
    if (content_length(it->kept, head) != ANSWER_SIZE || it->held != head + ANSWER_SIZE) die("tls_load: wrong length");
    if (body[0] != pattern_at(0) || body[ANSWER_SIZE - 1] != pattern_at(ANSWER_SIZE - 1))
        die("tls_load: wrong bytes");
    return 1;
}

static void answered(struct lane *it) {
    finished++;
    it->held = 0;
    if (!is_keeping) close_lane(it);
    if (started == wanted) return;
    started++;
    if (is_keeping) send_request(it);
    else open_lane(it);
}

static void on_event(struct lane *it) {
    if (it->ssl == NULL || (!it->is_open && !shake_hands(it))) return;
    SSL *ssl = it->ssl;
    while (it->ssl == ssl) {
        int count = SSL_read(ssl, it->kept + it->held, (int)(KEPT - it->held));
        if (count <= 0) {
            if (SSL_get_error(ssl, count) != SSL_ERROR_WANT_READ) die_of_tls("connection lost");
            return;
        }
        it->held += (size_t)count;
        if (take_answer(it)) {
            answered(it);
            if (!is_keeping) return;
        }
    }
}

/// Until `goal` answers are there.
static void run(uint64_t goal) {
    struct epoll_event events[EVENT_BATCH];
    while (finished < goal) {
        int count = epoll_wait(poller, events, EVENT_BATCH, 20000);
        if (count == 0) die("tls_load: no answer for 20 seconds (%llu of %llu)", (unsigned long long)finished,
            (unsigned long long)goal);
        for (int i = 0; i < count; i++) on_event(&lanes[events[i].data.u64]);
    }
}

int main(int argument_count, char **arguments) {
    if (argument_count != 6) die("usage: tls_load PORT LANES COUNT keep|full|resumed CERTIFICATE");
    signal(SIGPIPE, SIG_IGN);
    port = atoi(arguments[1]);
    uint64_t lane_count = strtoull(arguments[2], NULL, 10), count = strtoull(arguments[3], NULL, 10);
    if (lane_count == 0 || lane_count > LANE_LIMIT || count < lane_count)
        die("tls_load: 1 to %d lanes, and not more than there are requests", LANE_LIMIT);
    is_keeping = strcmp(arguments[4], "keep") == 0;
    is_resuming = strcmp(arguments[4], "resumed") == 0;
    context = make_context(arguments[5]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    warming = 1;
    started = wanted = lane_count;
    for (uint64_t i = 0; i < lane_count; i++) open_lane(&lanes[i]);
    run(lane_count);
    warming = 0;
    wait_for_go();
    double begin = now();
    finished = 0;
    wanted = count;
    started = lane_count;
    for (uint64_t i = 0; i < lane_count; i++) {
        if (is_keeping) send_request(&lanes[i]);
        else open_lane(&lanes[i]);
    }
    run(wanted);
    double seconds = now() - begin;
    for (uint64_t i = 0; is_keeping && i < lane_count; i++) close_lane(&lanes[i]);
    return report(finished, 0, seconds, opened);
}
