#include "service/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/text.h"
#include "core/node.h"
#include "core/session.h"
#include "mover/mover.h"
#include "service/cuda.h"
#include "service/drift.h"
#include "service/drm.h"
#include "service/grant.h"
#include "service/kernel_has.h"

/* What `svmd-ctl doctor` shows: what this machine and svmd's own rights allow, and what to do about what they do not.
 * No file is read for it: see seen.h. */

enum { GOOD, NOTE, WARNING, FAILURE };

enum { FULL_SAID = 8 };

struct findings {
        struct call *call;
        Svmd__V1__Finding **out;
        size_t count;
};

__attribute__((format(printf, 4, 5))) static void add(struct findings *f, const char *id, unsigned level,
                                                      const char *format, ...) {
        Svmd__V1__Finding *row = call_take(f->call, sizeof(*row));
        char text[512];
        va_list ap;

        if (!row || f->count == FINDINGS_MAX)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        svmd__v1__finding__init(row);
        row->id = (char *)id;
        row->level = level;
        row->text = call_string(f->call, text);
        f->out[f->count++] = row;
}

static void rights(struct findings *f) {
        if (geteuid() == 0)
                add(f, "uid", GOOD,
                    "svmd runs as root: clients of every other user are told apart and cannot widen their rights");
        else
                add(f, "uid", WARNING,
                    "svmd runs as uid %u: clients of that same user count as superusers, and their read-only mappings can be "
                    "widened through /proc; run svmd as a user of its own",
                    geteuid());
}

static void descriptors(struct findings *f) {
        const struct service *svc = f->call->svc;
        struct rlimit r = { 0 };

        getrlimit(RLIMIT_NOFILE, &r);
        if (r.rlim_cur < svc->options.max_sessions)
                add(f, "nofile", WARNING,
                    "svmd may have %llu file descriptors, fewer than max-sessions (%u): raise LimitNOFILE, or lower max-sessions",
                    (unsigned long long)r.rlim_cur, svc->options.max_sessions);
        else
                add(f, "nofile", GOOD, "%llu file descriptors allow %u sessions", (unsigned long long)r.rlim_cur,
                    svc->options.max_sessions);
}

static void keeper(struct findings *f) {
        const struct service *svc = f->call->svc;

        if (!svc->options.keeper)
                add(f, "keeper", FAILURE,
                    "svmd-keeper is gone: if svmd ends, so do all sessions and their memory; restart svmd when you can. "
                    "There is no other: %s",
                    svc->keeper_why);
        else if (svc->keeper_replaced)
                add(f, "keeper", NOTE,
                    "svmd-keeper ended %u time%s while this svmd ran, and another one holds everything; find out who or "
                    "what ends it: if svmd ends before, all sessions do",
                    svc->keeper_replaced, svc->keeper_replaced == 1 ? "" : "s");
        else
                add(f, "keeper", GOOD,
                    "svmd-keeper holds memory and sessions: svmd may be restarted under its clients");
}

static void lost(struct findings *f) {
        if (f->call->svc->lost[0])
                add(f, "lost", WARNING,
                    "the svmd before and svmd-keeper both ended, and with them %s. Programs are told at their next call; "
                    "a thread that waits at an address of theirs waits until its process is ended",
                    f->call->svc->lost);
}

static void pressure(struct findings *f) {
        const struct service *svc = f->call->svc;

        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                const struct account *a = &svc->state.nodes[i].account;

                if (a->max && a->used / 100 * 95 > 0 && a->used >= a->max - a->max / 20)
                        add(f, "node-full", WARNING, "%s is more than 95 %% full; see svmd-ctl usage for who holds it",
                            node_desc(svc, i)->name);
        }
        if (svc->journal && journal_used(svc->journal) > journal_size(svc->journal) / 4 * 3)
                add(f, "journal", NOTE, "the journal is three quarters full; svmd takes a snapshot when it is full");
}

static void drifting(struct findings *f) {
        for (size_t i = 0; i < sizeof(f->call->svc->drifting.rows) / sizeof(f->call->svc->drifting.rows[0]); i++) {
                const struct drifting_row *r = &f->call->svc->drifting.rows[i];

                if (r->told.subject[0])
                        add(f, "drift", WARNING, DRIFT_SAYS "; see svmd-ctl usage --drift", r->told.subject,
                            r->reported, r->ledger);
        }
}

