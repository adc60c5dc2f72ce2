#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/fdlist.h"
#include "proto/svmd.pb-c.h"

/*
 * A svmd of a few hundred lines, in a thread: it speaks the protocol and keeps a list of reservations, memory and
 * mappings, without any check. A test puts a hook in front of it to answer by itself, late, or not at all.
 */
struct fake;

/* Called with every request, in the fake's thread. True: the hook did all that is to do. */
typedef bool (*fake_hook)(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data);

struct fake *fake_start(fake_hook hook, void *data);
/* Closes all connections and waits for the thread. */
void fake_stop(struct fake *f);
const char *fake_path(const struct fake *f);

/* The answer that the fake would give by itself. */
void fake_answer(struct fake *f, int conn, const Svmd__V1__Request *q);
/* To all of its operations. Outcomes of no operation: only code and text are sent. */
void fake_refuse(int conn, const Svmd__V1__Request *q, unsigned code, const char *text);
void fake_reply(int conn, uint64_t id, Svmd__V1__Result *result);
void fake_reply_all(int conn, uint64_t id, Svmd__V1__Result **results, size_t count);
void fake_event(int conn, Svmd__V1__Event *event);
void fake_fence_event(int conn, uint64_t fence, unsigned code, uint64_t value);
void fake_reservation_event(int conn, uint64_t id, uint64_t generation, bool gone);
void fake_epoch_event(int conn, uint64_t epoch);
/* The end of a connection, as its peer sees it. */
void fake_hang_up(int conn);

/* What the fake has. Any thread. */
unsigned fake_mappings(struct fake *f);
unsigned fake_reservations(struct fake *f);
unsigned fake_connections(struct fake *f);
/* Waits, at most 30 s, until the fake has this many connections. */
bool fake_wait_connections(struct fake *f, unsigned count);
/* The last connection that was accepted. */
int fake_last_connection(struct fake *f);
/* Shows memory in a reservation, as another session would; 0 memory: shows nothing there. */
void fake_show(struct fake *f, uint64_t address, uint64_t size, uint64_t memory, unsigned access);
/* A file of memory, to look at what a client wrote. */
int fake_file(struct fake *f, uint64_t memory);
/* The id that the last submission was answered with. */
uint64_t fake_last_fence(struct fake *f);
uint64_t fake_reservation_id(struct fake *f, uint64_t address);

/* Its managed ranges: fake_managed.h. Orders about them are accepted and do nothing: fake_fence_event() ends them. */
struct fake_managed *fake_managed(struct fake *f);
/* What was done since the last call, a letter each: reserve, open, free (x), uffd_device, uffd_give, range_files, join.
 * Up to FAKE_LOG_MAX bytes. */
enum { FAKE_LOG_MAX = 256 };
void fake_take_log(struct fake *f, char *ret);
