#include "main/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <syslog.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "core/node.h"
#include "main/config.h"

#define AT(member) offsetof(struct config, member)
#define KIB        (1ull << 10)
#define MIB        (1ull << 20)
#define GIB        (1ull << 30)
#define TIB        (1ull << 40)

const struct option_desc options[] = {
        { "config", "FILE", OPTION_TEXT, true, AT(config_file), "/etc/svmd/svmd.conf", 0, 0, 0,
          "Read this file, and then every file in FILE.d whose name ends in .conf, in the order of their names. "
          "That the default file is absent is no error." },
        { "check-config", NULL, OPTION_FLAG, true, AT(check_only), NULL, 0, 0, 0,
          "Read the configuration, say what is wrong in it with file and line, and end." },
        { "check-takeover", NULL, OPTION_FLAG, true, AT(check_takeover), NULL, 0, 0, 0,
          "Say, for the svmd that is to become this program, what it could take over, and end." },
        { "runtime-dir", "DIR", OPTION_TEXT, false, AT(runtime_dir), "/run/svmd", 0, 0, 0,
          "Where the sockets are made." },
        { "state-dir", "DIR", OPTION_TEXT, false, AT(state_dir), "/var/lib/svmd", 0, 0, 0,
          "Where partitions and their limits are kept over a restart of the machine." },
        { "machine", "DIR", OPTION_TEXT, false, AT(machine_dir), NULL, 0, 0, 0,
          "Make software devices after the machine recorded in this folder: a copy of /sys/class/kfd/kfd/topology." },
        { "machine-faults", "on|off", OPTION_SWITCH, false, AT(machine_faults), "on", 0, 0, 0,
          "Whether the devices of the recorded machine can serve an access to what is elsewhere." },
        { "soft-node", "NAME:size=SIZE[,faults=on|off]", OPTION_NODE, true, 0, NULL, NODE_SOFT, 0, 0,
          "Add a software device with memory of its own. May be repeated. In the file this is a section [node NAME]; "
          "of a device that is named in both, the file says what the command line does not." },
        { "hmm-node", "NAME:device=FILE,size=SIZE", OPTION_NODE, true, 0, NULL, NODE_HMM, 0, 0,
          "Add the kernel's HMM test device behind this file as a node for private memory, which clients open and give to "
          "svmd. The same as a --soft-node with a device. May be repeated." },
        { "cuda-node", "NAME:device=cuda:N,size=SIZE[,managed=on]", OPTION_NODE, true, 0, NULL, NODE_CUDA, 0, 0,
          "Add an NVIDIA device as a node, by its number or its PCI address (cuda:0000:3b:00.0) as its clients' CUDA "
          "knows it. svmd does not open it: it charges and holds what clients make there. The same as a --soft-node "
          "with such a device. May be repeated." },
        { "cuda-agent", "FILE", OPTION_TEXT, false, AT(cuda_agent), NULL, 0, 0, 0,
          "The socket of svmd-cuda(8), which has the managed pages of NVIDIA devices (managed). Without this it is "
          "cuda.sock where the sockets are." },
        { "cuda-patience", "SECONDS", OPTION_COUNT, false, AT(cuda_patience), "30", 1, 3600, 1,
          "How long a process has to let go of a managed page that it has mapped on an NVIDIA device, when somebody else "
          "wants it. Then nobody waits for it any more." },
        { "sys-root", "DIR", OPTION_TEXT, false, AT(sys_root), "/sys", 0, 0, 0,
          "Read this machine's devices below this folder." },
        { "proc-root", "DIR", OPTION_TEXT, false, AT(proc_root), "/proc", 0, 0, 0,
          "Read this machine's processes below this folder." },
        { "dev-root", "DIR", OPTION_TEXT, false, AT(dev_root), "/dev", 0, 0, 0,
          "Open this machine's devices below this folder." },
        { "kfd-probe", "FILE", OPTION_TEXT, false, AT(kfd_probe), NULL, 0, 0, 0,
          "Program that asks AMD's driver what it has, where there is /dev/kfd; without this option, svmd-probe-kfd "
          "beside svmd or in the libexec folder. It has five seconds, and svmd does not wait for it." },
        { "keeper-program", "FILE", OPTION_TEXT, false, AT(keeper_program), NULL, 0, 0, 0,
          "The program svmd-keeper, which is started where none runs. Without this option it is looked for beside svmd "
          "and then among the programs that svmd was installed with." },
        { "admin-group", "GROUP", OPTION_TEXT, false, AT(admin_group), "svmd-admin", 0, 0, 0,
          "Members of this group may administrate, beside root and the user that svmd runs as." },
        { "metrics-group", "GROUP", OPTION_TEXT, false, AT(metrics_group), "svmd-metrics", 0, 0, 0,
          "Members of this group may ask, over any socket, for figures about everybody: partitions with their limits, who "
          "holds how much, and what svmd has done. They change nothing." },
        { "default-partition-size", "SIZE", OPTION_SIZE, false, AT(default_partition_size), "64G", 4 * GIB, 64 * TIB,
          4 * GIB, "Addresses in the partition that a user gets without asking for one; a multiple of 4G." },
        { "journal-size", "SIZE", OPTION_SIZE, false, AT(journal_size), "1G", MIB, 16 * GIB, 8 * KIB,
          "Room for what svmd writes down to go on after it was killed. Memory is taken as it is used." },
        { "host-capacity", "SIZE", OPTION_SIZE, false, AT(host_capacity), "0", 0, UINT64_MAX, 4 * KIB,
          "Memory of this machine that svmd gives out, split over its NUMA nodes; 0 means what the machine has." },
        { "max-sessions", "NUMBER", OPTION_COUNT, false, AT(max_sessions), "15000", 1, 1000000, 1,
          "Sessions at a time. An idle session costs svmd one file descriptor." },
        { "max-sessions-per-uid", "NUMBER", OPTION_COUNT, false, AT(max_sessions_per_uid), "4096", 1, 1000000, 1,
          "Sessions of one user at a time. The user that svmd runs as has no such bound. For this and the next two, all who "
          "come through the socket of one partition are one user: a container is bounded, also when it runs as root." },
        { "max-fds-per-uid", "NUMBER", OPTION_COUNT, false, AT(max_fds_per_uid), "65536", 64, 1u << 30, 1,
          "File descriptors that svmd keeps for one user at a time: one for each shareable memory, each dma-buf, each fence "
          "with an eventfd and each arena of 64 MiB, two for each managed range. What each session has (its connection, a "
          "userfaultfd, files of devices) is not counted: max-sessions-per-uid bounds that. The user that svmd runs as has "
          "no such bound." },
        { "max-queued-per-uid", "SIZE", OPTION_SIZE, false, AT(max_queued_per_uid), "64M", MIB, 64 * GIB, 4 * KIB,
          "Bytes of replies and events that may wait in svmd for one user, all his sessions together, because he does not "
          "read. Beyond that nothing more of him is read until half of it has left, and his events are counted as missed; "
          "twice as much is never passed. The user that svmd runs as has no such bound." },
        { "max-objects-per-session", "NUMBER", OPTION_NUMBER, false, AT(max_objects_per_session), "1048576", 1,
          UINT32_MAX, 1, "Reservations, memories, spaces and mappings of one session together." },
        { "max-registered-per-session", "SIZE", OPTION_SIZE, false, AT(max_registered), "64G", 0, 64 * TIB, 4 * KIB,
          "Memory of its own process that a session may have registered for devices; a multiple of 4K." },
        { "default-limit", "NODE=SIZE", OPTION_LIMIT, false, 0, NULL, 0, 0, 0,
          "How much memory of a node the partition that a user gets without asking may hold. NODE may be *, which is "
          "every node without a limit of its own. May be repeated." },
        { "kept-max", "SIZE", OPTION_SIZE, false, AT(kept_max), "0", 0, UINT64_MAX, 1,
          "How much a partition may keep for later sessions while no session uses it, where nothing was said when it was "
          "made. With 0, users keep nothing until an administrator allows it: svmd-ctl partition set." },
        { "policy", "NAME|FILE", OPTION_PROFILE, false, AT(profile), "balanced", 0, 0, 0,
          "What decides where pages go: balanced, throughput, latency, pinned, or the path of a file, with a slash, that "
          "says what is to be different from balanced." },
        { "partition-policy", "PARTITION=NAME|FILE", OPTION_SETTING, false, 0, NULL, SETTING_PARTITION_POLICY, 0, 0,
          "The same for the pages of one partition. PARTITION may be *, which is every one that is not named. May be "
          "repeated." },
        { "partition-userfaultfd", "PARTITION=on|off", OPTION_SETTING, false, 0, NULL, SETTING_PARTITION_UFFD, 0, 0,
          "Whether processes of this partition get a descriptor of /dev/userfaultfd, and may have managed memory; without "
          "this it is on. PARTITION may be *, which is every one that is not named. May be repeated. docs/security.md says "
          "what passing that device means." },
        { "link-rate", "NODE:NODE=SIZE", OPTION_SETTING, false, 0, NULL, SETTING_LINK_RATE, 0, 0,
          "How many bytes a second may move between these two nodes, both ways together, when nobody waits for them: "
          "prefetches, orders, and what would come to a device that can reach it where it is. A fault is served at once, "
          "and counts. Either may be *. 0 means no cap. May be repeated." },
        { "partition-rate", "PARTITION=SIZE", OPTION_SETTING, false, 0, NULL, SETTING_PARTITION_RATE, 0, 0,
          "The same for the pages of one partition, over all links. PARTITION may be *, which is every one that is not "
          "named. May be repeated." },
        { "usage-period", "SECONDS", OPTION_COUNT, false, AT(usage_period), "10", 0, 3600, 1,
          "How often it is noted who uses how much, for svmd-ctl usage --since; 0 keeps no history. What sessions create "
          "and give back in between counts, too." },
        { "usage-days", "DAYS", OPTION_COUNT, false, AT(usage_days), "400", 1, 36500, 1,
          "How long the history of use is kept, by day; by hour for 31 days of that, by minute for one." },
        { "usage-size", "SIZE", OPTION_SIZE, false, AT(usage_size), "64M", 256 * KIB, 64 * GIB, 4 * KIB,
          "What the history of use, usage.db in the state folder, may take of the disk. When it is full, its oldest fine "
          "steps go first." },
        { "drift-period", "SECONDS", OPTION_COUNT, false, AT(drift_period), "60", 0, 86400, 1,
          "How often what svmd gave out is compared with what the kernel says is there, which the log, svmd-ctl monitor and "
          "svmd-ctl doctor tell of when they come to differ, and no longer do; 0 means only when somebody asks "
          "(svmd-ctl usage --drift)." },
        { "dmem-root", "DIR", OPTION_TEXT, false, AT(dmem_root), NULL, 0, 0, 0,
          "A folder with the files of the kernel's controller of device memory, in its place: an emulation, for kernels "
          "before 6.14 and for trials. Without this it is the kernel's. Which node is which region says the dmem of a "
          "node." },
        { "dmem-drive", "on|off", OPTION_SWITCH, false, AT(dmem_drive), "off", 0, 0, 0,
          "Write limits of control groups that are set in svmd to dmem.max, dmem.low and dmem.min of the group. Where svmd "
          "may not, svmd-cgroup does it (svmd-cgroup(8)). Limits that others set there are followed in any case, and never written over." },
        { "dmem-period", "SECONDS", OPTION_COUNT, false, AT(dmem_period), "5", 0, 86400, 1,
          "How often limits of control groups are looked at there; 0 means only when a session comes to be in a group, and "
          "when limits are set in svmd." },
        { "device-period", "SECONDS", OPTION_COUNT, false, AT(device_period), "10", 0, 86400, 1,
          "How often it is looked whether devices of drivers have come or gone, by the names of their files; drivers are asked "
          "only where those have changed. 0 means only at a reload." },
        { "log-level", "error|warning|notice|info|debug", OPTION_LEVEL, false, AT(log_level), "info", 0, 0, 0,
          "Write lines of this importance and above to standard error." },
        { "help", NULL, OPTION_HELP, true, 0, NULL, 0, 0, 0, "Print the options and end." },
        { "version", NULL, OPTION_VERSION, true, 0, NULL, 0, 0, 0, "Print the version and end." },
};
const size_t options_count = sizeof(options) / sizeof(options[0]);

