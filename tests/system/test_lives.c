/*
 * Clients come, do this and that, and end or are killed. When some have been, what svmd and its keeper have allocated
 * is counted; and again after ten times as many. What is kept of each that has gone would be more then.
 *
 *      system_lives [LIVES]     SVMD_SEED reproduces the choices; ten times as many with SVMD_LONG=1
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks.h"
#include "daemon.h"
#include "harness.h"
#include "soaked.h"

enum { AT_ONCE = 8, DEEDS = 24, LIVES = 30, TIMES = 10 }; /* a life has 1 to DEEDS */

static struct soaked k;
static const struct blocks *blocks[2]; /* of svmd, of its keeper */

static const struct blocks *map_blocks(const char *path) {
        const struct blocks *b;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        must(fd >= 0);
        b = mmap(NULL, sizeof(*b), PROT_READ, MAP_SHARED, fd, 0);
        must(b != MAP_FAILED);
        close(fd);
        return b;
}

/* ---- lives ---- */

static pid_t start_life(unsigned number) {
        uint64_t seed = random_seed_for(number);
        pid_t pid = fork();

        must(pid >= 0);
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failure of the test leaves none */
        random_set(seed);
        soaked_live(&k, 1 + random_below(DEEDS), 500);
        _exit(0);
}

/* One in four is killed, wherever it is. */
static void end_life(pid_t pid) {
        int status;

        if (random_below(4) == 0) {
                usleep((useconds_t)random_below(5000));
                kill(pid, SIGKILL);
        }
        must(wait_end(pid, &status));
        must(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
}

static void live(unsigned count) {
        static unsigned born;
        pid_t pids[AT_ONCE] = { 0 };

        for (unsigned i = 0; i < count + AT_ONCE; i++) {
                pid_t *at = &pids[i % AT_ONCE];

                if (*at)
                        end_life(*at);
                *at = i < count ? start_life(++born) : 0;
        }
}

/* ---- what is looked at ---- */

enum { SVMD, KEEPER, PROGRAMS };
static const char *const programs[] = { "svmd", "svmd-keeper" };

struct looked {
        int64_t live[BLOCKS_CLASSES], bytes;
};

/* When all that ended clients had has been given back. */
static void look(svmd_session *watcher, struct looked *ret) {
        await_settled(watcher, &k.d, 0, 0);
        for (unsigned p = 0; p < PROGRAMS; p++) {
                for (unsigned i = 0; i < BLOCKS_CLASSES; i++)
                        ret[p].live[i] = atomic_load(&blocks[p]->live[i]);
                ret[p].bytes = atomic_load(&blocks[p]->bytes);
        }
}

/* Whatever is kept of one life in fifty shows. Less is a thread that has begun, or a text that is longer now. */
static bool has_grown(const struct looked *before, const struct looked *after, unsigned class, unsigned lives) {
        return after->live[class] - before->live[class] > (int64_t)lives / 50;
}

static bool grown_anywhere(const struct looked *before, const struct looked *after, unsigned lives) {
        for (unsigned p = 0; p < PROGRAMS; p++)
                for (unsigned i = 0; i < BLOCKS_CLASSES; i++)
                        if (has_grown(&before[p], &after[p], i, lives))
                                return true;
        return false;
}

static void say(const char *program, const struct looked *before, const struct looked *after, unsigned lives) {
        printf("%s: %" PRId64 " bytes, and after %u more lives %" PRId64 "\n", program, before->bytes, lives,
               after->bytes);
        for (unsigned i = 0; i < BLOCKS_CLASSES; i++)
                if (has_grown(before, after, i, lives))
                        printf("of %u bytes: %" PRId64 " blocks, then %" PRId64 "\n", i * BLOCKS_STEP + 8,
                               before->live[i], after->live[i]);
        fflush(stdout);
}

static void must_be_as_before(svmd_session *watcher, const struct looked *before, unsigned lives) {
        uint64_t until = now_ms() + CEILING_MS;
        static struct looked after[PROGRAMS];

        look(watcher, after);
        while (grown_anywhere(before, after, lives) && now_ms() < until) {
                usleep(100000); /* what ended last may be given back by then */
                look(watcher, after);
        }
        for (unsigned p = 0; p < PROGRAMS; p++)
                say(programs[p], &before[p], &after[p], lives);
        if (grown_anywhere(before, after, lives))
                fail_here("svmd, or its keeper, keeps something of each client that has gone");
}

/* The path that both are counted at, with the name of a program behind it. */
static void count_from_now_on(char *dir, const char *library) {
        char at[64];

        must(mkdtemp(dir));
        snprintf(at, sizeof(at), "%s/", dir);
        setenv(BLOCKS_ENV, at, 1);
        setenv("LD_PRELOAD", library, 1);
        soaked_begin(&k, false);
        unsetenv("LD_PRELOAD");
        for (unsigned p = 0; p < PROGRAMS; p++) {
                char path[96];

                snprintf(path, sizeof(path), "%s%s", at, programs[p]);
                blocks[p] = map_blocks(path);
                must(unlink(path) == 0);
        }
        must(rmdir(dir) == 0);
}

int main(int argc, char **argv) {
        unsigned lives = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : getenv("SVMD_LONG") ? 10 * LIVES : LIVES;
        char dir[] = "/tmp/svmd-lives-XXXXXX";
        static struct looked before[PROGRAMS];
        svmd_session *watcher;

        harness_begin("system_lives");
        count_from_now_on(dir, SVMD_BLOCKS);
        connect_watcher(&watcher, k.d.admin);
        live(lives);
        look(watcher, before);
        live(TIMES * lives - lives);
        must_be_as_before(watcher, before, TIMES * lives - lives);
        svmd_disconnect(watcher);
        daemon_end(&k.d);
        return 0;
}
