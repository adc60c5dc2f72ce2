#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * An index of words made of plain pointers: buckets -> words -> postings -> files. It means something only at the
 * address where it was built, so whoever follows it from elsewhere shows that addresses are shared.
 */
#define INDEX_MAGIC 0x3178646e69646d76ull

struct index_file {
        struct index_file *next; /* the file that was read before */
        uint64_t number;
        char path[]; /* padded with zeros, like all text here */
};

/* The lines of one file that have the word. */
struct index_posting {
        struct index_posting *next; /* an earlier file */
        const struct index_file *file;
        uint64_t lines;
};

struct index_word {
        struct index_word *chain; /* the next word of its bucket */
        struct index_word *next;  /* the next word in order of appearance: this list has all of them */
        struct index_posting *postings;
        uint64_t last_line; /* counted over all files: a line counts once for each word */
        uint32_t hash, length;
        char text[];
};

struct index {
        uint64_t magic;
        struct index *self;
        struct index_word *first, *last;
        struct index_file *files;
        struct index_word **buckets;
        uint64_t bucket_count; /* a power of two */
        uint64_t words, postings, file_count, lines, bytes;
        uint64_t scratch; /* 0; a device may write here in its own copy */
};

/* Makes at least *size bytes usable from `address` on, where the last growth ended, and sets *size to what it made.
 * Non-zero ends the build with that code. */
typedef int (*index_grow_fn)(void *userdata, char *address, size_t *size);

struct index_builder {
        struct index *index;
        struct index_file *file;
        char *next, *end; /* usable memory that is not taken */
        index_grow_fn grow;
        void *userdata;
};

/* The bytes are zero where they become usable, and `index` is where they start. */
int index_begin(struct index_builder *b, void *address, size_t bucket_count, index_grow_fn grow, void *userdata);
int index_begin_file(struct index_builder *b, const char *path);
/* Takes in the text up to its last byte that is not of a word, or all of it if it is the last of the file. The caller
 * hands the rest in again, in front of what follows. */
int index_add(struct index_builder *b, const char *text, size_t length, int last, size_t *ret_taken);

/* NULL: there is no index of that kind at the address. */
const struct index *index_at(const void *address);
/* NULL: no file has the word. */
const struct index_word *index_find(const struct index *index, const char *text, size_t length);

struct index_answer {
        uint64_t lines, files;
};
struct index_answer index_answer(const struct index_word *word);
/* Follows the list of all words to its end; `ret_last` gets the last one. */
uint64_t index_chase(const struct index *index, const struct index_word **ret_last);
/* Sum of the 64-bit words in [address, address + length), modulo 2^64. */
uint64_t index_sum(const void *address, size_t length);
