#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ranges.h"
#include "session.h"

/* What this session knows of a reservation: its own, or one it opened. */
struct reservation {
        struct range range;
        uint64_t id, generation;
        unsigned access;
        bool shared;   /* others may change what it shows */
        bool shadowed; /* another session of this process shows it */
        bool repaint;  /* it did until now: every view is to be shown again */

        /* managed.c */
        uint32_t granule; /* 0: it shows memory that is mapped there */
        bool own;         /* private memory; what is mapped there is this session's */
        bool mapped;      /* by this session; what another one of this process has mapped is used as it is */
        bool head;        /* svmd_range_begin() knows it */
};

/* A piece of memory that the CPU sees, or (in the tree of sparse ranges) a range that reads zero. */
struct view {
        struct range range;
        uint64_t memory, offset;
        unsigned access;
        bool dirty; /* the kernel was not told yet */
        struct view *next;
};

static inline struct reservation *reservation_of(struct range *r) {
        return (struct reservation *)r;
}

static inline struct view *view_of(struct range *r) {
        return (struct view *)r;
}

_Static_assert(offsetof(struct reservation, range) == 0, "a reservation begins with its range");
_Static_assert(offsetof(struct view, range) == 0, "a view begins with its range");

/* All with `va_lock` held. */

/* Views are taken from spares, so that what follows a reply cannot fail. 0, or SVMD_E_NO_MEMORY. */
int views_spare(svmd_session *s, unsigned count);
/* Drops what is known of a range; views that reach out of it are cut (one spare). */
void views_cut(svmd_session *s, struct ranges *t, uint64_t start, uint64_t end);
/* One spare. The range is free of others. */
void views_add(svmd_session *s, struct ranges *t, uint64_t start, uint64_t end, uint64_t memory, uint64_t offset,
               unsigned access);
/* Two spares. */
void views_access(svmd_session *s, uint64_t start, uint64_t end, unsigned access);
void views_dirty(svmd_session *s, uint64_t start, uint64_t end);

/* The kernel's side, as far as no other session of the process shows the range. va_blank(): what views show in it is no
 * longer accessible. va_blank_sparse(), va_show_sparse(): neither are the sparse parts between views, or they read
 * zero. va_reset(): nothing of it is accessible, whoever had shown it. va_show(): dirty views are shown; the first that
 * fails is dropped and its range given back with the code, so that the daemon can be told. */
int va_blank(svmd_session *s, uint64_t start, uint64_t end);
int va_blank_sparse(svmd_session *s, uint64_t start, uint64_t end);
int va_show_sparse(svmd_session *s, uint64_t start, uint64_t end);
int va_reset(svmd_session *s, uint64_t start, uint64_t end);
int va_show(svmd_session *s, uint64_t start, uint64_t end, uint64_t *ret_start, uint64_t *ret_end);

/* Reservations. */
struct reservation *va_at(const svmd_session *s, uint64_t address);
struct reservation *va_by_id(const svmd_session *s, uint64_t id);
void va_add(svmd_session *s, struct reservation *r);
/* Blanks it, forgets it and frees it. */
void va_drop(svmd_session *s, struct reservation *r);
/* Brings what it shows up to date with the daemon. SVMD_E_NO_SUCH: it is gone. */
int va_refresh(svmd_session *s, struct reservation *r);
/* Blanks and forgets everything, at the end of the session; in a forked child it only forgets. */
void va_fini(svmd_session *s);
