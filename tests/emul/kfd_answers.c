/*
 * The same calls to the model of /dev/kfd and to a real one of a machine without AMD GPUs: what both can answer, they
 * answer alike.
 *
 *      emul-kfd-answers /dev/kfd       compares; every answer of the two that differs is told
 *      emul-kfd-answers --self-test    compares the model with one whose rules are broken, one after the other: each of
 *                                      those that these calls can tell apart is seen to differ
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kfd_model.h"
#include "machine.h"
#include "proto/uapi/kfd.h"

enum { ME = 1, CHILD = 2, NO_GPU = 4711, ANSWERS = 64 };

/* One of them: a real file, or else the model. */
struct side {
        int fd;
        struct kfd_model *model;
        struct kfd_file *file;
};

struct answer {
        const char *call;
        int result; /* 0 or a negative errno */
        uint64_t said[2];
};

struct answers {
        struct answer at[ANSWERS];
        unsigned count;
};

/* ---- asking ---- */

static int mem_read(void *userdata, uint64_t address, void *to, size_t size) {
        memcpy(to, (void *)(uintptr_t)address, size);
        return 0;
}

static int mem_write(void *userdata, uint64_t address, const void *from, size_t size) {
        memcpy((void *)(uintptr_t)address, from, size);
        return 0;
}

static bool mem_mapped(void *userdata, uint64_t address, uint64_t size) {
        return false;
}

static int call_as(const struct side *s, uint32_t process, unsigned number, void *data) {
        const struct kfd_memory memory = { NULL, mem_read, mem_write, mem_mapped };

        if (s->model)
                return kfd_model_call(s->file, process, &memory, number, data);
        return ioctl(s->fd, number, data) < 0 ? -errno : 0;
}

static void note(struct answers *a, const char *call, int result, uint64_t first, uint64_t second) {
        a->at[a->count++] = (struct answer){ call, result, { first, second } };
}

/* By a process that did not open the file. */
static int ask_as_child(const struct side *s) {
        struct kfd_get_version_args v = { 0 };
        int status;
        pid_t child = fork();

        if (child == 0)
                _exit(-call_as(s, CHILD, KFD_GET_VERSION, &v));
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
                exit(2);
        return -WEXITSTATUS(status);
}

static void ask_process(const struct side *s, struct answers *a) {
        struct kfd_aperture got[2] = { 0 };
        struct kfd_apertures_args none = { .apertures = (uintptr_t)got },
                                  two = { .apertures = (uintptr_t)got, .count = 2 };
        struct kfd_get_version_args v = { 0 };
        int r = call_as(s, ME, KFD_GET_VERSION, &v);

        note(a, "version", r, v.major, v.minor);
        note(a, "an unknown call", call_as(s, ME, _IOWR('K', 0x7f, uint64_t), &v), 0, 0);
        note(a, "version, asked by a child", ask_as_child(s), 0, 0);
        r = call_as(s, ME, KFD_APERTURES, &none);
        note(a, "how many apertures", r, none.count, 0);
        r = call_as(s, ME, KFD_APERTURES, &two);
        note(a, "apertures, room for two", r, two.count, got[0].gpu_id);
}

/* Of a GPU that is not there. */
static void ask_wrong(const struct side *s, struct answers *a) {
        uint32_t gpu = NO_GPU;
        struct kfd_alloc_memory_args alloc = { .size = 4096, .gpu_id = NO_GPU, .flags = KFD_ALLOC_WRITABLE | 1 };
        struct kfd_free_memory_args freed = { .handle = (uint64_t)NO_GPU << 32 };
        struct kfd_map_memory_args map = { .handle = freed.handle, .gpu_ids = (uintptr_t)&gpu, .count = 1 };
        struct kfd_map_memory_args nothing = { .handle = freed.handle };
        struct kfd_acquire_vm_args vm = { .drm_fd = UINT32_MAX, .gpu_id = NO_GPU };
        struct kfd_create_queue_args queue = { .gpu_id = NO_GPU };
        struct kfd_destroy_queue_args gone = { .queue_id = 7 };

        note(a, "alloc", call_as(s, ME, KFD_ALLOC_MEMORY, &alloc), 0, 0);
        note(a, "free", call_as(s, ME, KFD_FREE_MEMORY, &freed), 0, 0);
        note(a, "map", call_as(s, ME, KFD_MAP_MEMORY, &map), 0, 0);
        note(a, "map on no GPU", call_as(s, ME, KFD_MAP_MEMORY, &nothing), 0, 0);
        note(a, "unmap", call_as(s, ME, KFD_UNMAP_MEMORY, &map), 0, 0);
        note(a, "acquire a VM", call_as(s, ME, KFD_ACQUIRE_VM, &vm), 0, 0);
        note(a, "create a queue", call_as(s, ME, KFD_CREATE_QUEUE, &queue), 0, 0);
        note(a, "destroy a queue", call_as(s, ME, KFD_DESTROY_QUEUE, &gone), 0, 0);
}

