// Keys from secrets (HKDF, RFC 5869) and authenticated encryption (AES-256-GCM), which OpenSSL offers as sequences of
// calls: here each is one call that either did all of it or nothing.
#include "internal.h"
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>

int il_hkdf_sha256(const uint8_t *secret, size_t secret_count, const uint8_t *salt, size_t salt_count,
                   const uint8_t *info, size_t info_count, uint8_t *key, size_t key_count) {
    // OpenSSL takes a missing value for one that was forgotten.
    static uint8_t nothing[1];
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret == NULL ? nothing : (void *)secret, secret_count),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt == NULL ? nothing : (void *)salt, salt_count),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info == NULL ? nothing : (void *)info, info_count),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *function = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = function == NULL ? NULL : EVP_KDF_CTX_new(function);
    int is_good = context != NULL && EVP_KDF_derive(context, key, key_count, parameters) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(function);
    return is_good;
}

int il_seal(const uint8_t key[IL_SEALING_KEY_SIZE], const uint8_t nonce[IL_NONCE_SIZE], const uint8_t *context,
            size_t context_count, const uint8_t *plain, size_t count, uint8_t *sealed) {
    if (count > INT_MAX || context_count > INT_MAX) return 0;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (cipher == NULL) return 0;
    int size = 0;
    int is_good = EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1;
    if (context_count > 0)
        is_good = is_good && EVP_EncryptUpdate(cipher, NULL, &size, context, (int)context_count) == 1;
    if (count > 0) is_good = is_good && EVP_EncryptUpdate(cipher, sealed, &size, plain, (int)count) == 1;
    is_good = is_good && EVP_EncryptFinal_ex(cipher, sealed + count, &size) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, IL_TAG_SIZE, sealed + count) == 1;
    EVP_CIPHER_CTX_free(cipher);
    return is_good;
}

int il_open(const uint8_t key[IL_SEALING_KEY_SIZE], const uint8_t nonce[IL_NONCE_SIZE], const uint8_t *context,
            size_t context_count, const uint8_t *sealed, size_t count, uint8_t *plain) {
    if (count > INT_MAX || context_count > INT_MAX) return 0;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (cipher == NULL) return 0;
    int size = 0;
    int is_good = EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1;
    if (context_count > 0)
        is_good = is_good && EVP_DecryptUpdate(cipher, NULL, &size, context, (int)context_count) == 1;
    if (count > 0) is_good = is_good && EVP_DecryptUpdate(cipher, plain, &size, sealed, (int)count) == 1;
    is_good = is_good && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, IL_TAG_SIZE, (void *)(sealed + count)) == 1;
    // Only the tag says whether what was decrypted may be looked at.
    is_good = is_good && EVP_DecryptFinal_ex(cipher, plain + count, &size) == 1;
    EVP_CIPHER_CTX_free(cipher);
    if (!is_good && count > 0) OPENSSL_cleanse(plain, count);
    return is_good;
}
