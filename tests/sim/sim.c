#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "world.h"

/*
 *     sim [STEPS]               SVMD_SEED reproduces a run; 4 million steps, with SVMD_LONG=1 100 million
 *     sim --shortcut NAME [STEPS]    exit status 0 if the checker catches it
 *
 * One step is one thing that happens anywhere: an access, a page of a worker's step, a completion, a request, a death.
 * Every CALM steps nothing new is begun; then everything that waits has to be served, and every byte is looked at.
 */
enum { CALM = 40000, PATIENCE = 60000, CALM_PATIENCE = 60000 };

static const struct {
        const char *name;
        struct shortcuts shortcuts;
} all_shortcuts[] = {
        { "no-protection", { .no_protection = true } },
        { "unprotect-first", { .unprotect_first = true } },
        { "trust-kind", { .trust_kind = true } },
        { "continue-copying", { .continue_copying = true } },
        { "no-minor", { .no_minor = true } },
        { "overwrite", { .overwrite = true } },
        { "no-invalidation", { .no_invalidation = true } },
        { "any-host", { .any_host = true } },
        { "stale-slot", { .stale_slot = true } },
};

/* Mostly the page of before, or one near that at which another thread waits: that is where something goes on. */
static void choose(struct world *w, const struct process *p, struct thread *t) {
        const struct thread *other = &p->thread[below(w, THREADS)];

        t->word = (uint8_t)below(w, WORDS);
        t->write = chance(w, 2);
        if (other->blocked && chance(w, 2)) {
                t->range = other->range;
                t->page = (uint8_t)(other->page / PAGES * PAGES + below(w, PAGES));
        } else if (chance(w, 4)) {
                t->range = (uint8_t)below(w, RANGES);
                t->page = (uint8_t)below(w, w->range[t->range].granules * PAGES);
        }
}

/* Pages are thrown out of a page table, mostly those that a thread is about to use. */
static void process_zap(struct world *w, struct process *p, const struct thread *t) {
        uint32_t pages = w->range[t->range].granules * PAGES, first = t->page - t->page % PAGES;

        for (uint32_t i = first; i < pages && i < first + PAGES; i++)
                kernel_zap(&p->pte[t->range][i]);
}

static void thread_run(struct world *w, struct process *p) {
        struct thread *t = &p->thread[below(w, THREADS)];

        if (!p->alive)
                return;
        if (t->blocked) {
                const struct range *r = &w->range[t->range];

                if (r->revoked || r->changing || is_lost(r, t->page))
                        t->since = w->now;
                if (w->now - t->since > PATIENCE)
                        world_fail(w, "a fault of process %u in page %u of range %u is not served (%s)", p->index,
                                   t->page, t->range, managed_state_name(r->record[t->page / PAGES].state));
                return;
        }
        if (!t->retry && w->quiesce)
                return;
        if (!t->retry)
                choose(w, p, t);
        if (p->accessible[t->range] && chance(w, t->retry ? 2 : 20))
                process_zap(w, p, t);
        t->retry = false;
        if (p->accessible[t->range] && !(t->write && p->readonly[t->range]))
                kernel_access(w, p, t);
}

/* What lies behind a step goes along with it; here somebody else does it, in whatever order. */
static void take_along(struct world *w, const struct managed_step *step) {
        for (unsigned i = 0; step && i < WORKERS && chance(w, 2); i++)
                if (!w->job[i].step) {
                        step = managed_take_behind(w->engine, step);
                        w->job[i] = (struct job){ .step = step };
                }
}

static void worker_run(struct world *w) {
        struct job *j = &w->job[below(w, WORKERS)];

        if (!j->step) {
                *j = (struct job){ .step = chance(w, 4) ? managed_take_urgent(w->engine) : managed_take(w->engine) };
                take_along(w, j->step);
                return;
        }
        if (!j->done) {
                job_advance(w, j);
                return;
        }
        world_starve(w);
        managed_complete(w->engine, j->step, j->result, w->now);
        alloc_fail_off();
        *j = (struct job){ 0 };
}

/* No step of an earlier process of this place is out. */
static bool place_is_free(const struct world *w, const struct process *p) {
        for (unsigned i = 0; i < WORKERS; i++)
                if (w->job[i].step && w->job[i].step->session == p)
                        return false;
        return true;
}

