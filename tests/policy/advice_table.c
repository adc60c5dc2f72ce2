/* The tables of docs/advice.md, made from the rows and from what policy_compile() says of them.
 *
 *      advice_table             prints them
 *      advice_table FILE        ends with 1 if FILE does not hold exactly these
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advice_rows.h"

static const struct column {
        enum policy_dialect dialect;
        const char *name;
} columns[] = {
        { POLICY_ENGINE, "soft" }, { POLICY_CUDA, "cuda" },     { POLICY_HIP, "hip" }, { POLICY_KFD, "kfd" },
        { POLICY_XE, "xe" },       { POLICY_ZE, "level zero" }, { POLICY_HMM, "hmm" },
};
enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

static void print_where(FILE *out, int64_t argument) {
        if (argument == -1)
                fputs("host", out);
        else
                fprintf(out, "%s", argument == ROW_OTHER ? "other" : "dev");
}

static void print_step(FILE *out, const struct policy_step *s) {
        switch (s->call) {
        case POLICY_CALL_HMM_MIGRATE: fprintf(out, "migrate %s", s->argument ? "dev" : "host"); break;
        case POLICY_CALL_KFD_SVM:
                fprintf(out, "%u=", s->type);
                if (s->type < 4)
                        fputs(s->argument == ROW_DEVICE  ? "dev"
                              : s->argument == ROW_OTHER ? "other"
                              : s->argument == 0         ? "host"
                                                         : "none",
                              out);
                else
                        fprintf(out, s->type == 7 ? "%llu" : "0x%llx", (unsigned long long)s->argument);
                break;
        case POLICY_CALL_CU_ADVISE:
        case POLICY_CALL_HIP_ADVISE:
                fprintf(out, "advise %u ", s->type);
                print_where(out, s->argument);
                break;
        case POLICY_CALL_CU_PREFETCH:
        case POLICY_CALL_HIP_PREFETCH:
                fputs("prefetch ", out);
                print_where(out, s->argument);
                break;
        case POLICY_CALL_CU_DISCARD: fputs("discard batch", out); break;
        case POLICY_CALL_XE_MADVISE: fprintf(out, "madvise %u=%lld", s->type, (long long)s->argument); break;
        case POLICY_CALL_XE_PREFETCH: fprintf(out, "prefetch %lld", (long long)s->argument); break;
        case POLICY_CALL_ZE_ADVISE: fprintf(out, "advise %u", s->type); break;
        case POLICY_CALL_ZE_PREFETCH: fputs("prefetch", out); break;
        case POLICY_CALL_ZE_ATOMICS: fprintf(out, "atomics 0x%llx", (unsigned long long)s->argument); break;
        case POLICY_CALL_MADVISE: fprintf(out, "madvise(%u)", s->type); break;
        case _POLICY_CALL_N: break;
        }
}

static void print_verdict(FILE *out, const struct policy_verdict *v) {
        for (uint32_t i = 0; i < v->steps_count; i++) {
                fputs(i ? ", " : "", out);
                print_step(out, &v->steps[i]);
        }
        if (v->became == POLICY_APPLIED)
                fputs(v->steps_count ? "" : "yes", out);
        else
                fprintf(out, "%s%s%c", v->steps_count ? " " : "", v->became == POLICY_REFUSED ? "no " : "~",
                        'a' + v->why - 1);
}

static void print_cell(FILE *out, const struct advice_row *row, const struct policy_target *target) {
        struct policy_verdict v;

        fputs(" ", out);
        for (unsigned i = 0; i < row->wishes_count; i++) {
                policy_compile(target, &row->wishes[i], &v);
                fputs(i ? "; " : "", out);
                print_verdict(out, &v);
        }
        fputs(" |", out);
}

static void print_rows(FILE *out) {
        fputs("| Their word | Number | svmd |", out);
        for (unsigned c = 0; c < COLUMNS; c++)
                fprintf(out, " %s |", columns[c].name);
        fputs("\n|---|---|---|---|---|---|---|---|---|---|\n", out);
        for (size_t i = 0; i < advice_rows_count; i++) {
                const struct advice_row *row = &advice_rows[i];

                fprintf(out, "| `%s` | %s | %s |", row->name, row->number, row->call);
                for (unsigned c = 0; c < COLUMNS; c++) {
                        struct policy_target target;

                        advice_target(columns[c].dialect, &target);
                        print_cell(out, row, &target);
                }
                fputs("\n", out);
        }
}

/* What a machine lacks, one thing a row. */
static void print_traps(FILE *out) {
        static const struct trap {
                const char *what, *call;
                struct policy_target lacks;
                struct policy_wish wish;
        } traps[] = {
#define DEVICE .faults = true, .huge_pages = true, .peers = true, .id = ROW_DEVICE, .other = ROW_OTHER
                { "no faults",
                  "preferred this device",
                  { .huge_pages = true, .peers = true, .id = 1, .other = 2 },
                  { POLICY_WISH_PREFERRED, POLICY_AT_HERE, 0 } },
                { "no faults",
                  "preferred the host",
                  { .huge_pages = true, .peers = true, .id = 1, .other = 2 },
                  { POLICY_WISH_PREFERRED, POLICY_AT_HOST, 0 } },
                { "no faults",
                  "accessed by this device",
                  { .huge_pages = true, .peers = true, .id = 1, .other = 2 },
                  { POLICY_WISH_ACCESSED_BY, POLICY_AT_PEER, 1 } },
                { "no faults",
                  "read mostly",
                  { .huge_pages = true, .peers = true, .id = 1, .other = 2 },
                  { POLICY_WISH_READ_MOSTLY, POLICY_AT_NONE, 1 } },
                { "no link", "preferred another device", { DEVICE }, { POLICY_WISH_PREFERRED, POLICY_AT_FAR, 0 } },
                { "no link", "accessed by this device", { DEVICE }, { POLICY_WISH_ACCESSED_BY, POLICY_AT_FAR, 1 } },
                { "no link", "prefetch to another device", { DEVICE }, { POLICY_WISH_PREFETCH, POLICY_AT_FAR, 0 } },
                { "no huge pages",
                  "granularity 2 MiB",
                  { .faults = true, .peers = true, .id = 1, .other = 2 },
                  { POLICY_WISH_GRANULARITY, POLICY_AT_NONE, 2 << 20 } },
                { "granules of 2 MiB",
                  "granularity 64 KiB",
                  { DEVICE, .granule = 2 << 20 },
                  { POLICY_WISH_GRANULARITY, POLICY_AT_NONE, 65536 } },
                { "the CPU's side",
                  "preferred a device",
                  { DEVICE, .host = true },
                  { POLICY_WISH_PREFERRED, POLICY_AT_PEER, 0 } },
                { "the CPU's side",
                  "accessed by the CPU",
                  { DEVICE, .host = true },
                  { POLICY_WISH_ACCESSED_BY, POLICY_AT_PEER, 1 } },
                { "a group", "group 1", { DEVICE }, { POLICY_WISH_GROUP, POLICY_AT_NONE, 1 } },
                { "a pinned range", "pinned", { DEVICE }, { POLICY_WISH_PINNED, POLICY_AT_NONE, 1 } },
#undef DEVICE
        };

        fputs("| Where there is | svmd |", out);
        for (unsigned c = 0; c < COLUMNS; c++)
                fprintf(out, " %s |", columns[c].name);
        fputs("\n|---|---|---|---|---|---|---|---|---|\n", out);
        for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
                struct advice_row row = { .wishes = { traps[i].wish }, .wishes_count = 1 };

                fprintf(out, "| %s | %s |", traps[i].what, traps[i].call);
                for (unsigned c = 0; c < COLUMNS; c++) {
                        struct policy_target target = traps[i].lacks;

                        target.dialect = columns[c].dialect;
                        print_cell(out, &row, &target);
                }
                fputs("\n", out);
        }
}

static void print_all(FILE *out) {
        print_rows(out);
        fputs("\n", out);
        print_traps(out);
        fputs("\n", out);
        for (enum policy_why why = POLICY_WHY_NONE + 1; why < _POLICY_WHY_N; why++)
                fprintf(out, "- **%c** %s\n", 'a' + (int)why - 1, policy_why_text(why));
}

static char *whole(FILE *in) {
        size_t size = 0, room = 1 << 20;
        char *text = calloc(1, room);

        if (text)
                size = fread(text, 1, room - 1, in);
        if (!text || size == room - 1)
                exit(2);
        return text;
}

int main(int argc, char **argv) {
        char *wanted = NULL, *there;
        size_t size;
        FILE *out, *in;

        if (argc == 1) {
                print_all(stdout);
                return 0;
        }
        out = open_memstream(&wanted, &size);
        in = fopen(argv[1], "re");
        if (!out || !in) {
                perror(argv[1]);
                return 2;
        }
        print_all(out);
        fclose(out);
        there = whole(in);
        fclose(in);
        if (!strstr(there, wanted)) {
                fprintf(stderr, "%s does not hold the tables that this program prints; put them in anew\n", argv[1]);
                return 1;
        }
        free(there);
        free(wanted);
        return 0;
}
