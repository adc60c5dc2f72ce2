#!/usr/bin/env python3
"""Runs render_client on an emulated machine with a xe, an amdgpu and a nouveau card, through Debian's own libdrm.

usage: render.py BUILD [PROGRAM ARGUMENT...]    another program in its place

With EMUL_MORE there are more cards: a virtual function of the xe, and others of a size of their own."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
EMUL = os.path.dirname(HERE)
sys.path.insert(0, EMUL)
import mksys  # noqa: E402

CARDS = ((128, "xe", 0x8086, 0xE20B, 12 << 30), (129, "amdgpu", 0x1002, 0x74A2, 64 << 30),
         (130, "nouveau", 0x10DE, 0x2330, 80 << 30))
MORE = ((131, "xe", 0x8086, 0xE20B, 2 << 30), (132, "nouveau", 0x10DE, 0x2330, 64 << 30),
        (133, "xe", 0x8086, 0xE20B, 8 << 30))
FUNCTION = 131


def make(machine):
    cards = CARDS + (MORE if os.environ.get("EMUL_MORE") else ())
    with open(f"{machine}/cards", "w", encoding="ascii") as f:
        f.writelines(f"{minor} {driver} {size}\n" for minor, driver, _, _, size in cards)
    for minor, driver, vendor, device, size in cards:
        where = (minor - 127) << 8
        mksys.add_gpu(f"{machine}/sys", {"location_id": where, "domain": 0, "drm_render_minor": minor,
                                         "vendor_id": vendor, "device_id": device})
        pci = f"{machine}/sys/devices/pci0000:00/0000:{where >> 8:02x}:00.0"
        if driver == "amdgpu":
            mksys.write(f"{pci}/mem_info_vram_total", f"{size}\n")
        if minor == FUNCTION:
            mksys.link(f"{os.path.dirname(pci)}/0000:01:00.0", f"{pci}/physfn")
        elif driver == "xe":
            mksys.write(f"{pci}/sriov_totalvfs", "24\n")
            mksys.write(f"{pci}/sriov_numvfs", "0\n")


def run(build, machine, command, **environment):
    preload = f"{build}/tests/emul/libsvmd-emul-fstat.so"
    words = ["env", f"LD_PRELOAD={preload}", "ASAN_OPTIONS=verify_asan_link_order=0"]
    words += [f"{k}={v}" for k, v in environment.items()] + command
    return subprocess.call([f"{EMUL}/enter.sh", f"{build}/tests/emul/drm/svmd-emul-drm", machine, *words], timeout=60)


def main():
    build, command = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as machine:
        make(machine)
        client = f"{build}/tests/emul/drm/render_client"
        status = run(build, machine, command or [client], EMUL_MACHINE=machine)
        if status == 77:
            print("not applicable: an emulated machine needs root and /dev/fuse")
            sys.exit(0)
        print("preload: libsvmd-emul-fstat.so (fstat() and stat() of files that FUSE shows as devices), nothing else",
              file=sys.stderr)
        if command:
            sys.exit(status)
        if status:
            sys.exit(status)
        if run(build, machine, [client, "deduplicated"]) != 3:
            print("with libdrm_amdgpu's device in the place of the file, the first client's page table was not touched: "
                  "this test sees nothing")
            sys.exit(1)


main()
