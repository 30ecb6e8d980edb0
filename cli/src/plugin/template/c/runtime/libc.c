// The few functions of the C library that are needed, so that any clang will do, without a library for WebAssembly.
//
// The allocator keeps a list of free blocks for each power of two and never splits or joins them: it is small, and no
// slower after a million calls than at first. At most half of a block is wasted.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 65536
#define SMALLEST 4 // the smallest block has 16 bytes, its header included
#define CLASSES 32

// Before each block that is handed out; keeps what follows it aligned to 8 bytes.
typedef union header {
    size_t class;
    union header *next;
    uint64_t alignment;
} header;

extern unsigned char __heap_base;

static header *free_blocks[CLASSES];
static uintptr_t top, end;

// Memory that was never used.
static void *fresh(size_t size) {
    if (top == 0) {
        top = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
        end = __builtin_wasm_memory_size(0) * PAGE;
    }
    if (size > end - top) {
        size_t pages = (size - (end - top) + PAGE - 1) / PAGE;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return NULL;
        end += pages * PAGE;
    }
    void *block = (void *)top;
    top += size;
    return block;
}

void *malloc(size_t size) {
    if (size > SIZE_MAX / 4) return NULL;
    size_t class = SMALLEST;
    while (((size_t)1 << class) < size + sizeof(header)) class++;
    header *block = free_blocks[class];
    if (block) free_blocks[class] = block->next;
    else block = fresh((size_t)1 << class);
    if (!block) return NULL;
    block->class = class;
    return block + 1;
}

void free(void *old) {
    if (!old) return;
    header *block = (header *)old - 1;
    size_t class = block->class;
    block->next = free_blocks[class];
    free_blocks[class] = block;
}

void *calloc(size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    void *new = malloc(count * size);
    return new ? memset(new, 0, count * size) : NULL;
}

void *realloc(void *old, size_t size) {
    if (!old) return malloc(size);
    size_t room = ((size_t)1 << ((header *)old - 1)->class) - sizeof(header);
    if (size <= room) return old;
    void *new = malloc(size);
    if (!new) return NULL;
    memcpy(new, old, room);
    free(old);
    return new;
}

_Noreturn void abort(void) { __builtin_trap(); }

// These three are single instructions (-mbulk-memory).
void *memcpy(void *restrict to, const void *restrict from, size_t size) { return __builtin_memcpy(to, from, size); }
void *memmove(void *to, const void *from, size_t size) { return __builtin_memmove(to, from, size); }
void *memset(void *to, int byte, size_t size) { return __builtin_memset(to, byte, size); }

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *a = one, *b = other;
    for (; size > 0; size--, a++, b++) {
        if (*a != *b) return *a - *b;
    }
    return 0;
}

void *memchr(const void *in, int byte, size_t size) {
    const unsigned char *at = in;
    for (; size > 0; size--, at++) {
        if (*at == (unsigned char)byte) return (void *)at;
    }
    return NULL;
}

size_t strlen(const char *text) {
    const char *end_of_text = text;
    while (*end_of_text) end_of_text++;
    return (size_t)(end_of_text - text);
}

int strcmp(const char *one, const char *other) {
    while (*one && *one == *other) one++, other++;
    return (unsigned char)*one - (unsigned char)*other;
}
