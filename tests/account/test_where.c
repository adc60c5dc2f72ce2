/* Names of containers in paths of control groups, layout by layout, and which line of the file counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "account/where.h"

#define ID         "3f0c6b1d2a9e8f7c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4"
#define ID2        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UID_       "8a6f1c2e_0b1d_4c3e_9f2a_7b6c5d4e3f21"
#define UID        "8a6f1c2e-0b1d-4c3e-9f2a-7b6c5d4e3f21"
#define STATIC_UID "0123456789abcdef0123456789abcdef"

static const struct {
        const char *path, *runtime, *container, *pod;
} layouts[] = {
        /* nothing of a container */
        { "/", "", "", "" },
        { "/system.slice/ssh.service", "", "", "" },
        { "/user.slice/user-1000.slice/session-4.scope", "", "", "" },
        { "/system.slice/docker.service", "", "", "" },
        { "/system.slice/containerd.service", "", "", "" },
        { "/machine.slice", "", "", "" },
        { "/podman", "", "", "" },
        { "/lxc", "", "", "" },
        { "/build/"
          "3f0c6b1d",
          "", "", "" },
        /* monitors beside containers */
        { "/machine.slice/libpod-conmon-" ID ".scope", "", "", "" },
        { "/kubepods.slice/kubepods-pod" UID_ ".slice/crio-conmon-" ID ".scope", "", "", UID },
        /* docker */
        { "/docker/" ID, "docker", ID, "" },
        { "/system.slice/docker-" ID ".scope", "docker", ID, "" },
        { "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" ID ".scope", "docker", ID, "" },
        { "/system.slice/docker-" ID ".scope/init.scope", "docker", ID, "" },
        { "/docker/" ID "/system.slice/cron.service", "docker", ID, "" },
        /* podman */
        { "/machine.slice/libpod-" ID ".scope", "podman", ID, "" },
        { "/machine.slice/libpod-" ID ".scope/container", "podman", ID, "" },
        { "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container", "podman", ID, "" },
        { "/libpod_parent/libpod-" ID, "podman", ID, "" },
        { "/libpod_parent/" ID, "podman", ID, "" },
        { "/libpod_parent/" ID2 "/libpod-" ID, "podman", ID, ID2 },
        { "/machine.slice/machine-libpod_pod_" ID2 ".slice/libpod-" ID ".scope/container", "podman", ID, ID2 },
        /* CRI-O */
        { "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice/crio-" ID ".scope", "crio", ID,
          UID },
        { "/kubepods/burstable/pod" UID "/crio-" ID, "crio", ID, UID },
        { "/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope/container", "crio", ID, UID },
        /* containerd */
        { "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice/cri-containerd-" ID ".scope",
          "containerd", ID, UID },
        { "/kubepods/besteffort/pod" UID "/" ID, "containerd", ID, UID },
        { "/kubepods/pod" STATIC_UID "/" ID, "containerd", ID, STATIC_UID },
        { "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope",
          "containerd", ID, "" },
        { "/system.slice/containerd.service/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID, "containerd", ID,
          UID },
        { "/system.slice/nerdctl-" ID ".scope", "containerd", ID, "" },
        { "/system.slice:docker:" ID, "docker", ID, "" },
        /* systemd, LXC, a bare runc */
        { "/machine.slice/machine-deb12.scope/payload/system.slice/ssh.service", "nspawn", "deb12", "" },
        { "/machine.slice/systemd-nspawn@deb12.service/payload", "nspawn", "deb12", "" },
        { "/lxc.payload.web1/system.slice", "lxc", "web1", "" },
        { "/lxc/web1", "lxc", "web1", "" },
        { "/" ID, "", ID, "" },
        /* containers in containers: the innermost */
        { "/docker/" ID2 "/docker/" ID, "docker", ID, "" },
        { "/docker/" ID2 "/kubepods/burstable/pod" UID "/" ID, "containerd", ID, UID },
        /* nearly */
        { "/docker/" ID "0", "", "", "" },
        { "/system.slice/docker-.scope", "", "", "" },
        { "/system.slice/docker-.sc", "", "", "" },
        { "/x/docker-"
          "3F0C6B1D2A9E8F7C4B5A69788796A5B4C3D2E1F00F1E2D3C4B5A69788796A5B4"
          ".scope",
          "", "", "" },
        { "/kubepods/podnot-a-uid/x", "", "", "" },
        { "/kubepods-pod.slice", "", "", "" },
        { "/machine.slice/machine-.scope", "", "", "" },
        { "//docker//" ID "//", "docker", ID, "" },
};

static void check(const struct where *w, const char *path, const char *runtime, const char *container,
                  const char *pod) {
        if (strcmp(w->cgroup, path) != 0 || strcmp(w->runtime, runtime) != 0 || strcmp(w->container, container) != 0 ||
            strcmp(w->pod, pod) != 0)
                fail_msg("%s: found cgroup %s runtime %s container %s pod %s", path, w->cgroup, w->runtime,
                         w->container, w->pod);
}

static void test_layouts(void **state) {
        for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
                char text[512];
                struct where w;

                where_of_path(layouts[i].path, strlen(layouts[i].path), &w);
                check(&w, layouts[i].path, layouts[i].runtime, layouts[i].container, layouts[i].pod);
                assert_true(strlen(layouts[i].path) + 8 < sizeof(text));
                strcpy(text, "0::");
                strcat(text, layouts[i].path);
                where_parse(text, strlen(text), &w); /* the last line may have no end */
                check(&w, layouts[i].path, layouts[i].runtime, layouts[i].container, layouts[i].pod);
        }
}

static const struct {
        const char *text, *cgroup;
} files[] = {
        { "0::/a\n", "/a" },
        { "", "" },
        { "\n\n:\n::\n0::\nx", "" },
        { "0::/gone (deleted)\n", "/gone" },
        { "0::/../other\n", "/../other" },
        /* version 1: memory is what counts */
        { "12:cpu,cpuacct:/c\n5:memory:/m\n1:name=systemd:/s\n", "/m" },
        { "5:hugetlb,memory:/m\n0::/u\n", "/m" },
        { "0::/u\n5:memory:/m\n", "/m" },
        { "12:cpu:/c\n1:name=systemd:/s\n", "/s" },
        { "12:cpu:/c\n0::/u\n1:name=systemd:/s\n", "/u" },
        { "12:cpu:/c\n", "/c" },
        { "12:memory_not:/c\n0::/u\n", "/u" },
        { "0::/a:b:c\n", "/a:b:c" },
};

static void test_files(void **state) {
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                struct where w;

                where_parse(files[i].text, strlen(files[i].text), &w);
                assert_string_equal(w.cgroup, files[i].cgroup);
        }
}

/* The end of a long path is what says whose it is; and nothing in it acts on a terminal. */
static void test_odd_paths(void **state) {
        char path[1024] = "/";
        struct where w;

        while (strlen(path) < 700)
                strcat(path, "deep/");
        strcat(path, "docker/" ID);
        where_of_path(path, strlen(path), &w);
        assert_string_equal(w.container, ID);
        assert_int_equal(strlen(w.cgroup), WHERE_CGROUP - 1);
        assert_memory_equal(w.cgroup, "...", 3);
        assert_string_equal(w.cgroup + strlen(w.cgroup) - 64, ID);
        where_of_path("/a\033[2J\tb\xff", 9, &w);
        assert_string_equal(w.cgroup, "/a?[2J?b?");
        where_of_path("/lxc/\033x", 7, &w);
        assert_string_equal(w.container, "?x");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_layouts),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_odd_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
