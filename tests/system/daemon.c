#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* Readiness comes the way systemd gets it: READY=1 on the socket that NOTIFY_SOCKET names. */

#define DAEMONS_MAX 4

static struct daemon *all[DAEMONS_MAX];
static const char *program = SVMD_PROGRAM;

void daemon_use(const char *p) {
        program = p;
}

/* SVMD_PROGRAMS: where the programs were carried to from where they were built. */
static void find_program(char *ret, size_t size) {
        const char *folder = getenv("SVMD_PROGRAMS");

        if (folder)
                snprintf(ret, size, "%s/%s", folder, strrchr(program, '/') + 1);
        else
                snprintf(ret, size, "%s", program);
}

static void remember(struct daemon *d) {
        for (unsigned i = 0; i < DAEMONS_MAX; i++) {
                if (!all[i]) {
                        all[i] = d;
                        return;
                }
        }
        must(false);
}

static void forget(const struct daemon *d) {
        for (unsigned i = 0; i < DAEMONS_MAX; i++)
                if (all[i] == d)
                        all[i] = NULL;
}

void daemon_abandon_all(void) {
        for (unsigned i = 0; i < DAEMONS_MAX; i++) {
                if (!all[i])
                        continue;
                if (all[i]->pid)
                        kill(all[i]->pid, SIGKILL);
                if (all[i]->keeper)
                        kill(all[i]->keeper, SIGKILL);
                fprintf(stderr, "what svmd said is in %s/log\n", all[i]->dir);
        }
}

/* ---- starting ---- */

static int notify_socket(const struct daemon *d) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(a.sun_path, sizeof(a.sun_path), "%s/notify", d->dir);
        unlink(a.sun_path);
        must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
        return fd;
}

static void become_svmd(const struct daemon *d) {
        char run[96], state[96], notify[96], log[96], path[4096];
        const char *argv[40];
        size_t n = 0;
        int fd;

        find_program(path, sizeof(path));
        snprintf(run, sizeof(run), "%s/run", d->dir);
        snprintf(state, sizeof(state), "%s/state", d->dir);
        snprintf(notify, sizeof(notify), "%s/notify", d->dir);
        snprintf(log, sizeof(log), "%s/log", d->dir);
        argv[n++] = path;
        argv[n++] = "--runtime-dir";
        argv[n++] = run;
        argv[n++] = "--state-dir";
        argv[n++] = state;
        for (size_t i = 0; i < d->options_count; i++)
                argv[n++] = d->options[i];
        argv[n] = NULL;
        fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        setenv("NOTIFY_SOCKET", notify, 1);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGINT); /* however the test ends, svmd and its keeper do too */
        /* Descriptors of the test are not svmd's to hold, and would be counted as its. */
        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
        execv(path, (char **)argv);
        _exit(127);
}

static pid_t spawn(const struct daemon *d) {
        pid_t pid = fork();

        must(pid >= 0);
        if (pid == 0)
                become_svmd(d);
        return pid;
}

static ssize_t read_proc(pid_t pid, const char *file, char *to, size_t size) {
        char path[64];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        n = read(fd, to, size - 1);
        close(fd);
        to[n > 0 ? n : 0] = 0;
        return n;
}

/* By its name first: to read the arguments of a process takes a lock that a hostile one may keep. */
static bool is_keeper_of(const struct daemon *d, pid_t pid) {
        char text[256], run[96];
        ssize_t n;

        if (read_proc(pid, "comm", text, sizeof(text)) < 0 || strcmp(text, "svmd-keeper\n") != 0)
                return false;
        n = read_proc(pid, "cmdline", text, sizeof(text));
        for (ssize_t i = 0; i < n - 1; i++)
                if (!text[i])
                        text[i] = ' ';
        snprintf(run, sizeof(run), "--runtime-dir %s/run", d->dir);
        return n > 0 && strstr(text, run);
}

