#include "service/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/adopted.h"
#include "service/audit.h"
#include "service/capacity.h"
#include "service/cgroups.h"
#include "service/effects.h"
#include "service/join.h"

/*
 * From a packet to its reply.
 *
 *      decode -> shape (one table) -> stage slow work -> operations, each a transaction or all in one
 *             -> journal -> commit -> reply
 *                   ^
 *      a job is done: decode again, and go on here
 *
 * Only staging waits: it takes pages for large memory, or writes the store. The operations themselves run to the end
 * without a pause, so nobody sees a request half done.
 */

/* What a reply may grow to, and what each operation that is still to come can count on: a code and a short text. */
#define REPLY_ROOM (SVMD_PACKET_MAX - 1024)
#define REPLY_EACH 100
/* A result without text and detail: its head, code, flag, and five numbers with their tags. */
#define RESULT_NUMBERS (2 + 6 + 2 + 5 * 11)
/* How long a request waits for addresses that have ended. */
#define ADDRESSES_NS 5000000000ull

void call_refuse(struct call *c, unsigned code, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        c->result->detail_case = SVMD__V1__RESULT__DETAIL__NOT_SET; /* it may be half filled */
        c->result->code = code;
        c->result->text = call_string(c, text);
}

int refuse_errno(struct call *c, int r, const char *doing) {
        switch (r) {
        case -ENOMEM: return refuse(c, SVMD_STATUS_NO_MEMORY, "svmd has no memory left for %s", doing);
        case -ENOSPC:
                return refuse(c, SVMD_STATUS_JOURNAL,
                              "svmd's journal is full: free something, or start svmd with a larger journal-size");
        case -EMFILE:
        case -ENFILE:
                return refuse(c, SVMD_STATUS_QUOTA, "svmd has no file descriptor left for %s: raise its LimitNOFILE",
                              doing);
        default: return refuse(c, SVMD_STATUS_SYSTEM, "%s failed: %s", doing, strerror(-r));
        }
}

void *call_take(struct call *c, size_t size) {
        void *p = arena_take(&c->svc->arena, size);

        if (p)
                memset(p, 0, size);
        return p;
}

char *call_string(struct call *c, const char *s) {
        size_t size = strlen(s) + 1;
        char *p = arena_take(&c->svc->arena, size);

        /* An empty text is what protobuf-c takes for none; the code still stands. */
        return p ? memcpy(p, s, size) : (char *)protobuf_c_empty_string;
}

void request_free(struct request *r) {
        list_remove(&r->link);
        alloc_free(r->bytes);
        usage_answer_free(r->usage);
        alloc_free(r->reloaded);
        alloc_free(r->staged);
        fdlist_close(&r->in);
        fdlist_close(&r->out);
        alloc_free(r);
}

/* ---- shape ---- */

static int check_op(struct call *c, const struct op_row *row, const Svmd__V1__Request *m, unsigned all_flags) {
        const struct session *s = c->session;

        if (!row)
                return refuse(c, SVMD_STATUS_UNKNOWN_OP,
                              "svmd knows no such operation (field %d of Op); is svmd older than this client?",
                              (int)c->op->op_case);
        if (row->flags & OP_FIRST) {
                if (s->client)
                        return refuse(c, SVMD_STATUS_SHAPE, "hello comes once, as the first request of a connection");
        } else if (!s->client) {
                return refuse(c, SVMD_STATUS_SHAPE, "the first request of a connection must be hello, not %s",
                              row->name);
        }
        if ((row->flags & OP_ADMIN) && !s->admin && !((row->flags & OP_READS) && s->reader))
                return refuse(c, SVMD_STATUS_DENIED,
                              row->flags & OP_READS
                                      ? "%s is for administrators (connect to admin.sock), and for members of "
                                        "the group that svmd's option metrics-group names"
                                      : "%s is for administrators: connect to admin.sock",
                              row->name);
        if ((row->flags & OP_ATTACHED) && !s->partition)
                return refuse(c, SVMD_STATUS_NOT_ATTACHED, "%s needs a partition: attach first", row->name);
        if (s->guest && !(row->flags & OP_GUEST))
                return refuse(c, SVMD_STATUS_DENIED,
                              "%s is for sessions of partition %s: this one is a guest there, and opens what is shared "
                              "with the partition that it came from",
                              row->name, s->partition->name->text);
        if ((row->flags & OP_ALONE) && m->n_ops != 1)
                return refuse(c, SVMD_STATUS_SHAPE, "%s must be the only operation of its request", row->name);
        if ((row->flags & OP_FINAL) && m->mode != SVMD__V1__MODE__BEST_EFFORT)
                return refuse(c, SVMD_STATUS_SHAPE, "%s cannot be taken back: send it in a BEST_EFFORT request",
                              row->name);
        if ((row->flags & OP_FD_OUT) && (all_flags & OP_CHANGES))
                return refuse(
                        c, SVMD_STATUS_SHAPE,
                        "%s hands out a file descriptor and cannot share a request with operations that change things",
                        row->name);
        return 0;
}

