#include "backend/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"

/*
 * Recordings are written by mkmachine.py; what they say is counted by count_machine.py from the files alone, and must
 * be what recording_read() has found. With SVMD_FIXTURES recordings of real machines are read too.
 */
static char scratch[] = "/tmp/svmd-recording-XXXXXX";
static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...) {
        char command[2048];
        va_list args;

        va_start(args, format);
        vsnprintf(command, sizeof(command), format, args);
        va_end(args);
        if (system(command) != 0)
                fail_msg("failed: %s", command);
}

/* A recording in DIR/<scratch>/machine, anew each time. */
static const char *make_machine(const char *options) {
        static char dir[128];

        snprintf(dir, sizeof(dir), "%s/machine", scratch);
        shell("rm -rf '%s' && " PYTHON " " MKMACHINE " '%s' %s", dir, dir, options);
        return dir;
}

static void write_file(const char *path, const char *text) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static char *describe(const struct machine *m, size_t *ret_size) {
        char *text = NULL;
        FILE *f = open_memstream(&text, ret_size);

        assert_non_null(f);
        for (uint32_t i = 0; i < m->count; i++) {
                const struct node_desc *n = &m->nodes[i];

                fprintf(f, "%s %" PRIu64 " %" PRIu64 "\n", n->name, n->capacity, n->hive);
                for (uint32_t k = 0; k < n->links_count; k++) {
                        const struct node_link *l = &n->links[k];

                        fprintf(f, "  %s %s %u %" PRIu64 " %" PRIu64 " %d\n", m->nodes[l->to].name, l->type, l->weight,
                                l->min_bandwidth, l->max_bandwidth, l->peer);
                }
        }
        assert_int_equal(fclose(f), 0);
        return text;
}

/* Reads the recording and compares it with the counter's output, whose last line must be `total`. */
static void check_against_counter(const char *dir, const char *total) {
        static char counted[1 << 20];
        struct machine m = { 0 };
        char command[512], why[512] = "", *said, *last;
        size_t size, length;
        FILE *f;

        if (recording_read(&m, dir, true, why, sizeof(why)) < 0)
                fail_msg("%s", why);
        assert_string_equal(why, "");
        snprintf(command, sizeof(command), PYTHON " " COUNT_MACHINE " '%s'", dir);
        f = popen(command, "r");
        assert_non_null(f);
        length = fread(counted, 1, sizeof(counted) - 1, f);
        assert_int_equal(pclose(f), 0);
        counted[length] = '\0';
        last = strstr(counted, "total ");
        assert_non_null(last);
        if (total)
                assert_string_equal(last, total);
        *last = '\0';
        said = describe(&m, &size);
        assert_string_equal(said, counted);
        free(said);
        for (uint32_t i = 0; i < m.count; i++) {
                bool gpu = m.nodes[i].kind == NODE_SOFT;

                assert_int_equal(m.nodes[i].faults, gpu);
                assert_int_equal(m.nodes[i].numa, -1);
                assert_int_equal(m.nodes[i].va_start, 0x10000);
                assert_int_equal(m.nodes[i].va_end, 1ull << 47);
                assert_int_equal(strncmp(m.nodes[i].model, "gfx", 3) == 0, gpu);
        }
        machine_fini(&m);
}

static void test_generated_machines(void **state) {
        check_against_counter(make_machine("--gpus 8 --hives 2 --mem 64G --cpus 2"),
                              "total hosts=2 gpus=8 hives=2 XGMI=24 PCIe=16 peers=32\n");
        check_against_counter(make_machine("--gpus 32 --hives 1 --mem 48G --cpus 2"),
                              "total hosts=2 gpus=32 hives=1 XGMI=992 PCIe=64 peers=0\n");
        check_against_counter(make_machine("--gpus 1 --hives 0 --mem 1G --cpus 1"),
                              "total hosts=1 gpus=1 hives=0 XGMI=0 PCIe=2 peers=0\n");
        check_against_counter(make_machine("--gpus 0 --hives 0 --cpus 3"),
                              "total hosts=3 gpus=0 hives=0 XGMI=0 PCIe=0 peers=0\n");
        check_against_counter(make_machine("--gpus 3 --hives 1 --cpus 0 --mem 4097K"), NULL);
}

