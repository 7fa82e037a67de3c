// What Swift cannot see of OpenSSL: macros become functions, and callbacks that OpenSSL calls in the middle of its work
// are C. Nothing here decides anything that a person can set: the Swift side hands in every choice.
#ifndef INTERLOCK_OPENSSL_SHIM_H
#define INTERLOCK_OPENSSL_SHIM_H
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// MARK: The transport (memory.c)

struct il_ticket_cache;

/// What a thread's TLS connections read from and write to.
typedef struct {
    /// Received and not yet read. Whoever calls OpenSSL sets it before and owns the memory.
    const uint8_t *input;
    size_t input_count;
    /// Written and not yet sent; grows as needed, the owner takes it and sets the count to 0.
    uint8_t *output;
    size_t output_count;
    size_t output_capacity;
    /// Ticket keys that this thread has derived; made when first needed.
    struct il_ticket_cache *ticket_cache;
    /// The owner's reference; each connection holds another, and the last one frees all of this.
    BIO *bio;
} il_tls_memory;

/// NULL without memory.
il_tls_memory *il_tls_memory_new(size_t capacity);
/// Gives up the owner's reference. Connections that still use the memory keep it alive.
void il_tls_memory_release(il_tls_memory *memory);

// MARK: Ticket keys (tickets.c)

/// The secret that ticket keys are derived from; shared by policies, counted, never changed.
typedef struct il_tickets il_tickets;

il_tickets *il_tickets_new(const uint8_t *secret, size_t count, uint64_t period_s);
void il_tickets_release(il_tickets *tickets);
/// For tests: moves the clock by which keys change.
void il_tickets_shift_clock(il_tickets *tickets, int64_t seconds);

// MARK: Policies (policy.c)

enum { IL_IDENTITY_SIZE = 32 };

/// What the callbacks of a server's SSL_CTX need to know. Made once, freed with the SSL_CTX.
/// @param tickets gets a reference of its own; NULL: no tickets.
/// @param protocols the ALPN list in wire format, the preferred one first; none: ALPN is ignored.
/// @return 1, or 0 without memory.
int il_policy_attach(SSL_CTX *context, const uint8_t identity[IL_IDENTITY_SIZE], il_tickets *tickets,
                     const uint8_t *protocols, size_t protocols_count);
/// Makes a context collect the sessions that servers offer, see `il_tls_state.session`.
void il_policy_collect_sessions(SSL_CTX *context);
/// Whether every certificate by which the session's peer was judged is still valid. 1 if there was none.
int il_session_is_in_time(SSL_SESSION *session);
/// A failed verification is recorded and does not end the handshake.
void il_policy_verify_leniently(SSL_CTX *context);

/// Puts the OCSP answer that is sent with this certificate into it, replacing an earlier one.
/// @param valid_until Unix seconds.
int il_certificate_set_staple(X509 *certificate, const uint8_t *bytes, size_t count, int64_t valid_until);

// MARK: Connections (stream.c)

/// Why a callback ended a connection.
enum { IL_FAILURE_NONE = 0, IL_FAILURE_SERVER_NAME = 1, IL_FAILURE_FLOOD = 2, IL_FAILURE_RENEGOTIATION = 3 };

/// What belongs to one connection beside its SSL, which owns and frees it.
typedef struct {
    /// What the connection reads and writes; it holds a reference to its BIO.
    il_tls_memory *memory;
    /// Of a client: the newest session the server offered, to be taken by the owner.
    SSL_SESSION *session;
    /// Grows by IL_MESSAGE_COST with each handshake message after the handshake, shrinks by 1 with each read of data.
    uint32_t idle_cost;
    uint8_t is_established;
    uint8_t failure;
    /// Of a server: the name that routing has read from the ClientHello, without a trailing dot. Of a client: the name
    /// it asks for.
    uint16_t name_count;
    char name[];
} il_tls_state;

/// A connection ends after 64 handshake messages with no data between them, or more than one for each 16 reads of data:
/// key updates and tickets come once in a while, in gigabytes or hours.
enum { IL_MESSAGE_COST = 16, IL_IDLE_COST_LIMIT = 64 * IL_MESSAGE_COST };

/// A connection that reads and writes `memory`. NULL without memory.
SSL *il_stream_new(SSL_CTX *context, il_tls_memory *memory, int is_server, const char *name, size_t name_count,
                   il_tls_state **state);
/// The name in the state, which Swift cannot reach.
static inline const char *il_state_name(const il_tls_state *state) { return state->name; }
/// Installs what watches the messages of every connection of this context.
void il_stream_watch(SSL_CTX *context, int is_server);

// MARK: Keys (keys.c)

/// The private key in DER, to be freed; NULL if there is none. Leaves the error queue empty.
/// @param kind EVP_PKEY_RSA or EVP_PKEY_EC if that is to be expected: it is quicker.
EVP_PKEY *il_private_key(const uint8_t *bytes, size_t count, int is_pkcs8, int kind);

// MARK: Sealing (sealing.c)

