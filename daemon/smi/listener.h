#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * svmd's side of svmd-smi: hears what AMD's driver tells of all processes. Nothing here waits, and a step does no more
 * than so much, whatever the streams bring.
 *
 *      ask --> nobody listens | who listens is not to be trusted | asked
 *                                                                  | step
 *              no answer that svmd understands <-------------------+-------------------> streams
 *
 * A stream that ends stays so until it is asked again. One that still goes on is not exchanged then, so that nothing is
 * counted twice.
 */
struct smi_event;
struct smi_listener;

enum smi_asked {
        SMI_NOT_ASKED,
        SMI_NOBODY, /* no svmd-smi */
        SMI_ASKED,
        SMI_ANSWERED,
        SMI_FAILED, /* `why` says how */
};

struct smi_heard {
        enum smi_asked asked;    /* the last time */
        uint32_t streams, ended; /* that go on; that have ended, and what was handed over is none */
        int error;               /* of a GPU that has no stream: negative errno; 0 */
        uint64_t events;         /* so far, of all streams; unknown and broken lines as struct smi says */
        uint64_t unknown, broken;
        char why[160];
};

/* `socket`: where svmd-smi is asked. -ENOMEM, or -errno. */
int smi_listener_new(struct smi_listener **ret, const char *socket);
/* NULL is allowed. */
void smi_listener_free(struct smi_listener *l);
/* Where all streams go on nobody is asked, unless `anew`: there may be other GPUs. */
void smi_listener_ask(struct smi_listener *l, bool anew);
/* Readable when a step has something to do. */
int smi_listener_fd(const struct smi_listener *l);
/* Calls back for each event. */
void smi_listener_step(struct smi_listener *l, void (*call)(void *userdata, const struct smi_event *event),
                       void *userdata);
const struct smi_heard *smi_listener_heard(const struct smi_listener *l);