static void test_random_machines(void **state) {
        for (int round = 0; round < 8; round++) {
                char options[128];
                unsigned gpus = 1 + (unsigned)rnd(12);

                snprintf(options, sizeof(options), "--gpus %u --hives %u --cpus %u --mem %uK", gpus,
                         (unsigned)rnd(gpus + 1), 1 + (unsigned)rnd(4), 4 + (unsigned)rnd(1u << 24));
                check_against_counter(make_machine(options), NULL);
        }
}

static void test_where_a_topology_lies(void **state) {
        static const char *const places[] = { "", "/topology", "/sys/class/kfd/kfd/topology",
                                              "/sys/devices/virtual/kfd/kfd/topology" };
        struct machine m = { 0 };
        char why[512], dir[128], sentence[512];

        snprintf(dir, sizeof(dir), "%s/placed", scratch);
        for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                const char *made = make_machine("--gpus 2 --cpus 1");

                shell("rm -rf '%s' && mkdir -p '%s%s' && mv '%s/topology/nodes' '%s%s/nodes'", dir, dir, places[i],
                      made, dir, places[i]);
                assert_int_equal(recording_read(&m, dir, false, why, sizeof(why)), 0);
                assert_int_equal(m.count, 3);
                assert_false(m.nodes[2].faults);
                machine_fini(&m);
        }
        shell("rm -rf '%s' && mkdir '%s'", dir, dir);
        assert_int_equal(recording_read(&m, dir, false, why, sizeof(why)), -ENOENT);
        snprintf(sentence, sizeof(sentence),
                 "%s: no recorded machine is there; give a copy of /sys/class/kfd/kfd/topology, with its folder nodes",
                 dir);
        assert_string_equal(why, sentence);
}