enum { IL_SEALING_KEY_SIZE = 32, IL_NONCE_SIZE = 12, IL_TAG_SIZE = 16 };

/// HKDF with SHA-256 (RFC 5869): fills `key`. An empty salt is one of zeroes.
/// @return 1, or 0 without memory or if more is asked for than 255 hashes.
int il_hkdf_sha256(const uint8_t *secret, size_t secret_count, const uint8_t *salt, size_t salt_count,
                   const uint8_t *info, size_t info_count, uint8_t *key, size_t key_count);
/// AES-256-GCM.
/// @param sealed gets `count` bytes and the tag.
/// @return 1, or 0 without memory or for more than 2 GiB.
int il_seal(const uint8_t key[IL_SEALING_KEY_SIZE], const uint8_t nonce[IL_NONCE_SIZE], const uint8_t *context,
            size_t context_count, const uint8_t *plain, size_t count, uint8_t *sealed);
/// The reverse.
/// @param sealed `count` bytes and the tag.
/// @param plain gets `count` bytes; nothing of use if the answer is 0.
/// @return 1, or 0 if a bit of key, nonce, context, text or tag is another.
int il_open(const uint8_t key[IL_SEALING_KEY_SIZE], const uint8_t nonce[IL_NONCE_SIZE], const uint8_t *context,
            size_t context_count, const uint8_t *sealed, size_t count, uint8_t *plain);

// MARK: Certificates of the feed (authority.c)

/// A new private key on the curve P-256, to be freed; NULL without memory or entropy.
EVP_PKEY *il_p256_key(void);
/// Makes and signs a certificate, to be freed. NULL: see the error queue.
/// @param uri its only alternative name.
/// @param not_before, not_after Unix seconds.
/// @param extended_use as in `serverAuth`; NULL: none.
/// @param issuer NULL: the certificate is an authority's and signed by `key`.
X509 *il_certificate_issue(const char *organization, const char *common_name, const char *uri, int64_t not_before,
                           int64_t not_after, const char *extended_use, EVP_PKEY *key, X509 *issuer,
                           EVP_PKEY *issuer_key);

// MARK: Macros

/// TLS 1.3 and nothing else; no ticket, no session, no certificate beside the own one, and a peer's certificates fit
/// into `certificate_limit` bytes.
static inline int il_ssl_ctx_set_feed_modes(SSL_CTX *context, long certificate_limit) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_max_cert_list(context, certificate_limit);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set_max_early_data(context, 0) == 1 && SSL_CTX_set_recv_max_early_data(context, 0) == 1;
}

static inline int il_ssl_ctx_set_min_tls12(SSL_CTX *context) {
    return (int)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}
static inline int il_ssl_ctx_set_min_tls13(SSL_CTX *context) {
    return (int)SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
}
static inline void il_ssl_ctx_set_modes(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(context, 1);
}
/// For connections over `il_tls_memory`, which takes all that is written: no partial writes.
static inline void il_ssl_ctx_set_memory_modes(SSL_CTX *context) {
    SSL_CTX_clear_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    // What is sent is the chain that was given: OpenSSL would look for issuers among the clients' authorities.
    SSL_CTX_set_mode(context,
                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(context, 1);
}
static inline void il_ssl_ctx_prefer_server_ciphers(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
}
static inline void il_ssl_ctx_disable_tickets(SSL_CTX *context) { SSL_CTX_set_options(context, SSL_OP_NO_TICKET); }
static inline int il_ssl_ctx_set_groups(SSL_CTX *context, const char *groups) {
    return (int)SSL_CTX_set1_groups_list(context, groups);
}
static inline void il_ssl_ctx_disable_cache(SSL_CTX *context) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}
static inline int il_ssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}
/// Makes an empty memory BIO say "try again" instead of "end".
static inline void il_bio_wait_when_empty(BIO *bio) { BIO_set_mem_eof_return(bio, -1); }
/// Whether a part of a record waits for the rest of it.
static inline int il_is_inside_record(const SSL *ssl) {
    return SSL_has_pending(ssl) == 1 || strcmp(SSL_rstate_string(ssl), "RB") == 0;
}
static inline size_t il_bio_pending(BIO *bio) { return BIO_ctrl_pending(bio); }
/// Frees OpenSSL's memory and wipes it first.
static inline void il_clear_free(void *bytes, size_t count) { OPENSSL_clear_free(bytes, count); }
static inline int il_error_library(unsigned long code) { return ERR_GET_LIB(code); }
static inline int il_error_reason(unsigned long code) { return ERR_GET_REASON(code); }
/// No memory, or an assumption that did not hold: not the peer's fault.
static inline int il_error_is_ours(int reason) {
    return reason == ERR_R_MALLOC_FAILURE || reason == ERR_R_INTERNAL_ERROR || reason == ERR_R_SSL_LIB;
}
static inline int il_name_print_rfc2253(BIO *output, const X509_NAME *name) {
    return X509_NAME_print_ex(output, name, 0, XN_FLAG_RFC2253);
}
#endif
