/* Counts what a process allocates: preloaded by test_memory.py (glibc only).
 *
 * allocation_calls() is the number of calls so far, allocation_bytes() what is in use now, padding included.  After
 * allocation_fail(n) the n-th call of calloc that follows finds no memory; it returns how many of the n are still to come.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static _Atomic long calls, bytes, until_failure;

long allocation_calls(void) { return calls; }
long allocation_bytes(void) { return bytes; }

long allocation_fail(long n) {
    long left = until_failure;
    until_failure = n;
    return left;
}

static void *counted(void *p) {
    calls++;
    if (p) bytes += (long)malloc_usable_size(p);
    return p;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) {
    if (until_failure > 0 && --until_failure == 0) return NULL;
    return counted(__libc_calloc(count, size));
}
void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
    *out = memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

void *realloc(void *old, size_t size) {
    long before = old ? (long)malloc_usable_size(old) : 0;
    void *p = __libc_realloc(old, size);
    if (p || !size) bytes -= before;
    return counted(p);
}

void free(void *p) {
    if (p) bytes -= (long)malloc_usable_size(p);
    __libc_free(p);
}
