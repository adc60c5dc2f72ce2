/*
 * A whole journal of effects that no svmd wrote: the next svmd starts with a state that holds together, or refuses with
 * a sentence. The input is effects: type and size (16 bits each), then the bytes. What an effect says to be in the
 * hands of svmd-keeper is there.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/log.h"
#include "harness.h"
#include "proto/range.h"
#include "service/effects.h"
#include "store/journal.h"

enum { KEPT = 64, NOTED = 1024, JOURNAL = 1 << 20 };

/* Its machine, store and options; its service has ended. */
static struct world world;

static struct kept_now {
        struct service_kept rows[KEPT];
        size_t count;
} kept;

/* The reservation that the input spoke of last. */
static struct { uint64_t id, size; } last;

/* ---- hooks: nobody is connected ---- */

static void on_reply(void *userdata, struct session *s, const void *bytes, size_t size, struct fdlist *fds) {
}

static bool on_event(void *userdata, struct session *s, const void *bytes, size_t size) {
        return true;
}

static void on_session_gone(void *userdata, struct session *s) {
}

static int on_partition_up(void *userdata, struct partition *p) {
        return 0;
}

static void on_partition_down(void *userdata, struct partition *p) {
}

/* What is kept from here on; the harness compares it with what there is. */
static int on_keep(void *userdata, uint64_t key, int fd) {
        if (world.kept_count == NOTED)
                return -EMFILE;
        world.kept[world.kept_count++] = (struct kept_row){ key, -1 };
        return 0;
}

static void on_unkeep(void *userdata, uint64_t key) {
        for (size_t i = 0; i < world.kept_count; i++)
                if (world.kept[i].key == key)
                        world.kept[i--] = world.kept[--world.kept_count];
}

static int on_keep_session(void *userdata, struct session *s) {
        return 0;
}

static void on_flush(void *userdata) {
}

static void on_wake_in(void *userdata, uint64_t ms) {
}

static const struct service_hooks hooks = {
        .reply = on_reply,
        .event = on_event,
        .session_gone = on_session_gone,
        .partition_up = on_partition_up,
        .partition_down = on_partition_down,
        .keep = on_keep,
        .unkeep = on_unkeep,
        .keep_session = on_keep_session,
        .kill = on_keep_session,
        .flush = on_flush,
        .wake = on_flush,
        .wake_soon = on_flush,
        .wake_in = on_wake_in,
};

/* ---- what the keeper holds ---- */

static void keep_fd(uint64_t key, int fd) {
        if (kept.count < KEPT)
                kept.rows[kept.count++] = (struct service_kept){ key, fd };
        else if (fd >= 0)
                close(fd);
}

static void keep_file(const struct effect_file *e) {
        struct memfile *f;

        if (e->size > 8ull << 30 || e->id > KEEP_ID(UINT64_MAX) || memfile_new(&f, "fuzz", e->size, -1, false) < 0)
                return;
        keep_fd(KEEP_KEY(KEEP_FILE, e->id), dup(memfile_fd(f)));
        memfile_free(f);
}

static int sealed(const char *name, uint64_t size) {
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

        must(fd >= 0 && ftruncate(fd, (off_t)size) == 0 && fchmod(fd, 0600) == 0);
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
        return fd;
}

/* Its granules are in the states that stand behind the effect, one word each. */
static void keep_range(const uint8_t *bytes, size_t size) {
        struct range_head head = { .magic = RANGE_MAGIC, .version = RANGE_VERSION };
        struct effect_range e;
        uint64_t word;
        int state;

        memcpy(&e, bytes, sizeof(e));
        if (e.reservation != last.id || e.granule < 4096 || last.size / e.granule > 4096)
                return;
        head.granule = e.granule;
        head.count = last.size / e.granule;
        state = sealed("state", range_state_size(head.count));
        must(pwrite(state, &head, sizeof(head), 0) == sizeof(head));
        bytes += sizeof(e);
        size -= sizeof(e);
        for (uint64_t i = 0; i < head.count && size >= 8; i++, bytes += 8, size -= 8) {
                memcpy(&word, bytes, sizeof(word));
                must(pwrite(state, &word, sizeof(word), (off_t)range_state_size(i)) == sizeof(word));
        }
        keep_fd(KEEP_KEY(KEEP_RANGE, KEEP_ID(e.reservation)), sealed("range", last.size));
        keep_fd(KEEP_KEY(KEEP_RANGE_STATE, KEEP_ID(e.reservation)), state);
}