static pid_t find_keeper(const struct daemon *d) {
        DIR *dir = opendir("/proc");
        struct dirent *e;
        pid_t found = 0;

        must(dir);
        while (!found && (e = readdir(dir)))
                if (atoi(e->d_name) > 0 && is_keeper_of(d, atoi(e->d_name)))
                        found = atoi(e->d_name);
        closedir(dir);
        return found;
}

static bool is_ready(int notify) {
        char text[256];
        ssize_t n = recv(notify, text, sizeof(text) - 1, MSG_DONTWAIT);

        if (n <= 0)
                return false;
        text[n] = 0;
        return strstr(text, "READY=1");
}

void daemon_start(struct daemon *d) {
        int notify = notify_socket(d);
        struct pollfd p = { .fd = notify, .events = POLLIN };
        uint64_t until = now_ms() + CEILING_MS;
        bool ready = false;

        must(!d->pid);
        d->pid = spawn(d);
        while (!ready) {
                int status;

                poll(&p, 1, 100);
                ready = is_ready(notify);
                if (!ready && waitpid(d->pid, &status, WNOHANG) == d->pid) {
                        d->pid = 0;
                        fail_here("svmd did not come up");
                }
                if (!ready && now_ms() >= until)
                        fail_here("svmd was not ready after 30 s");
        }
        close(notify);
        d->keeper = find_keeper(d);
        must(d->keeper);
}

static void set_options(struct daemon *d, const char *const *options) {
        for (d->options_count = 0; options[d->options_count]; d->options_count++) {
                must(d->options_count < sizeof(d->options) / sizeof(d->options[0]));
                d->options[d->options_count] = options[d->options_count];
        }
}

void daemon_new(struct daemon *d, const char *const *options) {
        memset(d, 0, sizeof(*d));
        strcpy(d->dir, "/tmp/svmd-system-XXXXXX");
        must(mkdtemp(d->dir) && chmod(d->dir, 0755) == 0);
        snprintf(d->socket, sizeof(d->socket), "%s/run/svmd.sock", d->dir);
        snprintf(d->admin, sizeof(d->admin), "%s/run/admin.sock", d->dir);
        set_options(d, options);
        must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        remember(d);
        daemon_start(d);
}

