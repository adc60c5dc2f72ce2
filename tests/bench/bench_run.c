#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/*
 * What a managed heap costs a program when nothing moves: sort, sqlite3 and python3 under svmd-run, with jemalloc
 * loaded instead (the limit of svmd_run_overhead), and as they are (that of svmd_run_plain), in turns, on one CPU. The
 * program that loses most counts.
 *
 *      bench_run RUNTIME_DIR PID
 */
enum { RUNS = 7, PROGRAMS = 3, LINES = 600000 };

enum mode { MANAGED, JEMALLOC, PLAIN, _MODE_N };

static const char jemalloc[] = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

static const char python_job[] = "d = {}\n"
                                 "for i in range(400000): d[str(i)] = [i, i * 2]\n"
                                 "l = sorted(d, key=lambda k: int(k) * 7919 % 10007)\n"
                                 "t = [bytes(1000 + i % 500) for i in range(100000)]\n"
                                 "print(len(l), sum(len(x) for x in t))\n";

static const char sql[] = "create table t(a text, b int);\n"
                          ".mode list\n"
                          ".separator ' '\n"
                          ".import lines t\n"
                          "create index ta on t(a);\n"
                          "create index tb on t(b);\n"
                          "select substr(a, 1, 1) x, count(*), sum(b) from t group by x;\n";

static struct {
        const char *name, *input;
        const char *words[8];
} programs[PROGRAMS] = {
        { "sort", "/dev/null", { "sort", "-S", "256M", "--parallel=1", "lines" } },
        { "sqlite3", "script", { "sqlite3", ":memory:" } },
        { "python3", "/dev/null", { "/usr/bin/python3", "job.py" } },
};

static char svmd_run[PATH_MAX], folder[] = "/tmp/svmd-bench-run-XXXXXX";
extern char **environ;

static void write_file(const char *name, const char *text) {
        FILE *f = fopen(name, "we");

        must(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s/%s could not be written", folder, name);
}

static void make_files(void) {
        FILE *f;

        must(mkdtemp(folder) && chdir(folder) == 0, "no folder could be made in /tmp");
        f = fopen("lines", "we");
        must(f != NULL, "%s/lines could not be written", folder);
        for (int i = 0; i < LINES; i++)
                fprintf(f, "%016lx %d\n", (unsigned long)random_below(UINT64_MAX), i);
        must(fclose(f) == 0, "%s/lines could not be written", folder);
        write_file("script", sql);
        write_file("job.py", python_job);
}

static void remove_files(void) {
        static const char *const names[] = { "lines", "script", "job.py" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                unlink(names[i]);
        must(chdir("/") == 0 && rmdir(folder) == 0, "%s could not be removed", folder);
}

static double ms_of(int program, enum mode mode) {
        const char *words[12] = { svmd_run, "--" }, **argv = mode == MANAGED ? words : words + 2;
        posix_spawn_file_actions_t files;
        uint64_t begin;
        int status = -1;
        pid_t pid;

        memcpy(words + 2, programs[program].words, sizeof(programs[program].words));
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_addopen(&files, STDIN_FILENO, programs[program].input, O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (mode == JEMALLOC)
                setenv("LD_PRELOAD", jemalloc, 1);
        begin = now_ns();
        must(posix_spawnp(&pid, argv[0], &files, NULL, (char **)argv, environ) == 0 &&
                     waitpid(pid, &status, 0) == pid && status == 0,
             "%s did not run to its end", programs[program].name);
        begin = now_ns() - begin;
        unsetenv("LD_PRELOAD");
        posix_spawn_file_actions_destroy(&files);
        return (double)begin / 1e6;
}

static int by_value(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

static double median_ratio(const struct row *r) {
        double ratio[RUNS];

        for (int i = 0; i < RUNS; i++)
                ratio[i] = r->value[i] / r->limit[i];
        qsort(ratio, RUNS, sizeof(ratio[0]), by_value);
        return ratio[RUNS / 2];
}

int main(int argc, char **argv) {
        static struct row against_jemalloc[PROGRAMS], against_plain[PROGRAMS];
        char self[PATH_MAX], socket[PATH_MAX];
        int worst = 0;

        must(argc == 3, "usage: bench_run RUNTIME_DIR PID");
        must(realpath("/proc/self/exe", self) != NULL, "this program is nowhere");
        snprintf(svmd_run, sizeof(svmd_run), "%s/svmd-run", dirname(self));
        snprintf(socket, sizeof(socket), "%s/svmd.sock", argv[1]);
        setenv("SVMD_SOCKET", socket, 1);
        must(access(jemalloc, R_OK) == 0, "%s is missing; install libjemalloc2", jemalloc);
        pin_to(0);
        make_files();
        for (int p = 0; p < PROGRAMS; p++) {
                against_jemalloc[p] = (struct row){ .name = "svmd_run_overhead", .unit = "ms" };
                against_plain[p] = (struct row){ .name = "svmd_run_plain", .unit = "ms" };
                for (int i = 0; i < RUNS; i++) {
                        double took[_MODE_N];

                        for (int k = 0; k < _MODE_N; k++) {
                                int mode = (k + i) % _MODE_N; /* none is always the first */

                                took[mode] = ms_of(p, (enum mode)mode);
                        }
                        row_add(&against_jemalloc[p], took[MANAGED], took[JEMALLOC]);
                        row_add(&against_plain[p], took[MANAGED], took[PLAIN]);
                }
                if (median_ratio(&against_jemalloc[p]) > median_ratio(&against_jemalloc[worst]))
                        worst = p;
                fprintf(stderr, "%s: %.3f\n", programs[p].name, median_ratio(&against_jemalloc[p]));
        }
        row_print(&against_jemalloc[worst]);
        row_print(&against_plain[worst]);
        remove_files();
        return 0;
}