/* GPUs, queues and events that are not there, in calls of other things than memory. */
static void ask_settings(const struct side *s, struct answers *a) {
        struct kfd_memory_policy_args policy = { .gpu_id = NO_GPU };
        struct kfd_clock_counters_args clocks = { .gpu_id = NO_GPU };
        struct kfd_scratch_args scratch = { .gpu_id = NO_GPU };
        struct kfd_tile_config_args tiles = { .gpu_id = NO_GPU };
        struct kfd_trap_handler_args trap = { .gpu_id = NO_GPU };
        struct kfd_available_memory_args available = { .gpu_id = NO_GPU };
        struct kfd_smi_events_args smi = { .gpu_id = NO_GPU };
        int r;

        note(a, "memory policy", call_as(s, ME, KFD_SET_MEMORY_POLICY, &policy), 0, 0);
        r = call_as(s, ME, KFD_CLOCK_COUNTERS, &clocks);
        note(a, "clocks", r, clocks.gpu_clock, clocks.cpu_clock != 0);
        note(a, "scratch", call_as(s, ME, KFD_SET_SCRATCH, &scratch), 0, 0);
        note(a, "tile configuration", call_as(s, ME, KFD_TILE_CONFIG, &tiles), 0, 0);
        note(a, "trap handler", call_as(s, ME, KFD_SET_TRAP_HANDLER, &trap), 0, 0);
        note(a, "available memory", call_as(s, ME, KFD_AVAILABLE_MEMORY, &available), 0, 0);
        note(a, "events of a GPU", call_as(s, ME, KFD_SMI_EVENTS, &smi), 0, 0);
}

static void ask_events(const struct side *s, struct answers *a) {
        struct kfd_create_event_args created = { .auto_reset = 1 };
        struct kfd_event_args event = { .event_id = 4000 };

        note(a, "set an event", call_as(s, ME, KFD_SET_EVENT, &event), 0, 0);
        note(a, "reset an event", call_as(s, ME, KFD_RESET_EVENT, &event), 0, 0);
        note(a, "destroy an event", call_as(s, ME, KFD_DESTROY_EVENT, &event), 0, 0);
        note(a, "create an event", call_as(s, ME, KFD_CREATE_EVENT, &created), 0, 0);
        event.event_id = created.event_id;
        note(a, "set it", call_as(s, ME, KFD_SET_EVENT, &event), 0, 0);
        note(a, "reset it", call_as(s, ME, KFD_RESET_EVENT, &event), 0, 0);
        note(a, "destroy it", call_as(s, ME, KFD_DESTROY_EVENT, &event), 0, 0);
        note(a, "destroy it again", call_as(s, ME, KFD_DESTROY_EVENT, &event), 0, 0);
}

/* Calls whose structure was shorter or is longer, and numbers around those that there are. */
static void ask_sizes(const struct side *s, struct answers *a) {
        uint32_t words[16] = { 0 };
        struct kfd_get_version_args v = { 0 };
        int r = call_as(s, ME, _IOR('K', 0x01, uint32_t), &v);

        note(a, "version, half of it", r, v.major, v.minor);
        r = call_as(s, ME, _IOC(_IOC_READ, 'K', 0x01, sizeof(words)), words);
        note(a, "version, with more room", r, words[0], words[1]);
        memset(words, 0, sizeof(words));
        r = call_as(s, ME, _IOC(_IOC_READ, 'X', 0x01, 8), words);
        note(a, "version, of another type", r, words[0], words[1]);
        note(a, "call 0", call_as(s, ME, _IOWR('K', 0, uint64_t), words), 0, 0);
        note(a, "the call behind the last", call_as(s, ME, _IOWR('K', 0x24, uint64_t), words), 0, 0);
        note(a, "free, half of a handle", call_as(s, ME, _IOW('K', 0x17, uint32_t), words), 0, 0);
}

/* What no model has: with nothing there that they could be about. */
static void ask_others(const struct side *s, struct answers *a) {
        static const struct {
                const char *name;
                unsigned number, size;
        } calls[] = {
                { "update a queue", 0x07, 24 },   { "register a debugger", 0x0d, 8 },
                { "mask of units", 0x1a, 16 },    { "state of a queue", 0x1b, 24 },
                { "about a dma-buf", 0x1c, 32 },  { "import a dma-buf", 0x1d, 24 },
                { "global wave sync", 0x1e, 16 }, { "checkpoint, no such step", 0x22, 56 },
        };

        for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
                uint32_t words[16];

                memset(words, 0x7f, sizeof(words));
                note(a, calls[i].name,
                     call_as(s, ME, _IOC(_IOC_READ | _IOC_WRITE, 'K', calls[i].number, calls[i].size), words), 0, 0);
        }
}

