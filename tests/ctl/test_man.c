/*
 * svmd-ctl(1) has its verbs and options from the table that svmd-ctl runs by: between two marks of the page stands
 * what the table prints. With --update the page is written anew.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "verbs.h"

#define PAGE  TEST_SOURCE_DIR "/docs/man/svmd-ctl.1"
#define BEGIN ".\\\" from the table of verbs: begin\n"
#define END   ".\\\" from the table of verbs: end\n"

static char *read_page(void) {
        FILE *in = fopen(PAGE, "re");
        static char *text; /* gcc 12 takes what getdelim() was given the address of for what it returned */
        size_t size = 0;

        if (!in || getdelim(&text, &size, '\0', in) < 0) {
                perror(PAGE);
                exit(1);
        }
        fclose(in);
        return text;
}

static char *table_text(void) {
        size_t size;
        static char *text;
        FILE *out = open_memstream(&text, &size);

        verbs_print_mdoc(out);
        fclose(out);
        return text;
}

static int write_page(const char *head, size_t head_length, const char *table, const char *tail) {
        FILE *out = fopen(PAGE, "we");

        if (!out) {
                perror(PAGE);
                return 1;
        }
        fwrite(head, 1, head_length, out);
        fputs(table, out);
        fputs(tail, out);
        return fclose(out) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
        char *page = read_page(), *table = table_text(), *begin = strstr(page, BEGIN), *end = strstr(page, END);
        bool update = argc > 1 && strcmp(argv[1], "--update") == 0, same;
        int status = 0;

        if (!begin || !end || end < begin) {
                fprintf(stderr, "%s lacks the marks of the table\n", PAGE);
                return 1;
        }
        begin += strlen(BEGIN);
        same = (size_t)(end - begin) == strlen(table) && memcmp(begin, table, strlen(table)) == 0;
        if (update) {
                status = write_page(page, (size_t)(begin - page), table, end);
        } else if (!same) {
                fprintf(stderr, "%s is not what the table of verbs says; run '%s --update'\n", PAGE, argv[0]);
                status = 1;
        }
        free(page);
        free(table);
        return status;
}