const struct option_desc node_options[] = {
        { "size", "SIZE", OPTION_SIZE, false, offsetof(struct node_desc, capacity), NULL, 4 * KIB, 64 * TIB, 4 * KIB,
          "Memory of the device; a multiple of 4K. It must be given." },
        { "faults", "on|off", OPTION_SWITCH, false, offsetof(struct node_desc, faults), "on", 0, 0, 0,
          "Whether the device can serve an access to what is elsewhere. A device that cannot refuses it." },
        { "device", "FILE", OPTION_DEVICE, false, offsetof(struct node_desc, device), NULL, 0,
          sizeof(((struct node_desc *)0)->device) - 1, 0,
          "The node is no software device but what has this name: a file as /dev/hmm_dmirror0 is the kernel's HMM test "
          "device (modprobe test_hmm), which has private memory of processes and nothing else; cuda:N an NVIDIA "
          "device." },
        { "managed", "on|off", OPTION_SWITCH, false, offsetof(struct node_desc, managed), "off", 0, 0, 0,
          "Of an NVIDIA device: whether managed pages may be sent there, which svmd-cuda(8) then has for svmd. Ranges have "
          "to be reserved with granules of 2M." },
        { "dmem", "REGION", OPTION_REGION, false, offsetof(struct node_desc, dmem), NULL, 0,
          sizeof(((struct node_desc *)0)->dmem) - 1, 0,
          "The region of the kernel's controller of device memory that the memory of this node is, as dmem.capacity of the "
          "root control group names it: drm/0000:03:00.0/vram0, say. Limits of control groups on it are then the "
          "node's, and the other way round (dmem-drive)." },
};
const size_t node_options_count = sizeof(node_options) / sizeof(node_options[0]);

