"""What a test in the guest says of the machine it needs, in lines `# vm KEY: VALUE` of its file guest/NAME.sh:

    kernels: NAME...          of lean (every kernel made with lean.config), 6.1, 6.12, debian; must be there
    memory: 2G                1G unless it says so; with `nodes` their sum
    cpus: 2                   2 unless it says so
    nodes: 1G:0 1G:1 1G 1G    NUMA nodes: memory, and after the colon the CPUs that are there (0, 0-1)
    distances: 0-2=40 1-3=40  between them
    boot: memmap=512M$0x50000000                   more for the kernel's command line
    module: test_hmm spm_addr_dev0=0x50000000      loaded before the test, as by modprobe; a line each
    device: virtio-gpu-pci                         one of QEMU's, a line each
    minutes: 5                until it is ended; 5 unless it says so
    log may have: REGEX       a line of the kernel's log that is no failure though it looks like one; a line each
"""
import glob
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
ONCE = ("kernels", "memory", "cpus", "nodes", "distances", "minutes")
OFTEN = ("boot", "module", "device", "log may have")
LEAN = ("6.1", "6.12")


class BadHeader(Exception):
    """A sentence that says which test and what is wrong with it."""


class Test:
    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)[:-3]
        self.said = {key: [] for key in ONCE + OFTEN}
        for key, value in re.findall(r"^# vm (\w[\w ]*): *(.*?) *$", open(path).read(), re.M):
            if key not in self.said:
                raise BadHeader("%s: there is no '%s'; guest.py has the list" % (path, key))
            self.said[key].append(value)
        for key in ONCE:
            if len(self.said[key]) > 1:
                raise BadHeader("%s: '%s' stands there twice" % (path, key))
        self.kernels = self.once("kernels", "").split()
        if not self.kernels or set(self.kernels) - {"lean", "debian", *LEAN}:
            raise BadHeader("%s: say '# vm kernels:' and which of lean, 6.1, 6.12, debian" % path)
        if not os.access(path, os.X_OK):
            raise BadHeader("%s: make it executable" % path)

    def once(self, key, otherwise):
        return self.said[key][0] if self.said[key] else otherwise

    def applies(self, kernel):
        return kernel in self.kernels or ("lean" in self.kernels and kernel in LEAN)

    def seconds(self):
        return 60 * float(self.once("minutes", "5"))

    def machine(self):
        """Arguments for QEMU."""
        args = ["-smp", self.once("cpus", "2")]
        nodes = [n.partition(":") for n in self.once("nodes", "").split()]
        if nodes:
            args += ["-m", "%dM" % sum(megabytes(n[0]) for n in nodes)]
        else:
            args += ["-m", self.once("memory", "1G")]
        for i, (size, _, cpus) in enumerate(nodes):
            args += ["-object", "memory-backend-ram,id=node%d,size=%s" % (i, size)]
            args += ["-numa", "node,nodeid=%d,memdev=node%d%s" % (i, i, ",cpus=" + cpus if cpus else "")]
        for a, b, far in re.findall(r"(\d+)-(\d+)=(\d+)", self.once("distances", "")):
            args += ["-numa", "dist,src=%s,dst=%s,val=%s" % (a, b, far)]
        for device in self.said["device"]:
            args += ["-device", device]
        return args


def megabytes(size):
    return int(size[:-1]) * {"M": 1, "G": 1024}[size[-1]]


def tests():
    """By name."""
    return {t.name: t for t in map(Test, sorted(glob.glob(os.path.join(HERE, "guest", "*.sh"))))}
