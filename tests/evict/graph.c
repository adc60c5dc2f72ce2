#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"

/*
 * A graph of which few vertices have most of the edges, at both ends: states of vertices, then edges, vertex after
 * vertex (CSR). Some sweeps go over all edges, as those of PageRank do; some searches go from a root of their own over
 * the edges of the vertices that were reached last, in the order of vertices (breadth first, with the frontier as a
 * bitmap). Sweeps are first or searches are. An edge is read, and the state of the vertex at its end.
 *
 *     | states of vertices | edges of 0 | edges of 1 | ... |
 */
enum { EDGES_OF_GRANULE = 48 };

struct graph {
        struct trace *trace;
        uint32_t vertices, edges;
        uint32_t states;       /* granules */
        uint32_t *first;       /* edge of each vertex, and one more */
        uint32_t *end;         /* of each edge: a vertex */
        bool *reached, *front; /* by a search: ever, and last */
        bool *next;
};

/* The vertex of that rank lies anywhere. */
static uint32_t vertex(struct draw *d, const struct graph *g, double exponent) {
        double u = (double)draw_below(d, 1 << 24) / (1 << 24);
        uint64_t rank = (uint64_t)(g->vertices * pow(u, exponent));

        return (uint32_t)((rank + 1) * 2654435761ull % g->vertices);
}

static void connect(struct graph *g, struct draw *d) {
        double exponent = draw_between(d, 15, 30) / 10.0;

        for (uint32_t i = 0; i < g->edges; i++) {
                g->first[1 + vertex(d, g, exponent)]++;
                g->end[i] = vertex(d, g, exponent);
        }
        for (uint32_t v = 0; v < g->vertices; v++)
                g->first[v + 1] += g->first[v];
}

static int use_state(struct graph *g, uint32_t v) {
        return trace_add(g->trace, (uint32_t)((uint64_t)v * g->states / g->vertices));
}

static void reach(struct graph *g, uint32_t v, bool *ret_more) {
        if (g->reached[v])
                return;
        g->reached[v] = g->next[v] = *ret_more = true;
}

static int visit(struct graph *g, uint32_t v, bool *ret_more) {
        int k = use_state(g, v);

        for (uint32_t e = g->first[v]; !k && e < g->first[v + 1]; e++) {
                if (e == g->first[v] || e % EDGES_OF_GRANULE == 0)
                        k = trace_add(g->trace, g->states + e / EDGES_OF_GRANULE);
                k = k ? k : use_state(g, g->end[e]);
                reach(g, g->end[e], ret_more);
        }
        return k;
}

static int sweep(struct graph *g) {
        bool more;
        int k = 0;

        for (uint32_t v = 0; !k && v < g->vertices; v++)
                k = visit(g, v, &more);
        return k;
}

static int search(struct graph *g, uint32_t root) {
        bool more = true;
        int k = 0;

        memset(g->reached, 0, g->vertices);
        memset(g->next, 0, g->vertices);
        g->reached[root] = g->next[root] = true;
        while (!k && more) {
                bool *front = g->next;

                g->next = g->front;
                g->front = front;
                memset(g->next, 0, g->vertices);
                more = false;
                for (uint32_t v = 0; !k && v < g->vertices; v++)
                        k = front[v] ? visit(g, v, &more) : 0;
        }
        return k;
}

static int run(struct graph *g, struct draw *d) {
        uint32_t sweeps = draw_between(d, 5, 8), searches = draw_between(d, 5, 8), sweeps_at = draw_below(d, 2);
        int k = 0;

        for (unsigned at = 0; at < 2; at++) {
                for (uint32_t i = 0; !k && at == sweeps_at && i < sweeps; i++)
                        k = sweep(g);
                for (uint32_t i = 0; !k && at != sweeps_at && i < searches; i++)
                        k = search(g, draw_below(d, g->vertices));
        }
        return k;
}

int graph_run(struct trace *t, struct draw *d) {
        struct graph g = { .trace = t, .states = t->granules * draw_between(d, 20, 40) / 100 };
        int k = -ENOMEM;

        g.edges = (t->granules - g.states) * EDGES_OF_GRANULE;
        g.vertices = g.edges / draw_between(d, 8, 16);
        g.first = calloc(g.vertices + 1, sizeof(*g.first));
        g.end = calloc(g.edges, sizeof(*g.end));
        g.reached = calloc(g.vertices, 3);
        if (g.first && g.end && g.reached) {
                g.front = g.reached + g.vertices;
                g.next = g.front + g.vertices;
                connect(&g, d);
                k = run(&g, d);
        }
        free(g.first);
        free(g.end);
        free(g.reached);
        return k;
}
