#include "service/told.h"

#include <string.h>

#include "base/text.h"

static struct told *row_at(struct told_rows t, size_t i) {
        return (struct told *)((char *)t.rows + i * t.size);
}

struct told *told_meet(struct told_rows t, const char *subject, bool *ret_new) {
        struct told *free = NULL;

        for (size_t i = 0; i < t.count; i++) {
                struct told *row = row_at(t, i);

                if (strncmp(row->subject, subject, sizeof(row->subject) - 1) == 0) {
                        row->met = true;
                        *ret_new = false;
                        return row;
                }
                if (!free && !row->subject[0])
                        free = row;
        }
        if (!free)
                return NULL;
        text_copy(free->subject, subject);
        free->met = true;
        *ret_new = true;
        return free;
}

void told_end(struct service *svc, struct told_rows t, void (*ends)(struct service *svc, const struct told *row)) {
        for (size_t i = 0; i < t.count; i++) {
                struct told *row = row_at(t, i);

                if (row->subject[0] && !row->met) {
                        ends(svc, row);
                        row->subject[0] = 0;
                }
                row->met = false;
        }
}
