#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "core/grant.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/cgroups.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/range.h"
#include "service/range_restore.h"
#include "service/rates.h"

/* Coming up and going down. */

#define WORKERS 2

const struct node_desc *node_desc(const struct service *svc, uint32_t node) {
        return &svc->options.machine->nodes[node];
}

const struct backend *node_backend(const struct service *svc, uint32_t node) {
        return backend_for(node_desc(svc, node)->kind);
}

static void take_policy(struct service *svc, const struct service_options *o) {
        svc->policy = o->policy ? *o->policy : *policy_profile_default();
        svc->options.policy = &svc->policy;
}

int service_new(struct service **ret, const struct service_options *options, const struct service_hooks *hooks) {
        struct service *svc = alloc_zero(sizeof(*svc));
        uint32_t count = options->machine->count;
        int r;

        if (!svc)
                return -ENOMEM;
        svc->options = *options;
        take_policy(svc, options);
        svc->hooks = *hooks;
        svc->own_uid = geteuid();
        svc->started_ns = clock_ns(CLOCK_MONOTONIC);
        svc->figures.began_ns = clock_ns(CLOCK_REALTIME);
        svc->store_lane = count;
        svc->starting = true;
        list_init(&svc->submitted);
        list_init(&svc->pending);
        list_init(&svc->plans);
        list_init(&svc->managed.ranges);
        list_init(&svc->managed.ending);
        list_init(&svc->managed.lost);
        list_init(&svc->managed.promised);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                list_init(&svc->managed.changed[i]);
        list_init(&svc->managed.joins);
        list_init(&svc->managed.joined);
        list_init(&svc->managed.waits);
        list_init(&svc->managed.answered);
        list_init(&svc->managed.taking);
        list_init(&svc->keepings.ends);
        list_init(&svc->dmabufs);
        list_init(&svc->walks);
        list_init(&svc->drifting.taking);
        leases_init(svc);
        list_init(&svc->give_backs.active);
        list_init(&svc->give_backs.watched);
        svc->managed.device = -1;
        arena_init(&svc->arena);
        svc->tx = tx_new(svc);
        svc->reply_buffer = alloc_zero(sizeof(struct effect_reply) + SVMD_PACKET_MAX);
        if (svc->reply_buffer)
                svc->reply = svc->reply_buffer + sizeof(struct effect_reply);
        r = spill_init(svc);
        if (r == 0)
                r = pressure_init(svc);
        if (r == 0)
                r = private_init(svc);
        if (r == 0)
                r = svc->tx && svc->reply ? state_init(&svc->state, options->machine) : -ENOMEM;
        if (r == 0)
                r = fences_init(svc);
        if (r == 0)
                r = jobs_new(&svc->jobs, WORKERS, count + 1, hooks->wake, hooks->userdata);
        if (r == 0)
                r = accounts_init(svc);
        if (r < 0) {
                service_free(svc, true);
                return r;
        }
        *ret = svc;
        return 0;
}

/* ---- start ---- */

/* Memory that clients make themselves is counted here as if it lay side by side. Wider than any device, so that a node
 * may be made smaller, and memory is of one piece. */
#define COUNTED_MAX (1ull << 46)

static int bring_up_counted(struct service *svc, uint32_t i, char *why, size_t why_size) {
        struct node *n = &svc->state.nodes[i];
        struct memfile *memfile;
        int r;

        n->pool = file_new(i, FILE_POOL, i, COUNTED_MAX);
        r = n->pool ? memfile_elsewhere(&memfile, COUNTED_MAX) : -ENOMEM;
        if (r == 0)
                n->pool->memfile = memfile;
        else
                snprintf(why, why_size, "node %s cannot come up: %s", node_desc(svc, i)->name, strerror(-r));
        return r;
}

static int bring_up_device(struct service *svc, uint32_t i, char *why, size_t why_size) {
        const struct node_desc *d = node_desc(svc, i);
        struct device *device;
        int r = node_backend(svc, i)->device_new(&device, d, fences_done, svc->fences);

        if (r < 0) {
                snprintf(why, why_size, "node %s cannot come up: %s", d->name, strerror(-r));
                return r;
        }
        svc->state.nodes[i].device = device;
        return 0;
}

