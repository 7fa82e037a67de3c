// The keys of session tickets. They are a pure function of a secret, a policy's identity and a period of time, so all
// threads, and all nodes with the same secret, have the same keys without telling each other; a ticket of one policy
// means nothing to another. A thread remembers what it has derived in memory of its own: no lock, nothing shared.
#include "internal.h"
#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { NAME_SIZE = 16, SECRET_SIZE = 32, CACHE_SIZE = 256 };

struct il_tickets {
    atomic_uint references;
    atomic_llong clock_shift;
    /// Tells this secret from one that had the same address before.
    uint64_t number;
    uint64_t period_s;
    uint8_t secret[SECRET_SIZE];
};

typedef struct {
    uint64_t tickets_number;
    uint64_t period;
    uint8_t identity[IL_IDENTITY_SIZE];
    uint8_t name[NAME_SIZE];
    uint8_t cipher_key[SECRET_SIZE];
    uint8_t mac_key[SECRET_SIZE];
} ticket_keys;

struct il_ticket_cache {
    EVP_CIPHER *cipher;
    ticket_keys keys[CACHE_SIZE];
};

il_tickets *il_tickets_new(const uint8_t *secret, size_t count, uint64_t period_s) {
    static atomic_ullong last_number;
    if (period_s == 0) return NULL;
    il_tickets *tickets = OPENSSL_zalloc(sizeof(*tickets));
    if (tickets == NULL) return NULL;
    int is_good;
    if (count == 0) {
        is_good = RAND_priv_bytes(tickets->secret, SECRET_SIZE) == 1;
    } else {
        // Of any length and form: only its extract is used (RFC 5869 section 2.2).
        unsigned int size = SECRET_SIZE;
        static const char salt[] = "interlock session tickets";
        is_good = HMAC(EVP_sha256(), salt, sizeof(salt) - 1, secret, count, tickets->secret, &size) != NULL;
    }
    if (!is_good) {
        OPENSSL_free(tickets);
        return NULL;
    }
    atomic_init(&tickets->references, 1);
    atomic_init(&tickets->clock_shift, 0);
    tickets->number = atomic_fetch_add(&last_number, 1) + 1;
    tickets->period_s = period_s;
    return tickets;
}

il_tickets *il_tickets_retain(il_tickets *tickets) {
    if (tickets != NULL) atomic_fetch_add_explicit(&tickets->references, 1, memory_order_relaxed);
    return tickets;
}

void il_tickets_release(il_tickets *tickets) {
    if (tickets == NULL || atomic_fetch_sub_explicit(&tickets->references, 1, memory_order_acq_rel) != 1) return;
    OPENSSL_clear_free(tickets, sizeof(*tickets));
}

void il_tickets_shift_clock(il_tickets *tickets, int64_t seconds) { atomic_store(&tickets->clock_shift, seconds); }

static uint64_t period_now(il_tickets *tickets) {
    int64_t now = (int64_t)time(NULL) + atomic_load_explicit(&tickets->clock_shift, memory_order_relaxed);
    return now < 0 ? 0 : (uint64_t)now / tickets->period_s;
}

void il_ticket_cache_free(struct il_ticket_cache *cache) {
    if (cache == NULL) return;
    EVP_CIPHER_free(cache->cipher);
    OPENSSL_clear_free(cache, sizeof(*cache));
}

static struct il_ticket_cache *cache_of(SSL *ssl) {
    il_tls_state *state = il_state_of(ssl);
    if (state == NULL) return NULL;
    il_tls_memory *memory = state->memory;
    if (memory->ticket_cache != NULL) return memory->ticket_cache;
    struct il_ticket_cache *cache = OPENSSL_zalloc(sizeof(*cache));
    if (cache == NULL) return NULL;
    // Fetched once: OpenSSL 3 looks an algorithm up by its name each time otherwise.
    cache->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (cache->cipher == NULL) {
        OPENSSL_free(cache);
        return NULL;
    }
    memory->ticket_cache = cache;
    return cache;
}