const struct option_desc *option_find(const struct option_desc *table, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(table[i].name, name) == 0)
                        return &table[i];
        return NULL;
}

enum { LONGEST_NAME = 63 };

/* Insertions, removals and replacements that lead from one to the other. */
static size_t distance(const char *a, const char *b) {
        size_t row[LONGEST_NAME + 1], n = strlen(b);

        for (size_t j = 0; j <= n; j++)
                row[j] = j;
        for (size_t i = 1; a[i - 1]; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= n; j++) {
                        size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

                        diagonal = row[j];
                        row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
                }
        }
        return row[n];
}

const char *option_nearest(const struct option_desc *table, size_t count, const char *name, bool in_file) {
        size_t least = strlen(name) / 3 + 2;
        const char *nearest = NULL;

        if (strlen(name) > LONGEST_NAME)
                return NULL;
        for (size_t i = 0; i < count; i++) {
                size_t d = in_file && table[i].line_only ? least : distance(name, table[i].name);

                if (d < least) {
                        least = d;
                        nearest = table[i].name;
                }
        }
        return nearest;
}

static bool read_number(const char *text, const char *units, uint64_t *ret) {
        const char *unit;
        uint64_t factor = 1, n;
        char *end;

        if (!isdigit((unsigned char)text[0]))
                return false;
        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno)
                return false;
        if (*end) {
                unit = strchr(units, *end);
                if (!unit || end[1])
                        return false;
                factor = 1ull << (10 * (unit - units + 1));
        }
        return !__builtin_mul_overflow(n, factor, ret);
}