static int bring_up_node(struct service *svc, uint32_t i, char *why, size_t why_size) {
        const struct node_desc *d = node_desc(svc, i);
        struct node *n = &svc->state.nodes[i];
        int r;

        if (node_backend(svc, i)->delegated & GRANT_ALLOC) {
                r = bring_up_counted(svc, i, why, why_size);
                return r == 0 && d->managed ? bring_up_device(svc, i, why, why_size) : r;
        }
        if (!backend_has_pool(node_backend(svc, i)))
                return 0; /* svmd has no memory of it, and nothing of it runs here */
        n->pool = file_new(i, FILE_POOL, i, d->capacity);
        r = n->pool ? file_adopt(svc, n->pool) : -ENOMEM;
        if (r == -EINVAL) {
                snprintf(why, why_size,
                         "svmd-keeper holds memory of node number %u that does not fit %s, which is number %u of this "
                         "configuration, with %" PRIu64
                         " bytes: start svmd with the nodes it had, or end the keeper to "
                         "give that memory up (kill the process svmd-keeper)",
                         i, d->name, i, d->capacity);
                return r;
        }
        if (r == 0)
                return bring_up_device(svc, i, why, why_size);
        snprintf(why, why_size, "node %s cannot come up: %s", d->name, strerror(-r));
        return r;
}

struct load {
        struct service *svc;
        char *why;
        size_t why_size;
};

/* A node may have become smaller: what cannot be promised any more is not. */
static void load_limit(struct service *svc, struct partition *p, uint32_t node, const struct store_limit *l) {
        struct bounds b = limit_bounds(l);

        if (partition_set_bounds(svc, p, node, &b) == 0)
                return;
        log_warning(
                "partition %s: its min on node %s does not fit in there any more, and has no effect; lower the mins "
                "of that node's partitions (svmd-ctl partition set)",
                p->name->text, l->node);
        b.bytes[BOUND_MIN] = 0;
        (void)partition_set_bounds(svc, p, node, &b);
}

static int load_give_backs(struct service *svc, struct partition *p, const struct store_partition *row) {
        for (uint32_t i = 0; i < row->limits_count; i++)
                if (row->limits[i].high != ACCOUNT_NO_LIMIT)
                        return give_backs_make(svc, LIMITED_PARTITION(p));
        return 0;
}

static int load_partition(void *userdata, const struct store_partition *row) {
        struct load *load = userdata;
        struct service *svc = load->svc;
        struct partition_args args = {
                .name = row->name,
                .domain = row->domain,
                .window = row->window,
                .base = row->base,
                .size = row->size,
                .uid = row->uid,
                .gid = row->gid,
                .mode = row->mode,
        };
        struct partition *p;
        int r = partition_new(&p, &svc->state, &args);

        if (r != 0) {
                snprintf(load->why, load->why_size,
                         "partition %s in state.db cannot have 0x%" PRIx64 " to 0x%" PRIx64 ": %s", row->name,
                         row->base, row->base + row->size, r < 0 ? strerror(-r) : "another one has it");
                return r < 0 ? r : -EBADMSG;
        }
        p->kept_max = row->kept_max;
        text_copy(p->holder, row->holder);
        r = load_give_backs(svc, p, row);
        if (r < 0) {
                snprintf(load->why, load->why_size, "no memory for partition %s", row->name);
                partition_free(&svc->state, p);
                return r;
        }
        for (uint32_t i = 0; i < row->limits_count; i++) {
                const struct node_desc *d = machine_find(svc->options.machine, row->limits[i].node);

                if (d)
                        load_limit(svc, p, (uint32_t)(d - svc->options.machine->nodes), &row->limits[i]);
                else
                        log_warning(
                                "partition %s has a limit on node %s, which this machine does not have; the limit has no effect",
                                row->name, row->limits[i].node);
        }
        r = partition_bring_up(svc, p);
        if (r < 0) {
                snprintf(load->why, load->why_size, "partition %s: its socket cannot be made: %s", row->name,
                         strerror(-r));
                give_backs_free(LIMITED_PARTITION(p));
                partition_free(&svc->state, p);
        }
        return r;
}

static int open_journal(struct service *svc, char *why, size_t why_size, bool *ret_old) {
        int fd = kept_take(svc, KEEP_KEY(KEEP_JOURNAL, 0)), r;

        *ret_old = fd >= 0;
        if (fd >= 0) {
                r = journal_adopt(&svc->journal, fd, why, why_size);
                if (r != 0)
                        close(fd);
                return r > 0 ? -EBADMSG : r;
        }
        snprintf(why, why_size, "the machine has no memory for a journal of %" PRIu64 " bytes",
                 svc->options.journal_size);
        r = journal_new(&svc->journal, svc->options.journal_size);
        return r < 0 ? r : svc->hooks.keep(svc->hooks.userdata, KEEP_KEY(KEEP_JOURNAL, 0), journal_fd(svc->journal));
}

/* What there is goes into a new file, in the format that this svmd writes, and no smaller than configured. The keeper
 * changes over in one step when it is whole; killed before that, the next svmd reads the old one again. */
