#pragma once

#include <stddef.h>

/* What answering costs without svmd: a process on the daemons' CPU that returns as many bytes as it is to, for each
 * packet it gets. Ends with this one, or when the socket is closed. */
int peer_start(size_t size);
/* Round trip of `sent` bytes for `received`, in ns: the mean of `trips`. */
double peer_ns(int peer, size_t sent, size_t received, int trips);