static unsigned gather_flags(const Svmd__V1__Request *m) {
        unsigned flags = 0;

        for (size_t i = 0; i < m->n_ops; i++) {
                const struct op_row *row = op_row(m->ops[i]->op_case);

                flags |= row ? row->flags : 0;
        }
        return flags;
}

static unsigned wanted_fds(const Svmd__V1__Request *m) {
        unsigned n = 0;

        for (size_t i = 0; i < m->n_ops; i++)
                n += op_fds(m->ops[i]);
        return n;
}

/* ---- running ---- */

struct run {
        struct service *svc;
        struct request *request;
        const Svmd__V1__Request *m;
        Svmd__V1__Result *results, **list;
        Svmd__V1__Reply reply; /* but for the results */
        unsigned flags;
        size_t encoded; /* about how long the reply has become */
        unsigned fds;   /* that the operations to come will take */
        bool effects;
};

static bool make_results(struct run *run) {
        size_t n = run->m->n_ops;

        run->results = arena_take(&run->svc->arena, n * sizeof(*run->results));
        run->list = arena_take(&run->svc->arena, n * sizeof(*run->list));
        if (!run->results || !run->list)
                return false;
        for (size_t i = 0; i < n; i++) {
                svmd__v1__result__init(&run->results[i]);
                run->list[i] = &run->results[i];
        }
        return true;
}

static void refuse_all(struct run *run, unsigned code, const char *text) {
        for (size_t i = 0; i < run->m->n_ops; i++) {
                svmd__v1__result__init(&run->results[i]);
                run->results[i].code = code;
                run->results[i].text = (char *)text;
        }
}

/* Descriptors are taken in the order of the operations; what a refused one did not take is not for the next. */
static void drop_fds(struct run *run, const Svmd__V1__Op *op) {
        struct fdlist *in = &run->request->in;

        run->fds -= op_fds(op);
        while (fdlist_left(in) > run->fds)
                close(fdlist_steal(in));
}

/* What the i-th result may be, so that those behind it still fit. */
static size_t room_for(const struct run *run, size_t i) {
        return REPLY_ROOM - run->encoded - (run->m->n_ops - 1 - i) * REPLY_EACH;
}

/* At most, and exactly where it may be long: numbers alone, which is the rule, need no walk through the message. */
static size_t encoded_size(const Svmd__V1__Result *r) {
        if (!r->text[0] && r->detail_case == SVMD__V1__RESULT__DETAIL__NOT_SET)
                return RESULT_NUMBERS;
        return svmd__v1__result__get_packed_size(r) + 4;
}

static int run_op(struct run *run, size_t i) {
        struct call c = {
                .svc = run->svc,
                .session = run->request->session,
                .tx = run->svc->tx,
                .op = run->m->ops[i],
                .result = &run->results[i],
                .request = run->request,
                .index = (uint32_t)i,
        };
        const struct op_row *row = op_row(c.op->op_case);
        int r = check_op(&c, row, run->m, run->flags);

        if (r == 0) {
                r = row->fn(&c);
                if (r < 0)
                        r = refuse_errno(&c, r, row->name);
        }
        if (r == OP_LATER)
                return r;
        drop_fds(run, c.op);
        if (r == 0 && encoded_size(c.result) > room_for(run, i)) {
                svmd__v1__result__init(c.result);
                r = refuse(&c, SVMD_STATUS_SHAPE, "the reply would be longer than a packet: ask in several requests");
        }
        if (r != 0 && encoded_size(c.result) > room_for(run, i))
                c.result->text = (char *)status_text(c.result->code);
        run->encoded += encoded_size(c.result);
        figures_op(run->svc, &c, r == OP_REFUSED);
        if (r == OP_REFUSED) {
                c.session->refusals++;
                run->svc->refusals++;
        }
        return r;
}

