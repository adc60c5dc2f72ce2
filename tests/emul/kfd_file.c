#include "kfd_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "emul.h"
#include "kfd_model.h"
#include "machine.h"

static const struct machine *machine;
static struct kfd_model *model; /* until the process ends: files may be open still */

static int read_caller(void *userdata, uint64_t address, void *to, size_t size) {
        return caller_read(userdata, address, to, size);
}

static int write_caller(void *userdata, uint64_t address, const void *from, size_t size) {
        return caller_write(userdata, address, from, size);
}

static bool has_mapped(void *userdata, uint64_t address, uint64_t size) {
        return caller_has_mapped(userdata, address, size);
}

static int do_open(void *device, const struct caller *c, void **ret) {
        return kfd_model_open(device, (uint32_t)c->process, (struct kfd_file **)ret);
}

static void do_release(void *file) {
        kfd_model_close(file);
}

static int do_ioctl(void *file, const struct caller *c, unsigned number, void *data) {
        struct kfd_memory memory = { (void *)c, read_caller, write_caller, has_mapped };
        int r = kfd_model_call(file, (uint32_t)c->process, &memory, number, data);

        fprintf(stderr, "kfd %d 0x%02x %d\n", c->process, number & 0xff, r);
        return r;
}

/* ---- /sys/class/kfd/kfd/proc ---- */

enum { COUNTERS_DEEP = 2 };
static const char *const counters[] = { "page_in", "page_out", "faults" };

static int gpu_index(uint32_t id) {
        for (unsigned i = 0; i < machine->count; i++)
                if (machine->gpus[i].id == id)
                        return (int)i;
        return -1;
}

static int list_process(void (*add)(void *to, const char *name), void *to) {
        for (unsigned i = 0; i < machine->count; i++) {
                char name[32];

                snprintf(name, sizeof(name), "vram_%u", machine->gpus[i].id);
                add(to, name);
                snprintf(name, sizeof(name), "counters_%u", machine->gpus[i].id);
                add(to, name);
        }
        return 0;
}

static int do_list(void *device, const char *path, void (*add)(void *to, const char *name), void *to) {
        uint32_t process = 0, id = 0, at;
        char name[16];
        int end = 0;

        if (path[0] == 0) {
                for (unsigned i = 0; (at = kfd_model_process(device, i)) != 0; i++) {
                        snprintf(name, sizeof(name), "%u", at);
                        add(to, name);
                }
                return 0;
        }
        if (sscanf(path, "%" SCNu32 "%n", &process, &end) == 1 && !path[end]) {
                struct kfd_counters ignored;

                return kfd_model_counters(device, process, 0, &ignored) ? list_process(add, to) : -ENOENT;
        }
        if (sscanf(path, "%" SCNu32 "/counters_%" SCNu32 "%n", &process, &id, &end) != COUNTERS_DEEP || path[end] ||
            gpu_index(id) < 0)
                return -ENOENT;
        for (unsigned i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
                add(to, counters[i]);
        return 0;
}

static int do_text(void *device, const char *path, char *ret, size_t size) {
        uint32_t process = 0, id = 0;
        struct kfd_counters c;
        char name[16] = "";
        int end = 0;

        if (sscanf(path, "%" SCNu32 "/vram_%" SCNu32 "%n", &process, &id, &end) == 2 && end && !path[end])
                snprintf(name, sizeof(name), "vram");
        else if (sscanf(path, "%" SCNu32 "/counters_%" SCNu32 "/%15[a-z_]%n", &process, &id, name, &end) != 3 ||
                 path[end])
                return -ENOENT;
        if (gpu_index(id) < 0 || !kfd_model_counters(device, process, (unsigned)gpu_index(id), &c))
                return -ENOENT;
        if (strcmp(name, "vram") == 0)
                snprintf(ret, size, "%" PRIu64 "\n", c.vram);
        else if (strcmp(name, "page_in") == 0)
                snprintf(ret, size, "%" PRIu64 "\n", c.page_in);
        else if (strcmp(name, "page_out") == 0)
                snprintf(ret, size, "%" PRIu64 "\n", c.page_out);
        else if (strcmp(name, "faults") == 0)
                snprintf(ret, size, "0\n"); /* no device runs */
        else
                return -ENOENT;
        return 0;
}

int kfd_file_add(struct emul *e, const struct machine *m) {
        static const struct emul_driver driver = { do_open, do_release, do_ioctl };
        static const struct emul_folder folder = { do_list, do_text };
        int r = kfd_model_new(&model, m);

        if (r < 0)
                return r;
        machine = m;
        r = emul_add(e, "kfd", &driver, model);
        return r < 0 ? r : emul_add_folder(e, "kfd-proc", &folder, model);
}
