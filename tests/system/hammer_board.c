#include "hammer_board.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

static size_t board_size(const struct hammer_plan *p) {
        return sizeof(struct hammer_board) + p->pages * sizeof(struct hammer_page) +
               plan_counters(p) * sizeof(uint64_t);
}

struct hammer_board *board_new(const struct hammer_plan *plan) {
        struct hammer_board *b =
                mmap(NULL, board_size(plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        must(b != MAP_FAILED);
        b->plan = *plan;
        b->added = (uint64_t *)&b->page[plan->pages];
        return b;
}

void board_free(struct hammer_board *b) {
        munmap(b, board_size(&b->plan));
}

void board_count(uint64_t *counter, uint64_t n) {
        __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

uint64_t board_get(const uint64_t *counter) {
        return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

void board_set(uint64_t *word, uint64_t v) {
        __atomic_store_n(word, v, __ATOMIC_RELEASE);
}

uint64_t board_findings(const struct hammer_board *b) {
        uint64_t n = 0;

        for (unsigned i = 0; i < _HAMMER_FINDING_N; i++)
                n += board_get(&b->findings[i]);
        return n;
}

void board_report(struct hammer_board *b, unsigned finding, const char *format, ...) {
        uint64_t n = __atomic_fetch_add(&b->reports, 1, __ATOMIC_ACQ_REL);
        va_list args;

        if (n < HAMMER_REPORTS) {
                va_start(args, format);
                vsnprintf(b->report[n], sizeof(b->report[n]), format, args);
                va_end(args);
        }
        board_count(&b->findings[finding], 1);
        if (b->plan.stop_at_first && finding != HAMMER_REFUSED)
                board_set(&b->stop, 1);
}

static const char *finding_name(unsigned finding) {
        switch (finding) {
        case HAMMER_STALE: return "stale";
        case HAMMER_WRONG_SUM: return "wrong on a device";
        case HAMMER_WRONG_COUNT: return "miscounted";
        case HAMMER_REFUSED: return "refused";
        default: return page_finding_name(finding);
        }
}

void board_print(const struct hammer_board *b) {
        uint64_t n = board_get(&b->reports);

        printf("%s: %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64 " device operations (%" PRIu64
               " refused), %" PRIu64 " orders (%" PRIu64 " refused), %" PRIu64 " discards, %" PRIu64
               " advices, %" PRIu64 " pins, %" PRIu64 " zaps, %" PRIu64 " revokes (%" PRIu64 " SIGBUS), %" PRIu64
               " joins, %" PRIu64 " kills, %" PRIu64 " restarts\n",
               b->plan.name, b->writes, b->reads, b->device_ops, b->device_refused, b->orders, b->orders_refused,
               b->discards, b->advices, b->pins, b->zaps, b->revokes, b->sigbuses, b->joins, b->kills, b->restarts);
        for (unsigned i = 0; i < _HAMMER_FINDING_N; i++)
                if (board_get(&b->findings[i]))
                        printf("%s: %" PRIu64 "\n", finding_name(i), board_get(&b->findings[i]));
        for (uint64_t i = 0; i < n && i < HAMMER_REPORTS; i++)
                printf("  %s\n", b->report[i]);
}

/* The first line of a file of /proc about a thread. */
static void print_proc(const struct hammer_seat *s, const char *file) {
        char path[80], line[128] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", s->pid, s->tid, file);
        f = fopen(path, "re");
        if (!f)
                return;
        if (fgets(line, sizeof(line), f))
                line[strcspn(line, "\n")] = 0;
        fclose(f);
        fprintf(stderr, "  %s", line);
}

void board_print_seats(const struct hammer_board *b) {
        for (unsigned i = 0; i < HAMMER_HANDS; i++) {
                const struct hammer_seat *s = &b->seat[i];

                if (!s->pid)
                        continue;
                fprintf(stderr, "%d/%d: %s page %u", s->pid, s->tid, s->doing ? s->doing : "?", s->page);
                print_proc(s, "wchan");
                fprintf(stderr, "\n");
        }
}

/* ---- threads ---- */

struct hammer_seat *board_sit(struct hammer_board *b) {
        for (unsigned i = 0; i < HAMMER_HANDS; i++) {
                struct hammer_seat *s = &b->seat[i];
                int none = 0;

                if (!__atomic_compare_exchange_n(&s->pid, &none, getpid(), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                        continue;
                s->tid = (int)syscall(SYS_gettid);
                return s;
        }
        fail_here("more threads than seats");
}

void board_stand(struct hammer_seat *seat) {
        seat->doing = NULL;
        __atomic_store_n(&seat->parked, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&seat->pid, 0, __ATOMIC_RELEASE);
}

void board_bury(struct hammer_board *b, int pid) {
        for (unsigned i = 0; i < HAMMER_HANDS; i++)
                if (b->seat[i].pid == pid)
                        board_stand(&b->seat[i]);
}

bool board_gate(struct hammer_board *b, struct hammer_seat *seat) {
        if (board_get(&b->pause)) {
                seat->doing = "pauses";
                __atomic_store_n(&seat->parked, 1, __ATOMIC_RELEASE);
                while (board_get(&b->pause) && !board_get(&b->stop))
                        usleep(500);
                __atomic_store_n(&seat->parked, 0, __ATOMIC_RELEASE);
        }
        return !board_get(&b->stop);
}

static bool all_parked(struct hammer_board *b) {
        for (unsigned i = 0; i < HAMMER_HANDS; i++)
                if (__atomic_load_n(&b->seat[i].pid, __ATOMIC_ACQUIRE) &&
                    !__atomic_load_n(&b->seat[i].parked, __ATOMIC_ACQUIRE))
                        return false;
        return true;
}

bool board_pause(struct hammer_board *b) {
        uint64_t until = now_ms() + CEILING_MS;

        board_set(&b->pause, 1);
        while (!all_parked(b) && !board_get(&b->stop)) {
                if (now_ms() >= until)
                        return false;
                usleep(500);
        }
        return true;
}

void board_resume(struct hammer_board *b) {
        board_set(&b->pause, 0);
}

/* ---- layout ---- */

/* One page in 64 has counters; of granules of more than that, only every second has such pages. */
#define COUNTER_EVERY 64u
#define COUNTER_PHASE 5u

static uint32_t pages_per_granule(const struct hammer_plan *p) {
        return p->granule / PAGE_BYTES;
}

uint32_t plan_granules(const struct hammer_plan *p) {
        return p->pages / pages_per_granule(p);
}

bool page_is_counter(const struct hammer_plan *p, uint32_t page) {
        uint32_t each = pages_per_granule(p);

        return page % COUNTER_EVERY == COUNTER_PHASE && (each <= COUNTER_EVERY || page / each % 2 == 0);
}

uint32_t plan_counters(const struct hammer_plan *p) {
        uint32_t each = pages_per_granule(p), granules = p->pages / each;

        if (each <= COUNTER_EVERY)
                return p->pages / COUNTER_EVERY * HAMMER_COUNTERS_PER_PAGE;
        return (granules + 1) / 2 * (each / COUNTER_EVERY) * HAMMER_COUNTERS_PER_PAGE;
}

static uint32_t counter_page(const struct hammer_plan *p, uint32_t nth) {
        uint32_t of_granule = pages_per_granule(p) / COUNTER_EVERY;

        if (of_granule > 1)
                nth = nth / of_granule * 2 * of_granule + nth % of_granule;
        return nth * COUNTER_EVERY + COUNTER_PHASE;
}

uint64_t *plan_counter(const struct hammer_plan *p, uint32_t counter) {
        return page_at(p, counter_page(p, counter / HAMMER_COUNTERS_PER_PAGE)) +
               counter % HAMMER_COUNTERS_PER_PAGE * (PAGE_WORDS / HAMMER_COUNTERS_PER_PAGE);
}

uint32_t plan_joiner_id(const struct hammer_plan *p) {
        return p->writers * p->threads;
}

uint32_t plan_victim_id(const struct hammer_plan *p) {
        return p->writers * p->threads + p->joiner;
}

uint32_t plan_owners(const struct hammer_plan *p) {
        return p->writers * p->threads + p->joiner + p->victim;
}

/* Every second granule belongs to one writer, if no counters are in it; in the others each page has another one. */
bool granule_is_whole(const struct hammer_plan *p, uint32_t granule) {
        uint32_t each = pages_per_granule(p);

        if (each > 1 && granule % 2 == 0)
                return false;
        for (uint32_t i = 0; i < each; i++)
                if (page_is_counter(p, granule * each + i))
                        return false;
        return true;
}

uint32_t page_owner(const struct hammer_plan *p, uint32_t page) {
        uint32_t granule = page / pages_per_granule(p);

        if (page_is_counter(p, page))
                return UINT32_MAX;
        if (granule_is_whole(p, granule))
                return granule / (pages_per_granule(p) > 1 ? 2 : 1) % plan_owners(p);
        return page % plan_owners(p);
}

uint64_t *page_at(const struct hammer_plan *p, uint32_t page) {
        return p->base + (size_t)page * PAGE_WORDS;
}
