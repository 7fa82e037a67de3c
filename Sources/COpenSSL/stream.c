// One connection: its SSL, what we keep beside it, and what watches its messages.
#include "internal.h"
#include <pthread.h>
#include <string.h>
#include <strings.h>

static int state_index = -1;
static pthread_once_t state_once = PTHREAD_ONCE_INIT;

static void free_state(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument) {
    (void)parent, (void)data, (void)index, (void)number, (void)argument;
    il_tls_state *state = pointer;
    if (state == NULL) return;
    SSL_SESSION_free(state->session);
    OPENSSL_free(state);
}

static void make_index(void) { state_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_state); }

il_tls_state *il_state_of(const SSL *ssl) { return SSL_get_ex_data(ssl, state_index); }

SSL *il_stream_new(SSL_CTX *context, il_tls_memory *memory, int is_server, const char *name, size_t name_count,
                   il_tls_state **state) {
    pthread_once(&state_once, make_index);
    if (state_index < 0 || name_count > UINT16_MAX) return NULL;
    SSL *ssl = SSL_new(context);
    if (ssl == NULL) return NULL;
    il_tls_state *made = OPENSSL_zalloc(sizeof(*made) + name_count);
    if (made == NULL || SSL_set_ex_data(ssl, state_index, made) != 1) {
        OPENSSL_free(made);
        SSL_free(ssl);
        return NULL;
    }
    made->memory = memory;
    made->name_count = (uint16_t)name_count;
    if (name_count > 0) memcpy(made->name, name, name_count);
    // SSL_set_bio takes one reference for both directions.
    if (BIO_up_ref(memory->bio) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_bio(ssl, memory->bio, memory->bio);
    if (is_server) {
        SSL_set_accept_state(ssl);
    } else {
        // Nobody has answered it yet: what is in the window is another's.
        memory->input_count = 0;
        SSL_set_connect_state(ssl);
    }
    *state = made;
    return ssl;
}

// The name in a server_name extension (RFC 6066 section 3): a list of exactly one host name.
static int read_server_name(const unsigned char *bytes, size_t count, const char **name, size_t *name_count) {
    if (count < 5) return 0;
    size_t list = (size_t)bytes[0] << 8 | bytes[1];
    size_t size = (size_t)bytes[3] << 8 | bytes[4];
    if (list != count - 2 || bytes[2] != TLSEXT_NAMETYPE_host_name || size != count - 5 || size == 0) return 0;
    *name = (const char *)bytes + 5;
    *name_count = bytes[count - 1] == '.' ? size - 1 : size;
    return 1;
}

// Called for each ClientHello, so also for the second one after a HelloRetryRequest: its name must be the one that
// this connection's policy and certificate were chosen by.
static int check_hello(SSL *ssl, int *alert, void *argument) {
    (void)argument;
    il_tls_state *state = il_state_of(ssl);
    const unsigned char *bytes = NULL;
    size_t count = 0;
    const char *name = "";
    size_t name_count = 0;
    int is_good = state != NULL;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &count) == 1)
        is_good = is_good && read_server_name(bytes, count, &name, &name_count);
    if (is_good && name_count == state->name_count && strncasecmp(name, state->name, name_count) == 0)
        return SSL_CLIENT_HELLO_SUCCESS;
    if (state != NULL) state->failure = IL_FAILURE_SERVER_NAME;
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    return SSL_CLIENT_HELLO_ERROR;
}

// Without an answer here OpenSSL does not acknowledge the name, which RFC 6066 asks for.
static int acknowledge_name(SSL *ssl, int *alert, void *argument) {
    (void)alert, (void)argument;
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
}

// What a peer can make us work with without sending anything of use: KeyUpdate and tickets are counted, one attempt at
// renegotiation (OpenSSL refuses it by an alert) is enough.
static void watch_message(int is_written, int version, int type, const void *bytes, size_t count, SSL *ssl,
                          void *argument) {
    (void)version, (void)argument;
    if (is_written || type != SSL3_RT_HANDSHAKE) return;
    il_tls_state *state = il_state_of(ssl);
    if (state == NULL || !state->is_established) return;
    uint8_t message = count > 0 ? *(const uint8_t *)bytes : 0;
    state->idle_cost += IL_MESSAGE_COST;
    if (message == SSL3_MT_CLIENT_HELLO || message == SSL3_MT_HELLO_REQUEST) {
        state->failure = IL_FAILURE_RENEGOTIATION;
    } else if (state->idle_cost > IL_IDLE_COST_LIMIT) {
        state->failure = IL_FAILURE_FLOOD;
    } else {
        return;
    }
    // What waits in the window is not looked at any more.
    state->memory->input_count = 0;
}

void il_stream_watch(SSL_CTX *context, int is_server) {
    SSL_CTX_set_msg_callback(context, watch_message);
    if (!is_server) return;
    SSL_CTX_set_client_hello_cb(context, check_hello, NULL);
    SSL_CTX_set_tlsext_servername_callback(context, acknowledge_name);
}
