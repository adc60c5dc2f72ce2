/*
 * What the kernel and drivers tell of processes and of memory: the first byte says which file the rest is. Whatever it
 * is, what is made of it is whole: texts that end, and that do nothing to a terminal; regions that are counted right.
 */
#include "fuzz.h"

#include <ctype.h>
#include <string.h>

#include "account/memcg.h"
#include "account/report.h"
#include "account/where.h"

static void check_text(const char *text, size_t room) {
        size_t n = strnlen(text, room);

        must(n < room);
        for (size_t i = 0; i < n; i++)
                must(isgraph((unsigned char)text[i]));
}

static void check_where(const char *text, size_t size, bool whole) {
        struct where w;

        if (whole)
                where_parse(text, size, &w);
        else
                where_of_path(text, size, &w);
        check_text(w.cgroup, sizeof(w.cgroup));
        check_text(w.runtime, sizeof(w.runtime));
        check_text(w.container, sizeof(w.container));
        check_text(w.pod, sizeof(w.pod));
        must(!w.runtime[0] || w.container[0]);
}

static void check_fdinfo(const char *text, size_t size) {
        struct fdinfo f;

        fdinfo_parse(text, size, &f);
        check_text(f.driver, sizeof(f.driver));
        check_text(f.pdev, sizeof(f.pdev));
        must(f.regions_count <= REPORT_REGIONS);
        for (unsigned i = 0; i < f.regions_count; i++) {
                check_text(f.regions[i].name, sizeof(f.regions[i].name));
                must(f.regions[i].name[0]);
                for (unsigned j = 0; j < i; j++)
                        must(strcmp(f.regions[i].name, f.regions[j].name) != 0);
        }
}

static void check_dmem(const char *text, size_t size) {
        enum { ROOM = 4 };
        struct dmem_row rows[ROOM];
        unsigned count = dmem_parse(text, size, rows, ROOM);

        for (unsigned i = 0; i < count && i < ROOM; i++) {
                check_text(rows[i].driver, sizeof(rows[i].driver));
                check_text(rows[i].device, sizeof(rows[i].device));
                check_text(rows[i].region, sizeof(rows[i].region));
        }
}

/* The first byte says of which version and file the rest is. */
static void check_memcg(const char *text, size_t size) {
        struct memcg m = MEMCG_NONE;
        unsigned what = size ? (uint8_t)text[0] : 0;

        if (size == 0)
                return;
        (void)memcg_take(&m, 1 + what % 2, what / 2 % MEMCG_FILES, text + 1, size - 1);
        must(memcg_limit(&m) == MEMCG_NO_LIMIT || memcg_room(&m) <= memcg_limit(&m));
}

static void check_memory_path(const char *text, size_t size) {
        char path[64];
        unsigned version = where_memory(text, size, path, sizeof(path));

        must(version <= 2);
        must(!version || (path[0] == '/' && strnlen(path, sizeof(path)) < sizeof(path) && !strstr(path, "/..")));
}

/* Its first line, which ends with a 0 for those that take it. */
static void check_maps(const char *text, size_t size) {
        char *line = malloc(size + 1), *end;
        const char *name;
        uint64_t bytes;

        must(line);
        memcpy(line, text, size);
        line[size] = 0;
        end = line + strcspn(line, "\n");
        *end = 0;
        if (maps_line_parse(line, &name, &bytes)) {
                must(bytes > 0 && name >= line && name < end);
                must(name == strchr(line, '/') && memchr(line, '-', (size_t)(name - line)));
                must(!report_is_device(name) || strncmp(name, "/dev/", 5) == 0);
        }
        must(!report_is_device(line) || line[0] == '/');
        free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        uint64_t number;
        char *text;

        if (size == 0)
                return 0;
        /* Of just this size: reading behind it is seen. */
        text = malloc(size - 1 ? size - 1 : 1);
        must(text);
        memcpy(text, bytes + 1, size - 1);
        switch (bytes[0] % 8) {
        case 0: check_where(text, size - 1, true); break;
        case 1: check_where(text, size - 1, false); break;
        case 2: check_fdinfo(text, size - 1); break;
        case 3: check_dmem(text, size - 1); break;
        case 5: check_memcg(text, size - 1); break;
        case 6: check_memory_path(text, size - 1); break;
        case 7: check_maps(text, size - 1); break;
        default: (void)report_number(text, size - 1, &number); (void)report_key(text, size - 1, "shmem", &number);
        }
        free(text);
        return 0;
}
