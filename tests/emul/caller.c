#include "caller.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/uio.h>

int caller_of(struct caller *ret, pid_t thread) {
        char line[128], path[64];
        int process = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/status", thread);
        f = fopen(path, "re");
        if (!f)
                return -ESRCH;
        while (process == 0 && fgets(line, sizeof(line), f))
                (void)!sscanf(line, "Tgid: %d", &process);
        fclose(f);
        if (process == 0)
                return -ESRCH;
        *ret = (struct caller){ .thread = thread, .process = process };
        return 0;
}

int caller_read(const struct caller *c, uint64_t address, void *to, size_t size) {
        struct iovec here = { to, size }, there = { (void *)(uintptr_t)address, size };

        if (size == 0)
                return 0;
        return process_vm_readv(c->process, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

int caller_write(const struct caller *c, uint64_t address, const void *from, size_t size) {
        struct iovec here = { (void *)(uintptr_t)from, size }, there = { (void *)(uintptr_t)address, size };

        if (size == 0)
                return 0;
        return process_vm_writev(c->process, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

bool caller_has_mapped(const struct caller *c, uint64_t address, uint64_t size) {
        uint64_t start, end, at = address;
        char line[512], path[64];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/maps", c->process);
        f = fopen(path, "re");
        if (!f)
                return false;
        while (at < address + size && fgets(line, sizeof(line), f))
                if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2 && start <= at && at < end)
                        at = end;
        fclose(f);
        return at >= address + size;
}
