#pragma once

/* Of the bus. */
#define BUS_NAME       "org.svmd1"
#define BUS_ROOT       "/org/svmd1"
#define BUS_NODES      "/org/svmd1/node"
#define BUS_PARTITIONS "/org/svmd1/partition"
