/*
 * The builder of the index, told what to do in lines of standard input:
 *
 *      limits   take more of the first host node and of the first device than the partition may have
 *      build    read the tree into the index
 *      spread   move a part of it to each device, which sums that
 *      walk     read all of it
 *      places   print where its pages are, and how often they have left host memory and come back
 *      words    print every word with the lines that have it
 *      copy     give each device a copy
 *      ask      have the devices sum and chase
 *      halt     take memory of every device, build until half of the tree is read, and wait to be killed there
 *      quit     release everything and end
 *
 * Each ends with the line "done". The index is made in a managed reservation that is larger than the index: its pages
 * come with the first touch, and live where svmd puts them.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"
#include "devices.h"
#include "index.h"
#include "text.h"

#define BUILDER_PIECE    (2ull << 20)
#define BUILDER_GRANULE  (64u << 10)
#define BUILDER_BUCKETS  (1u << 21)
#define BUILDER_NODES    64
#define BUILDER_SCRIBBLE (32ull << 20)

static const char *option_dir;
static uint64_t option_files, option_too_much, option_reserve;

struct builder {
        svmd_session *session;
        const char *name;
        char *address;
        svmd_node host; /* the first */
        size_t size;
        struct devices devices;
        uint64_t told; /* bytes of text, when progress was told last */
        bool halting;
};

static int find_host(const struct svmd_node_row *row, void *userdata) {
        struct builder *b = userdata;

        if (row->kind == SVMD_NODE_HOST && b->host == SVMD_NODE_NONE)
                b->host = row->id;
        return 0;
}

static void try_too_much(struct builder *b) {
        svmd_mem mem;

        tell_refusal(svmd_mem_create(b->session, &mem, option_too_much, b->host, SVMD_MEM_SHAREABLE), "host");
        tell_refusal(svmd_mem_create(b->session, &mem, option_too_much, devices_first(&b->devices), 0), "device");
}

static int grow(void *userdata, char *address, size_t *size) {
        struct builder *b = userdata;

        *size = (*size + BUILDER_PIECE - 1) / BUILDER_PIECE * BUILDER_PIECE;
        if (*size > option_reserve - b->size)
                return SVMD_E_NO_ROOM;
        b->size += *size;
        return 0;
}

static void tell_progress(void *userdata, const struct text_progress *progress) {
        struct builder *b = userdata;

        if (b->halting && progress->files >= option_files) {
                say("halted files=%" PRIu64 " bytes=%" PRIu64 " held=%zu", progress->files, progress->bytes, b->size);
                for (;;)
                        pause();
        }
        if (progress->bytes < b->told + (1u << 20))
                return;
        b->told = progress->bytes;
        say("progress files=%" PRIu64 " bytes=%" PRIu64 " held=%zu", progress->files, progress->bytes, b->size);
}

struct places {
        uint64_t bytes[BUILDER_NODES], granules, never_out, never_in, outs, ins;
};

static int add_place(const struct svmd_residency_row *row, void *userdata) {
        struct places *p = userdata;

        if (row->node < BUILDER_NODES)
                p->bytes[row->node] += row->length;
        p->granules++;
        p->never_out += row->outs == 0;
        p->never_in += row->ins == 0;
        p->outs += row->outs;
        p->ins += row->ins;
        return 0;
}

static void tell_places(const struct builder *b) {
        static struct places p;

        memset(&p, 0, sizeof(p));
        must(svmd_query_residency(b->session, NULL, (uintptr_t)b->address, b->size, 1, add_place, &p), "residency");
        for (unsigned i = 0; i < BUILDER_NODES; i++)
                if (p.bytes[i])
                        say("place node=%u bytes=%" PRIu64, i, p.bytes[i]);
        say("counters granules=%" PRIu64 " never_out=%" PRIu64 " never_in=%" PRIu64 " out_bytes=%" PRIu64
            " in_bytes=%" PRIu64 " scratch=%" PRIu64,
            p.granules, p.never_out, p.never_in, p.outs * BUILDER_GRANULE, p.ins * BUILDER_GRANULE,
            b->devices.index->scratch);
}

static void reserve(struct builder *b) {
        struct svmd_reserve_options opts = {
                .size = sizeof(opts), .name = b->name, .mode = 0640, .kind = SVMD_SHARED, .granule = BUILDER_GRANULE
        };
        void *address;

        must(svmd_address_reserve(b->session, &address, option_reserve, 0, NULL, &opts), "reserve");
        b->address = address;
}

