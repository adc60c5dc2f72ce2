#pragma once

/* Bounds of the wire. A packet beyond any of them is malformed. */
#define SVMD_PROTOCOL_VERSION 1
#define SVMD_PACKET_MAX       (128u * 1024) /* bytes, both ways */
#define SVMD_OPS_MAX          1024
#define SVMD_FDS_MAX          64   /* file descriptors that come with one packet */
#define SVMD_NAME_MAX         63   /* bytes of a name, without the end */
#define SVMD_KEPT_MAX         1024 /* objects that a partition keeps */
#define SVMD_LEASE_NEEDS_MAX  16   /* nodes of a lease */
#define SVMD_LEASES_MAX       64   /* of a session */
#define SVMD_GRANTS_MAX       4096 /* of a session */
#define SVMD_GRANTS_DONE_MAX  64   /* that come with one request */
#define SVMD_ROWS_MAX         128  /* rows of a list in one result */

#define SVMD_PAGE           4096ull
#define SVMD_PARTITION_UNIT (4ull << 30)

/* Windows of addresses that partitions are cut from (x86-64 and 48-bit arm64). */
#define SVMD_PRIMARY_START 0x280000000000ull
#define SVMD_PRIMARY_END   0x400000000000ull
#define SVMD_LOW_START     0x1000000000ull
#define SVMD_LOW_END       0x4000000000ull