/* One that is asked for and not yet done is as it should be. */
static void grants(struct findings *f) {
        struct grants_sum sum;

        grants_sum(f->call->svc, &sum);
        if (sum.count[GRANT_EXPIRED])
                add(f, "grants", WARNING,
                    "%" PRIu64 " grants of %" PRIu64 " sessions were never acknowledged, and %" PRIu64
                    " bytes stay charged for them until their processes say that nothing was done, or end: see "
                    "svmd-ctl grant list",
                    sum.count[GRANT_EXPIRED], sum.expired_sessions, sum.bytes[GRANT_EXPIRED]);
        else if (sum.count[GRANT_ASKED] || sum.count[GRANT_HELD])
                add(f, "grants", GOOD,
                    "%" PRIu64 " grants were acknowledged and pay for what is there; %" PRIu64 " may still be",
                    sum.count[GRANT_HELD], sum.count[GRANT_ASKED]);
}

static void full(struct findings *f) {
        unsigned said = 0;

        for (unsigned i = 0; i < FULL_ROWS && said < FULL_SAID; i++) {
                const struct full_row *r = &f->call->svc->full.rows[i];
                char name[160], limit[24];

                if (!r->told.subject[0])
                        continue;
                said++;
                full_name(r, name, sizeof(name));
                text_bytes(limit, sizeof(limit), r->limit);
                add(f, "group-full", WARNING,
                    "%s: the kernel bounds its host memory (%s), and has ended %" PRIu64
                    " of its processes for that; see svmd-ctl usage --drift, and its memory.max",
                    name, limit, r->killed);
        }
}

static void dmem(struct findings *f) {
        const struct service *svc = f->call->svc;
        const struct dmem *d = &svc->dmem;
        uint32_t nodes = 0;

        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                nodes += dmem_is_on(svc, i);
        if (d->root)
                add(f, "dmem", svc->options.dmem_root ? NOTE : GOOD,
                    "limits of control groups are followed on %u node%s by %s (%s), and svmd's are %swritten there",
                    nodes, nodes == 1 ? "" : "s",
                    svc->options.dmem_root ? "an emulation of dmem" : "the kernel's controller of device memory",
                    d->root, svc->options.dmem_drive ? "" : "not ");
        if (d->missing[0])
                add(f, "dmem", WARNING, "%s; see dmem of the node in svmd.conf", d->missing);
        for (unsigned i = 0; i < d->troubles_count; i++)
                add(f, "dmem-limit", WARNING, "%s", d->troubles[i]);
}

static void unbrokered_use(struct findings *f) {
        const struct unbrokered_seen *u = &f->call->svc->unbrokered;

        if (u->processes)
                add(f, "unbrokered", WARNING,
                    "%u processes with sessions use devices without svmd, so no limit holds for that: %s; see "
                    "svmd-ctl usage --drift",
                    u->processes, u->first);
}

static void page_tables(struct findings *f) {
        struct drm_differing d;

        drm_differing(f->call->svc, &d);
        if (d.tables)
                add(f, "drm-check", WARNING,
                    "%u page table%s of DRM devices %s not as svmd left %s when last compared (svmd_drm_check): that of %s "
                    "(pid %u): %s. Its program changes it past svmd, which cannot be forbidden: let it unmap that, or bind "
                    "it through svmd",
                    d.tables, d.tables == 1 ? "" : "s", d.tables == 1 ? "was" : "were", d.tables == 1 ? "it" : "them",
                    d.session->client, d.session->pid, d.first->how);
}

static void withheld(struct findings *f) {
        const struct service *svc = f->call->svc;
        const struct session *first = NULL;
        char text[200], why[200] = "";
        uint64_t count = 0;

        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (!cuda_withholds(svc, s, text, sizeof(text)))
                        continue;
                if (count++ == 0)
                        memcpy(why, text, sizeof(why));
                first = first ? first : s;
        }
        if (count)
                add(f, "cuda-withheld", WARNING,
                    "%" PRIu64
                    " session%s did not give back managed pages of a GPU when asked, and what %s GPU wrote to them "
                    "since is lost: session %" PRIu64
                    " (pid %u), %s; end it (svmd-ctl session kill), or have it destroy "
                    "its spaces there",
                    count, count == 1 ? "" : "s", count == 1 ? "its" : "their", first->object.id, first->pid, why);
}

