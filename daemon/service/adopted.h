#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Memory of a process that a managed range has taken in: an anonymous managed reservation whose addresses are not the
 * partition's but the process's own. It is found by its session alone, and shares nothing but its kind with those in
 * the slice: two processes may have the same addresses.
 *
 *      register -> pin -> (the process copies, and maps the range over it) -> join -> unpin -> as any managed range
 *      pin -> unregister, stop -> pin -> (it copies back, and maps that over it) -> unregister
 *
 * Between register and join, and between stop and the end, svmd serves no fault there and no device sees it, so what
 * the process does is all that happens to the bytes; and nothing moves, because it is pinned. What session spaces and
 * faults find is in the journal (JOIN, LEAVE): a svmd that takes over serves as much as its predecessor did.
 */
struct call;
struct partition;
struct reservation;
struct session;

/* Checked: whole pages, of no other registration. 0, OP_REFUSED or -ENOMEM. */
int adopted_begin(struct call *c, uint64_t address, uint64_t size);
/* NULL: it is none of this session's. */
struct reservation *adopted_by_id(struct call *c, uint64_t id);
/* `stop`: its process is not served any longer; else it ends. */
int adopted_end(struct call *c, struct reservation *r, bool stop);

/* reservation_at(), and what the caller's session has adopted if `p` is its partition. */
struct reservation *adopted_or_at(const struct call *c, const struct partition *p, uint64_t address);
/* Whether the session has adopted some of [address, address + size); or (ending) some of it is about to be free. */
bool adopted_overlaps(const struct session *s, uint64_t address, uint64_t size, bool ending);
/* It does not lie in the slice at all. */
bool adopted_outside(const struct partition *p, uint64_t address, uint64_t size);
/* Whether a replay may put it there. */
bool adopted_place_ok(const struct session *s, uint64_t address, uint64_t size);
