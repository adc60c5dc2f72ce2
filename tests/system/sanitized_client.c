/*
 * One client, built plain, with AddressSanitizer and with ThreadSanitizer.
 *
 *      PROGRAM publish PARTITION    shares a list of records by their pointers, says where, ends when its input does
 *      PROGRAM follow PARTITION     opens it and follows the pointers
 *      PROGRAM attach PARTITION     only attaches
 *
 * One line says what came of it; the exit status is libsvmd's code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <svmd.h>

#define SIZE    (1u << 20)
#define RECORDS 1000

struct record {
        struct record *next;
        uint64_t value;
};

static int host_node(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_HOST)
                *(svmd_node *)userdata = row->id;
        return 0;
}

static void must(int code) {
        if (code == SVMD_OK)
                return;
        printf("%s: %s\n", svmd_status_name(code), svmd_error());
        exit(code);
}

static void publish(svmd_session *s) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "records", .mode = 0600 };
        struct record *first = NULL, *at;
        svmd_node host = 0;
        svmd_mem mem;
        void *p;
        char c;

        must(svmd_query_nodes(s, host_node, &host));
        must(svmd_address_reserve(s, &p, SIZE, 0, NULL, &o));
        must(svmd_mem_create(s, &mem, SIZE, host, SVMD_MEM_SHAREABLE));
        must(svmd_mem_map(s, SVMD_CPU, (uint64_t)p, SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        for (unsigned i = 0; i < RECORDS; i++) {
                at = (struct record *)p + RECORDS - i;
                *at = (struct record){ first, i };
                first = at;
        }
        *(struct record **)p = first;
        printf("%p %p\n", p, (void *)first);
        fflush(stdout);
        while (read(0, &c, 1) > 0)
                ;
}

static void follow(svmd_session *s) {
        uint64_t sum = 0, count = 0;
        struct record *r;
        void *p;

        must(svmd_address_open(s, &p, NULL, "records", SVMD_ACCESS_READ));
        for (r = *(struct record **)p; r; r = r->next, count++)
                sum += r->value;
        printf("%p %p %llu %llu\n", p, *(void **)p, (unsigned long long)count, (unsigned long long)sum);
}

int main(int argc, char **argv) {
        struct svmd_connect_options o = { .size = sizeof(o) };
        svmd_session *s;

        if (argc != 3)
                return 2;
        o.partition = argv[2];
        must(svmd_connect(&s, &o));
        if (strcmp(argv[1], "publish") == 0)
                publish(s);
        else if (strcmp(argv[1], "follow") == 0)
                follow(s);
        else
                printf("attached\n");
        svmd_disconnect(s);
        return 0;
}
