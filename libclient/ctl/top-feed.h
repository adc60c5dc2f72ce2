#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ctl;
struct top_snapshot;

/*
 * A child that asks svmd once an interval and hands on what it was told, so that the terminal goes on while svmd does
 * not answer. It connects anew when svmd was away, and ends with its parent.
 */
struct top_feed {
        int fd; /* readable: something has come */
        pid_t pid;
        char *buffer;
        size_t have, room;
};

/* A negative errno. c->session must be none: a child has nothing of a session. */
int top_feed_start(struct ctl *c, struct top_feed *f, uint64_t interval_ns);
void top_feed_interval(struct top_feed *f, uint64_t interval_ns);
/* 1: `ret` is filled, and to be freed; 0: nothing whole has come yet; a negative errno: the child has ended. */
int top_feed_take(struct top_feed *f, struct top_snapshot *ret);
void top_feed_end(struct top_feed *f);
