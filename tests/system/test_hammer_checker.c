/*
 * The hammer without svmd: on plain shared memory nothing is found; where something puts old, half or other bytes back,
 * as a daemon would that loses a write, it is found and called what it is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hammer.h"
#include "hammer_hand.h"

enum { PAGES = 256, GRANULE = 65536, WRITES = 200000 };

static struct hammer_board *board;
static uint64_t *base;

/* ---- pages by themselves ---- */

static void pages_are_told_apart(void) {
        uint64_t words[PAGE_WORDS] = { 0 }, other[PAGE_WORDS];
        struct page_content zero = { .kind = PAGE_ZERO, .number = 7 };
        struct page_content one = { .kind = PAGE_STAMPED, .number = 7, .writer = 3, .sequence = 1 }, two = one, seen;
        uint64_t sum = 0;

        two.sequence = 2;
        must(page_check(words, &zero) == PAGE_GOOD && page_check(words, &one) == PAGE_ZEROED);
        must(page_read(words, 7, &seen) == PAGE_GOOD && seen.kind == PAGE_ZERO);
        page_write(words, 7, 3, 1);
        for (unsigned i = 0; i < PAGE_WORDS; i++)
                sum += words[i];
        must(sum == page_sum(&one));
        must(page_check(words, &one) == PAGE_GOOD && page_check(words, &two) == PAGE_LOST);
        must(page_check_cut(words, &one) == PAGE_GOOD && page_check_cut(words, &two) == PAGE_LOST);
        must(page_read(words, 7, &seen) == PAGE_GOOD && seen.sequence == 1 && seen.writer == 3);
        must(page_read(words, 8, &seen) == PAGE_FOREIGN);
        page_write(other, 7, 3, 2);
        for (unsigned i = 1; i < PAGE_WORDS; i++) {
                uint64_t mixed[PAGE_WORDS];

                memcpy(mixed, words, sizeof(mixed));
                memcpy(mixed, other, i * 8);
                must(page_check(mixed, &two) == PAGE_TORN || page_check(mixed, &two) == PAGE_LOST);
                must(page_read(mixed, 7, &seen) == PAGE_MOVING);
                must(page_check_cut(mixed, &one) == PAGE_GOOD);
                mixed[0] = 1; /* the sequences agree and hide what lies between; word 1 is the same in both */
                must(i <= 2 || page_read(mixed, 7, &seen) == PAGE_TORN);
                must(i <= 2 || page_check(mixed, &one) == PAGE_TORN);
        }
        for (unsigned i = 0; i < PAGE_WORDS; i++) {
                memcpy(other, words, sizeof(other));
                other[i] ^= 1ull << (i % 64);
                must(page_check(other, &one) != PAGE_GOOD);
                must(page_read(other, 7, &seen) != PAGE_GOOD);
        }
}

/* Who is not the writer sees by the board that something is old. */
static void lookers_find_what_is_old(void) {
        struct hammer_plan plan = { .base = base, .granule = GRANULE, .pages = PAGES, .writers = 1, .threads = 1 };
        struct hammer_board *b = board_new(&plan);
        uint64_t last = 0, old[PAGE_WORDS];
        struct hand writer = { 0 }, looker = { 0 };

        memset(base, 0, PAGES * PAGE_BYTES);
        hand_begin(&writer, b, 0, 1);
        hand_begin(&looker, b, 1, 2);
        hand_take_pages(&writer);
        hand_write(&writer, &writer.own[0]);
        memcpy(old, page_at(&plan, writer.own[0].number), sizeof(old));
        hand_look(&looker, writer.own[0].number, &last);
        must(last == 1 && board_findings(b) == 0);
        hand_write(&writer, &writer.own[0]);
        memcpy(page_at(&plan, writer.own[0].number), old, sizeof(old));
        hand_look(&looker, writer.own[0].number, &last);
        must(b->findings[HAMMER_STALE] == 1 && board_findings(b) == 1);
        hand_end(&writer);
        hand_end(&looker);
        board_free(b);
}

/* ---- all of it ---- */