/* What is said, behind the path of the topology. Of three nodes the last one, a GPU, is mangled. */
static const struct {
        const char *kind, *says;
} mangled[] = {
        { "three-words", "nodes/2/properties:2: expected a number from 0 to 2^64-1 after \"simd_count\"" },
        { "one-word", "nodes/2/properties:2: expected \"name value\"" },
        { "empty-line", "nodes/2/properties:2: expected \"name value\"" },
        { "two-spaces", "nodes/2/properties:2: expected a number from 0" },
        { "no-number", "nodes/2/properties:2: expected a number from 0" },
        { "negative", "nodes/2/properties:2: expected a number from 0" },
        { "hexadecimal", "nodes/2/properties:2: expected a number from 0" },
        { "above-64-bits", "nodes/2/properties:2: expected a number from 0" },
        { "bad-name", "nodes/2/properties:2: expected \"name value\"" },
        { "long-name", "nodes/2/properties:2: expected \"name value\"" },
        { "nul-byte", "nodes/2/properties:2: expected a number from 0" },
        { "duplicate", "nodes/2/properties:10: expected \"hive_id\" once; it stands on line 8 already" },
        { "missing-cores", "nodes/2/properties:9: expected a line \"cpu_cores_count NUMBER\"" },
        { "missing-simds", "nodes/2/properties:9: expected a line \"simd_count NUMBER\"" },
        { "missing-banks", "nodes/2/properties:9: expected a line \"mem_banks_count NUMBER\"" },
        { "missing-links", "nodes/2/properties:9: expected a line \"io_links_count NUMBER\"" },
        { "both-kinds", "nodes/2/properties:2: expected either cpu_cores_count or simd_count" },
        { "no-kind", "nodes/2/properties:2: expected either cpu_cores_count or simd_count" },
        { "fewer-banks", "nodes/2/properties:3: expected \"mem_banks_count\" to be the number of folders" },
        { "more-banks", "nodes/2/properties:3: expected \"mem_banks_count\" to be the number of folders of mem_banks; "
                        "there is no mem_banks/2/properties" },
        { "endless-banks", "nodes/2/properties:3: expected \"mem_banks_count\" to be the number of folders" },
        { "fewer-links", "nodes/2/properties:5: expected \"io_links_count\" to be the number of folders" },
        { "more-links", "nodes/2/properties:5: expected \"io_links_count\" to be the number of folders" },
        { "more-peers", "nodes/2/properties:6: expected \"p2p_links_count\" to be the number of folders" },
        { "no-capacity", "nodes/2/properties:9: expected memory of the GPU" },
        { "huge-capacity", "nodes/2/mem_banks/0/properties:2: expected less than 2^63 bytes" },
        { "missing-heap", "nodes/2/mem_banks/0/properties:5: expected a line \"heap_type NUMBER\"" },
        { "missing-size", "nodes/2/mem_banks/0/properties:5: expected a line \"size_in_bytes NUMBER\"" },
        { "missing-target", "nodes/2/io_links/0/properties:12: expected a line \"node_to NUMBER\"" },
        { "foreign-source", "nodes/2/io_links/0/properties:4: expected \"node_from 2\"" },
        { "dangling", "nodes/2/io_links/0/properties:5: expected a node from 0 to 2; there is no node 3" },
        { "to-itself", "nodes/2/io_links/0/properties:5: expected a link to another node" },
        { "heavy", "nodes/2/io_links/0/properties:6: expected a weight below 2^32" },
        { "gap", "nodes: expected a node 1, since there is a node 2" },
        { "stray-folder", "nodes: expected folders named by a number alone; \"x1\" is none" },
        { "leading-zero", "nodes: expected folders named by a number alone; \"02\" is none" },
        { "too-many-nodes", "nodes: expected at most 256 nodes; there is a node 256" },
        { "no-nodes", "nodes: expected at least one node" },
        { "no-properties", "nodes/2/properties: expected this file; it is missing" },
        { "empty-file", "nodes/2/properties:1: expected a line \"cpu_cores_count NUMBER\"" },
        { "too-large", "nodes/2/properties: expected a file of at most 1048576 bytes" },
        { "too-many-lines", "nodes/2/properties:1025: expected at most 1024 lines" },
        { "long-model", "nodes/2/name:1: expected a name of at most 63 bytes" },
        { "unprintable-model", "nodes/2/name:1: expected a name of printable characters" },
};

static void test_malformed(void **state) {
        for (unsigned i = 0; i < sizeof(mangled) / sizeof(mangled[0]); i++) {
                struct machine m = { 0 };
                struct node_desc *n = machine_add(&m);
                struct node_link link = { .to = 0 };
                char options[128], why[512] = "", want[512];
                const char *dir;

                snprintf(n->name, sizeof(n->name), "mine");
                assert_int_equal(machine_link(n, &link), 0);
                snprintf(options, sizeof(options), "--gpus 2 --hives 1 --cpus 1 --mangle %s", mangled[i].kind);
                dir = make_machine(options);
                if (recording_read(&m, dir, true, why, sizeof(why)) != -EBADMSG)
                        fail_msg("%s was not refused as malformed: %s", mangled[i].kind, why);
                snprintf(want, sizeof(want), "%s/topology/%s", dir, mangled[i].says);
                if (strncmp(why, want, strlen(want)) != 0)
                        fail_msg("%s: \"%s\", and not \"%s\"", mangled[i].kind, why, want);
                assert_int_equal(m.count, 1);
                assert_string_equal(m.nodes[0].name, "mine");
                assert_int_equal(m.nodes[0].links_count, 1);
                machine_fini(&m);
        }
}