static int run_each(struct run *run) {
        for (size_t i = 0; i < run->m->n_ops; i++) {
                struct tx *tx = run->svc->tx;
                int r;

                tx_begin(tx);
                r = run_op(run, i);
                if (r == OP_LATER)
                        return r;
                if (r != 0) {
                        tx_rollback(tx, 0);
                        continue;
                }
                run->effects |= tx->effects;
                tx_commit(tx);
        }
        return 0;
}

static void abort_others(struct run *run, size_t failed) {
        fdlist_close(&run->request->out);
        for (size_t i = 0; i < run->m->n_ops; i++) {
                if (i == failed)
                        continue;
                svmd__v1__result__init(&run->results[i]);
                run->results[i].code = SVMD_STATUS_ABORTED;
                run->results[i].text = (char *)status_text(SVMD_STATUS_ABORTED);
        }
}

static int run_together(struct run *run) {
        struct tx *tx = run->svc->tx;

        tx_begin(tx);
        for (size_t i = 0; i < run->m->n_ops; i++) {
                int r = run_op(run, i);

                if (r == OP_LATER)
                        return r;
                if (r != 0) {
                        tx_rollback(tx, 0);
                        abort_others(run, i);
                        return 0;
                }
        }
        if (run->m->mode == SVMD__V1__MODE__DRY_RUN) {
                tx_rollback(tx, 0);
                return 0;
        }
        run->effects |= tx->effects;
        tx_commit(tx);
        return 0;
}

/* ---- the journal's room ---- */

/* Room that only requests which give back may use: without it a full journal could not be told of anything that makes
 * it less full. A fourth of a small journal. */
static size_t journal_spare(const struct service *svc) {
        size_t fourth = journal_size(svc->journal) / 4, most = SVMD_OPS_MAX * EFFECT_MAX + SVMD_PACKET_MAX;

        return fourth < most ? fourth : most;
}

/* The reply to an operation that gives back is a code and a text at most. */
static size_t journal_need(const struct service *svc, const Svmd__V1__Request *m) {
        size_t effects = (m->n_ops + m->n_done) * EFFECT_MAX;

        for (size_t i = 0; i < m->n_ops; i++) {
                const struct op_row *row = op_row(m->ops[i]->op_case);

                if (row && (row->flags & OP_CHANGES) && !(row->flags & OP_GIVES))
                        return effects + SVMD_PACKET_MAX + journal_spare(svc);
                if (row && !(row->flags & OP_CHANGES))
                        return effects + SVMD_PACKET_MAX;
        }
        return effects + m->n_ops * EFFECT_MAX;
}

static int reserve_journal(struct service *svc, const Svmd__V1__Request *m) {
        size_t ops = m->n_ops, bytes;
        int r;

        if (!svc->journal)
                return 0;
        bytes = journal_need(svc, m);
        r = svc->journal_behind ? JOURNAL_E_FULL : journal_reserve(svc->journal, ops * 4 + 1, bytes);
        if (r != JOURNAL_E_FULL)
                return r;
        r = journal_snapshot(svc);
        if (r == 0)
                r = journal_reserve(svc->journal, ops * 4 + 1, bytes);
        return r == JOURNAL_E_FULL ? -ENOSPC : r;
}

/* The buffer has the effect's head in front of the packet. */
static void keep_reply(struct service *svc, const struct request *r, size_t size) {
        struct effect_reply *e = (struct effect_reply *)svc->reply - 1;

        if (!svc->journal || !r->session->partition)
                return;
        *e = (struct effect_reply){ .session = r->session->object.id, .request = r->id };
        journal_append(svc->journal, EFFECT_REPLY, e, sizeof(*e) + size);
}

