#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"

/*
 * Who is served next: deficit round robin over users, and over the sessions of each.
 *
 * What is served is a packet, and what it costs, its operations, is known when it was served. So a user is served while
 * he has credit, and may come into debt by one packet less one operation. Each round adds a quantum of credit, which is
 * not saved up: there is never more than a quantum of it. Within a user his sessions take turns by the same rule.
 *
 *              +------------------- ring ------------------+      +---- done -----+
 *   a round:   | user with credit: at most `portion` packets | ---> | had his part |  ring is empty: the next round
 *              +---------------------------------------------+      +--------------+
 *
 *   a session: idle --turns_ready--> ready --turns_served--> served --turns_begin--> idle
 *                                      \______turns_idle______________________________/
 *
 * `portion` is how many packets the user with the fewest ready sessions can have served, so that of two users who have
 * work without end neither is served more often than the other, however many sessions he has. While somebody is ready,
 * a user whose sessions were all served is tried again in the next round: one of them may have sent more.
 *
 * The bound. With Q the quantum, C the dearest packet, U users and k sessions of one of them that are ready all the
 * time and send packets of at most Q, between two services of one of these k there are at most 2 (k - 1) Q operations
 * of the others of them, and (U - 1) ((2 k - 1) Q + C - 1) operations of all other users. (Twice, as in a turn it is
 * found in any order who is ready.)
 *
 * Nobody's credit depends on how often he comes: debt outlives the last session of a user until it is repaid.
 */
struct turns_user {
        struct tree_node node;
        uint64_t number;
        struct list link;          /* in ring or done; in owing without sessions; else in none */
        struct list ready, served; /* sessions */
        uint64_t members, ready_count, taken, round;
        int64_t credit;
};

struct turns_member {
        struct turns_user *user;
        struct list link;
        bool ready;
        int64_t credit;
};

struct turns {
        struct tree users;
        struct list ring, done, owing;
        uint64_t round, portion;
        int64_t quantum;
};

void turns_init(struct turns *s, unsigned quantum);
/* Nobody may be left in it. */
void turns_fini(struct turns *s);
/* A session of the user `number` comes: 0 or -ENOMEM. */
int turns_join(struct turns *s, struct turns_member *m, uint64_t number);
/* It goes, from whatever state. */
void turns_leave(struct turns *s, struct turns_member *m);

/* A packet of it waits. */
void turns_ready(struct turns *s, struct turns_member *m);
/* A turn begins: it is known anew who is ready, and who was served is idle unless turns_ready() said otherwise. */
void turns_begin(struct turns *s);
/* Whose packet is to be served now, or NULL: the round is over. Before the next call the session is served, idle, or
 * has left. */
struct turns_member *turns_next(struct turns *s);
/* A packet of it was, and cost so many operations. */
void turns_served(struct turns *s, struct turns_member *m, uint64_t cost);
/* It has nothing, or may not be served now. */
void turns_idle(struct turns *s, struct turns_member *m);
/* The next round begins; false: nobody is ready. */
bool turns_round(struct turns *s);
/* What it costs that is no packet. */
void turns_charge(struct turns_member *m, uint64_t cost);
