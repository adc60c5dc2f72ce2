#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What the kernel would still let a session's control group take. Any thread, without the mover's lock.
 */
struct mover;
struct mover_session;

void budgets_init(struct mover *m);
/* Sessions are gone. */
void budgets_fini(struct mover *m);
/* False: so many bytes more would fill it, and nothing was taken. True: they count as taken until budget_give(). */
bool budget_take(struct mover_session *s, uint64_t bytes);
void budget_give(struct mover_session *s, uint64_t bytes);
/* The session ends. */
void budget_leave(struct mover_session *s);
