#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "emul.h"
#include "kfd_file.h"
#include "machine.h"
#include "render.h"

/* svmd-emul MACHINE MOUNT_POINT: the device files of a recorded machine. enter.sh starts it. */
int main(int argc, char **argv) {
        static struct machine m;
        struct emul *e;
        int r;

        if (argc != 3) {
                fprintf(stderr, "usage: svmd-emul MACHINE MOUNT_POINT\n");
                return 2;
        }
        r = machine_read(&m, argv[1]);
        if (r < 0 || (r = emul_new(&e)) < 0)
                return 1;
        if (m.count > 0)
                r = kfd_file_add(e, &m);
        r = r < 0 ? r : render_add(e, &m);
        r = r < 0 ? r : emul_serve(e, argv[2]);
        if (r < 0)
                fprintf(stderr, "svmd-emul: %s\n", strerror(-r));
        emul_free(e);
        return r < 0;
}
