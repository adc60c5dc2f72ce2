#include "stat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fds.h"
#include "heap.h"

/*
 * What became of the heap, as one line when the process ends: of the bytes that it had at its peak, how many were
 * managed, and how often granules left host memory and came back. A process that ends without atexit() says nothing.
 */
struct stat_counts stats;

static char path[256];
static bool wanted, json;
static int out = -1; /* of its own: programs close theirs before they end */

static void raise_peak(atomic_size_t *peak, size_t now) {
        size_t was = atomic_load_explicit(peak, memory_order_relaxed);

        while (was < now && !atomic_compare_exchange_weak(peak, &was, now))
                ;
}

void stat_managed(size_t bytes, bool more) {
        if (more)
                raise_peak(&stats.managed_peak, atomic_fetch_add(&stats.managed, bytes) + bytes);
        else
                atomic_fetch_sub(&stats.managed, bytes);
}

void stat_other(size_t bytes) {
        raise_peak(&stats.other_peak, atomic_fetch_add(&stats.other, bytes) + bytes);
}

void heap_say(const char *format, ...) {
        char text[1024];
        va_list args;
        int n, m;

        n = snprintf(text, sizeof(text), "svmd-run: %s[%d]: ", program_invocation_short_name, getpid());
        va_start(args, format);
        m = vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
        va_end(args);
        n = n + m < (int)sizeof(text) - 2 ? n + m : (int)sizeof(text) - 2;
        text[n++] = '\n';
        if (write(STDERR_FILENO, text, (size_t)n) < 0)
                return; /* the program has closed it */
}

struct moves {
        uint64_t outs, ins, granules;
};

static int count_row(const struct svmd_residency_row *row, void *userdata) {
        struct moves *m = userdata;

        m->outs += row->outs;
        m->ins += row->ins;
        m->granules += row->outs > 0;
        return 0;
}

static void count_moves(struct moves *m) {
        for (size_t i = 0; i < heap.count; i++)
                if (!heap.segment[i].snapshot && heap.session)
                        svmd_query_residency(heap.session, NULL, heap.segment[i].start, 0, 1, count_row, m);
}

static int format_line(char *text, size_t size, const struct moves *m) {
        size_t managed = stats.managed_peak, other = stats.other_peak + stats.early;
        double share = managed + other ? 100.0 * (double)managed / (double)(managed + other) : 0;

        if (json)
                return snprintf(
                        text, size,
                        "{\"pid\": %d, \"program\": \"%s\", \"managed\": %zu, \"other\": %zu, "
                        "\"left\": %llu, \"outs\": %llu, \"ins\": %llu, \"discarded\": %zu, \"snapshots\": %zu, "
                        "\"snapshot_bytes\": %zu}\n",
                        getpid(), program_invocation_short_name, managed, other,
                        (unsigned long long)(m->granules * GRANULE), (unsigned long long)(m->outs * GRANULE),
                        (unsigned long long)(m->ins * GRANULE), stats.discarded, stats.snapshots, stats.snapshot_bytes);
        return snprintf(text, size,
                        "svmd-run: %s[%d]: peak %zu KiB, %.1f %% of it managed; left host memory: %llu KiB, moved out "
                        "%llu KiB, in %llu KiB; discarded %zu KiB; %zu forks copied %zu KiB\n",
                        program_invocation_short_name, getpid(), (managed + other) >> 10, share,
                        (unsigned long long)(m->granules * GRANULE >> 10),
                        (unsigned long long)(m->outs * GRANULE >> 10), (unsigned long long)(m->ins * GRANULE >> 10),
                        stats.discarded >> 10, stats.snapshots, stats.snapshot_bytes >> 10);
}

static void put_line(const char *text, size_t size) {
        int fd = path[0] ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : out;

        if (fd < 0 || write(fd, text, size) < 0)
                return; /* there is nobody to say it to */
        if (fd != out)
                close(fd);
}

__attribute__((destructor)) static void stat_end(void) {
        struct moves m = { 0 };
        char text[1024];
        struct guard g;
        int n;

        if (!wanted || !heap.on)
                return;
        heap_enter(&g);
        count_moves(&m);
        heap_leave(&g);
        n = format_line(text, sizeof(text), &m);
        if (n > 0)
                put_line(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void stat_init(void) {
        const char *to = getenv("SVMD_RUN_STAT"), *as = getenv("SVMD_RUN_JSON");

        wanted = to;
        json = as && *as == '1';
        if (to && strlen(to) < sizeof(path))
                memcpy(path, to, strlen(to) + 1);
        if (wanted && !path[0])
                out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, fds_from());
}