static int derive(const il_tickets *tickets, const il_policy *policy, uint64_t period, uint8_t purpose, uint8_t *out) {
    uint8_t input[IL_IDENTITY_SIZE + 9];
    memcpy(input, policy->identity, IL_IDENTITY_SIZE);
    for (int byte = 0; byte < 8; byte++) input[IL_IDENTITY_SIZE + byte] = (uint8_t)(period >> (56 - 8 * byte));
    input[IL_IDENTITY_SIZE + 8] = purpose;
    unsigned int size = SECRET_SIZE;
    return HMAC(EVP_sha256(), tickets->secret, SECRET_SIZE, input, sizeof(input), out, &size) != NULL;
}

static const ticket_keys *keys_for(struct il_ticket_cache *cache, const il_policy *policy, uint64_t period) {
    uint32_t place;
    memcpy(&place, policy->identity, sizeof(place));
    // Periods that are in use at one time never share a place.
    ticket_keys *keys = &cache->keys[(place * 4 + (uint32_t)(period & 3)) % CACHE_SIZE];
    const il_tickets *tickets = policy->tickets;
    if (keys->tickets_number == tickets->number && keys->period == period &&
        memcmp(keys->identity, policy->identity, IL_IDENTITY_SIZE) == 0)
        return keys;
    uint8_t name[SECRET_SIZE];
    keys->tickets_number = 0;
    if (!derive(tickets, policy, period, 1, name) || !derive(tickets, policy, period, 2, keys->cipher_key) ||
        !derive(tickets, policy, period, 3, keys->mac_key))
        return NULL;
    memcpy(keys->name, name, NAME_SIZE);
    memcpy(keys->identity, policy->identity, IL_IDENTITY_SIZE);
    keys->period = period;
    keys->tickets_number = tickets->number;
    return keys;
}

static int start(struct il_ticket_cache *cache, const ticket_keys *keys, const unsigned char *vector,
                 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_new) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex2(cipher, cache->cipher, keys->cipher_key, vector, is_new, NULL) == 1 &&
           EVP_MAC_init(mac, keys->mac_key, SECRET_SIZE, parameters) == 1;
}

// -1 ends the handshake, 0: no ticket or an unknown one, 1: good, 2: good, but a new one should be given.
int il_ticket_callback(SSL *ssl, unsigned char name[16], unsigned char *vector, EVP_CIPHER_CTX *cipher,
                       EVP_MAC_CTX *mac, int is_new) {
    const il_policy *policy = il_policy_of(SSL_get_SSL_CTX(ssl));
    struct il_ticket_cache *cache = cache_of(ssl);
    if (policy == NULL || policy->tickets == NULL || cache == NULL) return is_new ? -1 : 0;
    uint64_t now = period_now(policy->tickets);
    if (is_new) {
        const ticket_keys *keys = keys_for(cache, policy, now);
        if (keys == NULL || RAND_bytes(vector, EVP_CIPHER_get_iv_length(cache->cipher)) != 1) return -1;
        memcpy(name, keys->name, NAME_SIZE);
        return start(cache, keys, vector, cipher, mac, 1) ? 1 : -1;
    }
    // Another node's clock may be ahead: the keys of the next period are good too.
    static const int order[] = {0, -1, 1};
    for (size_t index = 0; index < 3; index++) {
        if (now == 0 && order[index] < 0) continue;
        const ticket_keys *keys = keys_for(cache, policy, now + (uint64_t)(int64_t)order[index]);
        if (keys == NULL || memcmp(keys->name, name, NAME_SIZE) != 0) continue;
        if (!start(cache, keys, vector, cipher, mac, 0)) return -1;
        // A TLS 1.3 ticket is to be used once (RFC 8446 section C.4), so who shows one needs the next.
        return order[index] < 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
    }
    return 0;
}
