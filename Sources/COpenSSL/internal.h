// What the C files of this target share and Swift does not see.
#ifndef INTERLOCK_OPENSSL_INTERNAL_H
#define INTERLOCK_OPENSSL_INTERNAL_H
#include "COpenSSL.h"

/// What the callbacks of a server's SSL_CTX know.
typedef struct {
    uint8_t identity[IL_IDENTITY_SIZE];
    il_tickets *tickets;
    size_t protocols_count;
    uint8_t protocols[];
} il_policy;

/// NULL if the context is not a server's.
il_policy *il_policy_of(SSL_CTX *context);

il_tickets *il_tickets_retain(il_tickets *tickets);
void il_ticket_cache_free(struct il_ticket_cache *cache);
/// OpenSSL asks for the keys of a new ticket, or of one that a client shows.
int il_ticket_callback(SSL *ssl, unsigned char name[16], unsigned char *vector, EVP_CIPHER_CTX *cipher,
                       EVP_MAC_CTX *mac, int is_new);

/// NULL if the connection is not one of `il_stream_new`.
il_tls_state *il_state_of(const SSL *ssl);
#endif
