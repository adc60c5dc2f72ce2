/*
 * svmd and svmd-probe-kfd: fake probes that crash, hang, flood and lie cost what AMD's driver has, with words that say
 * so, and nothing else; where there is no driver, that is said. With --real there is one without a card (the guest of
 * ./dev vm): what svmd says is what sysfs says, and what the kernel refuses is said with what to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

static struct daemon d;
static svmd_session *watcher;
static char path[64];

static const char *fake(const char *body) {
        FILE *f = fopen(path, "we");

        must(f != NULL);
        fprintf(f, "#!/bin/sh\n%s\n", body);
        must(fclose(f) == 0 && chmod(path, 0755) == 0);
        return path;
}

struct look {
        const char *id;
        unsigned level;
        char text[512];
        bool there;
};

static int on_finding(const char *id, unsigned level, const char *text, void *userdata) {
        struct look *l = userdata;

        if (strcmp(id, l->id) != 0)
                return 0;
        l->level = level;
        l->there = true;
        snprintf(l->text, sizeof(l->text), "%s", text);
        return 0;
}

/* Until the child has ended. */
static struct look finding(const char *id) {
        uint64_t until = now_ms() + CEILING_MS;
        struct look l;

        do {
                l = (struct look){ .id = id };
                ok(svmd_query_findings(watcher, on_finding, &l));
                if (l.there && !strstr(l.text, "look again in a moment"))
                        return l;
                usleep(2000);
        } while (now_ms() < until);
        if (l.there)
                fail_here(l.text);
        return l;
}

static void must_say(const char *id, unsigned level, const char *words) {
        struct look l = finding(id);

        if (!l.there || l.level != level || !strstr(l.text, words)) {
                fprintf(stderr, "doctor says of %s: %u \"%s\", not %u \"%s\"\n", id, l.level, l.text, level, words);
                fail_here("doctor's words are wrong");
        }
        printf("%s: %s\n", id, l.text);
}

static int count_node(const struct svmd_node_row *row, void *userdata) {
        ++*(unsigned *)userdata;
        return 0;
}

/* Everything else works. */
static void must_work(void) {
        unsigned nodes = 0;
        svmd_session *s;
        svmd_mem mem;

        ok(svmd_query_nodes(watcher, count_node, &nodes));
        must(nodes >= 2);
        connect_to(&s, d.socket, NULL);
        ok(svmd_mem_create(s, &mem, 4096, node_named(s, "gpu0"), 0));
        svmd_disconnect(s);
}

static void start(const char *probe) {
        static char option[96];

        if (probe)
                snprintf(option, sizeof(option), "--kfd-probe=%s", probe);
        daemon_new(&d, (const char *const[]){ "--soft-node=gpu0:size=64M", probe ? option : NULL, NULL });
        connect_watcher(&watcher, d.admin);
}

static void end(void) {
        svmd_disconnect(watcher);
        daemon_end(&d);
}

static void fakes(void) {
        static const struct {
                const char *body, *words;
                unsigned level;
        } table[] = {
                { "kill -ABRT $$", "signal 6", SVMD_FINDING_WARNING },
                { "exec sleep 1000", "not done after", SVMD_FINDING_WARNING },
                { "exec yes", "said more than", SVMD_FINDING_WARNING },
                { "echo I am no probe", "another version", SVMD_FINDING_WARNING },
                { "echo probe 1; echo version 1 11; echo node 7 gpu; echo end", "line 3", SVMD_FINDING_WARNING },
                { "echo probe 1; echo error open 13 20; echo end", "group that has it", SVMD_FINDING_WARNING },
                { "echo probe 1; echo error open 2 20; echo end", "no /dev/kfd", SVMD_FINDING_NOTE },
                { "echo probe 1; echo version 1 11; echo error topology 5 1; echo end", "fails at \"topology\"",
                  SVMD_FINDING_WARNING },
                { "echo probe 1; echo version 1 14; echo node 0 gpu 104 68719476736 128 0x0 1 MI210; echo xnack 0; echo end",
                  "1 GPU and 0 CPU nodes", SVMD_FINDING_GOOD },
        };

        for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                start(fake(table[i].body));
                must_work();
                must_say("kfd", table[i].level, table[i].words);
                must_work();
                end();
        }
        start("/nonexistent/svmd-probe-kfd");
        must_say("kfd", SVMD_FINDING_WARNING, "No such file");
        end();
}

