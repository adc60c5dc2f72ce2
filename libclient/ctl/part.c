#include "part.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl.h"
#include "verbs.h"

static void note(struct part_result *p, const char *text) {
        snprintf(p->note, sizeof(p->note), "%s", text);
}

/* ---- reading ---- */

/* Till the end, the bound or the time. */
static void read_all(int fd, struct part_result *p) {
        uint64_t end = ctl_now_ns() + PART_MS * 1000000ull;
        ssize_t n = 1;

        p->text = malloc(PART_MOST + 1);
        if (!p->text)
                obstack_alloc_failed_handler();
        while (n > 0 && p->size < PART_MOST) {
                struct pollfd ready = { .fd = fd, .events = POLLIN };
                uint64_t now = ctl_now_ns();

                if (now >= end || poll(&ready, 1, (int)((end - now) / 1000000) + 1) == 0) {
                        note(p, "it did not end in time");
                        break;
                }
                n = read(fd, p->text + p->size, PART_MOST - p->size);
                p->size += n > 0 ? (size_t)n : 0;
        }
        p->text[p->size] = '\0';
        if (p->size == PART_MOST)
                note(p, "cut: it is longer");
}

/* Text ends at a NUL for who takes it for a string. */
static void without_nul(struct part_result *p) {
        for (size_t i = 0; i < p->size; i++)
                if (!p->text[i])
                        p->text[i] = '?';
}

void part_file(const char *path, struct part_result *ret) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        *ret = (struct part_result){ 0 };
        if (fd < 0) {
                note(ret, strerror(errno));
                return;
        }
        read_all(fd, ret);
        without_nul(ret);
        close(fd);
}

/* ---- children ---- */

struct child {
        pid_t pid;
        int fd;
};

/* 0 in the child, whose output and errors go to the parent. */
static pid_t child_begin(struct child *ch, struct part_result *ret) {
        int fds[2];

        *ret = (struct part_result){ 0 };
        if (pipe2(fds, O_CLOEXEC) != 0) {
                note(ret, strerror(errno));
                return -1;
        }
        fflush(NULL);
        ch->pid = fork();
        ch->fd = fds[0];
        if (ch->pid == 0) {
                int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(nothing, STDIN_FILENO);
                dup2(fds[1], STDOUT_FILENO);
                dup2(fds[1], STDERR_FILENO);
                return 0;
        }
        close(fds[1]);
        if (ch->pid < 0) {
                note(ret, strerror(errno));
                close(fds[0]);
        }
        return ch->pid;
}

static void child_end(const struct child *ch, struct part_result *ret) {
        int status = 0;

        read_all(ch->fd, ret);
        close(ch->fd);
        if (*ret->note)
                kill(ch->pid, SIGKILL);
        waitpid(ch->pid, &status, 0);
        if (*ret->note || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
                return;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                note(ret, "there is no such program");
        else if (WIFEXITED(status))
                snprintf(ret->note, sizeof(ret->note), "it ended with %d", WEXITSTATUS(status));
        else
                snprintf(ret->note, sizeof(ret->note), "it ended by signal %d", WTERMSIG(status));
}

static void child_exit(int status) {
        fflush(NULL);
        _exit(status);
}

static void add_word(char **words, int *count, const char *word) {
        words[(*count)++] = (char *)word;
}

void part_verb(struct ctl *c, const char *line, struct part_result *ret) {
        struct child ch;
        pid_t pid = child_begin(&ch, ret);

        if (pid == 0) {
                char *words[32], *rest = ctl_copy(c, line), *word;
                int count = 0;

                add_word(words, &count, "svmd-ctl");
                if (c->socket) {
                        add_word(words, &count, "--socket");
                        add_word(words, &count, c->socket);
                }
                if (c->runtime_dir) {
                        add_word(words, &count, "--runtime-dir");
                        add_word(words, &count, c->runtime_dir);
                }
                while (count < 31 && (word = strsep(&rest, " ")))
                        add_word(words, &count, word);
                words[count] = NULL;
                child_exit(verbs_main(count, words, stdout, stderr));
        }
        if (pid < 0)
                return;
        child_end(&ch, ret);
        without_nul(ret);
}

void part_own(struct ctl *c, int (*write)(struct ctl *c, FILE *out), struct part_result *ret) {
        struct child ch;
        pid_t pid = child_begin(&ch, ret);

        if (pid == 0)
                child_exit(write(c, stdout));
        if (pid > 0)
                child_end(&ch, ret);
}

void part_command(const char *const *words, struct part_result *ret) {
        struct child ch;
        pid_t pid = child_begin(&ch, ret);

        if (pid == 0) {
                setenv("LC_ALL", "C.UTF-8", 1);
                execvp(words[0], (char *const *)words);
                child_exit(127);
        }
        if (pid < 0)
                return;
        child_end(&ch, ret);
        without_nul(ret);
}
