/*
 * What a device answers when private memory is moved: any outcome of any call, any number of pages that it says came,
 * and anything that it says of a page. Whatever that is, what svmd makes of it is whole: each page was seen at one
 * place, and what is counted fits together.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/hmm.h"
#include "backend/private.h"
#include "base/alloc.h"

enum { PAGES_MAX = 2100, WORKS = 8 };
#define BASE 0x7f0000000000u

static struct bytes answers;

static int answer(int fd, unsigned long request, struct dmirror_cmd *cmd) {
        static const int codes[] = { 0,      0,       0,       0,      0,      -ENOENT, -EINVAL, -EBUSY,
                                     -EBUSY, -ENOMEM, -EFAULT, -EPERM, -EPERM, -EINTR,  -ENODEV, -EIO };
        uint8_t first = take_u8(&answers);
        int r = codes[first & 15];

        must(cmd->pages > 0 && cmd->address >= BASE);
        must((cmd->address - BASE) / PRIVATE_PAGE + cmd->pages <= PAGES_MAX);
        cmd->done = first & 16 ? cmd->pages : take_number(&answers, first >> 6);
        if (request != DMIRROR_SNAPSHOT)
                return r;
        /* Runs alike, as there would be; on failure too. */
        for (uint64_t i = 0; i < cmd->pages;) {
                uint64_t run = take_u8(&answers);
                uint8_t page = take_u8(&answers);

                for (run = run ? run : cmd->pages; run > 0 && i < cmd->pages; run--)
                        ((uint8_t *)(uintptr_t)cmd->buffer)[i++] = page;
        }
        return r;
}

/* Every page is at one place, or was never looked at. */
static void check_places(struct places *places, unsigned files, uint64_t pages) {
        uint64_t sum = 0;

        for (enum place p = PLACE_UNSEEN; p < PLACES_END; p++)
                for (unsigned f = 0; f < (p == PLACE_DEVICE || p == PLACE_EXCLUSIVE ? files : 1); f++)
                        sum += places_count(places, p, f);
        must(sum == pages);
}

static void check_work(const struct private_work *w, unsigned files) {
        must(w->result <= 0 && w->there <= w->pages && w->unmapped <= w->pages);
        if (w->first_left)
                must(w->first_left >= w->address && w->first_left < w->address + w->pages * PRIVATE_PAGE);
        if (w->result)
                return;
        must((w->first_left == 0) == (w->there == w->pages));
        for (uint64_t i = 0; i < w->pages; i++) {
                struct place_seen seen = places_get(w->places, (w->address - w->base) / PRIVATE_PAGE + i);

                must(seen.place > PLACE_UNSEEN && seen.place < PLACES_END);
                must((seen.place != PLACE_DEVICE && seen.place != PLACE_EXCLUSIVE) || seen.file < files);
        }
}

static void work(struct bytes *b, struct private_files *files, struct places *places, uint64_t pages) {
        struct private_work w = { .task = take_u8(b) % 3, .places = places, .base = BASE };
        uint64_t first = take_number(b, 2) % pages;
        uint8_t file = take_u8(b);
        atomic_bool stop = false;

        w.file = file % files->count;
        if (w.task == PRIVATE_MOVE && file & 0x80)
                w.file = PRIVATE_SYSTEM;
        w.address = BASE + first * PRIVATE_PAGE;
        w.pages = 1 + take_number(b, 2) % (pages - first);
        private_run(files, &w, &stop);
        check_work(&w, files->count);
        check_places(places, files->count, pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes b = { bytes, size }, orders;
        struct private_files files = { .count = 1 + take_u8(&b) % 3 };
        uint64_t pages = take_number(&b, 2) % PAGES_MAX + 1;
        struct places *places;

        hmm_call = answer;
        orders = take_bytes(&b, 1 + take_u8(&b) % (6 * WORKS));
        answers = b;
        for (unsigned i = 0; i < files.count; i++)
                files.file[i] = (struct private_file){ backend_for(NODE_HMM)->private_ops, (int)i };
        must(places_new(&places, pages) == 0);
        while (orders.left)
                work(&orders, &files, places, pages);
        places_drop(places);
        alloc_free(files.scratch);
        return 0;
}
