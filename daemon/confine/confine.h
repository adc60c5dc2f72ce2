#pragma once

/*
 * Filters of system calls that a program puts on itself, whoever started it: what is not in its list is not to be had
 * any more, also by a program that it becomes. Filters add up, with one another and with that of a systemd unit: each
 * can only take away.
 *
 * 0, or negative errno: there is no filter then, and everything is as it was. A program that was built with a
 * sanitizer has none (-EOPNOTSUPP), since the sanitizer makes calls of its own.
 */

/*
 * Of svmd-keeper, once it has its socket. A call that is not listed fails with EPERM and nobody is killed for it: all
 * sessions of the machine would end. It has room for what the next program needs to start, since the keeper becomes
 * that one under this filter.
 */
int confine_keeper(void);

/*
 * Of svmd-probe-kfd, before it opens anything. A call that is not listed ends the process with SIGSYS, which svmd tells
 * of, and does without AMD's devices: EPERM would look like an answer of the driver's.
 */
int confine_probe(void);
