#pragma once

#include <stddef.h>
#include <sys/types.h>

struct fdlist;

/*
 * One packet with its file descriptors over a SOCK_SEQPACKET socket.
 *
 * packet_recv(): bytes (> 0), 0 at the end of the connection, -EAGAIN, -EMSGSIZE (longer than `room`: the packet is
 * gone), -EBADMSG (file descriptors were cut off; all that came are closed), or another negative errno. Descriptors are
 * added to `fds` with CLOEXEC. packet_send(): 0, or a negative errno; -EAGAIN on a full socket. `fds` may be NULL; they
 * are sent from l->next on and stay owned by the list.
 */
ssize_t packet_recv(int socket, void *bytes, size_t room, struct fdlist *fds, int flags);
int packet_send(int socket, const void *bytes, size_t size, const struct fdlist *fds, int flags);
