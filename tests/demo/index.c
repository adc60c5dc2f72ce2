/*
 * A word is a maximal run of ASCII letters, digits and '_', which is what `grep -w` takes for one in the C locale. A
 * line ends at '\n'; and at a NUL, since grep, once it has seen a NUL in a file, reads each as the end of a line. That
 * it decides so only when it sees the first one changes nothing, as there is none before.
 *
 * The builder takes memory in address order and never gives any back. A word gets a new posting whenever it appears in
 * another file than that of its newest posting, so postings stand in the reverse order of the files.
 */
#include "index.h"

#include <string.h>

static const unsigned char word_byte[256] = {
        ['0' ... '9'] = 1,
        ['A' ... 'Z'] = 1,
        ['_'] = 1,
        ['a' ... 'z'] = 1,
};

static size_t round_up(size_t size) {
        return (size + 7) & ~(size_t)7;
}

static uint32_t hash_of(const char *text, size_t length) {
        uint64_t hash = 0xcbf29ce484222325ull;

        for (size_t i = 0; i < length; i++)
                hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ull;
        return (uint32_t)(hash ^ hash >> 32);
}

static int take(struct index_builder *b, void **ret, size_t size) {
        size = round_up(size);
        if ((size_t)(b->end - b->next) < size) {
                size_t more = size - (size_t)(b->end - b->next);
                int r = b->grow(b->userdata, b->end, &more);

                if (r)
                        return r;
                b->end += more;
        }
        *ret = b->next;
        b->next += size;
        return 0;
}

int index_begin(struct index_builder *b, void *address, size_t bucket_count, index_grow_fn grow, void *userdata) {
        void *index, *buckets;
        int r;

        *b = (struct index_builder){ .next = address, .end = address, .grow = grow, .userdata = userdata };
        r = take(b, &index, sizeof(struct index));
        if (!r)
                r = take(b, &buckets, bucket_count * sizeof(struct index_word *));
        if (r)
                return r;
        b->index = index;
        b->index->self = index;
        b->index->buckets = buckets;
        b->index->bucket_count = bucket_count;
        b->index->magic = INDEX_MAGIC;
        return 0;
}

int index_begin_file(struct index_builder *b, const char *path) {
        size_t length = strlen(path);
        void *at;
        int r = take(b, &at, sizeof(struct index_file) + length + 1);

        if (r)
                return r;
        b->file = at;
        memcpy(b->file->path, path, length);
        b->file->next = b->index->files;
        b->file->number = b->index->file_count++;
        b->index->files = b->file;
        b->index->lines++;
        return 0;
}

static struct index_word *find(const struct index *index, uint32_t hash, const char *text, size_t length) {
        struct index_word *w = index->buckets[hash & (index->bucket_count - 1)];

        while (w && (w->hash != hash || w->length != length || memcmp(w->text, text, length) != 0))
                w = w->chain;
        return w;
}

static int add_word(struct index_builder *b, struct index_word **ret, uint32_t hash, const char *text, size_t length) {
        struct index_word **bucket = &b->index->buckets[hash & (b->index->bucket_count - 1)];
        struct index_word *w;
        void *at;
        int r = take(b, &at, sizeof(*w) + length + 1);

        if (r)
                return r;
        w = at;
        memcpy(w->text, text, length);
        w->hash = hash;
        w->length = (uint32_t)length;
        w->chain = *bucket;
        *bucket = w;
        if (b->index->last)
                b->index->last->next = w;
        else
                b->index->first = w;
        b->index->last = w;
        b->index->words++;
        *ret = w;
        return 0;
}

static int add_posting(struct index_builder *b, struct index_word *w) {
        struct index_posting *p;
        void *at;
        int r = take(b, &at, sizeof(*p));

        if (r)
                return r;
        p = at;
        p->file = b->file;
        p->next = w->postings;
        w->postings = p;
        b->index->postings++;
        return 0;
}

static int add_occurrence(struct index_builder *b, const char *text, size_t length) {
        uint32_t hash = hash_of(text, length);
        struct index_word *w = find(b->index, hash, text, length);
        int r = 0;

        if (!w)
                r = add_word(b, &w, hash, text, length);
        if (!r && (!w->postings || w->postings->file != b->file))
                r = add_posting(b, w);
        if (!r && w->last_line != b->index->lines) {
                w->last_line = b->index->lines;
                w->postings->lines++;
        }
        return r;
}

int index_add(struct index_builder *b, const char *text, size_t length, int last, size_t *ret_taken) {
        size_t i = 0;

        while (i < length) {
                size_t start = i;
                int r;

                while (i < length && word_byte[(unsigned char)text[i]])
                        i++;
                if (i == length && !last) {
                        i = start;
                        break;
                }
                if (i > start) {
                        r = add_occurrence(b, text + start, i - start);
                        if (r)
                                return r;
                }
                for (; i < length && !word_byte[(unsigned char)text[i]]; i++)
                        b->index->lines += text[i] == '\n' || text[i] == '\0';
        }
        b->index->bytes += i;
        *ret_taken = i;
        return 0;
}

const struct index *index_at(const void *address) {
        const struct index *index = address;

        return index->magic == INDEX_MAGIC && index->self == index ? index : NULL;
}

const struct index_word *index_find(const struct index *index, const char *text, size_t length) {
        return find(index, hash_of(text, length), text, length);
}

struct index_answer index_answer(const struct index_word *word) {
        struct index_answer answer = { 0 };

        for (const struct index_posting *p = word ? word->postings : NULL; p; p = p->next) {
                answer.lines += p->lines;
                answer.files++;
        }
        return answer;
}

uint64_t index_chase(const struct index *index, const struct index_word **ret_last) {
        const struct index_word *w, *last = NULL;
        uint64_t hops = 0;

        for (w = index->first; w; w = w->next) {
                last = w;
                hops++;
        }
        *ret_last = last;
        return hops;
}

uint64_t index_sum(const void *address, size_t length) {
        const uint64_t *words = address;
        uint64_t sum = 0;

        for (size_t i = 0; i < length / sizeof(*words); i++)
                sum += words[i];
        return sum;
}
