#!/usr/bin/env python3
"""Completes a machine for the emulator: from MACHINE/topology (what stands under /sys/class/kfd/kfd/topology, as
tests/backend/mkmachine.py writes it) makes MACHINE/sys, which enter.sh lays over /sys: KFD's topology with the properties
that libraries ask for, a PCI device and DRM nodes for each GPU, the caches of the CPUs. A machine with sys is left alone."""
import os
import sys

CACHES = ((1, "Data", "32K"), (1, "Instruction", "32K"), (2, "Unified", "1024K"), (3, "Unified", "32768K"))


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def link(target, path):
    """A relative link, as sysfs has them."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(os.path.relpath(target, os.path.dirname(path)), path)


def properties(path):
    with open(path, encoding="ascii") as f:
        return {name: int(value) for name, value in (line.split() for line in f)}


def defaults(gpu):
    """What a recording may lack, of GPU number `gpu`; -1: of a CPU."""
    shared = {"cpu_core_id_base": 0, "simd_id_base": 0, "max_waves_per_simd": 8, "lds_size_in_kb": 64, "gds_size_in_kb": 0,
              "num_gws": 64, "wave_front_size": 64, "array_count": 8, "simd_arrays_per_engine": 1, "cu_per_simd_array": 14,
              "simd_per_cu": 4, "max_slots_scratch_cu": 32, "vendor_id": 0x1002, "device_id": 0x74A2,
              "num_sdma_engines": 2, "num_sdma_xgmi_engines": 3, "num_sdma_queues_per_engine": 8, "num_cp_queues": 24,
              "max_engine_clk_fcompute": 1700, "fw_version": 92, "capability": 0x2C778280, "debug_prop": 470,
              "sdma_fw_version": 9, "num_xcc": 1, "max_engine_clk_ccompute": 2450}
    if gpu < 0:
        return {"cpu_core_id_base": 0, "simd_id_base": 0, "vendor_id": 0, "device_id": 0, "location_id": 0, "domain": 0,
                "drm_render_minor": 0, "max_engine_clk_ccompute": 2450}
    return {**shared, "location_id": (gpu + 1) << 8, "domain": 0, "drm_render_minor": 128 + gpu, "unique_id": 1000 + gpu}


def copy_node(source, target, gpu):
    for root, _, files in os.walk(source):
        for name in files:
            with open(os.path.join(root, name), encoding="ascii") as f:
                write(os.path.join(target, os.path.relpath(root, source), name), f.read())
    known = properties(f"{target}/properties")
    complete = {**known, **{k: v for k, v in defaults(gpu).items() if k not in known}}
    write(f"{target}/properties", "".join(f"{k} {v}\n" for k, v in complete.items()))
    return complete


def add_gpu(out, node):
    """Its PCI device and its DRM files."""
    where, minor = node["location_id"], node["drm_render_minor"]
    name = f"{node['domain']:04x}:{where >> 8:02x}:{where >> 3 & 31:02x}.{where & 7}"
    pci = f"{out}/devices/pci{node['domain']:04x}:00/{name}"
    values = {"vendor": node["vendor_id"], "device": node["device_id"], "subsystem_vendor": 0x1002, "subsystem_device": 0}
    for key, value in values.items():
        write(f"{pci}/{key}", f"0x{value:04x}\n")
    write(f"{pci}/class", "0x038000\n")
    write(f"{pci}/revision", "0x00\n")
    write(f"{pci}/uevent", f"DRIVER=amdgpu\nPCI_CLASS=38000\nPCI_ID={node['vendor_id']:04X}:{node['device_id']:04X}\n"
                           f"PCI_SUBSYS_ID=1002:0000\nPCI_SLOT_NAME={name}\n")
    link(pci, f"{out}/bus/pci/devices/{name}")
    link(f"{out}/bus/pci", f"{pci}/subsystem")
    for file, number in ((f"renderD{minor}", minor), (f"card{minor - 128}", minor - 128)):
        drm = f"{pci}/drm/{file}"
        write(f"{drm}/dev", f"226:{number}\n")
        write(f"{drm}/uevent", f"MAJOR=226\nMINOR={number}\nDEVNAME=dri/{file}\nDEVTYPE=drm_minor\n")
        link(pci, f"{drm}/device")
        link(f"{out}/class/drm", f"{drm}/subsystem")
        link(drm, f"{out}/dev/char/226:{number}")
        link(drm, f"{out}/class/drm/{file}")


def add_cpu(out, index):
    """The caches of one core: libhsakmt wants some."""
    for i, (level, kind, size) in enumerate(CACHES):
        at = f"{out}/devices/system/node/node{index}/cpu{index}/cache/index{i}"
        values = {"level": level, "type": kind, "size": size, "coherency_line_size": 64, "ways_of_associativity": 8,
                  "physical_line_partition": 1, "shared_cpu_map": f"{1 << index:x}", "shared_cpu_list": index}
        for key, value in values.items():
            write(f"{at}/{key}", f"{value}\n")


def main():
    machine = sys.argv[1]
    source, out = f"{machine}/topology", f"{machine}/sys"
    kfd = f"{out}/devices/virtual/kfd/kfd"
    if not os.path.isdir(out):
        cpus = gpus = 0
        for index in sorted(os.listdir(f"{source}/nodes"), key=int):
            recorded = properties(f"{source}/nodes/{index}/properties")
            is_gpu = recorded["simd_count"] > 0
            node = copy_node(f"{source}/nodes/{index}", f"{kfd}/topology/nodes/{index}", gpus if is_gpu else -1)
            if is_gpu:
                add_gpu(out, node)
                gpus += 1
            else:
                add_cpu(out, cpus)
                cpus += 1
        write(f"{kfd}/topology/generation_id", "2\n")
        write(f"{kfd}/topology/system_properties", "platform_oem 0\nplatform_id 0\nplatform_rev 0\n")
        write(f"{kfd}/dev", "510:0\n")
        write(f"{kfd}/uevent", "MAJOR=510\nMINOR=0\nDEVNAME=/dev/kfd\n")
        link(kfd, f"{out}/class/kfd/kfd")
        link(kfd, f"{out}/dev/char/510:0")
    os.makedirs(f"{kfd}/proc", exist_ok=True)


if __name__ == "__main__":
    main()
