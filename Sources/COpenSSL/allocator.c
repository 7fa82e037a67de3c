// Memory for OpenSSL. It frees a connection's record buffers (two of about 17 KiB) after each record, so that idle
// connections hold none, and takes them again for the next: each thread keeps a few here instead of asking malloc, and
// they stay in the processor's cache whichever connection uses them. Everything else is malloc's.
#include "internal.h"
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    /// Between them lie the sizes of record buffers in OpenSSL 3, plain and with room for alignment.
    SMALLEST = 16384,
    LARGEST = 18432,
    /// One read and one write buffer, and those of a second connection.
    KEPT_LIMIT = 4,
};

#if defined(__SANITIZE_ADDRESS__)
enum { IS_KEEPING = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
// Kept memory would hide its misuse.
enum { IS_KEEPING = 0 };
#else
enum { IS_KEEPING = 1 };
#endif
#else
enum { IS_KEEPING = 1 };
#endif

typedef struct kept_block {
    struct kept_block *next;
} kept_block;

static __thread kept_block *kept;
static __thread unsigned kept_count;
static __thread int is_registered;
static pthread_key_t thread_end;
static int has_thread_end;

static void free_kept(void *unused) {
    (void)unused;
    while (kept != NULL) {
        kept_block *block = kept;
        kept = block->next;
        free(block);
    }
    // What is freed later in this thread's end goes to malloc.
    kept_count = KEPT_LIMIT;
}

static void *take_memory(size_t size, const char *file, int line) {
    (void)file, (void)line;
    if (size - SMALLEST > LARGEST - SMALLEST) return size == 0 ? NULL : malloc(size);
    kept_block *block = kept;
    // All blocks have the largest size, so that any of them will do.
    if (block == NULL) return malloc(LARGEST);
    kept = block->next;
    kept_count--;
    return block;
}

static void give_memory(void *pointer, const char *file, int line) {
    (void)file, (void)line;
    if (pointer == NULL) return;
    size_t size = malloc_usable_size(pointer);
    if (size - LARGEST > 64 || kept_count >= KEPT_LIMIT) {
        free(pointer);
        return;
    }
    if (!is_registered) {
        // A value that is not NULL makes the thread's end call `free_kept`.
        if (!has_thread_end || pthread_setspecific(thread_end, &kept) != 0) {
            free(pointer);
            return;
        }
        is_registered = 1;
    }
    kept_block *block = pointer;
    block->next = kept;
    kept = block;
    kept_count++;
}

static void *resize_memory(void *pointer, size_t size, const char *file, int line) {
    if (pointer == NULL) return take_memory(size, file, line);
    if (size == 0) {
        give_memory(pointer, file, line);
        return NULL;
    }
    return realloc(pointer, size);
}

// OpenSSL accepts this before its first allocation only. If another library was quicker, all memory is malloc's.
__attribute__((constructor)) static void install(void) {
    if (!IS_KEEPING || pthread_key_create(&thread_end, free_kept) != 0) return;
    has_thread_end = 1;
    if (CRYPTO_set_mem_functions(take_memory, resize_memory, give_memory) != 1) has_thread_end = 0;
}
