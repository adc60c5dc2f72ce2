/*
 * Clients that do not keep to the rules, in twelve families of five: whatever they do, a witness beside them has its
 * bytes and its charges, goes on with its work, and svmd keeps none of their descriptors and none of their memory.
 *
 *      system_hostile [FAMILY]     SVMD_SEED reproduces the choices
 */
#include <stdio.h>
#include <sys/stat.h>

#include "daemon.h"
#include "hostile/families.h"
#include "hostile/raw.h"
#include "hostile/witness.h"

/* Of what may wait for a user: less than one reply for each of his sessions. */
#define HOSTILE_QUEUED "2M"

enum { HOSTILE_UID = 2001, MONITORED = 600 };

static struct daemon d;
static struct witness witness;

static uint64_t steps;

static void meanwhile(void) {
        witness_step(&witness);
}

static void afterwards(void) {
        witness_check(&witness);
        printf(", %llu steps of the witness", (unsigned long long)(witness.steps - steps));
        steps = witness.steps;
}

static void make_partitions(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        svmd_session *admin;

        connect_watcher(&admin, d.admin);
        ok(svmd_partition_create(admin, HOSTILE_PARTITION, &o, NULL));
        svmd_disconnect(admin);
        target.socket = d.socket;
        hostile_come(HOSTILE_UID);
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
        const struct hostile_beside beside = { HOSTILE_UID, meanwhile, afterwards };

        harness_begin("system_hostile");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        open_log();
        make_partitions();
        witness_new(&witness, &d, HOSTILE_PARTITION);
        aim();
        must(hostile_run(argc > 1 ? argv[1] : NULL, &beside) > 0);
        slow_monitor();
        witness_free(&witness);
        daemon_end(&d);
        return 0;
}
