#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "svmd.h"

/*
 * What becomes of a client that is killed. It is a program with libsvmd that has 1,000 reservations of 64 KiB, each
 * with 64 KiB of host memory of its own shown to the CPU, and has written to every page. The clock runs from SIGKILL
 * until svmd says that no reservation, mapping or memory is left and no byte is charged, so the end of the process is
 * in it. The limit is a munmap of such a mapping: as many, of as many pages of one memfd, all written to.
 *
 * svmd and the client share a CPU, and so does the process that only unmaps; whoever asks has the other one.
 */
enum { ROUNDS = 9, COUNT = 1000, SIZE = 64 * 1024 };

static void write_all(char *p) {
        for (size_t i = 0; i < SIZE; i += SVMD_PAGE)
                p[i] = 1;
}

static void tell(int fd, double value) {
        must(write(fd, &value, sizeof(value)) == sizeof(value), "the benchmark does not listen");
}

static double hear(int fd) {
        double value;

        must(read(fd, &value, sizeof(value)) == sizeof(value), "a process of the benchmark has ended too early");
        return value;
}

/* Runs `fn` in a process on the daemons' CPU. */
static pid_t start(void (*fn)(int fd, const void *argument), const void *argument, int *ret_fd) {
        int pipes[2];
        pid_t pid;

        must(pipe(pipes) == 0, "no pipe could be made");
        pid = fork();
        must(pid >= 0, "no process could be made");
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                pin_to(1);
                fn(pipes[1], argument);
                pause();
        }
        close(pipes[1]);
        *ret_fd = pipes[0];
        return pid;
}

static void end(pid_t pid, int fd) {
        close(fd);
        waitpid(pid, NULL, 0);
}

/* ---- the limit ---- */

static void unmap_all(int fd, const void *argument) {
        int file = memfd_create("bench-reap", MFD_CLOEXEC);
        static char *at[COUNT];
        uint64_t before;

        must(file >= 0 && ftruncate(file, (off_t)COUNT * SIZE) == 0, "no memory file could be made");
        for (int i = 0; i < COUNT; i++) {
                at[i] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)(COUNT - 1 - i) * SIZE);
                must(at[i] != MAP_FAILED, "the memory file cannot be mapped");
                write_all(at[i]);
        }
        before = now_ns();
        for (int i = 0; i < COUNT; i++)
                munmap(at[i], SIZE);
        tell(fd, (double)(now_ns() - before) / COUNT);
}

static double unmap_ns(void) {
        int fd;
        pid_t pid = start(unmap_all, NULL, &fd);
        double ns = hear(fd);

        kill(pid, SIGKILL);
        end(pid, fd);
        return ns;
}

/* ---- the client ---- */

static void hold_all(int fd, const void *argument) {
        const struct svmd_connect_options *opts = argument;
        svmd_session *s;

        must(svmd_connect(&s, opts) == 0, "connect: %s", svmd_error());
        for (int i = 0; i < COUNT; i++) {
                svmd_mem mem;
                void *p;

                must(svmd_address_reserve(s, &p, SIZE, 0, NULL, NULL) == 0, "reserve: %s", svmd_error());
                must(svmd_mem_create(s, &mem, SIZE, 0, 0) == 0, "create: %s", svmd_error());
                must(svmd_mem_map(s, SVMD_CPU, (uint64_t)(uintptr_t)p, SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0) == 0,
                     "map: %s", svmd_error());
                write_all(p);
        }
        tell(fd, 0);
}

static bool clean(struct client *admin) {
        const Svmd__V1__StatusResult *s = client_status(admin);

        return s->reservations == 0 && s->mappings == 0 && s->memories == 0 && client_used_bytes(admin) == 0;
}

static double reap_ns(struct client *admin, const char *socket) {
        struct svmd_connect_options opts = { .size = sizeof(opts), .socket = socket };
        uint64_t before, after;
        pid_t pid;
        int fd;

        pid = start(hold_all, &opts, &fd);
        hear(fd);
        must(client_status(admin)->mappings == COUNT, "svmd does not have the mappings of the client");
        before = now_ns();
        kill(pid, SIGKILL);
        while (!clean(admin))
                ;
        after = now_ns();
        end(pid, fd);
        return (double)(after - before) / COUNT;
}

int main(int argc, char **argv) {
        struct row row = { .name = "reap", .unit = "ns" };
        static struct client admin;
        char socket[108];

        must(argc == 3, "usage: bench_reap RUNTIME-DIR PID");
        pin_to(0);
        snprintf(socket, sizeof(socket), "%s/svmd.sock", argv[1]);
        client_open_admin(&admin, argv[1]);
        for (int round = -1; round < ROUNDS; round++) {
                double ours = reap_ns(&admin, socket), limit = unmap_ns();

                if (round >= 0)
                        row_add(&row, ours, limit);
        }
        row_print(&row);
        return 0;
}
