"""Boots a kernel in QEMU (in software, no KVM is needed) and runs one test there. The guest sees the host's file system
read-only with a tmpfs over it (init, inside.sh), so programs, libraries and the build are at the same paths as here."""
import gzip
import os
import re
import shlex
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))

# A line of the kernel's log that no run may have.
TROUBLE = re.compile(
    r"WARNING: |\bBUG\b|\bOops\b|Kernel panic|general protection fault|possible (circular|recursive) locking|"
    r"suspicious RCU usage|bad page|Bad page|Bad rss-counter|refcount_t: |blocked for more than|detected stall|"
    r"detected expedited stall|soft lockup|UBSAN: |KASAN: |list_(add|del) corruption|nonzero pgtables_bytes|"
    r"unable to handle|scheduling while atomic|sleeping function called|out of memory and no killable|svmd-vm: .* (not|could)")


def initramfs(kernel, to):
    """init, busybox, and the modules without which the kernel does not reach the host's file system."""
    with tempfile.TemporaryDirectory() as tree:
        for folder in ("bin", "modules"):
            os.mkdir(os.path.join(tree, folder))
        shutil.copy("/bin/busybox", os.path.join(tree, "bin"))
        shutil.copy(os.path.join(HERE, "init"), tree)
        names = []
        for module in kernel.before_root():
            shutil.copy(module, os.path.join(tree, "modules"))
            names.append(os.path.basename(module))
            if module.endswith(".xz"):
                subprocess.run(["xz", "-d", os.path.join(tree, "modules", names[-1])], check=True)
                names[-1] = names[-1][:-3]
        with open(os.path.join(tree, "modules/order"), "w") as f:
            f.write("".join(n + "\n" for n in names))
        with open(os.path.join(tree, "inside"), "w") as f:
            f.write(os.path.join(HERE, "inside.sh"))
        files = "\n".join(os.path.relpath(os.path.join(d, n), tree) for d, ds, fs in os.walk(tree) for n in ds + fs)
        packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=tree, input=files.encode(),
                                stdout=subprocess.PIPE, check=True).stdout
    with open(to, "wb") as f:
        f.write(gzip.compress(packed, 1))


def command(kernel, test, out, initrd):
    append = ["console=ttyS0", "loglevel=7", "panic=-1", "nowatchdog", "no_timer_check", "rcupdate.rcu_cpu_stall_timeout=200"]
    share = "local,path=%s,mount_tag=%s,security_model=none%s,multidevs=remap"
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off", *test.machine(),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", "file:" + os.path.join(out, "kernel.log"),
            "-virtfs", share % ("/", "root", ",readonly=on"), "-virtfs", share % (out, "out", ""),
            "-kernel", kernel.image, "-initrd", initrd, "-append", " ".join(append + test.said["boot"])]


def trouble(log, test):
    """The lines that no run may have."""
    allowed = [re.compile(r) for r in test.said["log may have"]]
    return [l for l in log.splitlines() if TROUBLE.search(l) and not any(a.search(l) for a in allowed)]


def read(path):
    try:
        return open(path, errors="replace").read()
    except FileNotFoundError:
        return ""


def run(kernel, test, build, out):
    """Runs `test`; what it and the kernel wrote is in the folder `out` then (output, kernel.log). "", or why it failed."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    variables = {"VM_TEST": test.path, "VM_MODULES": kernel.modules, "SVMD_KERNEL": kernel.name, "SVMD_SOURCE": SOURCE,
                 "SVMD_BUILD": os.path.abspath(build), "SVMD_SLOW": "8", "SVMD_SEED": os.environ.get("SVMD_SEED", "")}
    with open(os.path.join(out, "job"), "w") as f:
        f.write("".join("export %s=%s\n" % (k, shlex.quote(v)) for k, v in variables.items() if v))
    with open(os.path.join(out, "modules"), "w") as f:
        f.write("".join(m + "\n" for m in test.said["module"]))
    initrd = os.path.join(out, "initramfs.gz")
    initramfs(kernel, initrd)
    why = boot(command(kernel, test, out, initrd), test.seconds())
    for name in ("initramfs.gz", "job", "modules"):
        os.unlink(os.path.join(out, name))
    bad = trouble(read(os.path.join(out, "kernel.log")), test)
    status = read(os.path.join(out, "status")).strip()
    if bad:
        return "the kernel's log has: " + bad[0].strip()
    if why:
        return why
    if not status:
        return "the guest ended before the test did"
    return "" if status == "0" else "exit status " + status


def boot(command_line, seconds):
    q = subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = q.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        return "not done after %d minutes" % (seconds / 60)
    finally:
        q.kill()
        q.wait()
    return "QEMU: " + said.strip() if q.returncode else ""
