/*
 * A journal is written as the input says, with a model of what was committed beside it. Then its file is damaged as the
 * input says, and adopted: an undamaged one gives what the model has; a damaged one is refused with a sentence, or is
 * read without a step outside. Words with checksums are sealed again on request, so that lengths and numbers behind
 * them are met too.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

/* For its sealing; the library's copy is not linked then. */
#include "store/journal.c"

enum { JOURNAL = 64 << 10, MODEL = 4096 };

static struct {
        uint16_t type, size;
        uint8_t fill;
} model[MODEL];
static size_t committed, written, checked;

static void note(uint16_t type, uint16_t size, uint8_t fill) {
        must(written < MODEL);
        model[written].type = type;
        model[written].size = size;
        model[written++].fill = fill;
}

static void append(struct journal *j, struct bytes *b) {
        static uint8_t bytes[1024];
        uint16_t type = take_u8(b), size = (uint16_t)take_number(b, 2) % sizeof(bytes);
        uint8_t fill = take_u8(b);

        if (journal_reserve(j, 1, size) != 0)
                return;
        memset(bytes, fill, size);
        journal_append(j, type, bytes, size);
        note(type, size, fill);
}

static void commit(struct journal *j) {
        journal_commit(j);
        committed = written;
}

/* The snapshot has every other effect. */
static void snapshot(struct journal *j, bool cancel) {
        static uint8_t bytes[1024];
        size_t kept = 0;

        commit(j);
        must(journal_snapshot_begin(j) == 0);
        for (size_t i = 0; i < written; i += 2) {
                memset(bytes, model[i].fill, model[i].size);
                if (journal_snapshot_put(j, model[i].type, bytes, model[i].size) != 0)
                        cancel = true;
        }
        if (cancel) {
                journal_snapshot_cancel(j);
                return;
        }
        journal_snapshot_end(j);
        for (size_t i = 0; i < written; i += 2)
                model[kept++] = model[i];
        written = committed = kept;
}

static void undo(struct journal *j, struct bytes *b) {
        uint64_t mark = journal_mark(j);
        size_t before = written;

        for (unsigned n = take_u8(b) % 4; n; n--)
                append(j, b);
        journal_rewind(j, mark);
        written = before;
}

static void write_some(struct journal *j, struct bytes *b) {
        committed = written = 0;
        for (unsigned n = take_u8(b); n && b->left && written < MODEL - 8; n--) {
                switch (take_u8(b) % 8) {
                case 0: commit(j); break;
                case 1: snapshot(j, false); break;
                case 2: snapshot(j, true); break;
                case 3: undo(j, b); break;
                default: append(j, b);
                }
        }
}

/* ---- damage ---- */

static void reseal(unsigned char *file, size_t size) {
        struct header *h = (struct header *)file;
        uint64_t active = (uint32_t)h->active & 1, half = h->half, at = 0;

        h->active = seal((uint32_t)h->active, PLACE_ACTIVE);
        for (uint32_t i = 0; i < 2; i++)
                h->tail[i] = seal((uint32_t)h->tail[i], PLACE_TAIL + i);
        if (half % 8 || half > size || PAGE + (active + 1) * half > size)
                return;
        while (at + sizeof(struct frame) <= half) {
                struct frame *f = (struct frame *)(file + PAGE + active * half + at);

                if (f->size % 8 || f->size > half - at - sizeof(*f) || f->size == 0)
                        return;
                f->checksum = frame_checksum(f);
                at += sizeof(*f) + f->size;
        }
}

/* A copy of the file that may be cut and changed. True: it still is what the journal wrote. */
static bool damage(struct bytes *b, int from, int *ret) {
        static _Alignas(8) unsigned char file[JOURNAL + 2 * PAGE];
        ssize_t size = pread(from, file, sizeof(file), 0);
        uint8_t how = take_u8(b);
        bool whole = true;

        must(size > 0 && (size_t)size < sizeof(file));
        while (b->left >= 3) {
                uint64_t at = take_number(b, 2);
                struct bytes patch = take_bytes(b, 1 + take_u8(b) % 8);

                if (how & 2) /* near the heads, where it matters */
                        at = at % 64 + (at & 64 ? PAGE : 0);
                if (at + patch.left > (size_t)size)
                        continue;
                memcpy(file + at, patch.at, patch.left);
                whole = false;
        }
        if (how & 1)
                reseal(file, (size_t)size);
        if (how >= 0xf0)
                size = (size - 1) * (how - 0xf0) / 16 + 1;
        *ret = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        must(*ret >= 0 && write(*ret, file, (size_t)size) == size);
        return whole && how < 0xf0 && !(how & 1);
}

/* ---- reading ---- */

static int count_bytes(void *userdata, uint16_t type, const void *bytes, size_t size) {
        const uint8_t *p = bytes;

        must(size <= EFFECT_MAX);
        for (size_t i = 0; i < size; i++)
                *(uint64_t *)userdata += p[i];
        return 0;
}

static int compare(void *userdata, uint16_t type, const void *bytes, size_t size) {
        const uint8_t *p = bytes;

        must(checked < committed);
        must(type == model[checked].type && size == model[checked].size);
        for (size_t i = 0; i < size; i++)
                must(p[i] == model[checked].fill);
        checked++;
        return 0;
}

static void adopt(int fd, bool whole, struct bytes *b) {
        char why[256] = "";
        struct journal *j;
        uint64_t sum = 0;
        int r = journal_adopt(&j, fd, why, sizeof(why));

        if (r != 0) {
                must(!whole && (r < 0 || why[0]));
                close(fd);
                return;
        }
        checked = 0;
        must(journal_replay(j, whole ? compare : count_bytes, whole ? NULL : &sum) == 0);
        must(!whole || checked == committed);
        must(journal_used(j) <= journal_size(j));
        append(j, b);
        journal_commit(j);
        must(journal_replay(j, count_bytes, &sum) == 0);
        journal_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes b = { bytes, size };
        struct journal *j;
        bool whole;
        int fd;

        must(journal_new(&j, JOURNAL) == 0);
        write_some(j, &b);
        whole = damage(&b, journal_fd(j), &fd);
        journal_free(j);
        adopt(fd, whole, &b);
        return 0;
}