/* Of a kernel that was built without it all is refused alike, whatever is asked; with it, of what is not there. */
static void ask_svm(const struct side *s, struct answers *a) {
        static const char *const names[] = { "XNACK", "attributes of nothing", "attributes at 0", "attributes get",
                                             "attributes, no operation" };
        struct {
                struct kfd_svm_args args;
                struct kfd_svm_attribute attribute;
        } x[] = {
                { { .start = 1 << 30, .count = 1 }, { KFD_SVM_GRANULARITY, 9 } },
                { { .start = 0, .size = 4096, .count = 1 }, { KFD_SVM_GRANULARITY, 9 } },
                { { .start = 1 << 30, .size = 4096, .operation = KFD_SVM_GET, .count = 1 },
                  { KFD_SVM_GRANULARITY, 0 } },
                { { .start = 1 << 30, .size = 4096, .operation = 7, .count = 1 }, { KFD_SVM_GRANULARITY, 9 } },
        };
        struct kfd_xnack_args xnack = { -1 };
        int first = call_as(s, ME, KFD_XNACK, &xnack);

        note(a, names[0], first, 0, 0);
        for (unsigned i = 0; i < 4; i++)
                note(a, names[i + 1], call_as(s, ME, KFD_SVM_WITH(1), &x[i]), 0, 0);
}

static struct answers ask(const struct side *s) {
        struct answers a = { .count = 0 };

        ask_process(s, &a);
        ask_wrong(s, &a);
        ask_settings(s, &a);
        ask_events(s, &a);
        ask_sizes(s, &a);
        ask_others(s, &a);
        ask_svm(s, &a);
        return a;
}

static struct answers ask_model(enum kfd_rule broken, bool without_svm) {
        static const struct machine nothing;
        struct side s = { .fd = -1 };
        struct answers a;

        if (kfd_model_new(&s.model, &nothing) < 0 || kfd_model_open(s.model, ME, &s.file) < 0)
                exit(2);
        kfd_model_break(s.model, broken);
        if (without_svm)
                kfd_model_without_svm(s.model);
        a = ask(&s);
        kfd_model_close(s.file);
        kfd_model_free(s.model);
        return a;
}

/* ---- comparing ---- */

static const char *error_name(int result) {
        return result == 0 ? "done" : strerrorname_np(-result);
}

static unsigned compare(const struct answers *a, const struct answers *b, bool tell) {
        unsigned differ = 0;

        for (unsigned i = 0; i < a->count; i++) {
                const struct answer *x = &a->at[i], *y = &b->at[i];
                bool same = x->result == y->result && x->said[0] == y->said[0] && x->said[1] == y->said[1];

                differ += !same;
                if (tell)
                        printf("%-26s model: %s %llu %llu, device: %s %llu %llu%s\n", x->call, error_name(x->result),
                               (unsigned long long)x->said[0], (unsigned long long)x->said[1], error_name(y->result),
                               (unsigned long long)y->said[0], (unsigned long long)y->said[1],
                               same ? "" : "   DIFFERENT");
        }
        return differ;
}

static bool is_without_svm(const struct answers *a) {
        for (unsigned i = 0; i < a->count; i++)
                if (strcmp(a->at[i].call, "XNACK") == 0)
                        return a->at[i].result == -EPERM;
        return false;
}

static int self_test(void) {
        static const enum kfd_rule seen[] = { KFD_RULE_VERSION, KFD_RULE_UNKNOWN_CALL, KFD_RULE_FOREIGN,
                                              KFD_RULE_HANDLE,  KFD_RULE_EVENT,        KFD_RULE_SIZES,
                                              KFD_RULE_CLOCKS,  KFD_RULE_OTHERS,       KFD_RULE_GPU_KNOWN,
                                              KFD_RULE_SVM_VMA };
        struct answers whole = ask_model(KFD_RULE_NONE, false), without = ask_model(KFD_RULE_NONE, true);
        struct answers with = ask_model(KFD_RULE_WITHOUT_SVM, true);
        unsigned missed = compare(&whole, &whole, false);

        missed += is_without_svm(&whole) || !is_without_svm(&without) || compare(&without, &with, false) == 0;
        for (unsigned i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
                struct answers broken = ask_model(seen[i], false);

                if (compare(&whole, &broken, false) > 0)
                        continue;
                printf("no answer is another when rule number %d is broken\n", seen[i]);
                missed++;
        }
        return missed ? 1 : 0;
}

int main(int argc, char **argv) {
        struct side device = { .fd = -1 };
        struct answers model, real;

        if (argc == 2 && strcmp(argv[1], "--self-test") == 0)
                return self_test();
        if (argc != 2 || (device.fd = open(argv[1], O_RDWR | O_CLOEXEC)) < 0) {
                fprintf(stderr, "usage: emul-kfd-answers --self-test | DEVICE%s%s\n", argc == 2 ? ": " : "",
                        argc == 2 ? strerror(errno) : "");
                return 2;
        }
        real = ask(&device);
        model = ask_model(KFD_RULE_NONE, is_without_svm(&real));
        return compare(&model, &real, true) ? 1 : 0;
}