static int renew_journal(struct service *svc) {
        struct journal *old = svc->journal;
        uint64_t size = 2 * journal_size(old);
        int r;

        r = journal_new(&svc->journal, size > svc->options.journal_size ? size : svc->options.journal_size);
        if (r < 0) {
                svc->journal = old;
                return r;
        }
        r = journal_snapshot(svc);
        if (r == 0)
                r = svc->hooks.keep(svc->hooks.userdata, KEEP_KEY(KEEP_JOURNAL, 0), journal_fd(svc->journal));
        if (r != 0) {
                journal_free(svc->journal);
                svc->journal = old;
                return r;
        }
        journal_free(old);
        return 0;
}

/* What the keeper holds and nothing names: the remains of what was given back when svmd died. */
static void drop_leftovers(struct service *svc) {
        for (size_t i = 0; i < svc->kept_count; i++) {
                unsigned kind = KEEP_KIND(svc->kept[i].key);

                if (svc->kept[i].fd < 0 || kind == KEEP_SESSION || kind == KEEP_LISTENER)
                        continue;
                close(svc->kept[i].fd);
                svc->kept[i].fd = -1;
                svc->hooks.unkeep(svc->hooks.userdata, svc->kept[i].key);
        }
}

int service_start(struct service *svc, struct store *store, struct service_kept *kept, size_t kept_count, char *why,
                  size_t why_size) {
        struct load load = { svc, why, why_size };
        bool old = false;
        int r = 0;

        svc->store = store;
        svc->kept = kept;
        svc->kept_count = kept_count;
        kept_sort(svc);
        for (uint32_t i = 0; r == 0 && i < svc->options.machine->count; i++)
                r = bring_up_node(svc, i, why, why_size);
        if (r == 0)
                r = managed_start(svc, why, why_size);
        if (r == 0)
                r = store_each(store, load_partition, &load, why, why_size);
        if (r == 0)
                r = cgroups_load(svc, why, why_size);
        if (r == 0)
                r = open_journal(svc, why, why_size, &old);
        if (r == 0 && old)
                r = journal_restore(svc, why, why_size);
        if (r < 0)
                return r;
        svc->epoch++;
        svc->first_id = svc->state.next_id;
        svc->starting = false;
        r = rates_apply(svc);
        if (r < 0)
                return r;
        /* Clients stand still until then; nothing has come to be that the next svmd would have to hear of. */
        r = ranges_go_on(svc, why, why_size);
        if (r < 0)
                return r;
        if (old)
                punch_leftovers(svc);
        drop_leftovers(svc);
        r = old ? renew_journal(svc) : journal_snapshot(svc);
        if (r > 0)
                snprintf(why, why_size,
                         "the journal has no room for what is there; start svmd with a larger journal-size");
        else if (r < 0)
                snprintf(why, why_size, "a journal for what is there cannot be made: %s", strerror(-r));
        svc->kept = NULL;
        svc->kept_count = 0;
        if (r == 0) {
                seen_start(svc);
                accounts_start(svc);
                drifting_start(svc);
                r = dmem_start(svc);
        }
        rates_warn(svc);
        return r > 0 ? -ENOSPC : r;
}

/* One by one: the others are read by threads. */
static void take_options(struct service_options *o, const struct service_options *to) {
        o->settings = to->settings;
        o->settings_count = to->settings_count;
        o->default_partition_size = to->default_partition_size;
        o->default_limits = to->default_limits;
        o->default_limits_count = to->default_limits_count;
        o->max_objects_per_session = to->max_objects_per_session;
        o->max_registered = to->max_registered;
        o->max_sessions = to->max_sessions;
        o->max_sessions_per_uid = to->max_sessions_per_uid;
        o->kept_max = to->kept_max;
}

int service_configure(struct service *svc, const struct service_options *to) {
        const struct service_options before = svc->options;
        struct policy_profile policy = svc->policy;
        int r;

        take_policy(svc, to);
        take_options(&svc->options, to);
        r = rates_apply(svc);
        if (r < 0) {
                take_options(&svc->options, &before);
                svc->policy = policy;
                (void)rates_apply(svc); /* what had a cap has what that needs */
                return r;
        }
        rates_warn(svc);
        return 0;
}

/* ---- running ---- */

void service_collect(struct service *svc) {
        jobs_collect(svc->jobs);
        managed_collect(svc);
        fences_collect(svc);
        private_collect(svc);
        spill_collect(svc);
        keepings_collect(svc);
        leases_collect(svc);
        accounts_collect(svc);
        drifting_collect(svc);
        dmem_collect(svc);
        give_backs_collect(svc);
        pressure_collect(svc);
        orphans_collect(svc);
        partitions_reap(svc);
        requests_wake(svc);
}