enum sabotage { SABOTAGE_NONE, SABOTAGE_LOSE, SABOTAGE_TEAR, SABOTAGE_ZERO, SABOTAGE_SWAP, SABOTAGE_COUNT };

static void sabotage_once(enum sabotage kind) {
        const struct hammer_plan *p = &board->plan;
        uint32_t page = (uint32_t)random_below(p->pages);
        uint64_t *at = page_at(p, page), old[PAGE_WORDS];

        memcpy(old, at, sizeof(old));
        usleep(200);
        if (kind == SABOTAGE_COUNT) {
                at = plan_counter(p, (uint32_t)random_below(plan_counters(p)));
                __atomic_store_n(at, __atomic_load_n(at, __ATOMIC_RELAXED) / 2, __ATOMIC_RELAXED);
        } else if (page_is_counter(p, page)) {
                return;
        } else if (kind == SABOTAGE_LOSE) {
                memcpy(at, old, sizeof(old));
        } else if (kind == SABOTAGE_TEAR) {
                memcpy(at + 100, old + 100, 2048);
        } else if (kind == SABOTAGE_ZERO) {
                memset(at, 0, sizeof(old));
        } else if (kind == SABOTAGE_SWAP) {
                memcpy(at, page_at(p, (page + 3) % p->pages), sizeof(old));
        }
}

static void saboteur(struct message *m) {
        while (!board_get(&board->stop))
                sabotage_once((enum sabotage)m->n[0]);
}

static bool nothing_to_look_at(void *userdata, struct hammer *h) {
        (void)userdata;
        return board_findings(h->board) == 0;
}

static void hammer_plain_memory(enum sabotage kind, const char *name) {
        struct hammer_plan plan = { .base = base,
                                    .granule = GRANULE,
                                    .pages = PAGES,
                                    .writers = 3,
                                    .threads = 2,
                                    .joiner = true,
                                    .victim = true,
                                    .reader = true,
                                    .stay = 300,
                                    .writes = WRITES,
                                    .stop_at_first = kind != SABOTAGE_NONE && kind != SABOTAGE_COUNT };
        struct hammer h = { .quiet = kind == SABOTAGE_NONE ? nothing_to_look_at : NULL };
        struct message m = { .n = { kind } };
        struct actor a;
        enum hammer_end end;

        memset(base, 0, PAGES * PAGE_BYTES);
        snprintf(plan.name, sizeof(plan.name), "%s", name);
        hammer_start(&h, &plan);
        board = h.board;
        actor_new(&a, 0, 0, 0);
        if (kind != SABOTAGE_NONE)
                actor_begin(&a, saboteur, &m);
        end = hammer_watch(&h);
        must(end == (plan.stop_at_first ? HAMMER_FOUND : HAMMER_DONE));
        hammer_finish(&h);
        if (kind != SABOTAGE_NONE)
                actor_finish(&a, NULL);
        actor_end(&a);
        board_print(board);
        must((board_findings(board) != 0) == (kind != SABOTAGE_NONE));
        must(kind != SABOTAGE_COUNT || board->findings[HAMMER_WRONG_COUNT]);
        must(kind != SABOTAGE_NONE || (board->joins && board->kills && board->reads && h.quiets));
        hammer_free(&h);
}

int main(void) {
        int fd;

        harness_begin("hammer_checker");
        fd = memfd_create("plain", MFD_CLOEXEC);
        must(fd >= 0 && ftruncate(fd, PAGES * PAGE_BYTES) == 0);
        base = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(base != MAP_FAILED);
        pages_are_told_apart();
        lookers_find_what_is_old();
        hammer_plain_memory(SABOTAGE_NONE, "plain memory");
        hammer_plain_memory(SABOTAGE_LOSE, "old pages come back");
        hammer_plain_memory(SABOTAGE_TEAR, "halves of old pages come back");
        hammer_plain_memory(SABOTAGE_ZERO, "pages become zero");
        hammer_plain_memory(SABOTAGE_SWAP, "pages of others appear");
        hammer_plain_memory(SABOTAGE_COUNT, "counters go back");
        return 0;
}