static void kernel(struct findings *f) {
        unsigned long maps = f->call->svc->seen.files.max_map_count;

        if (maps && maps < 262144)
                add(f, "max-map-count", NOTE,
                    "vm.max_map_count is %lu: a process can have about %lu alternating CPU mappings; sysctl vm.max_map_count=1048576 gives more",
                    maps, maps / 2);
        else
                add(f, "max-map-count", GOOD, "vm.max_map_count is %lu", maps);
}

static void managed(struct findings *f) {
        const struct mover_features *m = mover_features();
        const struct seen_files *seen = &f->call->svc->seen.files;

        if (!m->usable) {
                add(f, "managed", WARNING, "there are no managed ranges here: %s", m->why);
                return;
        }
        add(f, "managed", GOOD,
            "managed ranges work; the kernel %s SIGBUS for what is revoked, and %s readers beside writers while copies lie "
            "on nodes",
            m->poison ? "grants" : "has no", m->continue_protects ? "grants" : "ends copies before it lets in");
        if (seen->large_folios)
                add(f, "managed-thp", WARNING,
                    "shared memory gets transparent huge pages: what leaves a managed range may stay in memory; write "
                    "advise to /sys/kernel/mm/transparent_hugepage/shmem_enabled");
        if (!m->huge)
                add(f, "managed-huge", NOTE, "the kernel does not move huge pages: RANGE_HUGE is refused");
        else if (seen->huge == 0)
                add(f, "managed-huge", NOTE,
                    "no huge pages are set aside: sysctl vm.nr_hugepages=N gives ranges of 2 MiB granules twice the speed");
        else
                add(f, "managed-huge", GOOD, "%lu of %lu huge pages are free", seen->huge_free, seen->huge);
}

static void nodes(struct findings *f) {
        const struct service *svc = f->call->svc;
        const struct machine *m = svc->options.machine;
        uint32_t soft = 0, with_spaces = 0, faults = 0;

        for (uint32_t i = 0; i < m->count; i++) {
                const struct backend *b = node_backend(svc, i);

                soft += m->nodes[i].kind == NODE_SOFT;
                with_spaces += b->has_spaces;
                faults += b->has_spaces && backend_serves_faults(b, &m->nodes[i]);
        }
        add(f, "limits", NOTE,
            "enforced: memory of the %u soft nodes, which no client can map. Audited: host memory, whose files its clients hold",
            soft);
        if (with_spaces > faults)
                add(f, "faults", NOTE,
                    "%u of %u nodes with spaces have no faults: what they use must be mapped in their spaces, or prefetched, "
                    "first",
                    with_spaces - faults, with_spaces);
}

static void say(void *userdata, const char *id, unsigned level, const char *text) {
        add(userdata, id, level, "%s", text);
}

/* A row each, whether it is there or not. */
static void kernel_has(struct findings *f) {
        const struct kernel_has *all;
        struct utsname name = { 0 };
        size_t count = kernel_has_all(&all);

        uname(&name);
        add(f, "kernel", GOOD, "Linux %s", name.release);
        for (size_t i = 0; i < count; i++) {
                bool granted = f->call->svc->seen.has[i];
                unsigned lacking = all[i].needed ? WARNING : NOTE;

                add(f, all[i].name, granted ? GOOD : lacking, "%s: %s (Linux %s)", granted ? "granted" : "not granted",
                    granted ? all[i].gives : all[i].without, all[i].since);
        }
}

size_t findings_collect(struct call *c, Svmd__V1__Finding **out) {
        struct findings f = { .call = c, .out = out };

        rights(&f);
        keeper(&f);
        lost(&f);
        descriptors(&f);
        kernel(&f);
        managed(&f);
        kernel_has(&f);
        nodes(&f);
        pressure(&f);
        drifting(&f);
        grants(&f);
        full(&f);
        dmem(&f);
        unbrokered_use(&f);
        page_tables(&f);
        withheld(&f);
        findings_devices(c->svc, say, &f);
        return f.count;
}
