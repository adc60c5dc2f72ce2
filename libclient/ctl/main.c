#include <locale.h>

#include "verbs.h"

int main(int argc, char **argv) {
        setlocale(LC_ALL, "");
        return verbs_main(argc, argv, stdout, stderr);
}
