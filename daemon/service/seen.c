#include "service/seen.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "mover/mover.h"
#include "service/internal.h"

#define MS_NS 1000000ull

/* ---- in the worker ---- */

static unsigned long read_number(const char *root, const char *path) {
        unsigned long v = 0;
        char full[512];
        FILE *file;

        snprintf(full, sizeof(full), "%s/%s", root, path);
        file = fopen(full, "re");
        if (!file)
                return 0;
        if (fscanf(file, "%lu", &v) != 1)
                v = 0;
        fclose(file);
        return v;
}

/* The kernel marks the setting that is in force with brackets. */
static bool large_folios(const char *sys) {
        char path[512], line[128] = "";
        FILE *file;

        snprintf(path, sizeof(path), "%s/kernel/mm/transparent_hugepage/shmem_enabled", sys);
        file = fopen(path, "re");
        if (!file)
                return false;
        if (!fgets(line, sizeof(line), file))
                line[0] = 0;
        fclose(file);
        return strstr(line, "[always]") || strstr(line, "[within_size]") || strstr(line, "[force]");
}

static bool is_there(const char *dev, const char *name) {
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", dev, name);
        return access(path, F_OK) == 0;
}

static void read_files(const struct service_options *o, struct seen_files *ret) {
        ret->max_map_count = read_number(o->proc_root, "sys/vm/max_map_count");
        ret->huge = read_number(o->sys_root, "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
        ret->huge_free = read_number(o->sys_root, "kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
        ret->large_folios = large_folios(o->sys_root);
        ret->dma_heap = is_there(o->dev_root, "dma_heap/system");
        ret->udmabuf = is_there(o->dev_root, "udmabuf");
}

static void seen_run(struct job *job) {
        struct seen *s = container_of(job, struct seen, job);

        read_files(&s->svc->options, &s->read);
}

/* ---- in the loop ---- */

static void seen_done(struct job *job) {
        struct seen *s = container_of(job, struct seen, job);

        s->files = s->read;
        s->read_ns = clock_ns(CLOCK_MONOTONIC);
        s->reading = false;
}

void seen_start(struct service *svc) {
        struct seen *s = &svc->seen;
        const struct kernel_has *all;
        size_t count = kernel_has_all(&all);

        s->svc = svc;
        read_files(&svc->options, &s->files);
        for (size_t i = 0; i < count; i++)
                s->has[i] = all[i].there(mover_features());
        s->read_ns = clock_ns(CLOCK_MONOTONIC);
}

static bool asks(const Svmd__V1__Request *m) {
        for (size_t i = 0; i < m->n_ops; i++)
                if (m->ops[i]->op_case == SVMD__V1__OP__OP_STATUS)
                        return true;
        return false;
}

static bool is_old(const struct seen *s, uint64_t now) {
        return now > s->read_ns + SEEN_AGE_MS * MS_NS;
}

bool seen_is_old(const struct service *svc, const Svmd__V1__Request *m) {
        return asks(m) && is_old(&svc->seen, clock_ns(CLOCK_MONOTONIC));
}

bool seen_wait(struct service *svc, struct request *r, const Svmd__V1__Request *m) {
        struct seen *s = &svc->seen;
        uint64_t now;

        if (!asks(m))
                return false;
        now = clock_ns(CLOCK_MONOTONIC);
        if (!is_old(s, now))
                return false;
        if (!s->reading) {
                s->reading = true;
                s->job = (struct job){ .lane = 0, .run = seen_run, .done = seen_done };
                list_init(&s->job.link);
                jobs_submit(svc->accounts.jobs, &s->job);
        }
        r->until_ns = r->until_ns ? r->until_ns : now + SEEN_WAIT_MS * MS_NS;
        r->again = now < r->until_ns;
        if (r->again)
                service_wake_soon(svc);
        return r->again;
}