static void send_reply(struct run *run) {
        Svmd__V1__Packet packet = SVMD__V1__PACKET__INIT;
        struct service *svc = run->svc;
        ssize_t n;

        run->reply.id = run->request->id;
        run->reply.n_results = run->m->n_ops;
        run->reply.results = run->list;
        packet.packet_case = SVMD__V1__PACKET__PACKET_REPLY;
        packet.reply = &run->reply;
        n = encode_packet(&packet, svc->reply, SVMD_PACKET_MAX); /* it fits: see room_for() */
        if (run->effects && run->request->out.count == 0)
                keep_reply(svc, run->request, (size_t)n);
        svc->hooks.reply(svc->hooks.userdata, run->request->session, svc->reply, (size_t)n, &run->request->out);
        figures_reply(svc, run->request, run->m);
}

static void audit(const struct run *run) {
        if (!(run->flags & OP_AUDIT) || run->m->mode == SVMD__V1__MODE__DRY_RUN)
                return;
        for (size_t i = 0; i < run->m->n_ops; i++) {
                const struct call c = { .op = run->m->ops[i], .result = &run->results[i] };

                audit_end(run->svc, run->request->session, &c);
        }
}

/* Before the operations, which may want what is given back. */
static int take_rides(struct run *run) {
        int r;

        svmd__v1__reply__init(&run->reply);
        r = grants_ride(run->svc, run->request, run->m, &run->reply);
        for (size_t i = 0; i < run->reply.n_refused; i++)
                run->encoded += protobuf_c_message_get_packed_size(&run->reply.refused[i]->base) + 4;
        return r;
}

/* Runs a decoded request whose slow work is done; OP_LATER: an operation has started a job. */
static int run_request(struct service *svc, struct request *request, const Svmd__V1__Request *m) {
        struct run run = { .svc = svc, .request = request, .m = m, .flags = gather_flags(m), .fds = wanted_fds(m) };
        int r = 0, journal;

        if (run.flags & OP_CHANGES)
                cgroups_look(svc, request->session);
        if (!make_results(&run) || take_rides(&run) < 0)
                return -ENOMEM;
        journal = (run.flags & OP_CHANGES) || request->rode ? reserve_journal(svc, m) : 0;
        run.effects = request->rode && journal == 0;
        if (run.fds != fdlist_left(&request->in)) {
                char *text = arena_take(&svc->arena, 96);

                if (text)
                        snprintf(text, 96, "%u file descriptors came with the request and its operations take %u",
                                 fdlist_left(&request->in), run.fds);
                refuse_all(&run, SVMD_STATUS_FD_COUNT, text ? text : status_text(SVMD_STATUS_FD_COUNT));
        } else if (m->mode > SVMD__V1__MODE__DRY_RUN) {
                refuse_all(&run, SVMD_STATUS_INVALID, "the mode must be BEST_EFFORT, ALL_OR_NOTHING or DRY_RUN");
        } else if (audit_begin(svc, request->session, run.flags) < 0) {
                refuse_all(&run, SVMD_STATUS_NO_MEMORY, status_text(SVMD_STATUS_NO_MEMORY));
        } else if ((run.flags & OP_CHANGES) && journal < 0) {
                refuse_all(&run, journal == -ENOSPC ? SVMD_STATUS_JOURNAL : SVMD_STATUS_NO_MEMORY,
                           journal == -ENOSPC
                                   ? "svmd's journal is full: free something, or give it a larger journal-size"
                                   : status_text(SVMD_STATUS_NO_MEMORY));
        } else {
                r = m->mode == SVMD__V1__MODE__BEST_EFFORT ? run_each(&run) : run_together(&run);
        }
        if (run.flags & OP_CHANGES)
                accounts_note(svc, request->session);
        if (r != OP_LATER) {
                audit(&run);
                send_reply(&run);
        }
        request->session->requests++;
        svc->requests++;
        return r;
}

