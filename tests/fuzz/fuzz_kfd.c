/*
 * What svmd-probe-kfd, which asks a driver, tells svmd: whatever it is, a report that is taken is whole. Names end and
 * do nothing to a terminal, links are between nodes that there are.
 */
#include "fuzz.h"

#include <ctype.h>
#include <string.h>

#include "backend/kfd.h"

static void check_text(const char *text, size_t room) {
        size_t n = strnlen(text, room);

        must(n < room);
        for (size_t i = 0; i < n; i++)
                must(isgraph((unsigned char)text[i]));
}

static void check(const struct kfd_report *r) {
        must(r->nodes_count <= KFD_NODES_MAX && r->links_count <= KFD_LINKS_MAX && r->errors_count <= KFD_ERRORS_MAX);
        for (uint32_t i = 0; i < r->nodes_count; i++)
                check_text(r->nodes[i].name, sizeof(r->nodes[i].name));
        for (uint32_t i = 0; i < r->links_count; i++) {
                must(r->links[i].from < r->nodes_count && r->links[i].to < r->nodes_count);
                check_text(r->links[i].type, sizeof(r->links[i].type));
        }
        for (uint32_t i = 0; i < r->errors_count; i++) {
                check_text(r->errors[i].what, sizeof(r->errors[i].what));
                must(kfd_report_error(r, r->errors[i].what));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static struct kfd_report report;
        char *text = malloc(size ? size : 1), why[160] = "";
        int r;

        /* Of just this size: reading behind it is seen. */
        must(text);
        if (size)
                memcpy(text, bytes, size);
        r = kfd_report_read(&report, text, size, why, sizeof(why));
        if (r == 0)
                check(&report);
        else
                must(why[0] && strnlen(why, sizeof(why)) < sizeof(why));
        free(text);
        return 0;
}