static void test_appended_to_other_nodes(void **state) {
        struct machine m = { 0 };
        const char *dir = make_machine("--gpus 2 --hives 1 --cpus 1");
        char why[512] = "";

        snprintf(machine_add(&m)->name, NODE_NAME_MAX, "mine");
        assert_int_equal(recording_read(&m, dir, true, why, sizeof(why)), 0);
        assert_int_equal(m.count, 4);
        assert_string_equal(m.nodes[1].name, "host0");
        for (uint32_t i = 1; i < m.count; i++)
                for (uint32_t k = 0; k < m.nodes[i].links_count; k++)
                        assert_in_range(m.nodes[i].links[k].to, 1, 3);
        assert_int_equal(m.nodes[2].links[1].to, 3); /* gpu0 to gpu1 */

        assert_int_equal(recording_read(&m, dir, true, why, sizeof(why)), -EEXIST);
        assert_non_null(strstr(why, "host0"));
        assert_int_equal(m.count, 4);
        machine_fini(&m);

        for (int i = 0; i < NODE_MAX - 2; i++)
                snprintf(machine_add(&m)->name, NODE_NAME_MAX, "n%d", i);
        assert_int_equal(recording_read(&m, dir, true, why, sizeof(why)), -ENOMEM);
        assert_non_null(strstr(why, "256 nodes are the most"));
        assert_int_equal(m.count, NODE_MAX - 2);
        machine_fini(&m);
}

static void test_allocations_fail(void **state) {
        const char *dir = make_machine("--gpus 2 --hives 1 --cpus 1");
        int r = -ENOMEM;

        for (unsigned long nth = 1; r < 0; nth++) {
                struct machine m = { 0 };
                char why[512] = "";

                alloc_fail_at(nth);
                r = recording_read(&m, dir, true, why, sizeof(why));
                alloc_fail_off();
                assert_int_equal(r, alloc_fail_hit() ? -ENOMEM : 0);
                assert_int_equal(m.count, r < 0 ? 0 : 3);
                assert_int_equal(why[0] == '\0', r == 0);
                machine_fini(&m);
        }
}

static void test_unreadable(void **state) {
        const char *dir = make_machine("--gpus 1 --cpus 1");
        struct machine m = { 0 };
        char why[512] = "";

        shell("rm '%s/topology/nodes/1/properties' && mkdir '%s/topology/nodes/1/properties'", dir, dir);
        assert_int_equal(recording_read(&m, dir, true, why, sizeof(why)), -EISDIR);
        assert_non_null(strstr(why, "nodes/1/properties: cannot read it"));
        assert_int_equal(m.count, 0);
}

/* ---- recorded machines --------------------------------------------------------------------------------- */

static void check_fixture(const char *fixtures, const char *name, const char *total) {
        char dir[256];

        snprintf(dir, sizeof(dir), "%s/%s", scratch, name);
        shell("mkdir '%s' && tar -C '%s' --strip-components=1 -xf '%s/%s.tar.xz'", dir, dir, fixtures, name);
        check_against_counter(dir, total);
}

static void test_recorded_machines(void **state) {
        const char *fixtures = getenv("SVMD_FIXTURES");

        if (!fixtures) {
                printf("recorded machines: not applicable, SVMD_FIXTURES is not set\n");
                return;
        }
        check_fixture(fixtures, "kfd-mi210-8gpu-2hives", "total hosts=2 gpus=8 hives=2 XGMI=24 PCIe=16 peers=48\n");
        check_fixture(fixtures, "kfd-mi308x-8gpu-cpx4", "total hosts=2 gpus=32 hives=1 XGMI=992 PCIe=64 peers=64\n");
        check_fixture(fixtures, "kfd-apu-strixpoint", "total hosts=1 gpus=1 hives=0 XGMI=0 PCIe=2 peers=0\n");
}

/* ---- this machine -------------------------------------------------------------------------------------- */

static void numa_file(const char *sys, unsigned node, const char *file, const char *text) {
        char path[256];

        snprintf(path, sizeof(path), "%s/devices/system/node/node%u/%s", sys, node, file);
        write_file(path, text);
}