/* What GPUs cannot is said before anybody meets it: no faults, and no fast link between some of them. */
static void limits(void) {
#define GPU(index, hive) "echo node " index " gpu 104 68719476736 " index " " hive " 1 MI210; "
        static const struct {
                const char *body, *id, *words; /* no words: nothing is said */
                unsigned level;
        } table[] = {
                { GPU("0", "0x0") "echo xnack 0", "kfd-links", NULL, 0 },
                { GPU("0", "0x7") GPU("1", "0x7") "echo xnack 0", "kfd-links", "the 2 AMD GPUs are in one hive",
                  SVMD_FINDING_GOOD },
                { GPU("0", "0x7") GPU("1", "0x8") GPU("2", "0x7") "echo xnack 0", "kfd-links",
                  "of 3 AMD GPUs 0 are in no hive, and the others in 2", SVMD_FINDING_NOTE },
                { GPU("0", "0x0") GPU("1", "0x0") "echo xnack 0", "kfd-links",
                  "of 2 AMD GPUs 2 are in no hive, and the others in 0", SVMD_FINDING_NOTE },
                { GPU("0", "0x7") GPU("1", "0x0") "echo xnack 0", "kfd-links",
                  "of 2 AMD GPUs 1 are in no hive, and the others in 1", SVMD_FINDING_NOTE },
                { GPU("0", "0x0") "echo xnack 0", "kfd-xnack", "serve no faults (XNACK is off)", SVMD_FINDING_NOTE },
                { GPU("0", "0x0") "echo xnack 1", "kfd-xnack", "serve faults", SVMD_FINDING_GOOD },
                { GPU("0", "0x0") "echo error xnack 1 11", "kfd-xnack", "serve no faults (XNACK: not supported)",
                  SVMD_FINDING_NOTE },
        };
#undef GPU
        char body[512];

        for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                struct look l = { .id = table[i].id };

                snprintf(body, sizeof(body), "echo probe 1; echo version 1 14; %s; echo end", table[i].body);
                start(fake(body));
                must_say("kfd", SVMD_FINDING_GOOD, "AMD's driver has");
                if (table[i].words)
                        must_say(table[i].id, table[i].level, table[i].words);
                else
                        must(svmd_query_findings(watcher, on_finding, &l) == SVMD_OK && !l.there);
                end();
        }
}

/* A svmd that is killed while it asks is followed by one that asks again. */
static void restart(void) {
        start(fake("exec sleep 20"));
        daemon_kill(&d);
        svmd_disconnect(watcher);
        fake("kill -ABRT $$");
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
        must_say("kfd", SVMD_FINDING_WARNING, "signal 6");
        end();
}

static void no_driver(void) {
        start(NULL);
        must_say("kfd", SVMD_FINDING_NOTE, "no /dev/kfd");
        must_work();
        end();
}

static void real(void) {
        char words[64];
        unsigned cpus = 0;

        for (;; cpus++) {
                char node[96];

                snprintf(node, sizeof(node), "/sys/class/kfd/kfd/topology/nodes/%u", cpus);
                if (access(node, F_OK) < 0)
                        break;
        }
        must(cpus > 0);
        snprintf(words, sizeof(words), "%u CPU node%s), and has no GPU", cpus, cpus == 1 ? "" : "s");
        start(NULL);
        must_say("kfd", SVMD_FINDING_NOTE, words);
        must_say("kfd", SVMD_FINDING_NOTE, "/dev/kfd 1.");
        must_say("kfd-svm", SVMD_FINDING_NOTE, "CONFIG_HSA_AMD_SVM");
        must_work();
        end();
}

int main(int argc, char **argv) {
        char dir[] = "/tmp/svmd-probe-XXXXXX";

        harness_begin("kfd");
        must(mkdtemp(dir) != NULL && chmod(dir, 0755) == 0);
        snprintf(path, sizeof(path), "%s/probe", dir);
        if (argc > 1 && strcmp(argv[1], "--real") == 0) {
                real();
        } else {
                if (access("/dev/kfd", F_OK) < 0)
                        no_driver();
                fakes();
                limits();
                restart();
        }
        unlink(path);
        rmdir(dir);
        return 0;
}
