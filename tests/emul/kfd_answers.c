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

enum { ME = 1, CHILD = 2, NO_GPU = 4711, ANSWERS = 16 };

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

static struct answers ask(const struct side *s) {
        struct answers a = { .count = 0 };

        ask_process(s, &a);
        ask_wrong(s, &a);
        return a;
}

static struct answers ask_model(enum kfd_rule broken) {
        static const struct machine nothing;
        struct side s = { .fd = -1 };
        struct answers a;

        if (kfd_model_new(&s.model, &nothing) < 0 || kfd_model_open(s.model, ME, &s.file) < 0)
                exit(2);
        kfd_model_break(s.model, broken);
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

static int self_test(void) {
        static const enum kfd_rule seen[] = { KFD_RULE_VERSION, KFD_RULE_UNKNOWN_CALL, KFD_RULE_FOREIGN,
                                              KFD_RULE_HANDLE };
        struct answers whole = ask_model(KFD_RULE_NONE);
        unsigned missed = compare(&whole, &whole, false);

        for (unsigned i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
                struct answers broken = ask_model(seen[i]);

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
        model = ask_model(KFD_RULE_NONE);
        real = ask(&device);
        return compare(&model, &real, true) ? 1 : 0;
}
