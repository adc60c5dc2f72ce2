/*
 * The administrator of the demo. `demo-admin --socket S --name P create NODE=BYTES...` makes the partition that
 * everyone may attach to, with limits; `limit NODE=BYTES...` changes them; `state` prints what svmd has on its books;
 * `delete` removes the partition.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define ADMIN_LIMITS 64

struct node_search {
        const char *name;
        size_t length;
        svmd_node id;
};

static int compare_node(const struct svmd_node_row *row, void *userdata) {
        struct node_search *search = userdata;

        if (strlen(row->name) != search->length || memcmp(row->name, search->name, search->length) != 0)
                return 0;
        search->id = row->id;
        return -1;
}

static struct svmd_limit parse_limit(svmd_session *s, const char *text) {
        const char *equals = strchr(text, '=');
        struct node_search search = { .name = text, .length = equals ? (size_t)(equals - text) : 0 };

        if (!equals || svmd_query_nodes(s, compare_node, &search) != -1) {
                fprintf(stderr, "'%s' should be NODE=BYTES with a node that svmd has\n", text);
                exit(2);
        }
        return (struct svmd_limit){ .node = search.id, .max = strtoull(equals + 1, NULL, 10) };
}

static size_t parse_limits(svmd_session *s, struct svmd_limit *limits, char **args, size_t count) {
        size_t n = 0;

        while (n < count && n < ADMIN_LIMITS) {
                limits[n] = parse_limit(s, args[n]);
                n++;
        }
        return n;
}

static void limit(svmd_session *s, const char *name, char **args, size_t count) {
        struct svmd_limit limits[ADMIN_LIMITS];
        struct svmd_partition_options opts = { .size = sizeof(opts), .limits = limits };

        opts.limits_count = parse_limits(s, limits, args, count);
        must(svmd_partition_set(s, name, &opts, 0), "partition-set");
}

static void create(svmd_session *s, const char *name, char **args, size_t count) {
        struct svmd_limit limits[ADMIN_LIMITS];
        struct svmd_partition_options opts = {
                .size = sizeof(opts),
                .length = 64ull << 30,
                .window = SVMD_WINDOW_PRIMARY,
                .mode = 0644,
                .limits = limits,
        };
        uint64_t base;

        opts.limits_count = parse_limits(s, limits, args, count);
        must(svmd_partition_create(s, name, &opts, &base), "partition-create");
        say("partition name=%s base=0x%" PRIx64, name, base);
}

static int print_node(const struct svmd_node_row *row, void *userdata) {
        say("node id=%u name=%s kind=%u capacity=%" PRIu64 " used=%" PRIu64 " hive=%" PRIu64 " pool=%" PRIu64
            " spaces=%" PRIu64 " ops=%" PRIu64 " managed=%" PRIu64 " warm=%" PRIu64 " text=%s",
            row->id, row->name, row->kind, row->capacity, row->used, row->hive, row->pool_bytes, row->spaces, row->ops,
            row->managed, row->warm, row->model);
        return 0;
}

static int print_use(const struct svmd_use_row *row, void *userdata) {
        say("use partition=%s session=%" PRIu64 " uid=%u node=%u used=%" PRIu64 " peak=%" PRIu64 " max=%" PRIu64,
            row->partition, row->session, row->uid, row->node, row->used, row->peak, row->max);
        return 0;
}

static int print_reservation(const struct svmd_reservation_row *row, void *userdata) {
        say("reservation id=%" PRIu64 " address=0x%" PRIx64 " length=%" PRIu64 " mapped=%" PRIu64 " openers=%u name=%s",
            row->id, row->address, row->length, row->mapped, row->openers, row->name);
        return 0;
}

static int print_session(const struct svmd_session_row *row, void *userdata) {
        say("session id=%" PRIu64 " partition=%s pid=%u uid=%u memories=%" PRIu64 " spaces=%" PRIu64, row->id,
            row->partition, row->pid, row->uid, row->memories, row->spaces);
        return 0;
}

static void print_state(svmd_session *s, const char *partition) {
        struct svmd_status status = { .size = sizeof(status) };

        must(svmd_query_status(s, &status), "status");
        say("status pid=%u keeper=%d reservations=%" PRIu64 " memories=%" PRIu64 " mappings=%" PRIu64 " spaces=%" PRIu64
            " refusals=%" PRIu64,
            status.pid, status.keeper, status.reservations, status.memories, status.mappings, status.spaces,
            status.refusals);
        must(svmd_query_nodes(s, print_node, NULL), "nodes");
        must(svmd_query_usage(s, partition, print_use, NULL), "usage");
        must(svmd_query_reservations(s, partition, print_reservation, NULL), "reservations");
        must(svmd_query_sessions(s, partition, print_session, NULL), "sessions");
}

int main(int argc, char **argv) {
        static const struct option options[] = { DEMO_OPTIONS, { 0 } };
        struct demo_options o;
        const char *command;
        svmd_session *s;

        demo_parse(&o, argc, argv, options, NULL);
        command = optind < argc ? argv[optind] : "";
        s = demo_connect(&o);
        if (strcmp(command, "create") == 0) {
                create(s, o.name, argv + optind + 1, (size_t)(argc - optind - 1));
        } else if (strcmp(command, "limit") == 0) {
                limit(s, o.name, argv + optind + 1, (size_t)(argc - optind - 1));
        } else if (strcmp(command, "state") == 0) {
                print_state(s, o.name);
        } else if (strcmp(command, "delete") == 0) {
                must(svmd_partition_delete(s, o.name, 0, 0), "partition-delete");
        } else {
                fprintf(stderr, "'%s' is none of create, limit, state and delete\n", command);
                return 2;
        }
        svmd_disconnect(s);
        say("bye");
        return 0;
}