static void print_size(char *to, size_t size, uint64_t n) {
        static const char *const units[] = { "", "K", "M", "G", "T" };
        unsigned unit = 0;

        while (n && n % 1024 == 0 && unit < 4) {
                n /= 1024;
                unit++;
        }
        snprintf(to, size, "%" PRIu64 "%s", n, units[unit]);
}

static int read_bounded(const struct option_desc *o, const char *text, uint64_t *ret, char *why, size_t why_size) {
        bool sized = o->kind == OPTION_SIZE;
        char min[32], max[32], multiple[32];
        uint64_t n;

        if (!read_number(text, sized ? "KMGT" : "", &n)) {
                snprintf(why, why_size, "expected a number%s, found \"%s\"", sized ? " with K, M, G or T" : "", text);
                return 1;
        }
        print_size(min, sizeof(min), o->min);
        print_size(max, sizeof(max), o->max);
        print_size(multiple, sizeof(multiple), o->multiple);
        if (n < o->min) {
                snprintf(why, why_size, "expected at least %s, found \"%s\"", min, text);
                return 1;
        }
        if (n > o->max) {
                snprintf(why, why_size, "expected at most %s, found \"%s\"", max, text);
                return 1;
        }
        if (n % o->multiple) {
                snprintf(why, why_size, "expected a multiple of %s, found \"%s\"", multiple, text);
                return 1;
        }
        *ret = n;
        return 0;
}