void service_commit(struct service *svc) {
        if (!svc->journal)
                return;
        leases_step(svc);
        journal_commit(svc->journal);
        fences_start(svc);
        if (svc->journal_behind)
                journal_snapshot(svc);
        if (svc->journal_behind)
                return;
        spill_commit(svc);
        managed_commit(svc);
}

bool service_recorded(const struct service *svc) {
        return !svc->journal_behind;
}

bool service_idle(struct service *svc) {
        return jobs_idle(svc->jobs) && list_empty(&svc->pending) && spill_idle(svc);
}

uint64_t service_epoch(const struct service *svc) {
        return svc->epoch;
}

void service_keeper_replaced(struct service *svc, unsigned times) {
        svc->keeper_replaced = times;
}

void service_keeper_lost(struct service *svc, const char *why) {
        svc->options.keeper = false;
        snprintf(svc->keeper_why, sizeof(svc->keeper_why), "%s", why);
}

void service_lost(struct service *svc, const char *what) {
        snprintf(svc->lost, sizeof(svc->lost), "%s", what);
}

uint64_t service_bytes(const struct service *svc) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                sum += svc->state.nodes[i].account.used;
        return sum;
}

/* ---- end ---- */

static void end_partitions(struct service *svc) {
        struct partition *p;

        while ((p = partition_after(&svc->state, "")))
                partition_take_down(svc, p);
}

/* Left over where a start failed halfway: reservations, before the sessions that have them open were there, and memory,
 * before it was known who holds it. False: there was none. */
static bool end_leftovers(struct service *svc) {
        bool any = false;

        for (uint64_t i = 0; i < svc->state.ids.size; i++) {
                struct object *o = svc->state.ids.slots[i];
                struct memory *m = o && o->type == OBJECT_MEMORY ? container_of(o, struct memory, object) : NULL;

                if (o && o->type == OBJECT_RESERVATION)
                        reservation_end(svc, container_of(o, struct reservation, object));
                else if (m && memory_unused(m))
                        memory_left(svc, m);
                else
                        continue;
                any = true; /* and what stood behind it may have moved before it */
        }
        return any;
}

/* Left over likewise. */
static void end_files(struct service *svc) {
        for (uint64_t i = 0; i < svc->state.ids.size; i++) {
                struct object *o = svc->state.ids.slots[i];
                struct file *f = o && o->type == OBJECT_FILE ? container_of(o, struct file, object) : NULL;

                if (!f)
                        continue;
                memfile_free(f->memfile);
                alloc_free(f->release);
                file_free(f);
        }
}

static void end_nodes(struct service *svc) {
        for (uint32_t i = 0; svc->state.nodes && i < svc->options.machine->count; i++) {
                struct node *n = &svc->state.nodes[i];

                if (n->device)
                        node_backend(svc, i)->device_free(n->device);
                if (n->pool)
                        memfile_free(n->pool->memfile);
                file_free(n->pool);
        }
}

/* With the state kept, the journal is closed first: what is taken apart from here on is this process's copy only. */
void service_free(struct service *svc, bool keep_state) {
        if (!svc)
                return;
        if (svc->jobs) {
                requests_drop(svc);
                while (!service_idle(svc)) {
                        for (uint32_t lane = 0; lane <= svc->options.machine->count; lane++)
                                jobs_wait_lane(svc->jobs, lane);
                        accounts_wait(svc);
                        service_collect(svc);
                }
                drifting_stop(svc);
                accounts_stop(svc);
                service_commit(svc);
                svc->hooks.flush(svc->hooks.userdata);
        }
        svc->replaying = keep_state || svc->starting;
        journal_free(svc->journal);
        svc->journal = NULL;
        if (svc->state.nodes) {
                spill_abandon(svc);
                if (svc->replaying)
                        managed_stop(svc);
                list_for_each_safe (l, &svc->state.sessions) {
                        struct session *s = container_of(l, struct session, by_state);

                        svc->hooks.session_gone(svc->hooks.userdata, s);
                        service_session_end(svc, s);
                }
                keepings_end(svc, NULL);
                while (end_leftovers(svc))
                        ;
                if (svc->jobs) {
                        jobs_free(svc->jobs);
                        svc->jobs = NULL;
                }
                managed_stop(svc); /* ranges that end lie in partitions */
                end_partitions(svc);
                cgroups_end(svc);
                end_files(svc);
                end_nodes(svc);
                state_fini(&svc->state);
        }
        if (svc->fences)
                fences_fini(svc);
        private_fini(svc);
        spill_fini(svc);
        pressure_fini(svc);
        accounts_fini(svc);
        dmem_stop(svc);
        settings_free(svc);
        tx_free(svc->tx);
        alloc_free(svc->reply_buffer);
        arena_fini(&svc->arena);
        alloc_free(svc);
}
