// The transport under every TLS connection: bytes in memory, no socket. One BIO serves all connections of a thread,
// because only one of them is at work at a time; who calls OpenSSL says before which bytes there are to read.
#include "internal.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int memory_write(BIO *bio, const char *bytes, int count) {
    il_tls_memory *memory = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (count <= 0) return 0;
    if (memory->output_count + (size_t)count > memory->output_capacity) {
        size_t capacity = memory->output_capacity * 2;
        while (capacity < memory->output_count + (size_t)count) capacity *= 2;
        uint8_t *larger = realloc(memory->output, capacity);
        if (larger == NULL) return -1;
        memory->output = larger;
        memory->output_capacity = capacity;
    }
    memcpy(memory->output + memory->output_count, bytes, (size_t)count);
    memory->output_count += (size_t)count;
    return count;
}

static int memory_read(BIO *bio, char *bytes, int capacity) {
    il_tls_memory *memory = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (memory->input_count == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t count = capacity < 0 ? 0 : (size_t)capacity;
    if (count > memory->input_count) count = memory->input_count;
    memcpy(bytes, memory->input, count);
    memory->input += count;
    memory->input_count -= count;
    return (int)count;
}

static long memory_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

static int memory_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

// The last reference is gone: no connection will ask again.
static int memory_destroy(BIO *bio) {
    il_tls_memory *memory = BIO_get_data(bio);
    if (memory == NULL) return 1;
    il_ticket_cache_free(memory->ticket_cache);
    free(memory->output);
    free(memory);
    BIO_set_data(bio, NULL);
    return 1;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

// Made once and never freed, as OpenSSL's own methods: connections refer to it until they end.
static void make_method(void) {
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
    if (made == NULL) return;
    BIO_meth_set_write(made, memory_write);
    BIO_meth_set_read(made, memory_read);
    BIO_meth_set_ctrl(made, memory_control);
    BIO_meth_set_create(made, memory_create);
    BIO_meth_set_destroy(made, memory_destroy);
    method = made;
}

il_tls_memory *il_tls_memory_new(size_t capacity) {
    pthread_once(&method_once, make_method);
    if (method == NULL || capacity == 0) return NULL;
    il_tls_memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL) return NULL;
    memory->output = malloc(capacity);
    memory->output_capacity = capacity;
    memory->bio = memory->output == NULL ? NULL : BIO_new(method);
    if (memory->bio == NULL) {
        free(memory->output);
        free(memory);
        return NULL;
    }
    BIO_set_data(memory->bio, memory);
    return memory;
}

void il_tls_memory_release(il_tls_memory *memory) {
    if (memory != NULL) BIO_free(memory->bio);
}