static int read_text(char **to, const char *text, char *why, size_t why_size) {
        char *copy;

        if (!text[0]) {
                snprintf(why, why_size, "expected a value, found nothing");
                return 1;
        }
        copy = alloc_string(text);
        if (!copy)
                return -ENOMEM;
        alloc_free(*to);
        *to = copy;
        return 0;
}

static int read_switch(bool *to, const char *text, char *why, size_t why_size) {
        bool on = strcmp(text, "on") == 0;

        if (!on && strcmp(text, "off") != 0) {
                snprintf(why, why_size, "expected on or off, found \"%s\"", text);
                return 1;
        }
        *to = on;
        return 0;
}

static int read_level(int *to, const char *text, char *why, size_t why_size) {
        static const struct {
                const char *name;
                int level;
        } levels[] = { { "error", LOG_ERR },
                       { "warning", LOG_WARNING },
                       { "notice", LOG_NOTICE },
                       { "info", LOG_INFO },
                       { "debug", LOG_DEBUG } };

        for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
                if (strcmp(levels[i].name, text) == 0) {
                        *to = levels[i].level;
                        return 0;
                }
        }
        snprintf(why, why_size, "expected error, warning, notice, info or debug, found \"%s\"", text);
        return 1;
}

static void device_examples(char *to, size_t size) {
        const struct backend *b;

        *to = '\0';
        for (unsigned i = 0; (b = backend_at(i)); i++) {
                size_t n = strlen(to);

                if (b->device)
                        snprintf(to + n, size - n, "%s%s", n ? ", " : "", b->example);
        }
}

static int read_device(const struct option_desc *o, char *to, const char *text, char *why, size_t why_size) {
        char examples[256];

        if (!backend_of_device(text) || strlen(text) > o->max) {
                device_examples(examples, sizeof(examples));
                snprintf(why, why_size,
                         "expected a device's name of at most %" PRIu64 " bytes, such as %s, found \"%s\"", o->max,
                         examples, text);
                return 1;
        }
        memset(to, 0, o->max + 1);
        snprintf(to, o->max + 1, "%s", text);
        return 0;
}

static int read_region(const struct option_desc *o, char *to, const char *text, char *why, size_t why_size) {
        if (!text[0] || strlen(text) > o->max || strpbrk(text, " \t\n") || !strchr(text, '/')) {
                snprintf(why, why_size,
                         "expected a region of at most %" PRIu64
                         " bytes, as in dmem.capacity (drm/0000:03:00.0/vram0), found \"%s\"",
                         o->max, text);
                return 1;
        }
        memset(to, 0, o->max + 1);
        snprintf(to, o->max + 1, "%s", text);
        return 0;
}

int option_read(const struct option_desc *o, void *to, const char *text, char *why, size_t why_size) {
        uint64_t n;
        int r;

        switch (o->kind) {
        case OPTION_TEXT: return read_text(to, text, why, why_size);
        case OPTION_SWITCH: return read_switch(to, text, why, why_size);
        case OPTION_LEVEL: return read_level(to, text, why, why_size);
        case OPTION_DEVICE: return read_device(o, to, text, why, why_size);
        case OPTION_REGION: return read_region(o, to, text, why, why_size);
        default:
                r = read_bounded(o, text, &n, why, why_size);
                if (r == 0 && o->kind == OPTION_COUNT)
                        *(uint32_t *)to = (uint32_t)n;
                else if (r == 0)
                        *(uint64_t *)to = n;
                return r;
        }
}
