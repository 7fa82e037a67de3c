// What OpenSSL asks in the middle of a handshake of a server: which application protocol, which OCSP answer; and which
// sessions a client keeps. Everything here is read-only once made, so that all threads may share it.
#include "internal.h"
#include <string.h>
#include <time.h>
#include <pthread.h>

typedef struct {
    int64_t valid_until;
    size_t count;
    uint8_t bytes[];
} il_staple;

static int policy_index = -1;
static int staple_index = -1;
static pthread_once_t indices_once = PTHREAD_ONCE_INIT;

static void free_policy(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument) {
    (void)parent, (void)data, (void)index, (void)number, (void)argument;
    il_policy *policy = pointer;
    if (policy == NULL) return;
    il_tickets_release(policy->tickets);
    OPENSSL_free(policy);
}

static void free_staple(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument) {
    (void)parent, (void)data, (void)index, (void)number, (void)argument;
    OPENSSL_free(pointer);
}

static void make_indices(void) {
    policy_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_policy);
    staple_index = X509_get_ex_new_index(0, NULL, NULL, NULL, free_staple);
}

il_policy *il_policy_of(SSL_CTX *context) { return SSL_CTX_get_ex_data(context, policy_index); }

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_count,
                           const unsigned char *offered, unsigned int offered_count, void *argument) {
    (void)ssl;
    const il_policy *policy = argument;
    unsigned char *found = NULL;
    int result = SSL_select_next_proto(&found, chosen_count, policy->protocols, (unsigned int)policy->protocols_count,
                                       offered, offered_count);
    if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

// The answer that goes with the certificate OpenSSL has just selected. OpenSSL frees the copy.
static int give_staple(SSL *ssl, void *argument) {
    (void)argument;
    X509 *certificate = SSL_get_certificate(ssl);
    const il_staple *staple = certificate == NULL ? NULL : X509_get_ex_data(certificate, staple_index);
    if (staple == NULL || staple->valid_until <= (int64_t)time(NULL)) return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(staple->bytes, staple->count);
    if (copy == NULL) return SSL_TLSEXT_ERR_NOACK;
    if (SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)staple->count) != 1) {
        OPENSSL_free(copy);
        return SSL_TLSEXT_ERR_NOACK;
    }
    return SSL_TLSEXT_ERR_OK;
}

// When the first of the certificates ends by which the peer was judged, in Unix seconds. 0: that cannot be told.
static int64_t end_of_chain(const SSL *ssl) {
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int64_t end = INT64_MAX;
    for (int index = 0; index < sk_X509_num(chain); index++) {
        struct tm moment;
        if (ASN1_TIME_to_tm(X509_get0_notAfter(sk_X509_value(chain, index)), &moment) != 1) return 0;
        int64_t seconds = (int64_t)timegm(&moment);
        if (seconds < end) end = seconds;
    }
    return end == INT64_MAX ? 0 : end;
}

// A session brings back the verdict on the peer's certificate, and each one the next. So it ends with the chain behind
// the verdict, which no session keeps: the moment is written into it, and copied from one to the next.
static int remember_end(SSL *ssl, SSL_SESSION *session) {
    void *known = NULL;
    size_t count = 0;
    if (SSL_SESSION_get0_peer(session) == NULL) return 1;
    if (SSL_SESSION_get0_ticket_appdata(session, &known, &count) == 1 && count > 0) return 1;
    int64_t end = end_of_chain(ssl);
    return SSL_SESSION_set1_ticket_appdata(session, &end, sizeof(end));
}

int il_session_is_in_time(SSL_SESSION *session) {
    void *known = NULL;
    size_t count = 0;
    int64_t end = 0;
    if (SSL_SESSION_get0_peer(session) == NULL) return 1;
    if (SSL_SESSION_get0_ticket_appdata(session, &known, &count) != 1 || count != sizeof(end)) return 0;
    memcpy(&end, known, sizeof(end));
    return end > (int64_t)time(NULL);
}

static int write_ticket(SSL *ssl, void *argument) {
    (void)argument;
    return remember_end(ssl, SSL_get_session(ssl));
}

static SSL_TICKET_RETURN check_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_count,
                                      SSL_TICKET_STATUS status, void *argument) {
    (void)ssl, (void)name, (void)name_count, (void)argument;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!il_session_is_in_time(session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

int il_policy_attach(SSL_CTX *context, const uint8_t identity[IL_IDENTITY_SIZE], il_tickets *tickets,
                     const uint8_t *protocols, size_t protocols_count) {
    pthread_once(&indices_once, make_indices);
    if (policy_index < 0 || staple_index < 0) return 0;
    il_policy *policy = OPENSSL_zalloc(sizeof(*policy) + protocols_count);
    if (policy == NULL) return 0;
    memcpy(policy->identity, identity, IL_IDENTITY_SIZE);
    policy->tickets = il_tickets_retain(tickets);
    policy->protocols_count = protocols_count;
    if (protocols_count > 0) memcpy(policy->protocols, protocols, protocols_count);
    if (SSL_CTX_set_ex_data(context, policy_index, policy) != 1) {
        il_tickets_release(policy->tickets);
        OPENSSL_free(policy);
        return 0;
    }
    if (SSL_CTX_set_session_id_context(context, identity, IL_IDENTITY_SIZE) != 1) return 0;
    if (protocols_count > 0) SSL_CTX_set_alpn_select_cb(context, choose_protocol, policy);
    if (SSL_CTX_set_tlsext_status_cb(context, give_staple) != 1) return 0;
    if (tickets == NULL) return 1;
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, il_ticket_callback) == 1 &&
           SSL_CTX_set_session_ticket_cb(context, write_ticket, check_ticket, NULL) == 1;
}

int il_certificate_set_staple(X509 *certificate, const uint8_t *bytes, size_t count, int64_t valid_until) {
    pthread_once(&indices_once, make_indices);
    if (staple_index < 0 || count == 0) return 0;
    il_staple *staple = OPENSSL_malloc(sizeof(*staple) + count);
    if (staple == NULL) return 0;
    staple->valid_until = valid_until;
    staple->count = count;
    memcpy(staple->bytes, bytes, count);
    OPENSSL_free(X509_get_ex_data(certificate, staple_index));
    if (X509_set_ex_data(certificate, staple_index, staple) == 1) return 1;
    OPENSSL_free(staple);
    return 0;
}

// Returns 1: the reference is kept.
static int keep_session(SSL *ssl, SSL_SESSION *session) {
    il_tls_state *state = il_state_of(ssl);
    if (state == NULL || remember_end(ssl, session) != 1) return 0;
    SSL_SESSION_free(state->session);
    state->session = session;
    return 1;
}

void il_policy_collect_sessions(SSL_CTX *context) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
}

// OpenSSL keeps the reason: SSL_get_verify_result tells it, also when the session is resumed.
static int accept_anyway(int is_good, X509_STORE_CTX *store) {
    (void)is_good, (void)store;
    return 1;
}

void il_policy_verify_leniently(SSL_CTX *context) { SSL_CTX_set_verify(context, SSL_VERIFY_PEER, accept_anyway); }
