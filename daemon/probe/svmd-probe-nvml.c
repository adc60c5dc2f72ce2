#include <dlfcn.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/*
 * Asks NVIDIA's management library what the driver counts of the devices that are named, by number or PCI address, and
 * says so in lines of words (account/nvml.h has their form). A program of its own, because the library is not ours and
 * may crash or hang: svmd gives it a few seconds and takes nothing on trust. Neither linked nor compiled with anything
 * of NVIDIA's; where there is no library it says that.
 */
enum { OK = 0, INSUFFICIENT_SIZE = 7, PROCESSES = 512 };

struct memory {
        unsigned long long total, free, used;
};

struct process {
        unsigned pid;
        unsigned long long bytes; /* all ones: not known */
        unsigned gpu_instance, compute_instance;
};

_Static_assert(sizeof(struct memory) == 24 && sizeof(struct process) == 24, "layouts of the library");

static struct {
        int (*init)(void);
        int (*by_index)(unsigned index, void **ret);
        int (*by_bus)(const char *bus, void **ret);
        int (*memory)(void *device, struct memory *ret);
        int (*processes)(void *device, unsigned *count, struct process *ret);
        const char *(*error)(int r);
} nvml;

static int load(void) {
        static const struct {
                const char *symbol;
                void *to;
        } functions[] = {
                { "nvmlInit_v2", &nvml.init },
                { "nvmlDeviceGetHandleByIndex_v2", &nvml.by_index },
                { "nvmlDeviceGetHandleByPciBusId_v2", &nvml.by_bus },
                { "nvmlDeviceGetMemoryInfo", &nvml.memory },
                { "nvmlDeviceGetComputeRunningProcesses_v3", &nvml.processes },
                { "nvmlErrorString", &nvml.error },
        };
        void *l = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);

        for (size_t i = 0; l && i < sizeof(functions) / sizeof(functions[0]); i++) {
                void *f = dlsym(l, functions[i].symbol);

                if (!f)
                        return -1;
                memcpy(functions[i].to, &f, sizeof(f));
        }
        return l ? 0 : -1;
}

/* NVML's words, as one word. */
static void say_error(unsigned index, int r) {
        const char *text = nvml.error(r);
        char word[48];
        size_t n = 0;

        for (; text && text[n] && n < sizeof(word) - 1; n++)
                word[n] = text[n] == ' ' ? '-' : text[n];
        word[n] = 0;
        printf("error %u %s\n", index, n ? word : "unknown");
}

static void say_processes(unsigned index, void *device) {
        static struct process list[PROCESSES];
        unsigned count = PROCESSES;
        int r = nvml.processes(device, &count, list);

        if (r != OK && r != INSUFFICIENT_SIZE)
                return;
        for (unsigned i = 0; i < count && i < PROCESSES; i++) {
                printf("process %u %u ", index, list[i].pid);
                if (list[i].bytes == UINT64_MAX)
                        printf("-\n");
                else
                        printf("%llu\n", list[i].bytes);
        }
}

static void say_device(unsigned index, const char *name) {
        struct memory m = { 0 };
        void *device = NULL;
        int r = strchr(name, ':') ? nvml.by_bus(name, &device) : nvml.by_index((unsigned)atoi(name), &device);

        if (r == OK)
                r = nvml.memory(device, &m);
        if (r != OK) {
                say_error(index, r);
                return;
        }
        printf("device %u %llu %llu\n", index, m.total, m.used);
        say_processes(index, device);
}

int main(int argc, char **argv) {
        int r;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        printf("probe 1\n");
        if (load() < 0) {
                printf("absent\nend\n");
                return 0;
        }
        r = nvml.init();
        for (int i = 1; i < argc; i++) {
                if (r == OK)
                        say_device((unsigned)i - 1, argv[i]);
                else
                        say_error((unsigned)i - 1, r);
        }
        printf("end\n");
        fflush(stdout);
        _exit(0); /* the library's threads have nothing to end */
}
