#pragma once

#include <stdint.h>

struct file;
struct memory;
struct reservation;
struct session;
struct space;
struct state;

/* The object of that type with the id, whosever it is and whatever is becoming of it. NULL: there is none, or the id is
 * another type's. */
struct session *session_by_id(const struct state *s, uint64_t id);
struct reservation *reservation_by_id(const struct state *s, uint64_t id);
struct memory *memory_by_id(const struct state *s, uint64_t id);
struct space *space_by_id(const struct state *s, uint64_t id);
struct file *file_by_id(const struct state *s, uint64_t id);
