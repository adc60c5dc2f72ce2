#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * How much clients have, in a small file of the runtime folder: for the next svmd, should this one and svmd-keeper both
 * be gone by then, to say what is lost. It is no more than that; nothing is made from it. Written by plain stores, so a
 * kill leaves it as it was a moment before.
 */
struct record;

struct record_counts {
        uint64_t sessions, bytes;
};

enum {
        _RECORD_E_OK,
        RECORD_E_NEW,     /* no svmd was here, or one that ended with all its sessions */
        RECORD_E_UNKNOWN, /* one was here, and left none that can be read */
};

/* 0, RECORD_E_* or negative errno; `ret_before` is what the svmd before wrote last, on 0 only. With RECORD_E_*, too,
 * there is a record from here on. */
int record_open(struct record **ret, const char *runtime_dir, struct record_counts *ret_before);
void record_set(struct record *r, const struct record_counts *now);
/* `ended`: there is nothing that could be lost. */
void record_close(struct record *r, bool ended);