/* One that cannot even be kept. */
static int refuse_request(struct service *svc, struct request *request, const Svmd__V1__Request *m) {
        struct run run = { .svc = svc, .request = request, .m = m, .reply = SVMD__V1__REPLY__INIT };

        if (!make_results(&run))
                return -ENOMEM;
        refuse_all(&run, SVMD_STATUS_NO_MEMORY, status_text(SVMD_STATUS_NO_MEMORY));
        send_reply(&run);
        return 0;
}

/* ---- waiting ---- */

static struct request *request_keep(struct service *svc, const struct request *r, const void *bytes, size_t size) {
        struct request *copy = alloc_zero(sizeof(*copy));

        if (!copy)
                return NULL;
        *copy = *r;
        list_init(&copy->link);
        copy->bytes = alloc_zero(size);
        if (!copy->bytes) {
                alloc_free(copy);
                return NULL;
        }
        memcpy(copy->bytes, bytes, size);
        copy->size = size;
        list_push_back(&svc->pending, &copy->link);
        return copy;
}

static void request_end(struct service *svc, struct request *r, bool on_stack) {
        if (!on_stack) {
                join_free(svc, r);
                staged_free(svc, r);
                request_free(r);
                return;
        }
        fdlist_close(&r->in);
        fdlist_close(&r->out);
}

void service_wake_soon(struct service *svc) {
        svc->hooks.wake_soon(svc->hooks.userdata);
}

/* A timer stands still while the machine sleeps, so it is never set for long. */
void service_wake_at(struct service *svc, uint64_t at, uint64_t now) {
        const uint64_t ms_ns = 1000000, longest_ms = 60000;
        uint64_t ms = at > now ? (at - now + ms_ns - 1) / ms_ns : 0;

        svc->hooks.wake_in(svc->hooks.userdata, ms < longest_ms ? ms : longest_ms);
}

/* Addresses that a managed reservation had, and that it gives up in a moment. */
static bool waits_for_addresses(const struct request *r, const Svmd__V1__Request *m) {
        const struct partition *p = r->session->partition;

        for (size_t i = 0; p && i < m->n_ops; i++) {
                const Svmd__V1__Reserve *op = m->ops[i]->reserve;

                if (m->ops[i]->op_case == SVMD__V1__OP__OP_RESERVE && op->address != 0 && op->size <= p->slice.size &&
                    reservation_retired_in(p, op->address, op->size))
                        return true;
                if (m->ops[i]->op_case == SVMD__V1__OP__OP_REGISTER &&
                    adopted_overlaps(r->session, m->ops[i]->register_->address, m->ops[i]->register_->size, true))
                        return true;
        }
        return false;
}

/* What has to be done before it can run. True: it waits. */
static bool request_waits(struct service *svc, struct request *r, const Svmd__V1__Request *m) {
        uint64_t now;

        if (r->begun)
                return false;
        if (waits_for_addresses(r, m)) {
                now = clock_ns(CLOCK_MONOTONIC);
                r->until_ns = r->until_ns ? r->until_ns : now + ADDRESSES_NS;
                r->again = now < r->until_ns;
                if (r->again) {
                        service_wake_soon(svc);
                        return true;
                }
        }
        if (seen_wait(svc, r, m))
                return true;
        r->begun = true;
        return stage_memory(svc, r, m) > 0;
}

void request_continue(struct service *svc, struct request *r) {
        struct session *s = r->session;
        Svmd__V1__Request *m;
        int k = -ENOMEM;

        if (r->jobs > 0)
                return;
        request_settle(svc, r);
        if (s->ending) {
                request_end(svc, r, false);
                session_release(svc, s);
                return;
        }
        if (r->drop) {
                request_end(svc, r, false);
                s->waiting = false;
                return;
        }
        arena_reset(&svc->arena);
        m = decode_request(&svc->arena, r->bytes, r->size);
        if (m && request_waits(svc, r, m))
                return;
        if (m)
                k = run_request(svc, r, m);
        if (k == OP_LATER)
                return;
        request_end(svc, r, false);
        s->waiting = false;
        if (k < 0)
                service_session_kick(svc, s, SVMD_STATUS_NO_MEMORY, "svmd has no memory left to serve this session");
}

void requests_wake(struct service *svc) {
        list_for_each_safe (l, &svc->pending) {
                struct request *r = container_of(l, struct request, link);

                if (!r->again)
                        continue;
                r->again = false;
                request_continue(svc, r);
        }
}

