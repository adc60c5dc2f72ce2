#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What a target defines; libFuzzer or replay.c calls it. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
/* May be left out. Called once, before all inputs. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input is. */
#define must(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                 \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

/* The input as a row of numbers; behind its end all are 0. */
struct bytes {
        const uint8_t *at;
        size_t left;
};

static inline uint8_t take_u8(struct bytes *b) {
        if (b->left == 0)
                return 0;
        b->left--;
        return *b->at++;
}

static inline uint64_t take_number(struct bytes *b, unsigned width) {
        uint64_t n = 0;

        for (unsigned i = 0; i < width; i++)
                n |= (uint64_t)take_u8(b) << 8 * i;
        return n;
}

static inline struct bytes take_bytes(struct bytes *b, size_t size) {
        struct bytes part = { b->at, size < b->left ? size : b->left };

        b->at += part.left;
        b->left -= part.left;
        return part;
}