static void process_run(struct world *w, struct process *p) {
        uint32_t range = below(w, RANGES);

        if (!p->alive && !p->known && place_is_free(w, p))
                process_start(w, p);
        else if (!p->alive)
                daemon_notice(w, p);
        else if (chance(w, 40))
                process_die(w, p);
        else if (!p->attached[range])
                process_attach(w, p, range);
        else if (p->accessible[range] && chance(w, 3)) {
                process_detach(w, p, range);
                managed_leave(w->engine, p->session, w->range[range].range, w->now);
        }
}

static void pinned_run(struct world *w) {
        struct range *r = &w->range[below(w, RANGES)];
        uint32_t page = below(w, r->granules * PAGES), word = below(w, WORDS);

        if (!r->pins[page / PAGES])
                return;
        if (!r->memfd[page].present) {
                world_fail(w, "page %u of range %u is pinned and a hole", page, r->index);
                return;
        }
        check_read(w, r, page, word, r->memfd[page].word[word], "a pin");
        r->memfd[page].word[word] = check_write(w, r, page, word);
}

static void step(struct world *w) {
        struct process *p = &w->process[below(w, PROCESSES)];
        uint32_t what = below(w, 1000);

        w->now++;
        if (what < 300)
                thread_run(w, p);
        else if (what < 800)
                worker_run(w);
        else if (what < 900)
                daemon_read(w, p);
        else if (what < 960)
                device_run(w, &w->op[below(w, DEVICE_OPS)]);
        else if (w->quiesce)
                worker_run(w);
        else if (what < 975)
                daemon_request(w);
        else if (what < 985)
                pinned_run(w);
        else if (what < 999)
                process_run(w, p);
        else if (chance(w, 4))
                daemon_kill(w);
        if (!w->quiesce && chance(w, 500))
                daemon_set(w);
        if (managed_due(w->engine) && managed_due(w->engine) <= w->now)
                managed_tick(w->engine, w->now);
        daemon_calm(w);
}

static bool busy(const struct world *w) {
        if (!managed_idle(w->engine) || w->restoring)
                return true;
        for (unsigned i = 0; i < DEVICE_OPS; i++)
                if (w->op[i].state != OP_IDLE)
                        return true;
        for (unsigned i = 0; i < PROCESSES; i++)
                for (unsigned k = 0; k < THREADS; k++) {
                        const struct thread *t = &w->process[i].thread[k];

                        if (t->retry ||
                            (t->blocked && !w->range[t->range].revoked && !is_lost(&w->range[t->range], t->page)))
                                return true;
                }
        for (uint32_t i = 0; i < sizeof(w->request) / sizeof(w->request[0]); i++)
                if (w->request[i].type != REQUEST_NONE && w->request[i].type != REQUEST_DRAIN)
                        return true;
        return false;
}

static void drains_end(struct world *w) {
        for (uint32_t i = 1; i < NODES; i++)
                if (w->offline[i]) {
                        w->offline[i] = false;
                        managed_node_online(w->engine, i, w->now);
                }
}

/* Lets everything come to rest, and looks at every byte. */
static void rest(struct world *w) {
        uint64_t until = w->now + CALM_PATIENCE;

        w->quiesce = true;
        daemon_caps(w, false);
        while (!w->error && busy(w) && w->now < until - CALM_PATIENCE / 2)
                step(w);
        if (!w->error && busy(w)) /* a drain of what nobody can pay for goes on for ever */
                drains_end(w);
        while (!w->error && busy(w) && w->now < until)
                step(w);
        managed_node_online(w->engine, 0, w->now); /* an input: what found no memory is tried again */
        while (!w->error && busy(w) && w->now < until)
                step(w);
        if (!w->error && busy(w))
                world_fail(w, "does not come to rest");
        if (!w->error)
                check_content(w);
        if (!w->error)
                check_rest(w);
        daemon_caps(w, true);
        w->quiesce = false;
}

