#pragma once

#include <stdint.h>

#include "service/internal.h"

/* What op_explain says in sentences, in the order of its questions. */
#define SENTENCES_MAX 64

struct sentences {
        struct call *call;
        char *list[SENTENCES_MAX];
        size_t count;
};
/* Beyond SENTENCES_MAX, and out of memory, it is left out. */
void sentence(struct sentences *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is advised about a granule, by whom, and what comes of it. -ENOMEM. */
int explain_hints(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                  Svmd__V1__ExplainResult *result);
/* Of a granule: where it is and why. */
void explain_granule(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                     const struct managed_granule_info *info);
/* What was decided about it lately, and what was refused or put off. -ENOMEM. */
int explain_past(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                 Svmd__V1__ExplainResult *result);
/* What a touch by each node would come to now. -ENOMEM. */
int explain_touches(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                    Svmd__V1__ExplainResult *result);
/* Of a page of private memory: all that is to be said, and its rows. -ENOMEM. */
int private_explain(struct sentences *s, const struct private_range *p, uint64_t address,
                    Svmd__V1__ExplainResult *result);
/* Nodes of the set (a bit each): "gpu0, gpu1 and gpu2". */
void name_nodes(const struct service *svc, uint64_t set, char *text, size_t size);
/* "4 KiB", "2 MiB". */
void granule_size(uint32_t bytes, char *text, size_t size);
const char *name_node(const struct service *svc, uint32_t node);
