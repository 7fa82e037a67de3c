// What Swift cannot see of OpenSSL: macros become functions.
#ifndef INTERLOCK_OPENSSL_SHIM_H
#define INTERLOCK_OPENSSL_SHIM_H
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif
