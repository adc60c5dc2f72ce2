/* Whole command lines against a client library without svmd. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "args.h"
#include "ctl.h"
#include "expect.h"
#include "fake.h"
#include "table.h"
#include "verbs.h"

#define GIB (1ull << 30)

static const struct svmd_node_row nodes[] = {
        { .id = 0,
          .name = "host0",
          .model = "",
          .kind = SVMD_NODE_HOST,
          .kind_name = "host",
          .faults = 1,
          .online = 1,
          .capacity = 64 * GIB,
          .used = 16 * GIB,
          .va_end = 0x800000000000 },
        { .id = 1,
          .name = "gpu0",
          .model = "MI210",
          .kind = SVMD_NODE_SOFT,
          .kind_name = "soft",
          .online = 1,
          .capacity = 2 * GIB,
          .used = 3 * GIB / 2,
          .hive = 0xabc,
          .pool_bytes = GIB,
          .spaces = 2,
          .ops = 7,
          .limits = 1,
          .managed = GIB / 2,
          .reserve = 64 << 20,
          .warm = 128 << 20,
          .waiting = 3,
          .va_end = 0x800000000000 },
        { .id = 2,
          .name = "gpu1",
          .model = "MI210",
          .kind = SVMD_NODE_SOFT,
          .kind_name = "soft",
          .online = 0,
          .capacity = 2 * GIB,
          .hive = 0xabc,
          .managed = 4096,
          .va_end = 0x800000000000 },
};
static const struct svmd_link_row links[] = {
        { .from = 1, .to = 0, .type = "pcie", .weight = 20, .min_bandwidth = 312, .max_bandwidth = 32000 },
        { .from = 1, .to = 2, .type = "xgmi", .weight = 15, .max_bandwidth = 50000, .peer = 1 },
        { .from = 2, .to = 1, .type = "xgmi", .weight = 15, .max_bandwidth = 50000, .peer = 1 },
};
static const struct svmd_use_row use[] = {
        { .partition = "train",
          .client = "",
          .node = 1,
          .used = GIB,
          .peak = 2 * GIB,
          .max = 2 * GIB,
          .high = UINT64_MAX },
        { .partition = "train",
          .client = "loader",
          .session = 12,
          .pid = 77,
          .node = 1,
          .used = GIB,
          .peak = GIB,
          .max = UINT64_MAX },
        { .partition = "check", .client = "", .node = 0, .used = 4096, .peak = 8192, .max = UINT64_MAX },
};
static const struct svmd_partition_row partitions[] = {
        { .name = "train",
          .domain = "default",
          .base = 0x280000000000,
          .length = 16 * GIB,
          .window = SVMD_WINDOW_PRIMARY,
          .mode = 0640,
          .sessions = 2,
          .reservations = 1,
          .reserved_bytes = GIB,
          .nodes = use,
          .nodes_count = 1 },
        { .name = "check",
          .domain = "default",
          .base = 0x1000000000,
          .length = 4 * GIB,
          .window = SVMD_WINDOW_LOW,
          .mode = 0600,
          .uid = 4294967000,
          .gid = 4294967001,
          .nodes = &use[2],
          .nodes_count = 1 },
};
static const struct svmd_session_row sessions[] = {
        { .id = 12,
          .partition = "train",
          .client = "loader",
          .pid = 77,
          .reservations = 1,
          .memories = 2,
          .requests = 40,
          .registered = 3 << 20,
          .withheld = "",
          .refusals = 1 },
        { .id = 13, .partition = "train", .client = "reader", .pid = 78, .withheld = "gpu0: it sleeps" },
        { .id = 99, .partition = "", .client = "svmd-ctl", .pid = 79, .withheld = "" },
};
static const struct svmd_reservation_row reservations[] = {
        { .id = 5,
          .address = 0x280000000000,
          .length = GIB,
          .mapped = GIB / 2,
          .session = 12,
          .generation = 3,
          .name = "index",
          .partition = "train",
          .openers = 1,
          .mode = 0640 },
};

static int setup(void **state) {
        fake_reset();
        fake.nodes = nodes;
        fake.nodes_count = 3;
        fake.links = links;
        fake.links_count = 3;
        fake.use = use;
        fake.use_count = 3;
        fake.partitions = partitions;
        fake.partitions_count = 2;
        fake.sessions = sessions;
        fake.sessions_count = 3;
        fake.reservations = reservations;
        fake.reservations_count = 1;
        fake.status = (struct svmd_status){ .version = "0.1.0",
                                            .pid = 4242,
                                            .keeper = 1,
                                            .uptime_ms = 3723000,
                                            .epoch = 2,
                                            .nodes = 3,
                                            .partitions = 2,
                                            .sessions = 3,
                                            .requests = 123456,
                                            .journal_size = GIB };
        return 0;
}

static void test_typos(void **state) {
        expect("pratition", 2, "", "svmd-ctl: unknown verb 'pratition'; did you mean 'partition'?\n");
        expect("partition crate x", 2, "",
               "svmd-ctl: unknown verb 'partition crate'; did you mean 'partition create'?\n");
        expect("partition", 2, "", "svmd-ctl: 'partition' goes with create, list, show, set or delete\n");
        expect("node frobnicate", 2, "",
               "svmd-ctl: unknown verb 'node frobnicate'; 'node' goes with list, show, drain, offline, "
               "lost or online\n");
        expect("frobnicate", 2, "", "svmd-ctl: unknown verb 'frobnicate'; 'svmd-ctl --help' names them\n");
        expect("", 2, "", "svmd-ctl: what to do? 'svmd-ctl --help' names the verbs\n");
        expect("map --widht 3", 2, "", "svmd-ctl: unknown option '--widht'; did you mean '--width'?\n");
        expect("map -x", 2, "", "svmd-ctl: unknown option '-x'; see 'svmd-ctl map --help'\n");
        expect("--jsno status", 2, "", "svmd-ctl: unknown option '--jsno'; did you mean '--json'?\n");
        expect("map --width", 2, "", "svmd-ctl: option '--width' needs an argument: --width COLUMNS\n");
        expect("map --json=yes", 2, "", "svmd-ctl: option '--json' takes no argument\n");
        expect("node show", 2, "", "svmd-ctl: node show needs NODE; see 'svmd-ctl node show --help'\n");
        expect("status now", 2, "", "svmd-ctl: 'now' is one word too many for status; see 'svmd-ctl status --help'\n");
        expect("node show gpu00", 1, "", "svmd-ctl: unknown node 'gpu00'; did you mean 'gpu0'?\n");
        expect("node show elsewhere", 1, "",
               "svmd-ctl: unknown node 'elsewhere'; 'svmd-ctl node list' names those there are\n");
        expect("partition show trian", 1, "", "svmd-ctl: there is no partition 'trian'; did you mean 'train'?\n");
        assert_int_equal(fake.changes, 0);
}

/* Usage is checked before anything is asked of svmd. */
static void test_no_connection_for_usage(void **state) {
        run("map --width wide");
        fake.connects = 0;
        run("status --help");
        run("--help");
        run("--version");
        run("partition --help");
        run("node show");
        assert_int_equal(fake.connects, 0);
}

static void test_help(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                char line[128];

                snprintf(line, sizeof(line), "%s --help", verbs[i].name);
                assert_int_equal(run(line), 0);
                assert_non_null(strstr(run_out, verbs[i].summary));
                assert_non_null(strstr(run_out, "Examples:\n  svmd-ctl"));
                assert_non_null(strstr(run_out, verbs[i].examples[1]));
                for (char *at = run_out; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
                        if (strncmp(at, "  svmd-ctl", 10) != 0)
                                assert_true(strcspn(at, "\n") <= 80);
                }
        }
        assert_int_equal(run("--help"), 0);
        for (unsigned i = 0; i < verbs_count; i++)
                assert_non_null(strstr(run_out, verbs[i].name));
        expect_part("partition --help", 0, "partition delete NAME", "");
        assert_null(strstr(run_out, "node list"));
        expect("--version", 0, "svmd-ctl " SVMD_VERSION "\n", "");
}

/* An example that --help shows is understood by svmd-ctl itself. */
static void test_examples(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                for (unsigned k = 0; k < 2; k++) {
                        char line[256], *pipe;

                        snprintf(line, sizeof(line), "%s", verbs[i].examples[k] + strlen("svmd-ctl "));
                        pipe = strstr(line, " | ");
                        if (pipe)
                                *pipe = '\0';
                        setup(NULL);
                        /* What goes on until its time is over has tests of its own, ctl_monitor and ctl_trace, and what
                         * packs files has ctl_bugreport. */
                        if (strcmp(verbs[i].name, "monitor") == 0 || strcmp(verbs[i].name, "trace record") == 0 ||
                            strcmp(verbs[i].name, "bugreport") == 0)
                                continue;
                        run(line);
                        if (strstr(run_err, "unknown") || strstr(run_err, "expected") || strstr(run_err, "--help"))
                                fail_msg("'%s' was told: %s", line, run_err);
                }
        }
}

static void test_sockets(void **state) {
        unsetenv("SVMD_RUNTIME_DIR");
        run("status");
        assert_string_equal(fake.connected[0], "/run/svmd/admin.sock");
        setup(NULL);
        run("--runtime-dir /x status");
        assert_string_equal(fake.connected[0], "/x/admin.sock");
        setup(NULL);
        run("status --socket /y/admin.sock");
        assert_string_equal(fake.connected[0], "/y/admin.sock");
        setup(NULL);
        setenv("SVMD_RUNTIME_DIR", "/z", 1);
        run("status");
        assert_string_equal(fake.connected[0], "/z/admin.sock");
        setup(NULL);
        setenv("SVMD_ADMIN_SOCKET", "/w/admin.sock", 1);
        run("status");
        assert_string_equal(fake.connected[0], "/w/admin.sock");
        setup(NULL);
        run("status --runtime-dir /x");
        assert_string_equal(fake.connected[0], "/x/admin.sock");
        unsetenv("SVMD_RUNTIME_DIR");
        unsetenv("SVMD_ADMIN_SOCKET");
}

static void test_without_rights(void **state) {
        fake.admin = 0;
        fake.admin_code = SVMD_E_SYSTEM;
        expect_part("map --runtime-dir /x", 0, "train\n0x280000000000 to 0x280400000000\n", "");
        assert_string_equal(fake.connected[1], "/x/svmd.sock");
        assert_int_equal(fake.attached, 1);
        expect_part("usage --partition train", 0, "loader", "");
        assert_string_equal(fake.partition, "train");
        expect_part("reservation list --partition low", 0, "index", "");
        assert_string_equal(fake.partition, "low");
        expect_part("status", 0, "svmd 0.1.0", "");
        assert_int_equal(fake.attached, 0);
        fake.connects = 0;
        fake.error = "cannot connect";
        expect_part("partition list", 4, "", "svmd cannot be reached");
        assert_int_equal(fake.connects, 1);
        fake.client_code = SVMD_E_SYSTEM;
        expect_part("status --runtime-dir /x", 4, "", "there is no socket /x/svmd.sock. Is svmd running?");
        expect_part("status --runtime-dir /x", 4, "", "systemctl status svmd");
}

static void test_refusals(void **state) {
        static const char *const operands[] = { "", "7", "7 7" };

        fake.code = SVMD_E_DENIED;
        fake.error = "only administrators may list partitions";
        expect("partition list", 1, "", "svmd-ctl: only administrators may list partitions\n");
        fake.code = SVMD_E_GONE;
        fake.error = "svmd ended the session";
        for (unsigned i = 0; i < verbs_count; i++) {
                char line[128];

                /* These connect by themselves, and make the best of what they find. */
                if (verbs[i].flags & VERB_NO_SESSION)
                        continue;
                snprintf(line, sizeof(line), "%s %s%s %s", verbs[i].name,
                         verbs[i].least && strncmp(verbs[i].name, "cgroup ", 7) == 0 ? "/" : "",
                         strcmp(verbs[i].name, "policy set") == 0     ? "policy=latency"
                         : strcmp(verbs[i].name, "policy unset") == 0 ? "policy"
                                                                      : operands[verbs[i].least],
                         strcmp(verbs[i].name, "partition set") == 0 ? "--mode 0600"
                         : strcmp(verbs[i].name, "cgroup set") == 0  ? "--max gpu0=1G"
                                                                     : "");
                expect(line, 4, "", "svmd-ctl: svmd ended the session\n");
        }
}

static void test_status(void **state) {
        struct json_object *o;

        expect("status", 0,
               "svmd 0.1.0 is up for 1 h 2 min\n"
               "  process         4242\n"
               "  keeper          present: sessions and memory outlive svmd (epoch 2)\n"
               "  nodes           3\n"
               "  partitions      2\n"
               "  sessions        2 and this one\n"
               "  reservations    0\n"
               "  memory objects  0\n"
               "  mappings        0 in 0 device spaces and on the CPU\n"
               "  requests        123,456 served, 0 operations refused\n"
               "  journal         0 of 1 GiB\n"
               "  drift           none\n"
               "  findings        nothing to look at\n",
               "");
        o = run_json("--json status", 0);
        expect_json(o, "version", "0.1.0");
        expect_json(o, "keeper", "true");
        expect_json(o, "journal_size", "1073741824");
        expect_json(o, "uptime_ms", "3723000");
        json_object_put(o);
}

/* Where there is nothing a sentence says so; JSON is empty. */
static void test_nothing(void **state) {
        fake.partitions_count = fake.sessions_count = fake.use_count = 0;
        expect("partition list", 0, "There is no partition\n", "");
        expect("session list", 0, "There is no session\n", "");
        expect("reservation list", 0, "There is no reservation\n", "");
        expect("usage", 0, "Nothing is used\n", "");
        expect("map", 0, "There is no partition\n", "");
        json_object_put(run_json("partition list --json", 0));
        json_object_put(run_json("map --json", 0));
}

static void test_doctor(void **state) {
        struct json_object *o;

        fake.findings[0].id = "root";
        fake.findings[0].text = "svmd runs as root";
        fake.findings[1].id = "memory";
        fake.findings[1].level = SVMD_FINDING_WARNING;
        fake.findings[1].text = "there is little memory";
        fake.findings_count = 2;
        expect("doctor", 0,
               "LEVEL   ABOUT  FINDING\n"
               "warning memory there is little memory\n"
               "good    root   svmd runs as root\n",
               "");
        expect_part("status", 0, "findings        1 to look at: 'svmd-ctl doctor'", "");
        fake.findings[0].level = SVMD_FINDING_FAILURE;
        expect_part("doctor", 1, "failure root   svmd runs as root\nwarning", "");
        o = run_json("doctor --json", 1);
        expect_json(o, "0.id", "root");
        expect_json(o, "0.level", "failure");
        expect_json(o, "1.text", "there is little memory");
        json_object_put(o);
        fake.findings[0].level = 17;
        assert_int_equal(run("doctor"), 1);
}

/* On a terminal sentences are broken between words, and tables keep to its width. */
static void test_terminal(void **state) {
        struct ctl c;
        size_t size;
        char *text;
        FILE *out = open_memstream(&text, &size);
        struct fields *f;

        ctl_init(&c, out, stderr);
        c.terminal = true;
        c.width = 40;
        f = fields_new(&c);
        fields_add(f, "what", "%s", "a sentence that is too long for the line it begins on");
        fields_add(f, "where", "here");
        fields_print(f);
        ctl_fini(&c);
        fclose(out);
        assert_string_equal(text, "  what   a sentence that is too long for\n"
                                  "         the line it begins on\n"
                                  "  where  here\n");
        free(text);
}

static void test_node_list(void **state) {
        struct json_object *o;

        expect("node list", 0,
               "NODE  ID KIND STATE   FAULTS CAPACITY    USED USE% MANAGED WAIT SPACES HIVE MODEL\n"
               "host0  0 host online  -        64 GiB  16 GiB  25%       0    0      0 -    -\n"
               "gpu0   1 soft online  no        2 GiB 1.5 GiB  75% 512 MiB    3      2 gpu0 MI210\n"
               "gpu1   2 soft offline no        2 GiB       0   0%   4 KiB    0      0 gpu0 MI210\n",
               "");
        o = run_json("node list --json", 0);
        assert_int_equal(json_object_array_length(o), 3);
        expect_json(o, "0.name", "host0");
        expect_json(o, "0.hive", "null");
        expect_json(o, "1.used", "1610612736");
        expect_json(o, "1.faults", "false");
        expect_json(o, "1.managed", "536870912");
        expect_json(o, "1.reserve", "67108864");
        expect_json(o, "1.warm", "134217728");
        expect_json(o, "1.waiting", "3");
        expect_json(o, "1.va_end", "0x800000000000");
        json_object_put(o);
}

static void test_node_devices(void **state) {
        const struct svmd_node_row rows[] = {
                { .id = 256,
                  .name = "drm0",
                  .kind = SVMD_NODE_DRM,
                  .kind_name = "drm",
                  .model = "Virtual GEM provider",
                  .driver = "vgem",
                  .version = "1.0.0",
                  .device = "/dev/dri/renderD128",
                  .bus = "platform",
                  .online = 1,
                  .trouble = "",
                  .physical = "",
                  .can = SVMD_NODE_IMPORT | SVMD_NODE_EXPORT | SVMD_NODE_SYNCOBJ },
                { .id = 257,
                  .name = "drm1",
                  .kind = SVMD_NODE_DRM,
                  .kind_name = "drm",
                  .model = "",
                  .driver = "",
                  .version = "",
                  .device = "/dev/dri/card1",
                  .bus = "",
                  .trouble = "Permission denied" },
                { .id = 512,
                  .name = "kfd0",
                  .kind = SVMD_NODE_KFD,
                  .kind_name = "kfd",
                  .model = "MI210",
                  .driver = "amdgpu",
                  .version = "",
                  .device = "/dev/dri/renderD129",
                  .bus = "",
                  .online = 1,
                  .trouble = "",
                  .capacity = 64ull << 30 },
                { .id = 258,
                  .name = "drm2",
                  .kind = SVMD_NODE_DRM,
                  .kind_name = "drm",
                  .model = "Intel Xe2 Graphics",
                  .driver = "xe",
                  .version = "1.1.0",
                  .device = "/dev/dri/renderD130",
                  .bus = "pci 0000:03:00.0",
                  .online = 1,
                  .trouble = "",
                  .physical = "",
                  .functions = 1,
                  .functions_most = 24,
                  .capacity = 12ull << 30,
                  .used = 3ull << 30 },
                { .id = 259,
                  .name = "drm3",
                  .kind = SVMD_NODE_DRM,
                  .kind_name = "drm",
                  .model = "Intel Xe2 Graphics",
                  .driver = "xe",
                  .version = "1.1.0",
                  .device = "/dev/dri/renderD131",
                  .bus = "pci 0000:03:00.1",
                  .online = 1,
                  .trouble = "",
                  .physical = "pci 0000:03:00.0",
                  .capacity = 1ull << 30 },
        };
        struct json_object *o;

        fake.nodes = rows;
        fake.nodes_count = 5;
        expect("node list", 0,
               "NODE  ID KIND STATE   FAULTS CAPACITY  USED USE% MANAGED WAIT SPACES HIVE MODEL\n"
               "drm0 256 drm  online  -             -     -    -       -    -      - -    vgem 1.0.0, Virtual GEM provider\n"
               "drm1 257 drm  offline -             -     -    -       -    -      - -    Permission denied\n"
               "kfd0 512 kfd  online  no       64 GiB     -    -       -    -      - -    amdgpu, MI210\n"
               "drm2 258 drm  online  -        12 GiB 3 GiB  25%       -    -      - -    xe 1.1.0, Intel Xe2 Graphics\n"
               "drm3 259 drm  online  -         1 GiB     -    -       -    -      - -    xe 1.1.0, Intel Xe2 Graphics (VF)\n",
               "");
        expect("node show drm2", 0,
               "drm2: drm device 258, Intel Xe2 Graphics\n"
               "  driver    xe 1.1.0\n"
               "  device    /dev/dri/renderD130\n"
               "  bus       pci 0000:03:00.0\n"
               "  function  physical (SR-IOV), with 1 of at most 24 virtual ones\n"
               "  capacity  12 GiB\n"
               "  used      3 GiB when svmd looked\n"
               "  can       nothing that svmd knows of\n"
               "  memory    svmd places none there; its dma-bufs can be imported\n",
               "");
        expect("node show drm0", 0,
               "drm0: drm device 256, Virtual GEM provider\n"
               "  driver  vgem 1.0.0\n"
               "  device  /dev/dri/renderD128\n"
               "  bus     platform\n"
               "  can     imports dma-bufs, exports dma-bufs, synchronisation objects\n"
               "  memory  svmd places none there; its dma-bufs can be imported\n",
               "");
        o = run_json("node list --json", 0);
        expect_json(o, "0.driver", "vgem");
        expect_json(o, "0.can.1", "export");
        expect_json(o, "1.trouble", "Permission denied");
        expect_json(o, "2.capacity", "68719476736");
        expect_json(o, "3.functions_most", "24");
        expect_json(o, "4.physical", "pci 0000:03:00.0");
        json_object_put(o);
}

static void test_node_show(void **state) {
        struct json_object *o;

        expect("node show gpu0", 0,
               "gpu0: soft node 1, MI210\n"
               "  state       online\n"
               "  faults      no: an access to what is not mapped is an error\n"
               "  capacity    2 GiB\n"
               "  used        1.5 GiB (75%)\n"
               "  managed     512 MiB of what is used\n"
               "  reserve     64 MiB kept back for bringing pages in\n"
               "  waiting     3 granules for room\n"
               "  pool        1 GiB taken from this machine\n"
               "  warm        128 MiB free and kept for what comes next\n"
               "  limits      1 partition\n"
               "  spaces      2\n"
               "  operations  7 done\n"
               "  addresses   0x000000000000 to 0x800000000000\n"
               "  hive        0xabc, with gpu1\n"
               "\n"
               "LINK TO TYPE DISTANCE        BANDWIDTH DIRECT\n"
               "host0   pcie       20 0.312 to 32 GB/s no\n"
               "gpu1    xgmi       15          50 GB/s yes\n"
               "\n"
               "USED BY  USED  PEAK LIMIT\n"
               "train   1 GiB 2 GiB 2 GiB\n",
               "");
        expect_part("node show gpu1", 0, "  state       offline, with 4 KiB of managed memory still to leave\n", "");
        o = run_json("node show 1 --json", 0);
        expect_json(o, "name", "gpu0");
        expect_json(o, "links.1.to", "gpu1");
        expect_json(o, "links.1.peer", "true");
        expect_json(o, "use.0.max", "2147483648");
        json_object_put(o);
}

static void test_partition_list(void **state) {
        struct json_object *o;

        expect("partition list", 0,
               "PARTITION ADDRESS          SIZE RESERVED SESSIONS OWNER      MODE WINDOW  DOMAIN\n"
               "train     0x280000000000 16 GiB    1 GiB        2 root       0640 primary default\n"
               "check     0x001000000000  4 GiB        0        0 4294967000 0600 low     default\n",
               "");
        o = run_json("partition list --json", 0);
        expect_json(o, "0.base", "0x280000000000");
        expect_json(o, "0.mode", "0640");
        expect_json(o, "0.nodes.0.node", "gpu0");
        expect_json(o, "1.user", "null");
        expect_json(o, "1.uid", "4294967000");
        expect_json(o, "1.window", "low");
        json_object_put(o);
}

static void test_partition_show(void **state) {
        struct json_object *o;

        expect("partition show train", 0,
               "train\n"
               "  addresses  0x280000000000 to 0x280400000000, 16 GiB, primary window\n"
               "  reserved   1 GiB in 1 reservation\n"
               "  domain     default\n"
               "  owner      root:root\n"
               "  mode       rw-r----- (0640)\n"
               "  sessions   2\n"
               "\n"
               "NODE  USED  PEAK LIMIT\n"
               "gpu0 1 GiB 2 GiB 2 GiB\n"
               "\n"
               "SESSION CLIENT PID USER RESERV. MEM SPACES REGIST. REQUESTS REFUSED\n"
               "     12 loader  77 root       1   2      0   3 MiB       40       1\n"
               "     13 reader  78 root       0   0      0       0        0       0\n"
               "\n"
               "ADDRESS         SIZE  MAPPED KIND     GRANULE NAME  MODE OWNER SESSION OPEN KEPT\n"
               "0x280000000000 1 GiB 512 MiB explicit       - index 0640 root       12    1 -\n",
               "");
        o = run_json("partition show train --json", 0);
        expect_json(o, "name", "train");
        expect_json(o, "session_list.1.pid", "78");
        expect_json(o, "reservation_list.0.generation", "3");
        json_object_put(o);
}

static void test_partition_create(void **state) {
        struct json_object *o;

        expect("partition create new --size 16G --window low --domain d --owner root:daemon --mode 0640 "
               "--limit gpu0=1.5G --limit host0=none",
               0, "Created partition new at 0x280000000000, owner root:daemon\n", "");
        assert_string_equal(fake.name, "new");
        assert_int_equal(fake.options.length, 16 * GIB);
        assert_int_equal(fake.options.window, SVMD_WINDOW_LOW);
        assert_string_equal(fake.domain, "d");
        assert_int_equal(fake.options.uid, 0);
        assert_int_equal(fake.options.gid, 1);
        assert_int_equal(fake.options.mode, 0640);
        assert_int_equal(fake.options.limits_count, 2);
        assert_int_equal(fake.limits[0].node, 1);
        assert_int_equal(fake.limits[0].max, 3 * GIB / 2);
        assert_int_equal(fake.limits[1].node, 0);
        assert_true(fake.limits[1].max == UINT64_MAX);
        assert_false(fake.options.dry_run);

        expect("partition create new --owner 4000000:17 --dry-run", 0,
               "Would create partition new at 0x280000000000, owner 4000000:17\n", "");
        assert_true(fake.options.dry_run);
        assert_int_equal(fake.options.uid, 4000000);
        assert_int_equal(fake.options.window, SVMD_WINDOW_PRIMARY);
        assert_string_equal(fake.domain, "");
        assert_int_equal(fake.options.mode, 0);
        o = run_json("partition create new --json --dry-run", 0);
        expect_json(o, "base", "0x280000000000");
        expect_json(o, "dry_run", "true");
        json_object_put(o);
        fake.code = SVMD_E_TAKEN;
        fake.error = "there is a partition new already";
        expect("partition create new", 1, "", "svmd-ctl: there is a partition new already\n");
}

static void test_wrong_values(void **state) {
        expect_part("partition create x --size 4GB", 2, "", "--size '4GB': units here are powers of 1024");
        expect_part("partition create x --size lots", 2, "", "expected a number with an optional unit");
        expect_part("partition create x --window high", 2, "", "expected primary or low");
        expect_part("partition create x --mode 0980", 2, "", "'0980' is no mode");
        expect_part("partition create x --mode -1", 2, "", "'-1' is no mode");
        expect_part("partition create x --mode 1777", 2, "", "'1777' is no mode");
        expect_part("partition create x --owner nobody-here", 2, "", "there is no user 'nobody-here'");
        expect_part("partition create x --owner root:none-here", 2, "", "there is no group 'none-here'");
        expect_part("partition create x --owner 4000000", 2, "", "write '4000000:GROUP'");
        expect_part("partition create x --owner 4294967295:0", 2, "", "there is no user '4294967295'");
        expect_part("partition create x --limit gpu0", 2, "", "expected NODE=SIZE");
        expect_part("partition create x --limit gpu0=big", 2, "", "limit 'gpu0=big'");
        expect_part("partition create x --limit gpo0=1G", 1, "", "unknown node 'gpo0'; did you mean 'gpu0'?");
        expect_part("partition set train", 2, "", "what to set?");
        expect_part("map --width 39", 2, "", "from 40 to 1000");
        expect_part("session kill all", 2, "", "'all' is no session");
        expect_part("session kill 7", 1, "", "there is no session 7");
        assert_int_equal(fake.changes, 0);
}

static void test_partition_set(void **state) {
        expect("partition set train --limit gpu0=4G", 0, "Changed partition train\n", "");
        assert_int_equal(fake.set, 0);
        assert_int_equal(fake.limits[0].max, 4 * GIB);
        expect("partition set train --owner root --mode 0644 --dry-run", 0, "Would change partition train\n", "");
        assert_int_equal(fake.set, SVMD_SET_OWNER | SVMD_SET_MODE);
        assert_int_equal(fake.options.mode, 0644);
        assert_true(fake.options.dry_run);
}

static const struct svmd_plan_row steps[] = {
        { .node = 1, .kind = SVMD_PLAN_GIVE_BACK, .bytes = 2 * GIB, .session = 12, .pid = 77, .client = "loader" },
        { .node = 1, .kind = SVMD_PLAN_EVICT, .bytes = GIB, .client = "" },
        { .node = 1, .kind = SVMD_PLAN_STEAL, .bytes = GIB, .session = 12, .pid = 77, .client = "loader" },
};

static void test_partition_comes_down(void **state) {
        static const char *const plan = "NODE BYTES WHAT                    WHOSE\n"
                                        "gpu0 2 GiB asked to give back      session 12, pid 77 (loader)\n"
                                        "gpu0 1 GiB managed pages leave     -\n"
                                        "gpu0 1 GiB taken: the session ends session 12, pid 77 (loader)\n";
        char text[1024];

        fake.plan = steps;
        fake.plan_count = 3;
        snprintf(text, sizeof(text), "Would change partition train\n%s", plan);
        expect("partition set train --max gpu0=1G --deadline 2 --dry-run", 0, text, "");
        assert_true(fake.options.dry_run);
        fake.changes = 0;
        expect("partition set train --max gpu0=1G", 0,
               "Changed partition train\nIt has 2 GiB more than that, which stays; --deadline takes it\n", "");
        assert_int_equal(fake.options.come_down, 0);
        fake.changes = 0;
        expect("partition set train --max gpu0=1G --deadline 0", 0,
               "Changed partition train\n2 GiB of 2 GiB has left\n", "");
        assert_int_equal(fake.options.come_down, SVMD_COME_DOWN);
        fake.changes = 0;
        expect("partition set train --max gpu0=1G --force", 0, "Changed partition train\n2 GiB of 2 GiB has left\n",
               "");
        assert_int_equal(fake.options.come_down, SVMD_STEAL);
        assert_int_equal(fake.options.deadline_ms, 10000);
}

/* ---- limits of sessions and of control groups ---- */

static const struct svmd_use_row own_places[] = {
        { .node = 1, .used = GIB, .peak = GIB, .max = 2 * GIB, .high = UINT64_MAX, .min = GIB / 2 },
};
static const struct svmd_limited_row limited[] = {
        { .session = 12,
          .cgroup = "/pod/a",
          .partition = "train",
          .client = "loader",
          .pid = 77,
          .nodes = own_places,
          .nodes_count = 1 },
        { .cgroup = "/pod", .sessions = 3, .partition = "", .client = "", .nodes = own_places, .nodes_count = 1 },
};

static void test_limits_shown(void **state) {
        struct json_object *o;

        expect("cgroup list", 0, "No control group has limits\n", "");
        fake.limited = limited;
        fake.limited_count = 2;
        expect("cgroup list", 0,
               "CONTROL GROUP SESSIONS NODE  USED LIMIT HIGH LOW     MIN\n"
               "/pod                 3 gpu0 1 GiB 2 GiB    -   0 512 MiB\n",
               "");
        expect("session limit 12", 0,
               "session 12 (loader, process 77 of root), partition train, control group /pod/a\n"
               "NODE  USED LIMIT HIGH LOW     MIN\n"
               "gpu0 1 GiB 2 GiB    -   0 512 MiB\n",
               "");
        o = run_json("cgroup list --json", 0);
        assert_int_equal(json_object_array_length(o), 1);
        expect_json(json_object_array_get_idx(o, 0), "cgroup", "/pod");
        json_object_put(o);
        o = run_json("session limit 12 --json", 0);
        expect_json(o, "cgroup", "/pod/a");
        json_object_put(o);
        expect_part("session limit all", 2, "", "'all' is no session");
        expect_part("session limit 12 --dry-run", 2, "", "what to set?");
        expect_part("cgroup set /pod", 2, "", "what to set?");
        expect_part("cgroup set pod --max gpu0=1G", 2, "", "'pod' is no control group");
        assert_int_equal(fake.changes, 0);
}

static void test_limits_set(void **state) {
        struct json_object *o;

        expect("session limit 12 --max gpu0=4G", 0, "Changed session 12\n", "");
        assert_int_equal(fake.limited_session, 12);
        assert_int_equal(fake.limits[0].max, 4 * GIB);
        expect("cgroup set /sys/fs/cgroup/pod/ --min gpu0=1G --dry-run", 0, "Would change control group /pod\n", "");
        assert_string_equal(fake.name, "/pod");
        assert_int_equal(fake.limits[0].bound, SVMD_BOUND_MIN);
        assert_true(fake.limit_options.dry_run);
        expect("cgroup delete /sys/fs/cgroup", 0, "Changed control group /\n", "");
        assert_string_equal(fake.name, "/");
        assert_true(fake.limit_options.clear);
        fake.plan = steps;
        fake.plan_count = 3;
        fake.changes = 0;
        expect("session limit 12 --max gpu0=1G --deadline 0", 0, "Changed session 12\n2 GiB of 2 GiB has left\n", "");
        assert_int_equal(fake.limit_options.come_down, SVMD_COME_DOWN);
        fake.changes = 0;
        o = run_json("cgroup set /pod --max gpu0=1G --dry-run --json", 0);
        expect_json(o, "cgroup", "/pod");
        expect_json(o, "left_bytes", "2147483648");
        json_object_put(o);
        fake.changes = 0;
        o = run_json("session limit 12 --max gpu0=1G --json", 0);
        expect_json(o, "session", "12");
        json_object_put(o);
        json_object_put(run_json("cgroup delete /pod --json", 0));
        fake.changes = 0;
        expect("cgroup set /pod --max gpu0=1G --force", 0, "Changed control group /pod\n2 GiB of 2 GiB has left\n", "");
        assert_int_equal(fake.limit_options.come_down, SVMD_STEAL);
        assert_int_equal(fake.limit_options.deadline_ms, 10000);
}

static const struct svmd_use_row kept_places[] = { { .node = 1, .used = GIB }, { .node = 0, .used = GIB / 2 } };
static const struct svmd_kept_row kept[] = {
        { .kind = SVMD_KEPT_RANGE,
          .name = "weights",
          .partition = "train",
          .id = 5,
          .address = 0x280000000000,
          .length = 2 * GIB,
          .mode = 0640,
          .seconds = 3600,
          .idle_ms = 60000,
          .left_ms = 3540000,
          .nodes = kept_places,
          .nodes_count = 2 },
        { .kind = SVMD_KEPT_MEM,
          .name = "weights",
          .partition = "train",
          .id = 6,
          .length = GIB,
          .mode = 0600,
          .users = 2,
          .seconds = 60,
          .left_ms = UINT64_MAX },
        { .kind = SVMD_KEPT_MEM, .name = "cache", .partition = "train", .length = GIB, .left_ms = UINT64_MAX },
};

static const struct svmd_use_row leased[] = { { .node = 1, .used = GIB / 2, .max = GIB },
                                              { .node = 0, .used = GIB, .max = GIB } };
static const struct svmd_lease_row leases[] = {
        { .lease = 30,
          .session = 7,
          .pid = 4711,
          .client = "a",
          .partition = "train",
          .name = "",
          .granted = 1,
          .left_ms = UINT64_MAX,
          .nodes = leased,
          .nodes_count = 2 },
        { .lease = 31,
          .session = 8,
          .pid = 4712,
          .client = "b",
          .partition = "train",
          .name = "",
          .priority = 5,
          .left_ms = 90000,
          .before = 2,
          .nodes = leased,
          .nodes_count = 1 },
        { .lease = 32,
          .session = 9,
          .pid = 4713,
          .client = "c",
          .partition = "train",
          .name = "",
          .left_ms = UINT64_MAX },
        { .lease = 33,
          .client = "",
          .partition = "train",
          .name = "asleep",
          .granted = 1,
          .kept = 1,
          .left_ms = 60000,
          .nodes = leased,
          .nodes_count = 1 },
};

static void test_leases(void **state) {
        struct json_object *o;

        expect("lease list", 0, "Nobody has asked for room on several nodes at once\n", "");
        fake.leases = leases;
        fake.leases_count = 4;
        expect("lease list --partition train", 0,
               "LEASE SESSION  PID CLIENT NAME   STATE   TURN PRIORITY ENDS          NEEDS\n"
               "   30       7 4711 a      -      granted    -        0 -             gpu0 512 MiB of 1 GiB, host0 1 GiB\n"
               "   31       8 4712 b      -      waits      2        5 in 1 min 30 s gpu0 1 GiB\n"
               "   32       9 4713 c      -      waits      0        0 -             -\n"
               "   33       -    - -      asleep kept       -        0 in 1 min 0 s  gpu0 512 MiB of 1 GiB\n",
               "");
        o = run_json("lease list --json", 0);
        expect_json(o, "0.granted", "true");
        expect_json(o, "0.nodes.0.node", "gpu0");
        expect_json(o, "0.nodes.0.asked", "1073741824");
        expect_json(o, "0.nodes.0.left", "536870912");
        expect_json(o, "1.left_ms", "90000");
        expect_json(o, "1.before", "2");
        expect_json(o, "2.left_ms", "null");
        expect_json(o, "3.name", "asleep");
        expect_json(o, "3.kept", "true");
        json_object_put(o);
}

static const struct svmd_grant_row granted[] = {
        { .grant = 40,
          .session = 12,
          .pid = 77,
          .client = "a",
          .partition = "train",
          .node = 1,
          .operations = SVMD_GRANT_ALLOC | SVMD_GRANT_MAP,
          .bytes = GIB,
          .address = 0x280000000000,
          .size = 2 * GIB,
          .state = SVMD_GRANT_EXPIRED },
        { .grant = 41,
          .session = 13,
          .pid = 78,
          .client = "b",
          .partition = "train",
          .node = 0,
          .operations = SVMD_GRANT_SPACE,
          .state = SVMD_GRANT_ASKED,
          .left_ms = 90000 },
        { .grant = 42,
          .session = 12,
          .pid = 77,
          .client = "a",
          .partition = "train",
          .node = 1,
          .operations = SVMD_GRANT_MODE,
          .state = SVMD_GRANT_FAILED,
          .left_ms = UINT64_MAX,
          .error = ENOMEM },
};

/* Of processes 77 and 78, and one with leave. */
static const struct svmd_drift_row behind[] = {
        { .scope = SVMD_DRIFT_PROCESS,
          .source = "fdinfo",
          .subject = "a",
          .place = "0000:03:00.0 vram",
          .pid = 77,
          .reported = 3 * GIB,
          .ledger = GIB,
          .why = "more",
          .limit = UINT64_MAX,
          .container = "",
          .unbrokered = 1 },
        { .scope = SVMD_DRIFT_PROCESS,
          .source = "fd",
          .subject = "b",
          .place = "/dev/kfd",
          .pid = 78,
          .why = "open",
          .limit = UINT64_MAX,
          .container = "",
          .unbrokered = 1 },
        { .scope = SVMD_DRIFT_PROCESS,
          .source = "kfd",
          .subject = "b",
          .place = "1",
          .pid = 78,
          .why = "",
          .container = "",
          .counts = { .has = SVMD_COUNTS_FAULTS | SVMD_COUNTS_EVICTED, .faults = 12, .evicted_ms = 34 } },
        { .scope = SVMD_DRIFT_PROCESS,
          .source = "kfd",
          .subject = "b",
          .place = "2",
          .pid = 78,
          .why = "",
          .container = "",
          .counts = { .has = SVMD_COUNTS_FAULTS, .faults = 5 } },
};

static void test_grants(void **state) {
        struct json_object *o;

        expect("grant list", 0, "Nobody has a grant\n", "");
        fake.grants = granted;
        fake.grants_count = 3;
        expect("grant list --partition train", 0,
               "SESSION PID CLIENT GRANT NODE  STATE   FOR       BYTES ADDRESS              ENDS           ERROR\n"
               "     12  77 a         40 gpu0  expired alloc,map 1 GiB 0x280000000000+2 GiB unacknowledged -\n"
               "     13  78 b         41 host0 asked   space         - -                    in 1 min 30 s  -\n"
               "     12  77 a         42 gpu0  failed  mode          - -                    -              ENOMEM\n",
               "");
        expect("grant list --partition train --session 13", 0,
               "GRANT NODE  STATE FOR   BYTES ADDRESS ENDS          ERROR\n"
               "   41 host0 asked space     - -       in 1 min 30 s -\n",
               "");
        expect_part("grant list --partition train --node host0", 0, "     13  78 b         41 host0", "");
        expect_part("grant list --session x", 2, "", "'x' is no session");
        expect_part("grant list --partition train --node nosuch", 1, "", "nosuch");
        o = run_json("grant list --partition train --json", 0);
        expect_json(o, "0.state", "expired");
        expect_json(o, "0.operations.1", "map");
        expect_json(o, "0.bytes", "1073741824");
        expect_json(o, "1.left_ms", "90000");
        expect_json(o, "1.address", "null");
        expect_json(o, "2.error", "ENOMEM");
        json_object_put(o);

        fake.sessions = sessions;
        fake.sessions_count = 3;
        expect_part("session show 12", 0,
                    "\n\nGRANT NODE STATE   FOR       BYTES ADDRESS              ENDS           ERROR\n", "");
        expect_part("session show 12", 0,
                    "   42 gpu0 failed  mode          - -                    -              ENOMEM\n", "");
        expect_part("session show 13", 0, "It did not give back managed pages when it was asked: gpu0: it sleeps\n",
                    "");
        expect_part("session show 98", 1, "", "there is no session 98");
        expect_part("session show 99", 0, "It has no grants\n\nIt uses no device without svmd", "");
        fake.drift = behind;
        fake.drift_count = 4;
        expect_part("session show 12", 0,
                    "\nprocess 77, a 0000:03:00.0 vram fdinfo    3 GiB  1 GiB +2 GiB     - more\n", "");
        expect_part("session show 13", 0,
                    "\nThe driver itself counts of its process: 17 faults, 34 ms of stopped queues\n", "");
        o = run_json("session show 13 --json", 0);
        expect_json(o, "unbrokered.0.place", "/dev/kfd");
        expect_json(o, "withheld", "gpu0: it sleeps");
        expect_json(o, "unbrokered.1", "null");
        expect_json(o, "counts.faults", "17");
        expect_json(o, "counts.pages_in", "null");
        expect_json(o, "counts.evicted_ms", "34");
        expect_json(o, "session.pid", "78");
        expect_json(o, "grants.0.grant", "41");
        json_object_put(o);
}

static void test_kept(void **state) {
        struct svmd_partition_row rows[] = { partitions[0], partitions[1] };
        struct json_object *o;

        expect("kept list", 0, "Nothing is kept\n", "");
        for (unsigned i = 0; i < 2; i++)
                rows[i].kept = strcmp(rows[i].name, "train") == 0 ? 4 * GIB : 0;
        fake.partitions = rows;
        fake.kept = kept;
        fake.kept_count = 3;
        expect("kept list --partition train", 0,
               "NAME    KIND   ADDRESS         SIZE OWNER MODE OPEN      IDLE ENDS            PLACES\n"
               "weights range  0x280000000000 2 GiB root  0640    0 1 min 0 s in 59 min 0 s   gpu0 1 GiB, host0 512 MiB\n"
               "weights memory -              1 GiB root  0600    2         - 1 min 0 s after -\n"
               "cache   memory -              1 GiB root  0000    0         - never           -\n",
               "");
        expect_part("kept list", 0, "train     weights range ", "");
        o = run_json("kept list --json", 0);
        expect_json(o, "0.kind", "range");
        expect_json(o, "0.left_ms", "3540000");
        expect_json(o, "0.nodes.0.node", "gpu0");
        expect_json(o, "1.left_ms", "null");
        expect_json(o, "1.users", "2");
        json_object_put(o);
        expect_part("kept remove weights", 2, "", "'weights' is kept as range and as memory; say which one: --kind");
        expect_part("kept remove weights --kind rnage", 2, "", "expected range, memory or lease");
        expect_part("kept remove wieghts", 1, "", "nothing is kept as 'wieghts'");
        expect("kept remove weights --kind range --dry-run", 0, "Would remove range weights, 2 GiB\n", "");
        assert_int_equal(fake.changes, 0);
        expect("kept remove weights --kind range", 0, "Removed range weights, 2 GiB\n", "");
        assert_int_equal(fake.kind, SVMD_KEPT_RANGE);
        assert_string_equal(fake.partition, "train");
        expect("kept remove weights --kind memory", 0, "Keeps memory weights no longer; 2 sessions still have it\n",
               "");
        o = run_json("kept remove cache --json", 0);
        expect_json(o, "kind", "memory");
        expect_json(o, "dry_run", "false");
        json_object_put(o);
        fake.changes = 0;
        assert_int_equal(run_asked("kept remove cache", "n\n"), 1);
        assert_int_equal(fake.changes, 0);
        assert_int_equal(run_asked("kept remove cache", "y\n"), 0);
        assert_int_equal(fake.changes, 1);
        fake.code = SVMD_E_DENIED;
        fake.error = "cache belongs to uid 7";
        expect_part("kept list", 1, "", "cache belongs to uid 7");
}

/* Where reservations are shown, one that nobody uses is said to be kept. */
static const struct svmd_share_row shares[] = {
        { .name = "weights",
          .partition = "train",
          .to = "serve",
          .access = SVMD_ACCESS_READ,
          .address = 0x280000000000,
          .length = 2 * GIB,
          .guests = 2 },
        { .name = "cache",
          .partition = "train",
          .to = "lab",
          .memory = 1,
          .access = SVMD_ACCESS_READ_WRITE,
          .length = GIB,
          .guests = 1 },
};

static void test_shares(void **state) {
        struct json_object *o;

        expect("share list", 0, "Nothing is shared\n", "");
        fake.shares = shares;
        fake.shares_count = 2;
        expect("share list", 0,
               "PARTITION NAME    KIND   ADDRESS         SIZE OWNER WITH  ACCESS GUESTS\n"
               "train     weights range  0x280000000000 2 GiB root  serve r           2\n"
               "train     cache   memory -              1 GiB root  lab   rw          1\n",
               "");
        o = run_json("share list --json", 0);
        expect_json(o, "0.with", "serve");
        expect_json(o, "0.guests", "2");
        expect_json(o, "1.kind", "memory");
        json_object_put(o);
        expect_part("share set weights serve w --partition train", 2, "", "'w' is no access: expected r or rw");
        expect_part("share set weights serve --kind lease --partition train", 2, "", "expected range or memory");
        assert_int_equal(fake.changes, 0);
        expect("share set weights serve --partition train", 0, "Partition serve may have weights, to read\n", "");
        assert_string_equal(fake.share_asked, "weights serve 1 0 train");
        expect("share set cache lab rw --kind memory --partition train", 0,
               "Partition lab may have cache, to read and write\n", "");
        assert_string_equal(fake.share_asked, "cache lab 3 1 train");
        o = run_json("share set weights serve --partition train --json", 0);
        expect_json(o, "access", "r");
        json_object_put(o);
        fake.changes = 0;
        expect_part("share remove weights lab --partition train", 1, "", "is not shared with lab");
        expect("share remove weights serve --partition train --dry-run", 0,
               "Would take weights back from partition serve; 2 guests had it\n", "");
        assert_int_equal(run_asked("share remove weights serve --partition train", "n\n"), 1);
        assert_int_equal(fake.changes, 0);
        expect("share remove cache lab --kind memory --partition train --yes", 0,
               "Took cache back from partition lab; 1 guest had it\n", "");
        assert_string_equal(fake.share_asked, "cache lab 0 1 train");
        o = run_json("share remove weights serve --partition train --yes --json", 0);
        expect_json(o, "access", "null");
        json_object_put(o);
        fake.code = SVMD_E_DENIED;
        fake.error = "weights belongs to uid 7";
        expect_part("share set weights serve --partition train", 1, "", "weights belongs to uid 7");
}

static void test_kept_reservation(void **state) {
        struct svmd_reservation_row row = reservations[0];
        struct json_object *o;

        row.session = row.openers = 0;
        row.kind = SVMD_SHARED;
        row.granule = 2 << 20;
        row.kept = 1;
        row.idle_ms = 5000;
        row.left_ms = UINT64_MAX;
        fake.reservations = &row;
        expect_part("reservation list --partition train", 0, "0    0 yes\n", "");
        expect_part("map --partition train", 0, "managed    kept index", "");
        row.left_ms = 60000;
        expect_part("reservation list --partition train", 0, "0    0 1 min 0 s more\n", "");
        o = run_json("reservation list --json", 0);
        expect_json(o, "0.kept", "true");
        json_object_put(o);
}

static void test_kept_max(void **state) {
        expect("partition set train --kept-max 64G", 0, "Changed partition train\n", "");
        assert_int_equal(fake.options.has_kept_max, 1);
        assert_int_equal(fake.options.kept_max, 64 * GIB);
        expect_part("partition create new --kept-max none", 0, "Created partition new", "");
        assert_true(fake.options.has_kept_max && fake.options.kept_max == UINT64_MAX);
        expect_part("partition create new", 0, "Created partition new", "");
        assert_false(fake.options.has_kept_max);
        expect_part("partition set train --kept-max lots", 2, "", "--kept-max 'lots'");
        expect("partition delete check --drop-kept", 0, "Deleted partition check\n", "");
        assert_true(fake.drop_kept);
        assert_false(fake.end_sessions);
}

static void test_partition_delete(void **state) {
        expect("partition delete check", 0, "Deleted partition check\n", "");
        assert_string_equal(fake.name, "check");
        assert_false(fake.end_sessions);
        expect("partition delete train --end-sessions --dry-run", 0,
               "Would delete partition train and end 2 sessions\n", "");
        assert_true(fake.end_sessions);
        assert_true(fake.dry_run);
        expect("partition delete train --end-sessions --deadline 2.5", 0,
               "Deleted partition train and ended 2 sessions\n", "");
        assert_int_equal(fake.deadline_ms, 2500);
        expect_part("partition delete train --deadline 3", 2, "", "--deadline is for --end-sessions");
        fake.code = SVMD_E_BUSY;
        fake.changes = 0;
        assert_int_equal(run("partition delete chekc"), 1);
        assert_int_equal(fake.changes, 0);
}

static void test_sessions(void **state) {
        struct json_object *o;

        expect("session list --partition train", 0,
               "SESSION CLIENT PID USER RESERV. MEM SPACES REGIST. REQUESTS REFUSED\n"
               "     12 loader  77 root       1   2      0   3 MiB       40       1\n"
               "     13 reader  78 root       0   0      0       0        0       0\n",
               "");
        expect_part("session list", 0, "PARTITION SESSION CLIENT ", "");
        assert_null(strstr(run_out, "svmd-ctl"));
        expect("session kill 12 --dry-run", 0, "Would end session 12 (loader, process 77 of root, partition train)\n",
               "");
        assert_true(fake.dry_run);
        expect("session kill 12", 0, "Ended session 12 (loader, process 77 of root, partition train)\n", "");
        assert_int_equal(fake.killed, 12);
        o = run_json("session list --json", 0);
        expect_json(o, "0.client", "loader");
        expect_json(o, "0.registered", "3145728");
        assert_int_equal(json_object_array_length(o), 2);
        json_object_put(o);
}

/* Nothing is changed without a yes, where a person can be asked. */
static void test_asks(void **state) {
        static const char *const no[] = { "n\n", "\n", "never\n", "\x04" };

        for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
                assert_int_equal(run_asked("partition delete train --end-sessions", no[i]), 1);
                assert_non_null(strstr(run_err, "Delete partition train and end its 2 sessions? [y/N] "));
                assert_non_null(strstr(run_err, "nothing was done"));
                assert_int_equal(run_asked("session kill 12", no[i]), 1);
                assert_non_null(strstr(run_err, "End session 12 (loader"));
        }
        assert_int_equal(fake.changes, 0);
        assert_int_equal(run_asked("partition delete train", "y\n"), 0);
        assert_int_equal(run_asked("session kill 12", "Yes\n"), 0);
        assert_int_equal(fake.changes, 2);
        assert_int_equal(run_asked("partition delete train --yes", "n\n"), 0);
        assert_int_equal(run_asked("session kill 12 --dry-run", "n\n"), 0);
        assert_int_equal(fake.changes, 4);
        assert_null(strstr(run_err, "[y/N]"));
}

static void test_usage(void **state) {
        struct json_object *o;

        expect("usage", 0,
               "PARTITION                                 NODE   USED  PEAK LIMIT\n"
               "train                                     gpu0  1 GiB 2 GiB 2 GiB\n"
               "└─ session 12: loader, process 77 of root gpu0  1 GiB 1 GiB     -\n"
               "check                                     host0 4 KiB 8 KiB     -\n",
               "");
        o = run_json("usage --json", 0);
        expect_json(o, "0.session", "null");
        expect_json(o, "0.max", "2147483648");
        expect_json(o, "1.partition", "check");
        expect_json(o, "2.client", "loader");
        expect_json(o, "2.max", "null");
        json_object_put(o);
}

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct svmd_holder_row holders[] = {
        { .partition = "train",
          .client = "loader",
          .session = 12,
          .pid = 77,
          .uid = 0,
          .process = "python3",
          .cgroup = "/docker/" CONTAINER,
          .runtime = "docker",
          .container = CONTAINER,
          .pod = "",
          .node = 1,
          .used = 3ull << 30,
          .managed = 1ull << 30,
          .leased = 1ull << 29,
          .registered = 4096 },
        { .partition = "train",
          .client = "loader",
          .session = 12,
          .pid = 77,
          .uid = 0,
          .process = "python3",
          .cgroup = "/docker/" CONTAINER,
          .runtime = "docker",
          .container = CONTAINER,
          .pod = "",
          .node = 0,
          .used = 4096,
          .registered = 4096 },
        { .partition = "check",
          .client = "probe",
          .session = 13,
          .pid = 78,
          .uid = 0,
          .process = "",
          .cgroup = "",
          .runtime = "",
          .container = "",
          .pod = "",
          .node = 1,
          .used = 1ull << 20 },
        { .partition = "check",
          .client = "",
          .process = "",
          .cgroup = "",
          .runtime = "",
          .container = "",
          .pod = "",
          .node = 1,
          .used = 2ull << 20 },
};

static void test_usage_by(void **state) {
        struct json_object *o;

        fake.holders = holders;
        fake.holders_count = 4;
        expect("usage --by container", 0,
               "CONTAINER           NODE   USED MANAGED  LEASED REGISTERED SESSIONS\n"
               "docker:0123456789ab gpu0  3 GiB   1 GiB 512 MiB      4 KiB        1\n"
               "none                gpu0  2 MiB       -       -          -        0\n"
               "unknown             gpu0  1 MiB       -       -          -        1\n"
               "docker:0123456789ab host0 4 KiB       -       -      4 KiB        1\n",
               "");
        o = run_json("usage --by pid --json", 0);
        expect_json(o, "0.pid", "77 python3");
        expect_json(o, "0.used", "3221225472");
        expect_json(o, "1.pid", "none");
        expect_json(o, "2.pid", "78 probe");
        json_object_put(o);
        o = run_json("usage --by node --json", 0);
        expect_json(o, "0.node", "gpu0");
        expect_json(o, "0.used", "3224371200");
        expect_json(o, "0.sessions", "2");
        json_object_put(o);
        o = run_json("usage --by user --json", 0);
        expect_json(o, "0.user", "0");
        json_object_put(o);
        expect_part("usage --by cgrup", 2, "", "did you mean cgroup");
        fake.holders_count = 0;
        expect("usage --by pid", 0, "Nothing is held\n", "");
}

static const struct svmd_history_row history[] = {
        { .key = "0", .node = "gpu0", .page_ms = 1800ull * 1000 * 262144, .average = 1ull << 29, .peak = 1ull << 30 },
        { .key = "other", .node = "host0", .page_ms = 1000, .average = 4096, .peak = 8192 },
};

static void test_usage_since(void **state) {
        struct json_object *o;

        fake.history = history;
        fake.history_count = 2;
        fake.history_span = (struct svmd_history_span){ .since = 0, .step = 3600, .watched_ms = 7200000 };
        expect_part("usage --since @0 --until @7200 --by user", 0, "by the hour; svmd looked for 2 h 0 min", "");
        expect_part("usage --since @0 --until @7200 --by user", 0, "root  gpu0  512 MiB 1 GiB    512 MiB h\n", "");
        assert_int_equal(fake.history_asked.by, SVMD_BY_USER);
        assert_int_equal(fake.history_asked.since, 0);
        assert_int_equal(fake.history_asked.until, 7200);
        o = run_json("usage --since 2h --json", 0);
        assert_int_equal(fake.history_asked.by, SVMD_BY_NODE);
        expect_json(o, "by", "node");
        expect_json(o, "step", "3600");
        expect_json(o, "rows.0.peak", "1073741824");
        expect_json(o, "rows.0.page_ms", "471859200000");
        json_object_put(o);
        expect_part("usage --since yore", 2, "", "a time is 90s");
        expect_part("usage --since 1h --until 2h", 2, "", "--until is a time after --since");
        expect_part("usage --since 1h --partition train", 2, "", "--by partition");
        fake.history_count = 0;
        expect_part("usage --since 1h", 0, "Nothing was used in that time", "");
}

static const struct svmd_drift_row drift[] = {
        { .scope = SVMD_DRIFT_NODE,
          .source = "st_blocks",
          .subject = "gpu0",
          .place = "gpu0",
          .reported = 8192,
          .ledger = 12288,
          .why = "pages went",
          .limit = UINT64_MAX,
          .container = "" },
        { .scope = SVMD_DRIFT_PROCESS,
          .source = "fdinfo",
          .subject = "loader",
          .place = "0000:c1:00.0 vram",
          .session = 12,
          .pid = 77,
          .reported = 4096,
          .why = "of the driver",
          .limit = UINT64_MAX,
          .container = "" },
        { .scope = SVMD_DRIFT_NODE,
          .source = "st_blocks",
          .subject = "gpu1",
          .place = "gpu1",
          .reported = 4096,
          .ledger = 4096,
          .why = "",
          .limit = UINT64_MAX,
          .container = "" },
};

static void test_usage_drift(void **state) {
        struct json_object *o;

        fake.drift = drift;
        fake.drift_count = 3;
        expect("usage --drift", 0,
               "OF                 WHERE             SAYS      REPORTED LEDGER  DRIFT LIMIT MAY BE\n"
               "gpu0               gpu0              st_blocks    8 KiB 12 KiB -4 KiB     - pages went\n"
               "process 77, loader 0000:c1:00.0 vram fdinfo       4 KiB      0 +4 KiB     - of the driver\n"
               "gpu1               gpu1              st_blocks    4 KiB  4 KiB      0     - -\n",
               "");
        o = run_json("usage --drift --json", 0);
        expect_json(o, "0.drift", "-4096");
        expect_json(o, "1.scope", "process");
        expect_json(o, "1.session", "12");
        json_object_put(o);
        o = run_json("status --json", 0);
        expect_json(o, "drift", "-4096");
        json_object_put(o);
        expect_part("status", 0, "drift           the kernel reports something else", "");
        expect_part("usage --drift --by pid", 2, "", "give it alone");
}

static void test_reservations(void **state) {
        struct json_object *o;

        expect("reservation list", 0,
               "PARTITION ADDRESS         SIZE  MAPPED KIND     GRANULE NAME  MODE OWNER SESSION OPEN KEPT\n"
               "train     0x280000000000 1 GiB 512 MiB explicit       - index 0640 root       12    1 -\n",
               "");
        o = run_json("reservation list --json", 0);
        expect_json(o, "0.address", "0x280000000000");
        expect_json(o, "0.mapped", "536870912");
        expect_json(o, "0.kind", "explicit");
        expect_json(o, "0.granule", "null");
        expect_json(o, "0.revoked", "false");
        expect_json(o, "0.kept", "false");
        json_object_put(o);
        o = run_json("map --json", 0);
        expect_json(o, "0.partition", "check");
        expect_json(o, "0.reservations", "[ ]");
        expect_json(o, "1.reservations.0.name", "index");
        json_object_put(o);
        expect_part("map", 0, "2 partitions of 20 GiB\n1 reservation of 1 GiB\n", "");
        expect_part("map --partition train", 0, "# ADDRESS         SIZE  MAPPED SESSION NAME", "");
}

static const struct svmd_event events[] = {
        { .type = SVMD_EVENT_MONITOR,
          .time_ns = 1500000000,
          .what = "session-new",
          .partition = "train",
          .session = 12,
          .pid = 77,
          .text = "loader" },
        { .type = SVMD_EVENT_DROPPED,
          .time_ns = 2500000000,
          .generation = 40,
          .what = "",
          .partition = "",
          .text = "" },
        { .type = SVMD_EVENT_RESERVATION, .what = "", .partition = "", .text = "" },
        { .type = SVMD_EVENT_MONITOR, .time_ns = 3500000000, .what = "partition-new", .partition = "x", .text = "" },
};

static void test_monitor(void **state) {
        struct json_object *o;

        fake.events = events;
        fake.events_count = 4;
        expect("monitor --count 3", 0,
               "00:00:01.500  session-new       partition train  session 12  process 77  loader\n"
               "00:00:02.500  dropped           40 events came too fast and are lost\n"
               "00:00:03.500  partition-new     partition x\n",
               "");
        fake.events_sent = 0;
        o = run_json("monitor --count 1 --json", 0);
        assert_int_equal(strcspn(run_out, "\n"), strlen(run_out) - 1);
        expect_json(o, "event", "session-new");
        expect_json(o, "pid", "77");
        json_object_put(o);
        fake_reset();
        fake.events_count = 1;
        fake.events_sent = 1;
        expect("monitor --count 2 --timeout 0.01", 3, "", "svmd-ctl: the time is over: 0 of 2 events came\n");
}

static void test_monitor_timeout(void **state) {
        fake.events_count = 1;
        fake.events_sent = 1;
        expect("monitor --timeout 0.01", 0, "", "");
}

static void test_wait(void **state) {
        expect("wait ready", 0, "", "");
        expect("wait sessions = 2", 0, "", "");
        expect("wait 'partition train sessions > 1'", 0, "", "");
        expect("wait partition train exists", 0, "", "");
        expect("wait partition none gone", 0, "", "");
        expect("wait 'node gpu0 used >= 1.5G'", 0, "", "");
        expect("wait 'sessions > 2' --timeout 0.05", 3, "", "svmd-ctl: the time is over: sessions were 2\n");
        expect("wait partition train gone --timeout 0.05", 3, "",
               "svmd-ctl: the time is over: partition train was there\n");
        expect("wait 'partition none sessions >= 0' --timeout 0.05", 3, "",
               "svmd-ctl: the time is over: there was no partition none\n");
        expect("wait 'node gpu0 used < 1G' --timeout 0.05", 3, "",
               "svmd-ctl: the time is over: node gpu0 used 1.5 GiB (1610612736 bytes)\n");
        expect("wait redy", 2, "",
               "svmd-ctl: unknown condition 'redy'; did you mean 'ready'?; see 'svmd-ctl wait --help'\n");
        expect("wait ready --timeout soon", 2, "", "svmd-ctl: --timeout 'soon': expected seconds, as in 10 or 0.5\n");
}

static void test_wait_looks_again(void **state) {
        fake.appear_after = 3;
        expect("wait partition train exists --timeout 20", 0, "", "");
        assert_int_equal(fake.queries, 4);
        fake.admin_code = fake.client_code = SVMD_E_SYSTEM;
        expect_part("wait ready --timeout 0.05 --runtime-dir /x", 3, "", "there is no socket /x/svmd.sock");
        setup(NULL);
        fake.code = SVMD_E_DENIED;
        fake.error = "only administrators may list partitions";
        expect("wait partition train exists --timeout 20", 1, "",
               "svmd-ctl: only administrators may list partitions\n");
        fake.code = SVMD_E_GONE;
        expect("wait partition train exists --timeout 0.05", 3, "",
               "svmd-ctl: the time is over: svmd had ended the session\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_typos, setup),
                cmocka_unit_test_setup(test_no_connection_for_usage, setup),
                cmocka_unit_test_setup(test_help, setup),
                cmocka_unit_test_setup(test_examples, setup),
                cmocka_unit_test_setup(test_sockets, setup),
                cmocka_unit_test_setup(test_without_rights, setup),
                cmocka_unit_test_setup(test_refusals, setup),
                cmocka_unit_test_setup(test_status, setup),
                cmocka_unit_test_setup(test_nothing, setup),
                cmocka_unit_test_setup(test_doctor, setup),
                cmocka_unit_test_setup(test_terminal, setup),
                cmocka_unit_test_setup(test_node_list, setup),
                cmocka_unit_test_setup(test_node_devices, setup),
                cmocka_unit_test_setup(test_node_show, setup),
                cmocka_unit_test_setup(test_partition_list, setup),
                cmocka_unit_test_setup(test_partition_show, setup),
                cmocka_unit_test_setup(test_partition_create, setup),
                cmocka_unit_test_setup(test_wrong_values, setup),
                cmocka_unit_test_setup(test_partition_set, setup),
                cmocka_unit_test_setup(test_limits_shown, setup),
                cmocka_unit_test_setup(test_limits_set, setup),
                cmocka_unit_test_setup(test_partition_comes_down, setup),
                cmocka_unit_test_setup(test_partition_delete, setup),
                cmocka_unit_test_setup(test_leases, setup),
                cmocka_unit_test_setup(test_grants, setup),
                cmocka_unit_test_setup(test_kept, setup),
                cmocka_unit_test_setup(test_shares, setup),
                cmocka_unit_test_setup(test_kept_max, setup),
                cmocka_unit_test_setup(test_kept_reservation, setup),
                cmocka_unit_test_setup(test_sessions, setup),
                cmocka_unit_test_setup(test_asks, setup),
                cmocka_unit_test_setup(test_usage, setup),
                cmocka_unit_test_setup(test_usage_by, setup),
                cmocka_unit_test_setup(test_usage_since, setup),
                cmocka_unit_test_setup(test_usage_drift, setup),
                cmocka_unit_test_setup(test_reservations, setup),
                cmocka_unit_test_setup(test_monitor, setup),
                cmocka_unit_test_setup(test_monitor_timeout, setup),
                cmocka_unit_test_setup(test_wait, setup),
                cmocka_unit_test_setup(test_wait_looks_again, setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        setenv("TZ", "UTC", 1);
        for (const char *const *name =
                     (const char *const[]){ "COLUMNS", "SVMD_RUNTIME_DIR", "SVMD_ADMIN_SOCKET", "SVMD_SOCKET", NULL };
             *name; name++)
                unsetenv(*name);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
