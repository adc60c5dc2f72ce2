#include "account/nvml.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
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

/* sscanf() would take a sign, and what is too large. */
static bool read_number(const char *word, uint64_t max, uint64_t *ret) {
        char *end;

        errno = 0;
        *ret = strtoull(word, &end, 10);
        return isdigit((unsigned char)word[0]) && !*end && errno == 0 && *ret <= max;
}

static bool read_bytes(const char *word, uint64_t *ret) {
        return read_number(word, NVML_BYTES_MAX, ret);
}

static bool read_process(struct nvml_report *r, uint64_t device, const char *pid, const char *used) {
        struct nvml_process *p = &r->processes[r->processes_count];
        uint64_t n;

        if (r->processes_count == NVML_PROCESSES_MAX - 1 || !read_number(pid, INT32_MAX, &n))
                return false;
        *p = (struct nvml_process){ .device = (uint32_t)device, .pid = (uint32_t)n, .bytes = NVML_UNKNOWN };
        if (strcmp(used, "-") != 0 && !read_bytes(used, &p->bytes))
                return false;
        r->processes_count++;
        return true;
}

static bool read_line(struct nvml_report *r, const char *line) {
        char what[8] = "", index[12] = "", first[48] = "", second[24] = "", end;
        int words = sscanf(line, "%7s %11s %47s %23s%c", what, index, first, second, &end);
        struct nvml_device d = { .there = true };
        uint64_t device;

        if (words == 1 && strcmp(line, "absent") == 0)
                return r->absent = true;
        if (!read_number(index, NVML_DEVICES_MAX - 1, &device))
                return false;
        if (words == 3 && strcmp(what, "error") == 0)
                memcpy(r->devices[device].error, first, sizeof(first));
        else if (words == 4 && strcmp(what, "device") == 0 && read_bytes(first, &d.total) &&
                 read_bytes(second, &d.used))
                r->devices[device] = d;
        else
                return words == 4 && strcmp(what, "process") == 0 && read_process(r, device, first, second);
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