void requests_drop(struct service *svc) {
        svc->closing = true;
        capacity_give_up(svc);
        spill_give_up(svc);
        list_for_each_safe (l, &svc->pending) {
                struct request *r = container_of(l, struct request, link);

                if (!r->join && !r->until_ns)
                        continue;
                r->drop = true;
                r->jobs = 0;
                request_continue(svc, r);
        }
}

/* A request that was answered before, by this svmd or an earlier one, and is asked again. What this svmd answered is
 * on its way already. */
static bool answer_again(struct service *svc, struct session *s, uint64_t id) {
        size_t size;
        const void *bytes = replies_find(s, id, &size);

        if (!bytes)
                return false;
        if (size > 0)
                svc->hooks.reply(svc->hooks.userdata, s, bytes, size, NULL);
        return true;
}

static int malformed(struct service *svc, struct session *s, const char *why) {
        service_session_kick(svc, s, SVMD_STATUS_MALFORMED, why);
        return SERVICE_E_ENDED;
}

static void request_init(struct request *r, struct session *s, const Svmd__V1__Request *m, struct fdlist *fds) {
        *r = (struct request){ .session = s, .id = m->id, .mode = m->mode, .ops = (uint32_t)m->n_ops };
        r->arrived_ns = clock_ns(CLOCK_MONOTONIC);
        list_init(&r->link);
        fdlist_init(&r->in);
        fdlist_init(&r->out);
        while (fdlist_left(fds) > 0)
                fdlist_add(&r->in, fdlist_steal(fds));
}

/* Whether it may have to wait: then it needs a place and a copy of its packet from the start. */
static bool may_wait(struct service *svc, const struct request *r, const Svmd__V1__Request *m) {
        if (waits_for_addresses(r, m) || seen_is_old(svc, m))
                return true;
        for (size_t i = 0; i < m->n_ops; i++) {
                const Svmd__V1__Op *op = m->ops[i];

                if (op->op_case == SVMD__V1__OP__OP_MEM_CREATE && memory_is_staged(svc, r->session, op->mem_create))
                        return true;
                if (op_row(op->op_case) && (op_row(op->op_case)->flags & (OP_STORE | OP_WAITS)))
                        return true;
        }
        return false;
}

int service_receive(struct service *svc, struct session *s, const void *bytes, size_t size, struct fdlist *fds) {
        struct request now, *r = &now;
        const Svmd__V1__Request *m;
        int k;

        arena_reset(&svc->arena);
        m = decode_request(&svc->arena, bytes, size);
        if (!m)
                return malformed(svc, s,
                                 errno == ENOMEM ? "svmd has no memory left to read the packet"
                                                 : "the packet is not a well-formed svmd.v1.Request");
        if (m->n_ops == 0 || m->id == 0)
                return malformed(svc, s, "a request needs an id that is not 0 and at least one operation");
        if (m->id <= s->last_request && answer_again(svc, s, m->id))
                return 0;
        if (m->id <= s->last_request && !s->resumed)
                return malformed(svc, s, "request ids must grow from request to request");
        if (m->id > s->last_request)
                s->last_request = m->id;
        request_init(&now, s, m, fds);
        if (replies_served(s, m->id) < 0) {
                fdlist_close(&now.in);
                return malformed(svc, s, "svmd has no memory left to serve the request");
        }
        if (may_wait(svc, r, m)) {
                r = request_keep(svc, &now, bytes, size);
                if (!r) {
                        k = refuse_request(svc, &now, m);
                        fdlist_close(&now.in);
                        return k < 0 ? malformed(svc, s, "svmd has no memory left to serve the request") : 0;
                }
                if (request_waits(svc, r, m)) {
                        s->waiting = true;
                        return SERVICE_E_LATER;
                }
        }
        k = run_request(svc, r, m);
        if (k == OP_LATER) {
                s->waiting = true;
                return SERVICE_E_LATER;
        }
        request_end(svc, r, r == &now);
        if (k < 0)
                return malformed(svc, s, "svmd has no memory left to serve the request");
        return s->ending ? SERVICE_E_ENDED : 0;
}
