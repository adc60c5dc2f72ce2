#include "ledger_json.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "range_states.h"

enum { TEXT_SIZE = 1 << 16, RANGES = 8 };

/* ---- what svmd-ctl says ---- */

static struct json_object *ask(const struct daemon *d) {
        static char text[TEXT_SIZE];
        char command[256];
        struct json_object *o;
        FILE *f;

        snprintf(command, sizeof(command), "%s --runtime-dir %s/run --json node list", SVMD_CTL_PROGRAM, d->dir);
        f = popen(command, "re");
        must(f);
        text[fread(text, 1, sizeof(text) - 1, f)] = 0;
        must(pclose(f) == 0);
        o = json_tokener_parse(text);
        must(o);
        return o;
}

static uint64_t number(struct json_object *o, const char *key) {
        struct json_object *value;

        must(json_object_object_get_ex(o, key, &value));
        return json_object_get_uint64(value);
}

static void said(const struct daemon *d, uint64_t ret[RANGE_NODES]) {
        struct json_object *list = ask(d);

        memset(ret, 0, RANGE_NODES * sizeof(*ret));
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *node = json_object_array_get_idx(list, i);

                must(number(node, "id") < RANGE_NODES);
                ret[number(node, "id")] = number(node, "managed");
        }
        json_object_put(list);
}

/* ---- copies ---- */

struct walk {
        uint64_t address[RANGES], length[RANGES];
        unsigned ranges;
        uint64_t *copies;
};

static int note_range(const struct svmd_reservation_row *row, void *userdata) {
        struct walk *w = userdata;

        if (row->kind != SVMD_SHARED)
                return 0;
        must(w->ranges < RANGES);
        w->address[w->ranges] = row->address;
        w->length[w->ranges++] = row->length;
        return 0;
}

static int add_copies(const struct svmd_residency_row *row, void *userdata) {
        const struct walk *w = userdata;

        for (unsigned node = 0; node < RANGE_NODES; node++)
                if (row->copies & 1ull << node)
                        w->copies[node] += row->length;
        return 0;
}

static void count_copies(const struct daemon *d, const char *partition, uint64_t ret[RANGE_NODES]) {
        struct walk w = { .copies = ret };
        svmd_session *watcher;

        memset(ret, 0, RANGE_NODES * sizeof(*ret));
        connect_watcher(&watcher, d->admin);
        ok(svmd_query_reservations(watcher, partition, note_range, &w));
        for (unsigned i = 0; i < w.ranges; i++)
                ok(svmd_query_residency(watcher, partition, w.address[i], w.length[i], 0, add_copies, &w));
        svmd_disconnect(watcher);
}

/* ---- both ---- */

static bool agrees(const struct daemon *d, const char *partition, bool loud) {
        uint64_t states[RANGE_NODES], copies[RANGE_NODES], ledger[RANGE_NODES];
        struct range_states s;
        bool same = true;

        range_states_open(&s, d->pid);
        range_states_bytes(&s, states);
        range_states_close(&s);
        count_copies(d, partition, copies);
        said(d, ledger);
        for (unsigned i = 0; i < RANGE_NODES; i++) {
                if (states[i] + copies[i] == ledger[i])
                        continue;
                same = false;
                if (loud)
                        fprintf(stderr,
                                "node %u: its ledger has %" PRIu64 " KiB managed, states and copies make %" PRIu64
                                " + %" PRIu64 "\n",
                                i, ledger[i] / 1024, states[i] / 1024, copies[i] / 1024);
        }
        return same;
}

bool ledger_json_agrees(const struct daemon *d, const char *partition) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!agrees(d, partition, false)) {
                if (now_ms() >= until)
                        return agrees(d, partition, true);
                usleep(2000);
        }
        return true;
}
