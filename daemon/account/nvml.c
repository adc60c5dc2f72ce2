#include "account/nvml.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/complain.h"

/* ---- what it says ---- */

static bool read_line(struct nvml_report *r, const char *line) {
        struct nvml_process *p = &r->processes[r->processes_count];
        struct nvml_device d = { .there = true };
        char bytes[24] = "", word[48] = "", end;
        uint32_t index;

        if (strcmp(line, "absent") == 0) {
                r->absent = true;
                return true;
        }
        if (sscanf(line, "device %" SCNu32 " %" SCNu64 " %" SCNu64 "%c", &index, &d.total, &d.used, &end) == 3 &&
            index < NVML_DEVICES_MAX) {
                r->devices[index] = d;
                return true;
        }
        if (sscanf(line, "error %" SCNu32 " %47s%c", &index, word, &end) == 2 && index < NVML_DEVICES_MAX) {
                memcpy(r->devices[index].error, word, sizeof(word));
                return true;
        }
        if (sscanf(line, "process %" SCNu32 " %" SCNu32 " %23s%c", &index, &p->pid, bytes, &end) != 3 ||
            index >= NVML_DEVICES_MAX || r->processes_count == NVML_PROCESSES_MAX - 1)
                return false;
        p->device = index;
        p->bytes = strcmp(bytes, "-") == 0 ? NVML_UNKNOWN : strtoull(bytes, NULL, 10);
        r->processes_count++;
        return true;
}

int nvml_read(struct nvml_report *ret, const char *text, size_t size) {
        const char *end = text + size, *next;
        unsigned number = 0;
        char line[160];

        memset(ret, 0, sizeof(*ret));
        for (; text < end; text = next + 1, number++) {
                next = memchr(text, '\n', (size_t)(end - text));
                if (!next || next - text >= (ptrdiff_t)sizeof(line))
                        return -EBADMSG;
                memcpy(line, text, (size_t)(next - text));
                line[next - text] = 0;
                if (strcmp(line, "end") == 0)
                        return number > 0 && next + 1 == end ? 0 : -EBADMSG;
                if (number == 0 ? strcmp(line, "probe 1") != 0 : !read_line(ret, line))
                        return -EBADMSG;
        }
        return -EBADMSG;
}

/* ---- asking ---- */

/* All that it says until it closes its output: how much, or -ETIMEDOUT, -EFBIG. */
static ssize_t hear(int fd, char *text) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + NVML_PATIENCE_MS * 1000000ull, now;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        size_t size = 0;
        ssize_t n;

        while ((now = clock_ns(CLOCK_MONOTONIC)) < until) {
                if (poll(&p, 1, (int)((until - now) / 1000000) + 1) <= 0)
                        continue;
                n = read(fd, text + size, NVML_TEXT_MAX - size);
                if (n == 0)
                        return size == NVML_TEXT_MAX ? -EFBIG : (ssize_t)size;
                size += n > 0 ? (size_t)n : 0;
        }
        return -ETIMEDOUT;
}

/* It has closed its output, and has as long again to end by itself. */
static int status_of(pid_t pid) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + NVML_PATIENCE_MS * 1000000ull;
        int status = -1;

        while (clock_ns(CLOCK_MONOTONIC) < until) {
                if (waitpid(pid, &status, WNOHANG) == pid)
                        return status;
                (void)poll(NULL, 0, 2);
        }
        child_end(pid);
        return -1;
}

static int judge(struct nvml_report *ret, pid_t pid, ssize_t size, const char *text, char *why, size_t why_size) {
        int status;

        if (size < 0) {
                child_end(pid);
                return complain(why, why_size, (int)size,
                                size == -EFBIG ? "said more than %d KiB, and was ended"
                                               : "was not done after %d ms, and was ended",
                                size == -EFBIG ? NVML_TEXT_MAX / 1024 : NVML_PATIENCE_MS);
        }
        status = status_of(pid);
        if (status != 0)
                return complain(why, why_size, -EBADMSG, "did not end well (%s %d)",
                                WIFSIGNALED(status) ? "signal" : "exit status",
                                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return nvml_read(ret, text, (size_t)size) == 0
                       ? 0
                       : complain(why, why_size, -EBADMSG, "said what this svmd does not understand");
}

int nvml_ask(struct nvml_report *ret, const char *program, const char *const *devices, unsigned count, char *why,
             size_t why_size) {
        char *argv[NVML_DEVICES_MAX + 2] = { (char *)program };
        char *text = alloc_zero(NVML_TEXT_MAX);
        int out[2], r;
        pid_t pid;

        for (unsigned i = 0; i < count && i < NVML_DEVICES_MAX; i++)
                argv[i + 1] = (char *)devices[i];
        r = !text ? -ENOMEM : pipe2(out, O_CLOEXEC) < 0 ? -errno : 0;
        if (r == 0) {
                r = child_spawn(program, argv, out[1], &pid);
                close(out[1]);
                r = r < 0 ? complain(why, why_size, r, "cannot be started: %s", strerror(-r))
                          : judge(ret, pid, hear(out[0], text), text, why, why_size);
                close(out[0]);
        } else {
                (void)complain(why, why_size, r, "cannot be started: %s", strerror(-r));
        }
        alloc_free(text);
        return r;
}
