/*
 * Journals that were recorded, one of each format that svmd reads, with the state file of a range: they lie in
 * recorded/ as they were in the keeper's hands, and every version of svmd makes of them what the one made that wrote
 * them.
 *
 *      NAME.journal.gz, NAME.state.gz    the files
 *      NAME.kept                         all that was kept: key, size, seals, mode
 *      NAME.digest                       what a service has that took over from it
 *
 * After a change of what a digest says: SVMD_RECORD=digest service_recorded. For a new format, once and for all:
 * SVMD_RECORD=NAME service_recorded, and its name in `recorded`; for an effect that no recording has (a test says so):
 * in record_rest.c, and SVMD_RECORD=NAME for a new one whose name ends in "-rest".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "expect.h"
#include "proto/range.h"
#include "ranges.h"
#include "record_rest.h"
#include "service/effects.h"

#define MIB (1024ull * 1024)

enum { JOURNAL_SIZE = 2 * MIB, GRANULE = 65536, GRANULES = 16, OUT = 6, DIGEST_MAX = 65536 };

static const struct {
        const char *name;
        unsigned format;
} recorded[] = { { "format-1", 1 }, { "format-1-rest", 1 } };

static struct world w;
static struct client admin;

static uint64_t one_time(void) {
        return 1000000000000ull;
}

static bool is_rest(const char *name) {
        size_t length = strlen(name);

        return length > 5 && strcmp(name + length - 5, "-rest") == 0;
}

/* The store has the partitions that the journal names, and the machine its nodes. */
static void open_world(const char *name) {
        world_private = is_rest(name) ? record_rest_devices : NULL;
        world_shape = is_rest(name) ? record_rest_shape : NULL;
        world_open(&w, JOURNAL_SIZE);
        w.options.boottime_ns = w.svc->options.boottime_ns = one_time;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("lab", 64ull << 30, "", 1000, 0666));
        must(&admin, mk_kept_max("lab", 64 * MIB));
        client_close(&admin);
}

static void path_of(char *to, size_t size, const char *name, const char *what) {
        snprintf(to, size, "%s/recorded/%s.%s", TEST_SOURCE_DIR, name, what);
}

/* ---- recording ---- */

