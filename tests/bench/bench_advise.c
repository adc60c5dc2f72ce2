#include <stdlib.h>

#include "client.h"

/*
 * What it costs to say something about a granule and to ask what counts there, one request each, where a range has a
 * million runs of advice, of which no two neighbours are alike; compared with a range that has a thousand. The two are
 * measured in turn with one daemon.
 */
enum { ROUNDS = 15, EACH = 2000, VECTOR = 500, FEW = 1000, MANY = 1000000 };

struct range {
        uint64_t address, count;
};

static struct client c;
static struct vector v;

static struct range make(uint64_t count) {
        struct range r = { .count = count };
        const Svmd__V1__Reply *reply;

        vector_range(&v, count * SVMD_PAGE, SVMD_PAGE);
        reply = client_call(&c, &v);
        r.address = reply->results[0]->address;
        for (uint64_t i = 0; i < count;) {
                for (int k = 0; k < VECTOR && i < count; k++, i++)
                        vector_prefer(&v, r.address + i * SVMD_PAGE, SVMD_PAGE, (uint32_t)(i % 2));
                client_call(&c, &v);
        }
        return r;
}

/* ns of one request; what is set is what was there, so neighbours stay different. */
static double measure(const struct range *r) {
        uint64_t begun = now_ns();

        for (int k = 0; k < EACH; k++) {
                uint64_t i = random_below(r->count), at = r->address + i * SVMD_PAGE;
                const Svmd__V1__AdviceResult *a;

                vector_prefer(&v, at, SVMD_PAGE, (uint32_t)(i % 2));
                client_call(&c, &v);
                vector_advice_query(&v, at);
                a = client_call(&c, &v)->results[0]->advice;
                must(a && a->preferred == i % 2 + 1, "svmd says something else than it was told");
        }
        return (double)(now_ns() - begun) / (2.0 * EACH);
}

int main(int argc, char **argv) {
        struct row row = { .name = "advise_1m", .unit = "ns" };
        struct range few, many;

        must(argc == 3, "usage: bench_advise RUNTIME-DIR PID");
        client_open(&c, argv[1]);
        few = make(FEW);
        many = make(MANY);
        for (int i = 0; i < ROUNDS; i++) {
                double one = measure(&few);

                row_add(&row, measure(&many), one);
        }
        row_print(&row);
        return 0;
}