static void build(struct builder *b) {
        struct text_progress progress;
        struct index_builder index;
        const struct index_word *last;
        uint64_t hops;
        int r;

        r = index_begin(&index, b->address, BUILDER_BUCKETS, grow, b);
        if (!r)
                r = text_read_tree(&index, option_dir, tell_progress, b, &progress);
        if (r) {
                say("refused what=build code=NONE text=%s could not be read: %s", option_dir,
                    r < 0 ? strerror(-r) : "it has more text than the index can hold");
                exit(1);
        }
        hops = index_chase(index.index, &last);
        say("built address=0x%" PRIxPTR " size=%zu words=%" PRIu64 " postings=%" PRIu64 " files=%" PRIu64
            " bytes=%" PRIu64 " unreadable=%" PRIu64 " hops=%" PRIu64 " last=0x%" PRIxPTR " sum=%" PRIu64,
            (uintptr_t)b->address, b->size, index.index->words, index.index->postings, progress.files, progress.bytes,
            progress.unreadable, hops, (uintptr_t)last, index_sum(b->address, b->size));
        b->devices.index = index.index;
        b->devices.size = b->size;
        b->devices.alias = (uintptr_t)b->address + option_reserve;
}

static void print_words(const struct builder *b) {
        for (const struct index_word *w = b->devices.index->first; w; w = w->next)
                printf("word %" PRIu64 " %s\n", index_answer(w).lines, w->text);
}

static void halt(struct builder *b) {
        devices_take(&b->devices, (uintptr_t)b->address + option_reserve, BUILDER_SCRIBBLE);
        devices_scribble(&b->devices, (uintptr_t)b->address + option_reserve, BUILDER_SCRIBBLE);
        b->halting = true;
        build(b);
}

static void obey(struct builder *b, const char *command) {
        if (strcmp(command, "limits") == 0) {
                try_too_much(b);
        } else if (strcmp(command, "build") == 0) {
                build(b);
        } else if (strcmp(command, "spread") == 0) {
                devices_spread(&b->devices, BUILDER_GRANULE);
        } else if (strcmp(command, "walk") == 0) {
                say("cpu sum=%" PRIu64, index_sum(b->address, b->size));
        } else if (strcmp(command, "places") == 0) {
                tell_places(b);
        } else if (strcmp(command, "words") == 0) {
                print_words(b);
        } else if (strcmp(command, "copy") == 0) {
                devices_copy(&b->devices);
        } else if (strcmp(command, "ask") == 0) {
                devices_ask(&b->devices);
                devices_ask_link(&b->devices);
                devices_ask_empty(&b->devices);
                say("cpu sum=%" PRIu64, index_sum(b->address, b->size));
        } else if (strcmp(command, "halt") == 0) {
                halt(b);
        } else {
                fprintf(stderr, "'%s' is no command of the builder\n", command);
                exit(2);
        }
        say("done");
}

static int parse_more(int letter, const char *value) {
        switch (letter) {
        case 'd': option_dir = value; return 0;
        case 'f': option_files = strtoull(value, NULL, 10); return 0;
        case 'm': option_too_much = strtoull(value, NULL, 10); return 0;
        case 'r': option_reserve = strtoull(value, NULL, 10); return 0;
        default: return 1;
        }
}

int main(int argc, char **argv) {
        static const struct option options[] = { DEMO_OPTIONS,
                                                 { "dir", required_argument, NULL, 'd' },
                                                 { "halt-after", required_argument, NULL, 'f' },
                                                 { "too-much", required_argument, NULL, 'm' },
                                                 { "reserve", required_argument, NULL, 'r' },
                                                 { 0 } };
        static struct builder b;
        struct demo_options o;
        char line[64];

        demo_parse(&o, argc, argv, options, parse_more);
        b.name = o.name;
        b.session = demo_connect(&o);
        b.host = SVMD_NODE_NONE;
        must(svmd_query_nodes(b.session, find_host, &b), "nodes");
        devices_find(&b.devices, b.session);
        if (b.host == SVMD_NODE_NONE || !b.devices.count || !option_dir || !option_reserve) {
                fprintf(stderr, "the builder needs --dir, --reserve, a host node and a soft node\n");
                return 2;
        }
        reserve(&b);
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = '\0';
                if (strcmp(line, "quit") == 0)
                        break;
                obey(&b, line);
        }
        must(svmd_address_free(b.session, b.address), "free");
        devices_free(&b.devices);
        svmd_disconnect(b.session);
        say("bye");
        return 0;
}
