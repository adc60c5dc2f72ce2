#include "bus/settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "bus/view.h"

/* Where the value of a name goes; `set` (may be NULL) says that it was given. */
struct setting {
        const char *name, *type; /* "t", "u", "b", "s", "(uu)", or "a(sst)": limits */
        void *to, *second;
        protobuf_c_boolean *set;
};

static const char *const bounds[] = { "max", "high", "low", "min" };
static const char *const windows[] = { "primary", "low" };

static int index_of(const char *const *names, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(names[i], name) == 0)
                        return (int)i;
        return -1;
}

static int wrong(sd_bus_error *error, const char *what, const char *value) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s %s is not known", what, value);
}

/* a(sst): node, which bound, bytes. */
static int read_limits(struct settings *s, sd_bus_message *m, sd_bus_error *error) {
        const char *node, *bound;
        uint64_t bytes;
        int r = sd_bus_message_enter_container(m, 'a', "(sst)");

        while (r >= 0 && (r = sd_bus_message_read(m, "(sst)", &node, &bound, &bytes)) > 0) {
                const struct view_node *n = NULL;
                int which = index_of(bounds, 4, bound);

                for (uint32_t i = 0; i < s->view->nodes_count && !n; i++)
                        if (strcmp(s->view->nodes[i].name, node) == 0)
                                n = &s->view->nodes[i];
                if (!n)
                        return wrong(error, "the node", node);
                if (which < 0)
                        return wrong(error, "the bound", bound);
                if (s->limits_count == SETTINGS_LIMITS)
                        return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "these are too many limits");
                svmd__v1__node_limit__init(&s->limits[s->limits_count]);
                s->limits[s->limits_count].node = n->id;
                s->limits[s->limits_count].max = bytes;
                s->limits[s->limits_count].bound = (Svmd__V1__Bound)which;
                s->list[s->limits_count] = &s->limits[s->limits_count];
                s->limits_count++;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_value(struct settings *s, sd_bus_message *m, const struct setting *row, sd_bus_error *error) {
        int r = sd_bus_message_enter_container(m, 'v', row->type), flag;
        const char *text;

        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s takes a value of type %s", row->name,
                                         row->type);
        if (row->set)
                *row->set = 1;
        if (row->type[0] == 'a')
                r = read_limits(s, m, error);
        else if (row->type[0] == '(')
                r = sd_bus_message_read(m, "(uu)", row->to, row->second);
        else if (row->type[0] == 'b') {
                r = sd_bus_message_read(m, "b", &flag);
                if (r >= 0)
                        *(protobuf_c_boolean *)row->to = flag;
        } else if (row->type[0] == 's') {
                r = sd_bus_message_read(m, "s", &text);
                if (r >= 0)
                        *(const char **)row->to = text;
        } else
                r = sd_bus_message_read_basic(m, row->type[0], row->to);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_all(struct settings *s, sd_bus_message *m, const struct setting *rows, size_t count,
                    sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const struct setting *row = NULL;

                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        break;
                for (size_t i = 0; i < count; i++)
                        if (strcmp(rows[i].name, name) == 0)
                                row = &rows[i];
                if (!row)
                        return wrong(error, "the setting", name);
                r = read_value(s, m, row, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

int settings_create(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionCreate *op, sd_bus_error *error) {
        const char *window = "primary";
        const struct setting rows[] = {
                { "Size", "t", &op->size, NULL, NULL },     { "Window", "s", &window, NULL, NULL },
                { "Domain", "s", &op->domain, NULL, NULL }, { "Owner", "(uu)", &op->uid, &op->gid, NULL },
                { "Mode", "u", &op->mode, NULL, NULL },     { "KeptMax", "t", &op->kept_max, NULL, &op->set_kept },
                { "Limits", "a(sst)", NULL, NULL, NULL },
        };
        int r = read_all(s, m, rows, COUNT(rows), error), which;

        if (r < 0)
                return r;
        which = index_of(windows, 2, window);
        if (which < 0)
                return wrong(error, "the window", window);
        op->window = (Svmd__V1__Window)which;
        op->limits = s->list;
        op->n_limits = s->limits_count;
        return 0;
}

int settings_set(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionSet *op, sd_bus_error *error) {
        protobuf_c_boolean deadline = 0;
        const struct setting rows[] = {
                { "Owner", "(uu)", &op->uid, &op->gid, &op->set_owner },
                { "Mode", "u", &op->mode, NULL, &op->set_mode },
                { "KeptMax", "t", &op->kept_max, NULL, &op->set_kept },
                { "Limits", "a(sst)", NULL, NULL, NULL },
                { "DeadlineMs", "t", &op->deadline_ms, NULL, &deadline },
                { "Steal", "b", &op->steal, NULL, NULL },
        };
        int r = read_all(s, m, rows, COUNT(rows), error);

        if (r < 0)
                return r;
        op->come_down = deadline;
        op->limits = s->list;
        op->n_limits = s->limits_count;
        return 0;
}

int settings_delete(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionDelete *op, sd_bus_error *error) {
        const struct setting rows[] = {
                { "EndSessions", "b", &op->end_sessions, NULL, NULL },
                { "DropKept", "b", &op->drop_kept, NULL, NULL },
        };

        return read_all(s, m, rows, COUNT(rows), error);
}