static void keep_for(uint16_t type, const uint8_t *bytes, size_t size) {
        struct effect_reserve reserve;
        struct effect_file f;
        uint64_t id;

        if (type == EFFECT_FILE && size >= sizeof(f)) {
                memcpy(&f, bytes, sizeof(f));
                keep_file(&f);
        }
        if (type == EFFECT_RESERVE && size >= sizeof(reserve)) {
                memcpy(&reserve, bytes, sizeof(reserve));
                last.id = reserve.id;
                last.size = reserve.size;
        }
        if (type == EFFECT_RANGE && size >= sizeof(struct effect_range))
                keep_range(bytes, size);
        if (type == EFFECT_SESSION && size >= sizeof(id)) {
                memcpy(&id, bytes, sizeof(id));
                keep_fd(KEEP_KEY(KEEP_SESSION, id), -1);
        }
}

static int write_journal(struct bytes *b) {
        struct journal *j;
        int fd;

        must(journal_new(&j, JOURNAL) == 0);
        while (b->left >= 4) {
                uint16_t type = (uint16_t)take_number(b, 2), size = (uint16_t)take_number(b, 2);
                struct bytes effect = take_bytes(b, size);

                if (journal_reserve(j, 1, effect.left) != 0)
                        break;
                journal_append(j, type, effect.at, effect.left);
                journal_commit(j);
                keep_for(type, effect.at, effect.left);
        }
        fd = dup(journal_fd(j));
        journal_free(j);
        return fd;
}

static void close_kept(void) {
        for (size_t i = 0; i < kept.count; i++)
                if (kept.rows[i].fd >= 0)
                        close(kept.rows[i].fd);
        kept.count = 0;
}

static void end(void) {
        world_close(&world);
}

/* With the first input, in the process that takes it: AFL++ forks before, and threads would stay behind. */
static void begin(void) {
        static bool begun;
        struct client admin;

        if (begun)
                return;
        begun = true;
        log_set_level(LOG_ERR);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a check of the harness that fails aborts */
        world_open(&world, JOURNAL);
        client_open(&world, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(client_call(&admin, mk_partition("alpha", 8ull << 30, "", 1000, 0666))->code == 0);
        must(client_call(&admin, mk_partition("beta", 8ull << 30, "other", 1002, 0666))->code == 0);
        client_close(&admin);
        world_settle(&world);
        service_free(world.svc, false);
        world.svc = NULL;
        for (size_t i = 0; i < world.kept_count; i++)
                if (world.kept[i].fd >= 0)
                        close(world.kept[i].fd);
        free(world.kept);
        world.kept = calloc(NOTED, sizeof(*world.kept));
        must(world.kept);
        atexit(end);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes b = { bytes, size };
        char why[512] = "";
        int r;

        begin();
        keep_fd(KEEP_KEY(KEEP_JOURNAL, 0), -1);
        kept.rows[0].fd = write_journal(&b);
        world.kept_count = 0;
        for (size_t i = 0; i < kept.count; i++)
                on_keep(NULL, kept.rows[i].key, -1);
        must(service_new(&world.svc, &world.options, &hooks) == 0);
        r = service_start(world.svc, world.store, kept.rows, kept.count, why, sizeof(why));
        if (r == 0)
                check_world(&world);
        else
                must(r < 0 && why[0]);
        service_free(world.svc, r != 0);
        world.svc = NULL;
        close_kept();
        return 0;
}
