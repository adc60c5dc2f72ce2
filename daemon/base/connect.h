#pragma once

/* Connects a SOCK_SEQPACKET socket to who listens at `path`, waiting no longer than this for that and for each packet
 * there or back; 0: nothing waits. -EAGAIN: it took longer. */
int connect_packets(const char *path, unsigned patience_ms, int *ret);
