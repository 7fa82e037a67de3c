// Makes certificates by the thousand, each with a key of its own (ECDSA, P-256), signed by a given authority.
//   certificates COUNT DIRECTORY DOMAIN AUTHORITY.pem AUTHORITY_KEY.pem
// Writes DIRECTORY/hostNNNNN.pem, key and certificate, for hostNNNNN.DOMAIN.
// The `openssl` program needs minutes for it.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "certificates: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static FILE *open_file(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    check(file != NULL, path);
    return file;
}

static void add_names(X509 *certificate, const char *name) {
    char value[300];
    snprintf(value, sizeof value, "DNS:%s", name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    check(names != NULL && X509_add_ext(certificate, names, -1), "subjectAltName");
    X509_EXTENSION_free(names);
    X509_NAME *subject = X509_get_subject_name(certificate);
    check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0), "subject");
}

static X509 *issue(const char *name, EVP_PKEY *key, X509 *authority, EVP_PKEY *authority_key) {
    X509 *made = X509_new();
    unsigned char serial[16];
    check(made != NULL && RAND_bytes(serial, sizeof serial) == 1, "a new certificate");
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 1);
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    check(number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(made)) != NULL, "serial");
    BN_free(number);
    check(X509_set_version(made, 2) && X509_gmtime_adj(X509_getm_notBefore(made), -86400) != NULL
        && X509_gmtime_adj(X509_getm_notAfter(made), 90L * 86400) != NULL
        && X509_set_issuer_name(made, X509_get_subject_name(authority)) && X509_set_pubkey(made, key), "fields");
    add_names(made, name);
    check(X509_sign(made, authority_key, EVP_sha256()) > 0, "signature");
    return made;
}

int main(int argument_count, char **arguments) {
    check(argument_count == 6, "usage: certificates COUNT DIRECTORY DOMAIN AUTHORITY.pem AUTHORITY_KEY.pem");
    FILE *file = open_file(arguments[4], "r");
    X509 *authority = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = open_file(arguments[5], "r");
    EVP_PKEY *authority_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    check(authority != NULL && authority_key != NULL, "the authority cannot be read");
    for (int index = 0; index < atoi(arguments[1]); index++) {
        char name[256], path[4096];
        snprintf(name, sizeof name, "host%05d.%s", index, arguments[3]);
        snprintf(path, sizeof path, "%s/host%05d.pem", arguments[2], index);
        EVP_PKEY *key = EVP_EC_gen("P-256");
        check(key != NULL, "a new key");
        X509 *made = issue(name, key, authority, authority_key);
        file = open_file(path, "w");
        check(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) && PEM_write_X509(file, made), path);
        check(fclose(file) == 0, path);
        X509_free(made);
        EVP_PKEY_free(key);
    }
    return 0;
}
