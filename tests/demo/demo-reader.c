/*
 * A reader of the index: opens the reservation at its address, tries to get more than it was given, then answers a word
 * a line of standard input by following the pointers that the builder wrote.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "demo.h"
#include "index.h"

/* A reader may make its mapping writable, but what it writes is its own. */
static void try_to_write(void *address) {
        struct index *index = address;
        int error = 0;

        if (mprotect(address, SVMD_PAGE, PROT_READ | PROT_WRITE) < 0)
                error = errno;
        else
                index->scratch = 4711;
        say("mprotect error=%s", error ? strerrorname_np(error) : "none");
}

static void tell_mapping(void *address, size_t size) {
        const struct index_word *last;
        const struct index *index;
        uint64_t hops;

        try_to_write(address);
        index = index_at(address);
        if (!index) {
                say("refused what=index code=NONE text=there is no index at %p", address);
                exit(1);
        }
        hops = index_chase(index, &last);
        say("opened address=0x%" PRIxPTR " size=%zu hops=%" PRIu64 " last=0x%" PRIxPTR, (uintptr_t)address, size, hops,
            (uintptr_t)last);
}

static void answer_words(const struct index *index) {
        char *line = NULL;
        size_t room = 0;
        ssize_t n;

        while ((n = getline(&line, &room, stdin)) > 0) {
                const struct index_word *word;
                struct index_answer answer;

                if (line[n - 1] == '\n')
                        n--;
                word = index_find(index, line, (size_t)n);
                answer = index_answer(word);
                say("answer word=%.*s at=0x%" PRIxPTR " lines=%" PRIu64 " files=%" PRIu64, (int)n, line,
                    (uintptr_t)word, answer.lines, answer.files);
        }
        free(line);
}

int main(int argc, char **argv) {
        static const struct option options[] = { DEMO_OPTIONS, { 0 } };
        struct demo_options o;
        svmd_session *s;
        void *address;
        size_t size;

        demo_parse(&o, argc, argv, options, NULL);
        s = demo_connect(&o);
        tell_refusal(svmd_address_open(s, &address, &size, o.name, SVMD_ACCESS_READ_WRITE), "open-to-write");
        must(svmd_address_open(s, &address, &size, o.name, SVMD_ACCESS_READ), "open");
        tell_mapping(address, size);
        answer_words(address);
        must(svmd_address_free(s, address), "close");
        svmd_disconnect(s);
        say("bye");
        return 0;
}
