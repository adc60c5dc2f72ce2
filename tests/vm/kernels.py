"""Kernels for ./dev vm, kept in ${XDG_CACHE_HOME:-~/.cache}/svmd/vm by what they were made from.

    6.1, 6.12    "lean": Debian's linux-source-VERSION, `make tinyconfig` with lean.config; some minutes to build
    debian       the kernel that Debian 12 installs, unpacked from its package

Each is a folder with `bzImage` and `lib/modules/RELEASE`. What is in the cache is whole: a folder gets its name last.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LEAN = os.path.join(HERE, "lean.config")
NAMES = ("6.1", "6.12", "debian")


class Failed(Exception):
    """A sentence for a person, with what to do."""


class Kernel:
    """`name`: one of NAMES. `text`: with its version, for people."""

    def __init__(self, name, text, folder):
        self.name, self.text = name, text
        self.image = os.path.join(folder, "bzImage")
        self.folder = folder
        self.modules = os.path.join(folder, "lib/modules")
        self.release = os.listdir(self.modules)[0]

    def before_root(self):
        """Module files, in order, that reach the host's file system; none where they are built in."""
        files = []
        for module in ("virtio_pci", "9pnet_virtio", "9p", "overlay"):
            out = run("modprobe", "-d", self.folder, "-S", self.release, "--show-depends", module)
            files += [line.split()[1] for line in out.splitlines() if line.startswith("insmod")]
        return list(dict.fromkeys(files))


def run(*command, cwd=None, log=None):
    r = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log or subprocess.PIPE,
                       stderr=subprocess.STDOUT if log else subprocess.PIPE, text=True)
    if r.returncode:
        where = "see " + log.name if log else r.stderr.strip()
        raise Failed("%s failed: %s" % (" ".join(command), where))
    return r.stdout


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "svmd", "vm")
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def scratch(name):
    """A folder in the cache, empty; what is left of one whose maker was killed goes first."""
    folder = os.path.join(cache(), name)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def package_version(package):
    """Of the package that is installed, or that would be."""
    for command, pattern in ((("dpkg-query", "-W", "-f", "${Version}", package), r"(\S+)"),
                             (("apt-cache", "policy", package), r"Candidate: (\S+)")):
        r = subprocess.run(command, capture_output=True, text=True)
        m = re.search(pattern, r.stdout)
        if r.returncode == 0 and m and m.group(1) != "(none)":
            return m.group(1)
    raise Failed("apt knows no package %s; try: apt-get update" % package)


def wanted(fragment):
    """(symbol, value) of every line."""
    return re.findall(r"^(CONFIG_\w+)=(\S+)$", open(fragment).read(), re.M)


def lacking(config):
    """What lean.config asks for and `config` has not."""
    has = dict(wanted(config))
    return [s + "=" + v for s, v in wanted(LEAN) if has.get(s, "n") != v]


def build_lean(version, folder):
    """Unpacks, configures and builds into `folder`."""
    sources = "/usr/src/linux-source-%s.tar.xz" % version
    if not os.path.exists(sources):
        raise Failed("%s is missing; install it with: apt-get install linux-source-%s" % (sources, version))
    with open(os.path.join(cache(), "build-%s.log" % version), "w") as log, scratch("build-" + version) as work:
        run("tar", "-xJf", sources, "-C", work, "--strip-components=1", log=log)
        run("make", "tinyconfig", cwd=work, log=log)
        run("scripts/kconfig/merge_config.sh", "-m", ".config", LEAN, cwd=work, log=log)
        run("make", "olddefconfig", cwd=work, log=log)
        missing = lacking(os.path.join(work, ".config"))
        if missing:
            raise Failed("Linux %s cannot be configured with %s" % (version, ", ".join(missing)))
        cc = "CC=ccache gcc" if shutil.which("ccache") else "CC=gcc"
        run("make", "-s", "-j%d" % os.cpu_count(), cc, "KBUILD_BUILD_TIMESTAMP=@0", "bzImage", "modules", cwd=work, log=log)
        run("make", "-s", "modules_install", "INSTALL_MOD_PATH=" + os.path.join(folder, "tree"), cwd=work, log=log)
        shutil.copy(os.path.join(work, "arch/x86/boot/bzImage"), folder)


def build_debian(package, folder):
    run("apt-get", "download", package, cwd=folder)
    for deb in glob.glob(os.path.join(folder, "*.deb")):
        run("dpkg", "-x", deb, os.path.join(folder, "tree"))
        os.unlink(deb)
    release = os.listdir(os.path.join(folder, "tree/lib/modules"))[0]
    run("depmod", "-b", os.path.join(folder, "tree"), release)
    os.rename(os.path.join(folder, "tree/boot/vmlinuz-" + release), os.path.join(folder, "bzImage"))


def recipe(name):
    """What it is made from, as words for people and as a key; how it is made."""
    if name == "debian":
        m = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", "linux-image-amd64"))
        if not m:
            raise Failed("apt knows no linux-image-amd64; try: apt-get update")
        version = package_version(m.group(1))
        return "Debian's " + m.group(1), version, lambda folder: build_debian(m.group(1), folder)
    version = package_version("linux-source-" + name)
    key = hashlib.sha256(open(LEAN, "rb").read()).hexdigest()[:12]
    return "lean Linux " + version, version + "-" + key, lambda folder: build_lean(name, folder)


def make_in_cache(name, text, make, folder):
    """`folder` is there afterwards, whoever made it."""
    with open(os.path.join(cache(), name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):
            return
        print("   making %s" % text, flush=True)
        with scratch("new-" + name) as new:
            make(new)
            os.makedirs(os.path.join(new, "lib"))
            os.rename(os.path.join(new, "tree/lib/modules"), os.path.join(new, "lib/modules"))
            shutil.rmtree(os.path.join(new, "tree"))
            for link in ("build", "source"):  # to sources that are gone
                for path in glob.glob(os.path.join(new, "lib/modules/*", link)):
                    os.unlink(path)
            os.rename(new, folder)


def get(name):
    """The kernel, made now if the cache has none."""
    text, key, make = recipe(name)
    folder = os.path.join(cache(), name + "-" + key)
    make_in_cache(name, text, make, folder)
    return Kernel(name, text, folder)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(get(each).image)
