/*
 * The four steps of libsvmd: reserve an address, create memory, map it there, set access.
 *
 *      svmd-hello MIB [NAME]
 *
 * takes MIB MiB of host memory, shows it at an address, and writes to it. Under a NAME others of the partition can open
 * it; it stays until the program is ended then. SVMD_SOCKET and SVMD_PARTITION say where.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <svmd.h>

struct host {
        svmd_node node;
        int found;
};

static int find_host(const struct svmd_node_row *row, void *userdata) {
        struct host *host = userdata;

        if (row->kind == SVMD_NODE_HOST && !host->found) {
                host->node = row->id;
                host->found = 1;
        }
        return 0;
}

static void must(int code, const char *step) {
        if (code == SVMD_OK)
                return;
        fflush(stdout);
        fprintf(stderr, "%s: %s: %s\n", step, svmd_status_name(code), svmd_error());
        exit(1);
}

int main(int argc, char **argv) {
        struct svmd_reserve_options opts = { .size = sizeof(opts), .name = argc > 2 ? argv[2] : NULL, .mode = 0600 };
        size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
        struct host host = { 0 };
        svmd_session *s;
        void *address;
        svmd_mem mem;

        if (size == 0) {
                fprintf(stderr, "Usage: svmd-hello MIB [NAME]\n");
                return 2;
        }
        must(svmd_connect(&s, NULL), "connect");
        must(svmd_query_nodes(s, find_host, &host), "find a host node");

        must(svmd_address_reserve(s, &address, size, 0, NULL, &opts), "reserve");
        printf("reserved %zu MiB at %p\n", size >> 20, address);
        fflush(stdout);
        must(svmd_mem_create(s, &mem, size, host.node, SVMD_MEM_SHAREABLE), "create");
        must(svmd_mem_map(s, SVMD_CPU, (uint64_t)address, size, 0, mem, SVMD_ACCESS_NONE, 0), "map");
        must(svmd_mem_set_access(s, SVMD_CPU, (uint64_t)address, size, SVMD_ACCESS_READ_WRITE), "set access");

        memcpy(address, "hello", 6);
        printf("it says %s\n", (const char *)address);
        fflush(stdout);
        if (opts.name)
                pause();
        svmd_disconnect(s);
        return 0;
}
