#include "crew.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "harness.h"

enum {
        CHURNERS = 2,
        WRITERS = 3,
        CROWD = CHURNERS + WRITERS, /* the actor that has the idle sessions */
        ALL,
        IDLE = 200,
        PAGES = 1024,
        WORDS = 512, /* of a page */
        SIZE = PAGES * 4096,
};

static const struct daemon *d;
static struct actor actor[ALL];
static atomic_bool *stop; /* shared with the actors */

/* ---- in an actor ---- */

static svmd_session *mine;
static unsigned epochs_seen;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        epochs_seen += e->type == SVMD_EVENT_EPOCH;
        if (e->type == SVMD_EVENT_END || e->type == SVMD_EVENT_GONE)
                fail_here(e->type == SVMD_EVENT_END ? e->text : "a reservation is gone");
}

static void begin(void) {
        connect_to(&mine, d->socket, "lab");
        ok(svmd_set_event_handler(mine, on_event, NULL));
}

/* Whatever svmd had to say came before its answer. -> n[0]: the epoch, n[1]: how many were announced */
static void tell(struct message *m) {
        struct svmd_session_info info = { .size = sizeof(info) };
        struct svmd_status st;

        status_of(mine, &st);
        ok(svmd_session_info(mine, &info));
        m->n[0] = info.epoch;
        m->n[1] = epochs_seen;
}

static struct churn churn;

static void churner_begin(struct message *m) {
        begin();
        churn_begin(&churn, mine);
}

static void churner_work(struct message *m) {
        while (!atomic_load(stop))
                churn_step(&churn);
}

static void churner_look(struct message *m) {
        churn_check(&churn);
        tell(m);
}

static void churner_end(struct message *m) {
        churn_end(&churn);
        svmd_disconnect(mine);
}

static volatile uint64_t *words;
static unsigned number;
static uint64_t written[PAGES];

/* n[0]: number; the first one reserves what all write in, each a word of its own in every page. */
static void writer_begin(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "board", .mode = 0666, .kind = SVMD_SHARED, .granule = 65536
        };
        void *at = NULL;

        begin();
        number = (unsigned)m->n[0];
        if (number == 0)
                ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        else
                ok(svmd_address_open(mine, &at, NULL, "board", SVMD_ACCESS_READ_WRITE));
        words = at;
}

static void write_page(unsigned page) {
        volatile uint64_t *w = words + page * WORDS + number * 8;

        must(*w == written[page]);
        *w = ++written[page];
}

static void ask_for_a_move(void) {
        size_t first = random_below(SIZE >> 16), count = 1 + random_below((SIZE >> 16) - first);
        svmd_node to = node_named(mine, random_below(2) ? "gpu0" : "gpu1");
        int r = svmd_migrate(mine, NULL, (char *)(uintptr_t)words + (first << 16), count << 16, to);

        if (r != SVMD_E_NO_ROOM && r != SVMD_E_BUSY && r != SVMD_E_INTERRUPTED)
                ok(r);
}

static void writer_work(struct message *m) {
        while (!atomic_load(stop)) {
                write_page((unsigned)random_below(PAGES));
                if (random_below(300) == 0)
                        ask_for_a_move();
        }
}

static void writer_look(struct message *m) {
        for (unsigned page = 0; page < PAGES; page++)
                write_page(page);
        tell(m);
}

static void writer_end(struct message *m) {
        ok(svmd_address_free(mine, (void *)(uintptr_t)words));
        svmd_disconnect(mine);
}

static svmd_session *idle[IDLE];

static void crowd_begin(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++) {
                connect_to(&idle[i], d->socket, "lab");
                ok(svmd_set_event_handler(idle[i], on_event, NULL));
        }
        mine = idle[0];
}

static void crowd_work(struct message *m) {
        while (!atomic_load(stop))
                usleep(1000);
}

static void crowd_look(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++) {
                struct svmd_session_info info = { .size = sizeof(info) };
                struct svmd_status st;

                status_of(idle[i], &st);
                ok(svmd_session_info(idle[i], &info));
                must(info.epoch == st.epoch);
        }
        epochs_seen = 0;
        tell(m);
}

static void crowd_end(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++)
                svmd_disconnect(idle[i]);
}

static const struct {
        actor_fn begin, work, look, end;
} kinds[] = { { churner_begin, churner_work, churner_look, churner_end },
              { writer_begin, writer_work, writer_look, writer_end },
              { crowd_begin, crowd_work, crowd_look, crowd_end } };

static unsigned kind_of(unsigned i) {
        return i < CHURNERS ? 0 : i < CROWD ? 1 : 2;
}

/* ---- in the test ---- */

void crew_run(void) {
        atomic_store(stop, false);
        for (unsigned i = 0; i < ALL; i++)
                actor_begin(&actor[i], kinds[kind_of(i)].work, NULL);
}

void crew_rest(void) {
        atomic_store(stop, true);
        for (unsigned i = 0; i < ALL; i++)
                actor_finish(&actor[i], NULL);
}

void crew_look(uint64_t epoch, uint64_t told) {
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { 0 };

                actor_call(&actor[i], kinds[kind_of(i)].look, &m);
                must(m.n[0] == epoch);
                must(kind_of(i) == 2 || !told || m.n[1] == told);
        }
}

void crew_begin(const struct daemon *daemon, svmd_session *admin) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 16ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        d = daemon;
        stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(stop != MAP_FAILED);
        ok(svmd_partition_create(admin, "lab", &o, NULL));
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { .n = { i < CHURNERS ? i : i - CHURNERS } };

                actor_new(&actor[i], 2001 + i % 2, 3000, 0);
                actor_call(&actor[i], kinds[kind_of(i)].begin, &m);
        }
}

void crew_end(void) {
        for (unsigned i = ALL; i-- > 0;) {
                actor_call(&actor[i], kinds[kind_of(i)].end, &(struct message){ 0 });
                actor_end(&actor[i]);
        }
}