static void explicit_memory(struct client *c, struct client *other) {
        uint64_t base, kept, space, mem, pool;

        must(c, mk_reserve(16 * MIB, 0, 0, "board", 0666));
        must(c, mk_reserve(1 * MIB, 0, 0, "", 0));
        base = must(c, mk_reserve(8 * MIB, 0, 0, "", 0))->address;
        must(other, mk_open("board", 1));
        mem = must(c, mk_create(HOST0, 4 * MIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id;
        must(c, mk_export(mem, "weights", 0666, 3));
        must(other, mk_import("weights", 1));
        must(c, mk_export(mem, "", 0, 1));
        must(c, mk_map(0, base, 2 * MIB, mem, 0, 3, 0));
        must(c, mk_access(0, base + MIB, 64 * 1024, 1));
        must(c, mk_unmap(0, base + MIB / 2, 64 * 1024));
        space = must(c, mk_space(GPU0))->id;
        pool = must(c, mk_create(GPU0, 1 * MIB, 0))->id;
        must(c, mk_map(space, base, 1 * MIB, pool, 0, 3, 0));
        must(c, mk_attributes(space, base, 64 * 1024, 1, 2));
        must(c, mk_sparse(space, base + 4 * MIB, 2 * MIB, 1));
        must(c, mk_sparse(space, base + 6 * MIB, 1 * MIB, 2));
        must(c, mk_unsparse(space, base + 6 * MIB, 1 * MIB));
        must(c, mk_release(pool));
        must(c, mk_destroy(must(c, mk_space(GPU1))->id));
        must(c, mk_free(must(c, mk_reserve(2 * MIB, 0, 0, "", 0))->id));
        kept = must(c, mk_create(HOST0, 1 * MIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id;
        must(c, mk_export(kept, "kept", 0600, 3));
        must(c, mk_keep(0, kept, 3600));
        must(other, mk_release(mem));
        must(other, mk_import("weights", 1));
}

/* Its process ends; another session has it open. */
static void managed_memory(struct client *other) {
        Svmd__V1__Op *advise = op_make(SVMD__V1__OP__OP_ADVISE);
        struct user u;
        Svmd__V1__Result *r;
        uint64_t id, at;

        user_open(&w, &u, 1000, "lab");
        user_give(&u);
        r = must(&u.client, mk_range(GRANULES * GRANULE, GRANULE, "range", 0666));
        id = r->id;
        at = r->address;
        user_join(&u, id, true);
        process_fill(&u.process, at, GRANULES * GRANULE, 7);
        assert_int_equal(user_do(&u, mk_migrate(at, OUT * GRANULE, GPU1)), 0);
        advise->advise->address = at + 8 * GRANULE;
        advise->advise->size = 2 * GRANULE;
        advise->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        advise->advise->preferred = GPU1 + 1;
        must(&u.client, advise);
        assert_int_equal(user_do(&u, mk_pin(at + 12 * GRANULE, GRANULE, false)), 0);
        must(&u.client, mk_pin(at + 12 * GRANULE, GRANULE, true));
        must(other, mk_open("range", 3));
        user_close(&u);
        world_settle(&w);
}

static void write_gz(const char *name, const char *what, int fd) {
        char path[512], bytes[65536];
        off_t at = 0;
        ssize_t n;
        gzFile f;

        path_of(path, sizeof(path), name, what);
        f = gzopen(path, "wb9");
        assert_non_null(f);
        while ((n = pread(fd, bytes, sizeof(bytes), at)) > 0) {
                assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
                at += n;
        }
        assert_int_equal(gzclose(f), Z_OK);
}

static void write_kept(const char *name) {
        char path[512];
        FILE *f;

        path_of(path, sizeof(path), name, "kept");
        f = fopen(path, "we");
        assert_non_null(f);
        for (size_t i = 0; i < w.kept_count; i++) {
                struct stat st = { 0 };
                int seals = w.kept[i].fd < 0 ? 0 : fcntl(w.kept[i].fd, F_GET_SEALS);

                if (w.kept[i].fd >= 0)
                        assert_int_equal(fstat(w.kept[i].fd, &st), 0);
                fprintf(f, "%" PRIx64 " %lld %d %o\n", w.kept[i].key, w.kept[i].fd < 0 ? -1ll : (long long)st.st_size,
                        seals, st.st_mode & 07777);
                if (KEEP_KIND(w.kept[i].key) == KEEP_JOURNAL)
                        write_gz(name, "journal.gz", w.kept[i].fd);
                if (KEEP_KIND(w.kept[i].key) == KEEP_RANGE_STATE)
                        write_gz(name, "state.gz", w.kept[i].fd);
        }
        fclose(f);
}

static void record(const char *name) {
        struct client a, b, gone;

        open_world(name);
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "lab");
        client_open(&w, &b, 1001, 1000, false);
        client_greet(&b, "lab");
        client_open(&w, &gone, 1002, 1000, false);
        client_greet(&gone, "lab");
        must(&gone, mk_create(HOST0, MIB, 0));
        client_close(&gone);
        explicit_memory(&a, &b);
        managed_memory(&b);
        if (is_rest(name))
                record_rest(&w, &a, &b);
        world_settle(&w);
        world_stop(&w);
        write_kept(name);
        world_close(&w);
}

/* ---- taking over ---- */

static int read_gz(const char *name, const char *what, int fd) {
        char path[512], bytes[65536];
        off_t at = 0;
        gzFile f;
        int n;

        path_of(path, sizeof(path), name, what);
        f = gzopen(path, "rb");
        if (!f)
                fail_msg("%s is not there", path);
        while ((n = gzread(f, bytes, sizeof(bytes))) > 0) {
                assert_int_equal(pwrite(fd, bytes, (size_t)n, at), n);
                at += n;
        }
        assert_int_equal(gzclose(f), Z_OK);
        return fd;
}

/* Files as large as those were; only what svmd reads has content. */
static int make_kept(const char *name, uint64_t key, long long size, int seals, unsigned mode) {
        int fd = memfd_create("recorded", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(fchmod(fd, mode), 0);
        if (KEEP_KIND(key) == KEEP_JOURNAL)
                read_gz(name, "journal.gz", fd);
        if (KEEP_KIND(key) == KEEP_RANGE_STATE)
                read_gz(name, "state.gz", fd);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void keep_recorded(const char *name) {
        char path[512];
        long long size;
        unsigned mode;
        uint64_t key;
        int seals;
        FILE *f;

        world_keeps_nothing(&w);
        path_of(path, sizeof(path), name, "kept");
        f = fopen(path, "re");
        if (!f)
                fail_msg("%s is not there", path);
        while (fscanf(f, "%" SCNx64 " %lld %d %o", &key, &size, &seals, &mode) == 4)
                world_keeps(&w, key, size < 0 ? -1 : make_kept(name, key, size, seals, mode));
        fclose(f);
        assert_true(w.kept_count > 5);
}

static char *read_text(const char *path) {
        FILE *f = fopen(path, "re");
        char *text = calloc(1, DIGEST_MAX);
        size_t n;

        if (!f)
                fail_msg("%s cannot be read", path);
        n = fread(text, 1, DIGEST_MAX, f);
        assert_true(n > 0 && n < DIGEST_MAX);
        fclose(f);
        return text;
}

static void write_text(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void compare_digest(const char *name) {
        char path[512], *now = digest(&w, false), *then;

        path_of(path, sizeof(path), name, "digest");
        if (getenv("SVMD_RECORD"))
                write_text(path, now);
        then = read_text(path);
        if (strcmp(now, then) != 0)
                fail_msg("what svmd makes of %s is not what it was:\n--- now\n%s--- recorded\n%s", name, now, then);
        free(now);
        free(then);
}

static int find_journal(void) {
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_JOURNAL)
                        return w.kept[i].fd;
        fail_msg("there is no journal");
        return -1;
}

static uint64_t find_range(void) {
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_RANGE)
                        return KEEP_ID(w.kept[i].key);
        fail_msg("there is no range");
        return 0;
}

/* What the file of the journal says of its format, behind its mark. */
static unsigned format_in_file(void) {
        uint32_t format = 0;

        assert_int_equal(pread(find_journal(), &format, sizeof(format), 8), sizeof(format));
        return format;
}

static int note_type(void *userdata, uint16_t type, const void *bytes, size_t size) {
        *(uint64_t *)userdata |= 1ull << type;
        return 0;
}

/* Of all recordings. */
static uint64_t effects_seen;

static void note_effects(void) {
        struct journal *j;
        char why[256];

        assert_int_equal(journal_adopt(&j, dup(find_journal()), why, sizeof(why)), 0);
        assert_int_equal(journal_replay(j, note_type, &effects_seen), 0);
        journal_free(j);
}

/* What no recording has, a later svmd may read wrongly, and nobody would see it. */
static void has_every_effect(void) {
        for (unsigned type = EFFECT_EPOCH; type <= service_effects(); type++)
                if (!(effects_seen >> type & 1))
                        fail_msg("no recorded journal has an effect of type %u: let record_rest.c make one", type);
}

static void take_over(const char *name, unsigned format) {
        char why[512] = "";
        uint64_t range;

        open_world(name);
        world_stop(&w);
        keep_recorded(name);
        assert_int_equal(format_in_file(), format);
        note_effects();
        if (world_take_over(&w, why, sizeof(why)) != 0)
                fail_msg("%s: %s", name, why);
        world_settle(&w);
        check_world(&w);
        compare_digest(name);
        range = find_range();
        for (uint32_t i = 0; i < GRANULES; i++)
                assert_int_equal(where(&w, range, i), i < OUT ? GPU1 : UINT32_MAX);
        /* It goes on in a journal of its own format, from which the next one makes the same. */
        assert_int_equal(format_in_file(), JOURNAL_FORMAT);
        world_stop(&w);
        if (world_take_over(&w, why, sizeof(why)) != 0)
                fail_msg("%s, once more: %s", name, why);
        world_settle(&w);
        compare_digest(name);
        world_close(&w);
}

static void test_recorded(void **state) {
        for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++)
                take_over(recorded[i].name, recorded[i].format);
        has_every_effect();
}

/* ---- what is not taken over ---- */

static void set_format(uint32_t format) {
        assert_int_equal(pwrite(find_journal(), &format, sizeof(format), 8), sizeof(format));
}

/* The keeper goes on holding all of it, for the svmd that can. */
static void refuses(const char *word) {
        char why[512] = "";
        size_t kept = w.kept_count;

        assert_int_not_equal(world_take_over(&w, why, sizeof(why)), 0);
        if (!strstr(why, word))
                fail_msg("\"%s\" does not name \"%s\"", why, word);
        assert_int_equal(w.kept_count, kept);
}

static void starts(void) {
        char why[512] = "";

        if (world_take_over(&w, why, sizeof(why)) != 0)
                fail_msg("%s", why);
        world_settle(&w);
        compare_digest(recorded[0].name);
        world_stop(&w);
}

static void test_other_formats(void **state) {
        open_world(recorded[0].name);
        world_stop(&w);
        keep_recorded(recorded[0].name);
        set_format(JOURNAL_FORMAT + 1);
        refuses("format 2 and this svmd reads formats 1 to 1");
        set_format(JOURNAL_OLDEST - 1);
        refuses("format 0 and");
        set_format(recorded[0].format);
        starts();
        world_close(&w);
}

/* A newer svmd of the same format may have written what this one does not know: it is not passed over. */
static void test_unknown_effect(void **state) {
        char why[256];
        struct journal *j;

        open_world(recorded[0].name);
        world_stop(&w);
        keep_recorded(recorded[0].name);
        assert_int_equal(journal_adopt(&j, dup(find_journal()), why, sizeof(why)), 0);
        assert_int_equal(journal_reserve(j, 1, 16), 0);
        journal_append(j, (uint16_t)(service_effects() + 1), "sixteen bytes...", 16);
        journal_commit(j);
        journal_free(j);
        refuses("which this svmd does not know");
        world_close(&w);
}

/* A state file of another version is no file that svmd made: what it describes is lost, and only that. */
static void test_other_range_version(void **state) {
        char why[512] = "";
        uint32_t version = RANGE_VERSION + 1;

        open_world(recorded[0].name);
        world_stop(&w);
        keep_recorded(recorded[0].name);
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_RANGE_STATE)
                        assert_int_equal(
                                pwrite(w.kept[i].fd, &version, sizeof(version), offsetof(struct range_head, version)),
                                sizeof(version));
        assert_int_equal(world_take_over(&w, why, sizeof(why)), 0);
        world_settle(&w);
        for (size_t i = 0; i < w.kept_count; i++)
                assert_int_not_equal(KEEP_KIND(w.kept[i].key), KEEP_RANGE);
        world_close(&w);
}

/* ---- nodes, before a service is made ---- */

static struct card known[NODE_MAX];

static int on_node(void *userdata, uint32_t number, const struct node_desc *n) {
        const struct node_desc *had = &w.machine.nodes[number];

        assert_true(number == (*(uint32_t *)userdata)++ && number < w.machine.count);
        assert_string_equal(n->name, had->name);
        assert_int_equal(n->kind, had->kind);
        assert_int_equal(n->capacity, had->capacity);
        known[number] = n->card;
        return 0;
}

static void nodes_are_kept(void) {
        struct service_kept *kept = calloc(w.kept_count + 1, sizeof(*kept));
        uint32_t count = 0;

        for (size_t i = 0; i < w.kept_count; i++)
                kept[i] = (struct service_kept){ w.kept[i].key, w.kept[i].fd };
        assert_int_equal(service_kept_nodes(kept, w.kept_count, on_node, &count), 0);
        assert_int_equal(count, w.machine.count);
        free(kept);
}

static void is_known(const struct card *want) {
        assert_int_equal(known[GPU1].unique, want->unique);
        assert_int_equal(known[GPU1].id, want->id);
        assert_int_equal(known[GPU1].domain, want->domain);
        assert_int_equal(known[GPU1].location, want->location);
        assert_false(card_is_told(&known[GPU0]));
}

/* An older svmd did not note the hardware; this one does, when it starts and when it learns of it later. */
static void test_nodes(void **state) {
        const struct card none = { 0 }, first = { 0xfedcba9876543210, 4711, 1, 0xc903 };
        const struct card moved = { 0xfedcba9876543210, 4712, 0, 0x0300 };
        char why[512] = "";

        open_world(recorded[0].name);
        world_stop(&w);
        keep_recorded(recorded[0].name);
        nodes_are_kept();
        is_known(&none);
        w.machine.nodes[GPU1].card = first;
        assert_int_equal(world_take_over(&w, why, sizeof(why)), 0);
        nodes_are_kept();
        is_known(&first);
        w.machine.nodes[GPU1].card = moved;
        service_found_card(w.svc);
        service_commit(w.svc);
        assert_true(service_recorded(w.svc));
        nodes_are_kept();
        is_known(&moved);
        world_stop(&w);
        assert_int_equal(world_take_over(&w, why, sizeof(why)), 0);
        nodes_are_kept();
        is_known(&moved);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded),       cmocka_unit_test(test_other_formats),
                cmocka_unit_test(test_unknown_effect), cmocka_unit_test(test_other_range_version),
                cmocka_unit_test(test_nodes),
        };
        const char *name = getenv("SVMD_RECORD");

        if (name && strcmp(name, "digest") != 0)
                record(name);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