/* Four nodes, of which two have no CPUs: distances both ways, and a table that is cut off. */
static void test_distances(void **state) {
        static const char *const rows[] = { "10 21 40 60\n", "21 10 60 40\n", "40 60 10 80\n", "60 40 80 10\n" };
        struct machine m = { 0 };
        char sys[128], why[512] = "", text[64];

        snprintf(sys, sizeof(sys), "%s/sys4", scratch);
        for (unsigned i = 0; i < 4; i++) {
                shell("mkdir -p '%s/devices/system/node/node%u'", sys, i);
                snprintf(text, sizeof(text), "Node %u MemTotal: %u kB\n", i, 1048576 + 4 * i);
                numa_file(sys, i, "meminfo", text);
                numa_file(sys, i, "cpulist", i < 2 ? "0\n" : "\n");
                numa_file(sys, i, "distance", rows[i]);
        }
        assert_int_equal(machine_read_host(&m, sys, "/nonexistent", why, sizeof(why)), 0);
        assert_int_equal(m.count, 4);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(m.nodes[i].far, i >= 2);
                assert_int_equal(m.nodes[i].links_count, 3);
                for (unsigned k = 0; k < 3; k++) {
                        const struct node_link *l = &m.nodes[i].links[k];

                        assert_int_equal(l->to, k < i ? k : k + 1);
                        assert_int_equal(l->weight, strtoul(rows[i] + 3 * l->to, NULL, 10));
                }
        }
        machine_fini(&m);
        for (unsigned long nth = 1; nth <= 16; nth++) { /* nothing of what was read stays */
                int r;

                alloc_fail_at(nth);
                r = machine_read_host(&m, sys, "/nonexistent", why, sizeof(why));
                alloc_fail_off();
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(m.count, 0);
                machine_fini(&m);
        }
        numa_file(sys, 2, "distance", "40 60\n");
        assert_int_equal(machine_read_host(&m, sys, "/nonexistent", why, sizeof(why)), -EBADMSG);
        assert_non_null(strstr(why, "node2/distance:1: expected a distance to each NUMA node"));
        assert_int_equal(m.count, 0);
        machine_fini(&m);
}

static void test_host_of_numa_nodes(void **state) {
        struct machine m = { 0 };
        char sys[128], proc[128], path[256], why[512] = "";

        snprintf(sys, sizeof(sys), "%s/sys", scratch);
        snprintf(proc, sizeof(proc), "%s/proc", scratch);
        shell("mkdir -p '%s/devices/system/node/node0' '%s/devices/system/node/node1' '%s/devices/system/node/node4' "
              "'%s'",
              sys, sys, sys, proc);
        snprintf(path, sizeof(path), "%s/devices/system/node/node0/meminfo", sys);
        write_file(path, "\nNode 0 MemTotal:       32109763 kB\nNode 0 MemFree: 1 kB\n");
        snprintf(path, sizeof(path), "%s/devices/system/node/node1/meminfo", sys);
        write_file(path, "Node 1 MemTotal:              0 kB\n");
        snprintf(path, sizeof(path), "%s/devices/system/node/node4/meminfo", sys);
        write_file(path, "Node 4 MemTotal:        1048576 kB\n");
        numa_file(sys, 0, "cpulist", "0-3\n");
        numa_file(sys, 4, "cpulist", "\n");
        numa_file(sys, 0, "distance", "10 21 40\n");
        numa_file(sys, 4, "distance", "41 42 10\n");
        assert_int_equal(machine_read_host(&m, sys, proc, why, sizeof(why)), 0);
        assert_int_equal(m.count, 2);
        assert_false(m.nodes[0].far);
        assert_true(m.nodes[1].far);
        assert_int_equal(m.nodes[0].links_count, 1); /* none to the node without memory, which has a column */
        assert_string_equal(m.nodes[0].links[0].type, "numa");
        assert_int_equal(m.nodes[0].links[0].to, 1);
        assert_int_equal(m.nodes[0].links[0].weight, 40);
        assert_int_equal(m.nodes[1].links_count, 1);
        assert_int_equal(m.nodes[1].links[0].to, 0);
        assert_int_equal(m.nodes[1].links[0].weight, 41);
        assert_string_equal(m.nodes[0].name, "host0");
        assert_int_equal(m.nodes[0].kind, NODE_HOST);
        assert_int_equal(m.nodes[0].numa, 0);
        assert_int_equal(m.nodes[0].capacity, 32109760ull * 1024);
        assert_string_equal(m.nodes[1].name, "host1");
        assert_int_equal(m.nodes[1].numa, 4);
        assert_int_equal(m.nodes[1].capacity, 1ull << 30);
        machine_fini(&m);

        /* of one node with memory the number is kept, and the memory is the machine's */
        write_file(path, "Node 4 MemTotal: 0 kB\n");
        snprintf(path, sizeof(path), "%s/meminfo", proc);
        write_file(path, "MemTotal:       64000000 kB\n");
        assert_int_equal(machine_read_host(&m, sys, proc, why, sizeof(why)), 0);
        assert_int_equal(m.count, 1);
        assert_int_equal(m.nodes[0].numa, 0);
        assert_int_equal(m.nodes[0].capacity, 64000000ull * 1024);
        machine_fini(&m);

        snprintf(path, sizeof(path), "%s/devices/system/node/node4/meminfo", sys);
        write_file(path, "Node 4 MemFree: 0 kB\n");
        assert_int_equal(machine_read_host(&m, sys, proc, why, sizeof(why)), -EBADMSG);
        assert_non_null(strstr(why, "node4/meminfo:1: expected a line \"MemTotal: NUMBER kB\""));
        assert_int_equal(m.count, 0);
        for (unsigned long nth = 1; nth <= 3; nth++) {
                alloc_fail_at(nth);
                assert_int_equal(machine_read_host(&m, sys, proc, why, sizeof(why)), -ENOMEM);
                alloc_fail_off();
                assert_int_equal(m.count, 0);
        }
        machine_fini(&m);
}

static void test_host_without_numa(void **state) {
        struct machine m = { 0 };
        char proc[128], path[256], why[512] = "";

        snprintf(proc, sizeof(proc), "%s/proc2", scratch);
        shell("mkdir '%s'", proc);
        assert_int_equal(machine_read_host(&m, "/nonexistent", proc, why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, "/meminfo: cannot open it"));
        snprintf(path, sizeof(path), "%s/meminfo", proc);
        write_file(path, "MemTotal:       1001 kB\nMemFree: 0 kB\n");
        assert_int_equal(machine_read_host(&m, "/nonexistent", proc, why, sizeof(why)), 0);
        assert_int_equal(m.count, 1);
        assert_string_equal(m.nodes[0].name, "host0");
        assert_int_equal(m.nodes[0].numa, -1);
        assert_int_equal(m.nodes[0].capacity, 1000 * 1024);
        machine_fini(&m);
}

static void test_this_machine(void **state) {
        uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), sum = 0;
        struct machine m = { 0 };
        char why[512] = "";

        if (machine_read_host(&m, "/sys", "/proc", why, sizeof(why)) < 0)
                fail_msg("%s", why);
        for (uint32_t i = 0; i < m.count; i++)
                sum += m.nodes[i].capacity;
        assert_in_range(sum, physical - physical / 50, physical + physical / 50);
        machine_fini(&m);
}

static int make_scratch(void **state) {
        return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
        shell("rm -rf '%s'", scratch);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_generated_machines),
                cmocka_unit_test(test_random_machines),
                cmocka_unit_test(test_where_a_topology_lies),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_appended_to_other_nodes),
                cmocka_unit_test(test_allocations_fail),
                cmocka_unit_test(test_unreadable),
                cmocka_unit_test(test_recorded_machines),
                cmocka_unit_test(test_host_of_numa_nodes),
                cmocka_unit_test(test_distances),
                cmocka_unit_test(test_host_without_numa),
                cmocka_unit_test(test_this_machine),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        random_state = random_state * 2 + 1;
        return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
