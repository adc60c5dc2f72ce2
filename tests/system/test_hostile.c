/*
 * Clients that do not keep to the rules, in twelve families of five: whatever they do, a witness beside them has its
 * bytes and its charges, goes on with its work, and svmd keeps none of their descriptors and none of their memory.
 *
 *      system_hostile [FAMILY]     SVMD_SEED reproduces the choices
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon.h"
#include "hostile/families.h"
#include "hostile/raw.h"
#include "hostile/witness.h"

/* Of what may wait for a user: less than one reply for each of his sessions. */
#define HOSTILE_QUEUED "2M"

enum { HOSTILE_UID = 2001, MONITORED = 600 };

struct hostile_target target;

static struct daemon d;
static struct witness witness;

static const struct hostile_family *const families[] = {
        &hostile_ids,    &hostile_packets, &hostile_fds,     &hostile_memfd, &hostile_uffd, &hostile_lock,
        &hostile_storms, &hostile_readers, &hostile_replays, &hostile_races, &hostile_exec, &hostile_admin,
};

/* ---- what the families share ---- */

svmd_session *hostile_session(const char *partition) {
        svmd_session *s;

        connect_to(&s, target.socket, partition);
        return s;
}

volatile char *hostile_range(svmd_session *s, size_t size, const char *name, unsigned mode) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .kind = SVMD_SHARED, .granule = 65536, .name = name, .mode = mode
        };
        void *at;

        ok(svmd_address_reserve(s, &at, size, 0, NULL, &o));
        for (size_t i = 0; i < size; i += 4096)
                ((volatile char *)at)[i] = 1;
        return at;
}

/* ---- a case ---- */

static bool answered(const struct actor *a) {
        struct pollfd p = { .fd = a->socket, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* As far as it gets by itself. */
static bool stands(const struct actor *a) {
        siginfo_t info = { 0 };

        must(waitid(P_PID, (id_t)a->pid, &info, WSTOPPED | WNOHANG) == 0);
        return info.si_pid == a->pid;
}

static void run_case(const struct hostile_family *f, const struct hostile_case *c) {
        uint64_t begun = now_ms(), steps = witness.steps;
        struct actor a;

        printf("%s: %s ... ", f->name, c->name);
        fflush(stdout);
        actor_new(&a, HOSTILE_UID, HOSTILE_UID, 0);
        actor_begin(&a, c->run, NULL);
        do {
                witness_step(&witness);
                must(now_ms() - begun < 2 * CEILING_MS);
        } while (c->stops ? !stands(&a) : !answered(&a));
        if (!c->stops)
                actor_finish(&a, NULL);
        actor_kill(&a);
        witness_check(&witness);
        printf("%llu ms, %llu steps of the witness\n", (unsigned long long)(now_ms() - begun),
               (unsigned long long)(witness.steps - steps));
}

/* The user's own partitions come with the first session in each, and stay. */
static void come_once(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, "");
        raw_close(&r);
        svmd_disconnect(hostile_session(NULL));
}

static void make_partitions(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        svmd_session *admin;
        struct actor a;

        connect_watcher(&admin, d.admin);
        ok(svmd_partition_create(admin, HOSTILE_PARTITION, &o, NULL));
        svmd_disconnect(admin);
        target.socket = d.socket;
        actor_new(&a, HOSTILE_UID, HOSTILE_UID, 0);
        actor_call(&a, come_once, &(struct message){ 0 });
        actor_end(&a);
}

/* The families may read what svmd says of them. */
static void open_log(void) {
        char path[96];

        snprintf(path, sizeof(path), "%s/log", d.dir);
        must(chmod(path, 0644) == 0);
}

static void aim(void) {
        struct svmd_session_info info = { .size = sizeof(info) };

        ok(svmd_session_info(witness.s, &info));
        target = (struct hostile_target){
                .socket = d.socket,
                .admin = d.admin,
                .dir = d.dir,
                .svmd = d.pid,
                .keeper = d.keeper,
                .session = info.id,
                .ids = info.id + 32,
                .address = (uint64_t)witness.range,
                .size = WITNESS_RANGE,
                .host = node_named(witness.s, "host0"),
                .gpu = node_named(witness.s, "gpu0"),
        };
}

/* ---- and one who may administer ---- */

/* A monitor that does not read is told how much it missed, exactly. */
static void slow_monitor(void) {
        uint64_t got = 0, dropped = 0;
        struct raw r;

        raw_hello(&r, d.admin);
        must(raw_op(&r, Monitor, MONITOR, monitor, NULL, b.on = true) == 0);
        for (unsigned i = 0; i < MONITORED; i++)
                svmd_disconnect(hostile_session(HOSTILE_PARTITION));
        while (got + dropped < 2 * MONITORED) {
                Svmd__V1__Packet *packet = raw_take(&r);

                must(packet && packet->packet_case == SVMD__V1__PACKET__PACKET_EVENT);
                got += packet->event->event_case == SVMD__V1__EVENT__EVENT_MONITOR;
                dropped += packet->event->dropped;
        }
        printf("a slow monitor: %llu events came, %llu were counted as dropped\n", (unsigned long long)got,
               (unsigned long long)dropped);
        must(dropped > 0 && got + dropped == 2 * MONITORED);
        raw_close(&r);
        witness_check(&witness);
}

int main(int argc, char **argv) {
        static const char *const options[] = {
                "--soft-node", "gpu0:size=256M",       "--max-sessions-per-uid", "64", "--log-level",
                "warning",     "--max-queued-per-uid", HOSTILE_QUEUED,           NULL
        };
        unsigned run = 0;

        harness_begin("system_hostile");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        open_log();
        make_partitions();
        witness_new(&witness, &d, HOSTILE_PARTITION);
        aim();
        for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
                if (argc > 1 && strcmp(argv[1], families[i]->name) != 0)
                        continue;
                for (unsigned k = 0; k < FAMILY_CASES; k++, run++)
                        run_case(families[i], &families[i]->cases[k]);
        }
        must(run > 0);
        slow_monitor();
        witness_free(&witness);
        daemon_end(&d);
        return 0;
}
