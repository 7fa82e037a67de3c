// What Swift cannot see of OpenSSL: macros become functions.
#ifndef INTERLOCK_OPENSSL_SHIM_H
#define INTERLOCK_OPENSSL_SHIM_H
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdint.h>

/// What a thread's TLS connections read from and write to.
typedef struct {
    /// Received and not yet read. Whoever calls OpenSSL sets it before and owns the memory.
    const uint8_t *input;
    size_t input_count;
    /// Written and not yet sent; grows as needed, the owner takes it and sets the count to 0.
    uint8_t *output;
    size_t output_count;
    size_t output_capacity;
    BIO *bio;
    BIO_METHOD *method;
} il_tls_memory;

/// NULL without memory. All connections that use it must be freed before it is.
il_tls_memory *il_tls_memory_new(size_t capacity);
void il_tls_memory_free(il_tls_memory *memory);

static inline int il_ssl_ctx_set_min_tls12(SSL_CTX *context) {
    return (int)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}
static inline void il_ssl_ctx_set_modes(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(context, 1);
}
static inline int il_ssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}
/// Makes an empty memory BIO say "try again" instead of "end".
static inline void il_bio_wait_when_empty(BIO *bio) { BIO_set_mem_eof_return(bio, -1); }
static inline size_t il_bio_pending(BIO *bio) { return BIO_ctrl_pending(bio); }
#endif
