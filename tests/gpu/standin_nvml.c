/*
 * A stand-in for libnvidia-ml.so.1, found by LD_LIBRARY_PATH and nowhere else. What it says of its one device stands in
 * the file that STANDIN_NVML names: total and used bytes, then a process and its bytes for each that uses it (-: not
 * known). Without it the library does not start, as where the driver is not loaded. "hang" and "crash" do that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, INVALID = 2, NOT_FOUND = 6, TOO_SMALL = 7, DRIVER_NOT_LOADED = 9 };

struct memory {
        unsigned long long total, free, used;
};

struct process {
        unsigned pid;
        unsigned long long bytes;
        unsigned gpu_instance, compute_instance;
};

static FILE *said(void) {
        const char *path = getenv("STANDIN_NVML");
        FILE *f = path ? fopen(path, "re") : NULL;
        char word[8] = "";

        if (f && fscanf(f, "%7s", word) == 1 && strcmp(word, "hang") == 0)
                sleep(1000);
        if (strcmp(word, "crash") == 0)
                abort();
        if (f)
                rewind(f);
        return f;
}

EXPORT int nvmlInit_v2(void) {
        FILE *f = said();

        if (!f)
                return DRIVER_NOT_LOADED;
        fclose(f);
        return OK;
}

EXPORT const char *nvmlErrorString(int r) {
        return r == DRIVER_NOT_LOADED ? "Driver Not Loaded" : r == NOT_FOUND ? "Not Found" : "Invalid Argument";
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **ret) {
        *ret = &nvmlInit_v2;
        return index == 0 ? OK : INVALID;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **ret) {
        *ret = &nvmlInit_v2;
        return strcmp(bus, "0000:01:00.0") == 0 ? OK : NOT_FOUND;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct memory *ret) {
        FILE *f = said();
        int n = fscanf(f, "%llu %llu", &ret->total, &ret->used);

        fclose(f);
        ret->free = ret->total - ret->used;
        return n == 2 ? OK : INVALID;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *ret) {
        unsigned room = *count;
        char bytes[24];
        FILE *f = said();

        *count = 0;
        if (fscanf(f, "%*s %*s") == 0)
                while (*count < room && fscanf(f, "%u %23s", &ret[*count].pid, bytes) == 2) {
                        ret[*count].bytes = bytes[0] == '-' ? ~0ull : strtoull(bytes, NULL, 10);
                        ++*count;
                }
        fclose(f);
        return *count == room ? TOO_SMALL : OK;
}
