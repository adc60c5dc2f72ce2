#include "backend/private.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"

/*
 * Moving is asked for first and looked at afterwards: what has not come is then fetched from where the look says that
 * it is, and asked for once more. What does not come then either stays: the kernel lets no page go that something has
 * pinned. Nothing here changes content, so a process that unmaps and maps meanwhile loses nothing.
 */
#define PIECE_MAX 1024u
#define TRIES     3
#define SETTLES   8 /* of a work: pinned memory must not make the machine busy */

struct piece {
        uint64_t address;
        uint32_t pages;
        struct place_seen seen[PIECE_MAX];
};

/* ---- looking ---- */

static void merge(struct place_seen *seen, uint8_t page, unsigned file) {
        if (page == PRIVATE_PAGE_HERE)
                *seen = (struct place_seen){ .place = PLACE_DEVICE, .file = file };
        else if (page == PRIVATE_PAGE_UNMAPPED)
                *seen = (struct place_seen){ .place = PLACE_UNMAPPED };
        else if (page == PRIVATE_PAGE_SYSTEM && seen->place == PLACE_NONE)
                seen->place = PLACE_SYSTEM;
}

/* Somebody changed the range while it was looked at, again and again: EBUSY. */
static int look_file(const struct private_file *f, const struct piece *p, uint8_t *pages) {
        int r = -EBUSY;

        for (int i = 0; i < TRIES && r == -EBUSY; i++)
                r = f->ops->look(f->fd, p->address, p->pages, pages);
        return r;
}

/* Pages that seem to be nowhere may be used exclusively. */
static int look_exclusive(const struct private_file *f, struct piece *p, unsigned file) {
        for (uint32_t i = 0; i < p->pages; i++) {
                int r = 0;

                if (p->seen[i].place == PLACE_NONE)
                        r = f->ops->is_exclusive(f->fd, p->address + (uint64_t)i * PRIVATE_PAGE, 1);
                if (r < 0)
                        return r;
                if (r > 0)
                        p->seen[i] = (struct place_seen){ .place = PLACE_EXCLUSIVE, .file = file };
        }
        return 0;
}

static bool all_found(const struct piece *p) {
        for (uint32_t i = 0; i < p->pages; i++)
                if (p->seen[i].place == PLACE_NONE)
                        return false;
        return true;
}

/* By the file that most likely knows first: what it sees in system memory, or has itself, no other one has. */
static int look(const struct private_files *files, struct piece *p, unsigned first) {
        uint8_t pages[PIECE_MAX];
        int r = 0;

        for (uint32_t i = 0; i < p->pages; i++)
                p->seen[i] = (struct place_seen){ .place = PLACE_NONE };
        for (unsigned n = 0; r == 0 && n < files->count && !all_found(p); n++) {
                unsigned k = (first + n) % files->count;

                if (!files->file[k].ops)
                        continue;
                r = look_file(&files->file[k], p, pages);
                for (uint32_t i = 0; r == 0 && i < p->pages; i++)
                        merge(&p->seen[i], pages[i], k);
        }
        for (unsigned k = 0; r == 0 && k < files->count && !all_found(p); k++)
                if (files->file[k].ops && files->file[k].ops->is_exclusive(files->file[k].fd, p->address, p->pages))
                        r = look_exclusive(&files->file[k], p, k);
        return r;
}

/* ---- moving ---- */

static int move(const struct private_files *files, unsigned file, uint64_t address, uint32_t pages,
                enum private_way way) {
        const struct private_file *f = &files->file[file];

        return f->ops->move(f->fd, address, pages, way, files->scratch);
}

/* The next pages from `*at` on that were seen alike. */
static uint32_t next_run(const struct piece *p, uint32_t *at, uint32_t *ret_first) {
        uint32_t first = *at;

        for (; *at < p->pages; ++*at)
                if (p->seen[*at].place != p->seen[first].place || p->seen[*at].file != p->seen[first].file)
                        break;
        *ret_first = first;
        return *at - first;
}

/* A run that has not come: first to where the device can take it from. What cannot be is seen afterwards. */
static void fetch_run(const struct private_files *files, unsigned file, uint64_t address, uint32_t pages,
                      const struct place_seen *seen) {
        if (seen->place == PLACE_DEVICE)
                (void)move(files, seen->file, address, pages, PRIVATE_TO_SYSTEM);
        else if (seen->place != PLACE_SYSTEM)
                (void)move(files, file, address, pages, PRIVATE_TOUCH);
        (void)move(files, file, address, pages, PRIVATE_TO_DEVICE);
}

static bool has_come(const struct place_seen *seen, unsigned file) {
        return seen->place == PLACE_UNMAPPED || (seen->place == PLACE_DEVICE && seen->file == file);
}

/* What has not come, from wherever it is; `again`: only what lies in system memory. False: there was nothing. */
static bool fetch_rest(const struct private_files *files, const struct piece *p, unsigned file, bool again) {
        bool any = false;

        for (uint32_t at = 0, first, count; at < p->pages;) {
                count = next_run(p, &at, &first);
                if (has_come(&p->seen[first], file) || (again && p->seen[first].place != PLACE_SYSTEM))
                        continue;
                any = true;
                fetch_run(files, file, p->address + (uint64_t)first * PRIVATE_PAGE, count, &p->seen[first]);
        }
        return any;
}

/* A page that was used a moment ago may be in a list that a CPU keeps for itself, which counts as a use of it. Moving a
 * page, whether or not that comes to anything, makes the kernel empty those lists. */
