#include "bugreport.h"
#include "ctl.h"
#include "reach.h"
#include "rows.h"
#include "verbs.h"

struct naming {
        struct ctl *ctl;
        FILE *out;
};

static void name(FILE *out, char kind, const char *text) {
        if (!text || !*text)
                return;
        fputc(kind, out);
        fputs(text, out);
        fputc('\0', out);
}

static int on_holder(const struct svmd_holder_row *h, void *userdata) {
        const struct naming *n = userdata;

        name(n->out, 'c', h->client);
        name(n->out, 'c', h->process);
        name(n->out, 'o', h->container);
        name(n->out, 'o', h->pod);
        name(n->out, 'o', h->container_name);
        name(n->out, 'o', h->pod_name);
        name(n->out, 'o', h->pod_namespace);
        name(n->out, BUGREPORT_CGROUP, h->cgroup);
        return 0;
}

static int name_partitions(const struct naming *n) {
        struct partition_rows rows = { 0 };
        int r = rows_partitions(n->ctl, NULL, &rows);

        for (size_t i = 0; i < rows.count; i++) {
                name(n->out, 'p', rows.rows[i].name);
                name(n->out, 'd', rows.rows[i].domain);
        }
        return r;
}

static int name_sessions(const struct naming *n) {
        struct session_rows rows = { 0 };
        int r = rows_sessions(n->ctl, NULL, &rows);

        for (size_t i = 0; i < rows.count; i++)
                name(n->out, 'c', rows.rows[i].client);
        return r;
}

static int name_reservations(const struct naming *n) {
        struct reservation_rows rows = { 0 };
        int r = rows_reservations(n->ctl, NULL, &rows);
        unsigned explained = 0;

        for (size_t i = 0; i < rows.count; i++) {
                const struct svmd_reservation_row *row = &rows.rows[i];

                name(n->out, 'r', row->name);
                if (row->kind != SVMD_EXPLICIT && explained < BUGREPORT_EXPLAINED) {
                        explained++;
                        name(n->out, BUGREPORT_EXPLAIN,
                             ctl_text(n->ctl, "%s --partition %s", ctl_address(n->ctl, row->address), row->partition));
                }
        }
        return r;
}

static int name_kept(const struct naming *n) {
        struct kept_rows rows = { 0 };
        int r = rows_kept(n->ctl, NULL, &rows);

        for (size_t i = 0; i < rows.count; i++)
                name(n->out, 'k', rows.rows[i].name);
        return r;
}

int bugreport_names(struct ctl *c, FILE *out) {
        struct naming n = { c, out };
        const char *why;
        int r = reach_quietly(c, VERB_ADMIN, &why);

        if (r != EXIT_OK)
                return r;
        r = name_partitions(&n);
        if (r == SVMD_OK)
                r = name_sessions(&n);
        if (r == SVMD_OK)
                r = name_reservations(&n);
        if (r == SVMD_OK)
                r = name_kept(&n);
        if (r == SVMD_OK)
                r = svmd_query_holders(c->session, NULL, on_holder, &n);
        return r == SVMD_OK ? EXIT_OK : EXIT_REFUSED;
}
