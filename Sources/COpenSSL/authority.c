// Certificates of the feed: they are made here and nowhere else. What is in them is the Swift side's choice; that they
// are X.509 version 3 with identifiers, strict enough for X509_V_FLAG_X509_STRICT, is seen to here.
#include "internal.h"
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <string.h>

EVP_PKEY *il_p256_key(void) { return EVP_EC_gen("P-256"); }

// 126 random bits: never negative, never zero for practical purposes, never the same twice.
static int set_serial(X509 *certificate) {
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) return 0;
    bytes[0] = (uint8_t)((bytes[0] & 0x3F) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    int is_good = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return is_good;
}

static int set_subject(X509 *certificate, const char *organization, const char *common_name) {
    X509_NAME *name = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const uint8_t *)organization, -1, -1,
                                      0) == 1 &&
           X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0) ==
               1;
}

// The name is put in as it is: no text that OpenSSL would take apart at commas and colons.
static int add_uri(X509 *certificate, const char *uri) {
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    int is_good = 0;
    if (names != NULL && name != NULL && text != NULL && ASN1_STRING_set(text, uri, -1) == 1) {
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        text = NULL;
        if (sk_GENERAL_NAME_push(names, name) > 0) {
            name = NULL;
            is_good = X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
        }
    }
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(name);
    GENERAL_NAMES_free(names);
    return is_good;
}

static int add(X509 *certificate, X509 *issuer, int kind, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, kind, value);
    if (extension == NULL) return 0;
    int is_good = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return is_good == 1;
}

X509 *il_certificate_issue(const char *organization, const char *common_name, const char *uri, int64_t not_before,
                           int64_t not_after, const char *extended_use, EVP_PKEY *key, X509 *issuer,
                           EVP_PKEY *issuer_key) {
    X509 *made = X509_new();
    if (made == NULL) return NULL;
    X509 *signer = issuer == NULL ? made : issuer;
    int is_authority = issuer == NULL;
    int is_good =
        X509_set_version(made, X509_VERSION_3) == 1 && set_serial(made) &&
        set_subject(made, organization, common_name) &&
        X509_set_issuer_name(made, X509_get_subject_name(signer)) == 1 &&
        ASN1_TIME_set(X509_getm_notBefore(made), (time_t)not_before) != NULL &&
        ASN1_TIME_set(X509_getm_notAfter(made), (time_t)not_after) != NULL && X509_set_pubkey(made, key) == 1 &&
        add(made, signer, NID_basic_constraints, is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
        add(made, signer, NID_key_usage, is_authority ? "critical,keyCertSign" : "critical,digitalSignature") &&
        (extended_use == NULL || add(made, signer, NID_ext_key_usage, extended_use)) && add_uri(made, uri) &&
        add(made, signer, NID_subject_key_identifier, "hash") &&
        add(made, signer, NID_authority_key_identifier, "keyid:always") &&
        X509_sign(made, issuer == NULL ? key : issuer_key, EVP_sha256()) > 0;
    if (is_good) return made;
    X509_free(made);
    return NULL;
}
