#!/usr/bin/env python3
"""libsvmd does on AMD's driver what kfd_agent.c asks of it, under svmd's grants, with the program's libhsakmt and without.

usage: agent.py BUILD"""
import sys

import nodes
import probe

LOOK = """
def look():
    await_probe()
    subprocess.run([build + "/svmd-ctl", "--runtime-dir", run + "/run", "partition", "create", "one", "--limit", "kfd1=8M"], check=True)
    codes = [subprocess.run([build + "/emul-kfd-agent", run + "/run/svmd.sock", *own], timeout=30).returncode for own in ((), ("own",))]
    client = subprocess.Popen([build + "/emul-kfd-agent", run + "/run/svmd.sock", "hold"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    def drift():
        pid = int(client.stdout.readline())
        rows = json.loads(ctl("usage", "--drift"))
        rows = rows if isinstance(rows, list) else rows.get("rows", rows.get("drift", []))
        return [[r["reported"], r["ledger"], r["drift"]] for r in rows if r["source"] == "kfd" and r["pid"] == pid]
    before = drift()
    client.stdin.write("\\n")
    client.stdin.flush()
    after = drift()
    client.stdin.close()
    return [codes + [client.wait(30)], before, after]
"""


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    with probe.generated(2, 1) as machine:
        codes, before, after = nodes.show(build, machine, LOOK)
    mib = 1 << 20
    good = codes == [0, 0, 0] and before == [[4 * mib, 4 * mib, 0]] and after == [[6 * mib, 4 * mib, 2 * mib]]
    print("libsvmd's agent: " + ("as svmd.h has it, and what is taken behind svmd's back is told" if good else f"{codes} {before} {after}"),
          flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