static void world_start(struct world *w, uint64_t seed, const struct shortcuts *shortcuts) {
        memset(w, 0, sizeof(*w));
        w->rng = (seed * 2 + 1) * 0x9e3779b97f4a7c15ull;
        for (unsigned i = 0; i < 16; i++)
                draw(w);
        w->shortcuts = *shortcuts;
        w->continue_protects = chance(w, 2);
        w->largest = chance(w, 4) ? 2u << 20 : 65536;
        w->host[0] = true;
        w->host[1] = chance(w, 2);
        w->far = chance(w, 2);
        for (unsigned i = 1; i < NODES; i++)
                w->faults[i] = !w->host[i] && (i < NODES - 1 || chance(w, 2));
        w->limit[0] = 14;
        w->limit[1] = 20;
        w->limit[2] = UINT32_MAX;
        daemon_start(w);
}

static void report(const struct world *w) {
        const struct totals *t = &w->total;

        printf("steps %" PRIu64 ": accesses %" PRIu64 ", writes %" PRIu64 ", verified %" PRIu64 ", faults %" PRIu64
               ", engine steps %" PRIu64 "\n",
               w->now, t->accesses, t->writes, t->verified, t->faults, t->steps);
        printf("  out %" PRIu64 " in %" PRIu64 " written back %" PRIu64 " merged %" PRIu64 " moved %" PRIu64
               " duplicated %" PRIu64 " discards %" PRIu64 " revokes %" PRIu64 " device %" PRIu64 " joins %" PRIu64
               " enomem %" PRIu64 " deaths %" PRIu64 " evictions %" PRIu64 " limits %" PRIu64 " above %" PRIu64
               " vanished %" PRIu64 " lost %" PRIu64 " to another host %" PRIu64 " cures %" PRIu64 " put off %" PRIu64
               " set %" PRIu64 "\n",
               t->outs, t->ins, t->written_back, t->merged, t->moves, t->duplicated, t->discards, t->revokes, t->device,
               t->joins, t->enomem, t->kills, t->evictions, t->limits, t->above, t->losses, t->lost, t->rehosted,
               t->cures, t->put_off, t->set);
}

/* A world of one seed. */
static const char *run(uint64_t seed, uint64_t steps, const struct shortcuts *shortcuts, bool loud) {
        static struct world w;

        world_start(&w, seed, shortcuts);
        for (uint64_t i = 1; i <= steps && !w.error; i++) {
                step(&w);
                if (i % 256 == 0)
                        check_sums(&w);
                if (i % CALM == 0 || i == steps)
                        rest(&w);
        }
        managed_free(w.engine);
        if (loud)
                report(&w);
        return w.error;
}

static uint64_t seed_of_run(void) {
        const char *s = getenv("SVMD_SEED");

        return s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
}

/* Every half million steps a world of its own, so that a finding is reproduced soon. */
static int run_all(uint64_t seed, uint64_t steps) {
        static const struct shortcuts none;
        enum { EACH = 500000 };

        for (uint64_t done = 0; done < steps; done += EACH, seed++) {
                const char *error = run(seed, steps - done < EACH ? steps - done : EACH, &none, true);

                if (error) {
                        printf("SVMD_SEED=%" PRIu64 ": %s\n", seed, error);
                        return 1;
                }
        }
        return 0;
}

static int run_shortcut(const char *name, uint64_t seed, uint64_t steps) {
        enum { EACH = 500000 };
        const struct shortcuts *shortcuts = NULL;
        const char *error = NULL;

        for (unsigned i = 0; i < sizeof(all_shortcuts) / sizeof(all_shortcuts[0]); i++)
                if (strcmp(all_shortcuts[i].name, name) == 0)
                        shortcuts = &all_shortcuts[i].shortcuts;
        if (!shortcuts) {
                printf("no shortcut is called %s\n", name);
                return 2;
        }
        for (uint64_t done = 0; done < steps && !error; done += EACH, seed++)
                error = run(seed, EACH, shortcuts, true);
        printf("%s: %s\n", name, error ? error : "not caught");
        return !error;
}

int main(int argc, char **argv) {
        uint64_t seed = seed_of_run(), steps = getenv("SVMD_LONG") ? 100000000 : 4000000;
        bool shortcut = argc > 2 && !strcmp(argv[1], "--shortcut");
        int rest_of = shortcut ? 3 : 1;

        if (argc > rest_of)
                steps = strtoull(argv[rest_of], NULL, 0);
        printf("SVMD_SEED=%" PRIu64 "\n", seed);
        return shortcut ? run_shortcut(argv[2], seed, steps) : run_all(seed, steps);
}