static void settle(const struct private_files *files) {
        void *page = files->scratch;
        int node = 0, status;

        (void)syscall(SYS_move_pages, 0, 1ul, &page, &node, &status, 0);
}

static int to_device(const struct private_files *files, struct piece *p, struct private_work *w) {
        int r = move(files, w->file, p->address, p->pages, PRIVATE_TO_DEVICE);

        if (r < 0 && r != -EINVAL && r != -ENOMEM && r != -EBUSY && r != -EFAULT)
                return r;
        r = look(files, p, w->file);
        if (r == 0 && fetch_rest(files, p, w->file, false))
                r = look(files, p, w->file);
        for (uint32_t i = 0; r == 0 && i < p->pages && w->settled < SETTLES; i++)
                if (p->seen[i].place == PLACE_SYSTEM) {
                        w->settled++;
                        settle(files);
                        fetch_rest(files, p, w->file, true);
                        return look(files, p, w->file);
                }
        return r;
}

/* The runs that are on devices, as far as is known: how many pages came. */
static uint32_t fetch_back(const struct private_files *files, const struct piece *p) {
        uint32_t came = 0;

        for (uint32_t at = 0, first, count; at < p->pages;) {
                int r = 0;

                count = next_run(p, &at, &first);
                if (p->seen[first].place == PLACE_DEVICE)
                        r = move(files, p->seen[first].file, p->address + (uint64_t)first * PRIVATE_PAGE, count,
                                 PRIVATE_TO_SYSTEM);
                came += r > 0 ? (uint32_t)r : 0;
        }
        return came;
}

/* First from where they were seen last, since that is most likely still so, and looking takes time too: if as many came
 * as there are, it is known where they are. */
static int to_system(const struct private_files *files, struct piece *p, struct places *places, uint64_t page) {
        int r;

        places_copy(places, page, p->seen, p->pages);
        if (fetch_back(files, p) == p->pages) {
                for (uint32_t i = 0; i < p->pages; i++)
                        p->seen[i] = (struct place_seen){ .place = PLACE_SYSTEM };
                return 0;
        }
        r = look(files, p, 0);
        return r == 0 && fetch_back(files, p) > 0 ? look(files, p, 0) : r;
}

static int take(const struct private_files *files, struct piece *p, struct places *places, uint64_t page,
                unsigned file) {
        int r = to_system(files, p, places, page), moved = -EBUSY;

        for (int i = 0; i < TRIES && r == 0 && moved == -EBUSY; i++)
                moved = move(files, file, p->address, p->pages, PRIVATE_EXCLUSIVE);
        return r == 0 ? look(files, p, file) : r;
}

/* ---- a whole range ---- */

static bool is_there(const struct private_work *w, const struct place_seen *seen) {
        switch (w->task) {
        case PRIVATE_LOOK: return seen->place != PLACE_UNMAPPED;
        case PRIVATE_TAKE: return seen->place == PLACE_EXCLUSIVE && seen->file == w->file;
        default:
                if (w->file == PRIVATE_SYSTEM)
                        return seen->place != PLACE_DEVICE && seen->place != PLACE_UNMAPPED;
                return seen->place == PLACE_DEVICE && seen->file == w->file;
        }
}

static void note(struct private_work *w, const struct piece *p) {
        places_set(w->places, (p->address - w->base) / PRIVATE_PAGE, p->seen, p->pages);
        for (uint32_t i = 0; i < p->pages; i++) {
                if (is_there(w, &p->seen[i]))
                        w->there++;
                else if (w->first_left == 0)
                        w->first_left = p->address + (uint64_t)i * PRIVATE_PAGE;
                w->unmapped += p->seen[i].place == PLACE_UNMAPPED;
        }
}

static int run_piece(struct private_files *files, struct private_work *w, struct piece *p) {
        uint64_t page = (p->address - w->base) / PRIVATE_PAGE;
        int r;

        switch (w->task) {
        case PRIVATE_LOOK: r = look(files, p, 0); break;
        case PRIVATE_TAKE: r = take(files, p, w->places, page, w->file); break;
        default: r = w->file == PRIVATE_SYSTEM ? to_system(files, p, w->places, page) : to_device(files, p, w);
        }
        if (r == 0)
                note(w, p);
        return r;
}

static uint32_t piece_of(const struct private_files *files) {
        uint32_t piece = PIECE_MAX;

        for (unsigned i = 0; i < files->count; i++)
                if (files->file[i].ops && files->file[i].ops->piece < piece)
                        piece = files->file[i].ops->piece;
        return piece;
}

void private_run(struct private_files *files, struct private_work *w, const atomic_bool *stop) {
        uint32_t piece = piece_of(files);
        struct piece p;

        if (w->task == PRIVATE_CALL) {
                w->call(w, files->file[w->file].fd, stop);
                return;
        }
        if (!files->scratch)
                files->scratch = alloc_array(PIECE_MAX, PRIVATE_PAGE);
        w->result = files->scratch ? 0 : -ENOMEM;
        for (uint64_t at = 0; w->result == 0 && at < w->pages; at += p.pages) {
                p.address = w->address + at * PRIVATE_PAGE;
                p.pages = w->pages - at < piece ? (uint32_t)(w->pages - at) : piece;
                w->result = atomic_load(stop) ? -ECANCELED : run_piece(files, w, &p);
        }
}
