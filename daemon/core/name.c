#include "core/name.h"

#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "core/share.h"

static bool in_group(const struct credentials *who, uint32_t gid) {
        if (who->gid == gid)
                return true;
        for (uint32_t i = 0; i < who->groups_count; i++)
                if (who->groups[i] == gid)
                        return true;
        return false;
}

bool mode_allows(uint32_t uid, uint32_t gid, uint32_t mode, const struct credentials *who, unsigned rights) {
        unsigned bits = (rights & RIGHT_READ ? 4u : 0) | (rights & RIGHT_WRITE ? 2u : 0);

        if (who->superuser)
                return true;
        if (who->uid == uid)
                mode >>= 6;
        else if (in_group(who, gid))
                mode >>= 3;
        return (mode & bits) == bits;
}

static bool alnum(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool name_ok(const char *text) {
        size_t n = strlen(text);

        if (n == 0 || n > 63 || !alnum(text[0]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!alnum(text[i]) && !strchr("._:-", text[i]))
                        return false;
        return true;
}

struct name *name_new(const char *text, void *object, uint32_t uid, uint32_t gid, uint32_t mode) {
        size_t size = strlen(text) + 1;
        struct name *n = alloc_zero(sizeof(*n) + size);

        if (!n)
                return NULL;
        n->object = object;
        n->uid = uid;
        n->gid = gid;
        n->mode = mode;
        list_init(&n->shares);
        memcpy(n->text, text, size);
        return n;
}

void name_free(struct name *n) {
        if (n)
                shares_drop(n);
        alloc_free(n);
}

struct name *name_find(const struct tree *t, const char *text) {
        struct tree_node *at = t->root;

        while (at) {
                struct name *n = container_of(at, struct name, node);
                int order = strcmp(text, n->text);

                if (order == 0)
                        return n;
                at = at->child[order > 0];
        }
        return NULL;
}

void name_link(struct tree *t, struct name *n) {
        struct tree_node *parent = NULL, *at = t->root;
        int side = 0;

        while (at) {
                parent = at;
                side = strcmp(n->text, container_of(at, struct name, node)->text) > 0;
                at = at->child[side];
        }
        tree_insert(t, parent, side, &n->node, NULL);
}

void name_unlink(struct tree *t, struct name *n) {
        tree_remove(t, &n->node, NULL);
}
