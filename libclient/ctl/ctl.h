#pragma once

#include <obstack.h>
#include <stdbool.h>
#include <stdio.h>

#include <svmd.h>

/* How svmd-ctl ends; also in the man page. */
enum {
        EXIT_OK = 0,
        EXIT_REFUSED = 1, /* svmd refused, or what was looked for is wrong or absent */
        EXIT_USAGE = 2,
        EXIT_TIMEOUT = 3,
        EXIT_UNREACHED = 4,
};

/* One run of svmd-ctl: where it writes, how, and the session it asks through. */
struct ctl {
        FILE *out, *err;
        bool json, color, utf8;
        bool terminal;  /* `out` is one: tables keep to `width` */
        bool watched;   /* `err` is one: what takes long says how far it is */
        bool can_ask;   /* a person is there to answer */
        unsigned width; /* columns */

        const char *socket;      /* --socket */
        const char *runtime_dir; /* --runtime-dir */
        const char *partition;   /* --partition */

        svmd_session *session;
        struct svmd_session_info info;

        struct obstack pool; /* everything that lives to the end of the run */
};

void ctl_init(struct ctl *c, FILE *out, FILE *err);
void ctl_fini(struct ctl *c);

/* Writes "svmd-ctl: SENTENCE" and returns `status`. */
int ctl_fail(struct ctl *c, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a code of libsvmd, with the sentence that svmd wrote. 0 is EXIT_OK. */
int ctl_result(struct ctl *c, int code);
/* svmd looks at private memory before it is asked where that lies. Nothing happens of other kinds, or where it cannot.
 */
void ctl_observe(struct ctl *c, const char *partition, uint64_t address, uint64_t size);
/* Asks "QUESTION [y/N]". True without asking when nobody is there to answer. */
bool ctl_confirm(struct ctl *c, const char *question);

/* Of a clock that only goes on. */
uint64_t ctl_now_ns(void);
/* Memory and text that live to the end of the run. */
void *ctl_alloc(struct ctl *c, size_t size);
char *ctl_text(struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *ctl_copy(struct ctl *c, const char *text);
/* Sizes for people: "1.5 GiB"; a limit may be none: "-". */
const char *ctl_size(struct ctl *c, uint64_t bytes);
const char *ctl_limit(struct ctl *c, uint64_t bytes);
const char *ctl_address(struct ctl *c, uint64_t address);
/* The two greatest units: "3 h 12 min". */
const char *ctl_duration(struct ctl *c, uint64_t ms);