static size_t log_size(const struct daemon *d, char *path, size_t size) {
        struct stat st;

        snprintf(path, size, "%s/log", d->dir);
        return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

void daemon_start_wrong(struct daemon *d, const char *const *options, char *said, size_t size) {
        struct daemon wrong = *d;
        char path[96];
        size_t before = log_size(d, path, sizeof(path));
        int status, fd;
        ssize_t n;
        pid_t pid;

        set_options(&wrong, options);
        pid = spawn(&wrong);
        must(wait_end(pid, &status));
        must(WIFEXITED(status) && WEXITSTATUS(status) != 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must(fd >= 0);
        n = pread(fd, said, size - 1, (off_t)before);
        must(n >= 0);
        said[n] = 0;
        close(fd);
}

void daemon_start_killed(struct daemon *d) {
        int notify = notify_socket(d), status;
        pid_t pid;

        must(!d->pid);
        pid = spawn(d);
        must(wait_end(pid, &status));
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        must(!is_ready(notify));
        close(notify);
}

bool daemon_said(const struct daemon *d, const char *text) {
        char path[96], *said;
        size_t size = log_size(d, path, sizeof(path));
        FILE *f = fopen(path, "re");
        bool found;

        must(f);
        said = calloc(1, size + 1);
        must(said && fread(said, 1, size, f) == size);
        fclose(f);
        found = strstr(said, text);
        free(said);
        return found;
}

/* ---- ending ---- */

static void expect_end(pid_t *pid, int signum, int want) {
        int status;

        must(*pid && kill(*pid, signum) == 0);
        must(wait_end(*pid, &status));
        *pid = 0;
        if (want == SIGKILL)
                must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        else
                must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void daemon_kill(struct daemon *d) {
        expect_end(&d->pid, SIGKILL, SIGKILL);
}

/* What the end of any of its threads comes to. */
void daemon_crash(struct daemon *d) {
        const struct rlimit no_core = { 0 };
        int status;

        must(d->pid && prlimit(d->pid, RLIMIT_CORE, &no_core, NULL) == 0);
        must(kill(d->pid, SIGABRT) == 0);
        must(wait_end(d->pid, &status));
        d->pid = 0;
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

void daemon_stop(struct daemon *d) {
        expect_end(&d->pid, SIGTERM, 0);
}

/* One that ends loses its arguments before it has closed its files, its lock among them; only then is it a zombie. It
 * is an orphan, and so a child of this process. */
static bool has_ended(pid_t pid) {
        char text[256];
        const char *state;

        if (waitpid(pid, NULL, WNOHANG) == pid || read_proc(pid, "stat", text, sizeof(text)) <= 0)
                return true;
        state = strrchr(text, ')');
        return !state || state[2] == 'Z' || state[2] == 'X';
}

static void await_keeper(struct daemon *d) {
        uint64_t until = now_ms() + CEILING_MS;

        while (d->keeper && !has_ended(d->keeper)) {
                must(now_ms() < until);
                usleep(1000);
        }
        d->keeper = 0;
}

void daemon_kill_keeper(struct daemon *d) {
        must(d->keeper && kill(d->keeper, SIGKILL) == 0);
        await_keeper(d);
}

void daemon_find_keeper(struct daemon *d) {
        d->keeper = find_keeper(d);
        must(d->keeper);
}

static void remove_dir(const char *dir) {
        char command[96];

        snprintf(command, sizeof(command), "rm -rf %s", dir);
        must(system(command) == 0);
}

void daemon_end(struct daemon *d) {
        if (!d->pid)
                daemon_start(d);
        expect_end(&d->pid, SIGINT, 0);
        await_keeper(d);
        forget(d);
        remove_dir(d->dir);
}

/* ---- the oracle outside ---- */

static DIR *open_fds(pid_t pid) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        return opendir(path);
}

unsigned process_fds(pid_t pid) {
        DIR *dir = open_fds(pid);
        unsigned n = 0;

        must(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n - 2; /* . and .. */
}

void process_fds_say(pid_t pid) {
        DIR *dir = open_fds(pid);
        struct dirent *e;

        must(dir);
        while ((e = readdir(dir))) {
                char target[128];
                ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target));

                if (n > 0)
                        fprintf(stderr, "%s -> %.*s\n", e->d_name, (int)n, target);
        }
        closedir(dir);
}

unsigned process_fds_at_rest(pid_t pid) {
        unsigned n = process_fds(pid), same = 0;

        while (same < 20) {
                unsigned now;

                usleep(2000);
                now = process_fds(pid);
                same = now == n ? same + 1 : 0;
                n = now;
        }
        return n;
}

static int by_inode(const void *a, const void *b) {
        const ino_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

uint64_t process_blocks(pid_t pid, const char *name) {
        static ino_t seen[32768];
        char want[64], target[128];
        DIR *dir = open_fds(pid);
        struct dirent *e;
        uint64_t sum = 0;
        size_t n = 0;

        must(dir);
        snprintf(want, sizeof(want), "/memfd:%s", name);
        while ((e = readdir(dir))) {
                ssize_t length = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
                struct stat st;

                if (length < 0 || strncmp(target, want, strlen(want)) != 0 ||
                    fstatat(dirfd(dir), e->d_name, &st, 0) < 0)
                        continue;
                qsort(seen, n, sizeof(seen[0]), by_inode);
                if (bsearch(&st.st_ino, seen, n, sizeof(seen[0]), by_inode))
                        continue;
                must(n < sizeof(seen) / sizeof(seen[0]));
                seen[n++] = st.st_ino;
                sum += (uint64_t)st.st_blocks * 512;
        }
        closedir(dir);
        return sum;
}

uint64_t process_rss(pid_t pid) {
        unsigned long long size, resident = 0;
        char path[64];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/statm", pid);
        f = fopen(path, "re");
        must(f && fscanf(f, "%llu %llu", &size, &resident) == 2);
        fclose(f);
        return resident * 4096;
}
