// Private keys from DER. OpenSSL 3 builds a decoder for each key it reads, which takes ten times as long as to read the
// key; here one decoder for each usual form is built and kept. Publishing threads come here, workers never.
#include "internal.h"
#include <openssl/decoder.h>
#include <pthread.h>

typedef struct {
    const char *structure;
    const char *type;
    EVP_PKEY *key;
    OSSL_DECODER_CTX *context;
} key_decoder;

static pthread_mutex_t decoders_lock = PTHREAD_MUTEX_INITIALIZER;
static key_decoder decoders[] = {
    {.structure = "PrivateKeyInfo", .type = "RSA"},
    {.structure = "PrivateKeyInfo", .type = "EC"},
    {.structure = "type-specific", .type = "RSA"},
    {.structure = "type-specific", .type = "EC"},
};

// Under the lock.
static EVP_PKEY *decode(key_decoder *decoder, const uint8_t *bytes, size_t count) {
    if (decoder->context == NULL) {
        decoder->context = OSSL_DECODER_CTX_new_for_pkey(&decoder->key, "DER", decoder->structure, decoder->type,
                                                         EVP_PKEY_KEYPAIR, NULL, NULL);
        if (decoder->context == NULL) return NULL;
    }
    decoder->key = NULL;
    int is_good = OSSL_DECODER_from_data(decoder->context, &bytes, &count);
    EVP_PKEY *key = decoder->key;
    decoder->key = NULL;
    if (is_good == 1 && key != NULL) return key;
    // What it holds after a failure is not worth guessing.
    EVP_PKEY_free(key);
    OSSL_DECODER_CTX_free(decoder->context);
    decoder->context = NULL;
    return NULL;
}

EVP_PKEY *il_private_key(const uint8_t *bytes, size_t count, int is_pkcs8, int kind) {
    if (kind == EVP_PKEY_RSA || kind == EVP_PKEY_EC) {
        pthread_mutex_lock(&decoders_lock);
        EVP_PKEY *key = decode(&decoders[(is_pkcs8 ? 0 : 2) + (kind == EVP_PKEY_RSA ? 0 : 1)], bytes, count);
        pthread_mutex_unlock(&decoders_lock);
        ERR_clear_error();
        if (key != NULL) return key;
    }
    // Another kind than was expected, or an unusual one.
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &bytes, (long)count);
    ERR_clear_error();
    return key;
}
