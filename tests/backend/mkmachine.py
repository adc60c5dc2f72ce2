#!/usr/bin/env python3
"""Writes a recorded machine: CPU nodes, then GPU nodes in hives, in the layout of KFD's topology."""
import argparse
import os
import shutil

XGMI, PCIE, QPI = 11, 2, 5


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def write_properties(path, pairs):
    write(path, "".join(f"{name} {value}\n" for name, value in pairs))


def link(kind, source, target, weight, least, most):
    return [("type", kind), ("version_major", 0), ("version_minor", 0), ("node_from", source), ("node_to", target),
            ("weight", weight), ("min_latency", 0), ("max_latency", 0), ("min_bandwidth", least),
            ("max_bandwidth", most), ("recommended_transfer_size", 0), ("flags", 1)]


def hive_of(args, gpu):
    return 0 if args.hives == 0 else 0x1000 + gpu * args.hives // args.gpus


def io_links_of(args, node):
    """CPUs see each other and their GPUs; a GPU sees its CPU and the GPUs of its hive."""
    cpus, nodes = args.cpus, args.cpus + args.gpus
    if node < cpus:
        near = [link(QPI, node, n, 21, 0, 0) for n in range(cpus) if n != node]
        return near + [link(PCIE, node, n, 20, 312, 32000) for n in range(cpus, nodes) if (n - cpus) % cpus == node]
    gpu = node - cpus
    links = [link(PCIE, node, gpu % cpus, 20, 312, 32000)] if cpus else []
    for other in range(args.gpus):
        if other != gpu and hive_of(args, gpu) and hive_of(args, gpu) == hive_of(args, other):
            links.append(link(XGMI, node, cpus + other, 15, 50000, 50000 + 1000 * other))
    return links


def p2p_links_of(args, node):
    """GPUs of different hives reach each other over the bus."""
    gpu = node - args.cpus
    if gpu < 0:
        return []
    return [link(PCIE, node, args.cpus + other, 40, 0, 16000) for other in range(args.gpus)
            if other != gpu and hive_of(args, gpu) != hive_of(args, other)]


def node_properties(args, node, io_links, p2p_links):
    gpu = node - args.cpus
    cpu_cores, simds = (64, 0) if gpu < 0 else (0, 416)
    return [("cpu_cores_count", cpu_cores), ("simd_count", simds), ("mem_banks_count", 1 if gpu < 0 else 2),
            ("caches_count", 0), ("io_links_count", len(io_links)), ("p2p_links_count", len(p2p_links)),
            ("gfx_target_version", 0 if gpu < 0 else 90402), ("hive_id", 0 if gpu < 0 else hive_of(args, gpu)),
            ("local_mem_size", 0)]


def banks_of(args, node):
    """A GPU has its memory, and a bank of another heap that must not count."""
    if node < args.cpus:
        return [(0, args.host_mem)]
    return [(1 + node % 2, args.mem), (4, 65536)]


def write_node(args, node):
    at = os.path.join(args.out, "topology", "nodes", str(node))
    io_links, p2p_links = io_links_of(args, node), p2p_links_of(args, node)
    write_properties(f"{at}/properties", node_properties(args, node, io_links, p2p_links))
    write(f"{at}/gpu_id", "0\n" if node < args.cpus else f"{1000 + node}\n")
    write(f"{at}/name", "a CPU\n" if node < args.cpus else "ip discovery\n")
    for i, (heap, size) in enumerate(banks_of(args, node)):
        write_properties(f"{at}/mem_banks/{i}/properties",
                         [("heap_type", heap), ("size_in_bytes", size), ("flags", 0), ("width", 4096),
                          ("mem_clk_max", 1600)])
    for folder, links in (("io_links", io_links), ("p2p_links", p2p_links)):
        for i, pairs in enumerate(links):
            write_properties(f"{at}/{folder}/{i}/properties", pairs)


def edit(path, line, text):
    """Replaces line `line` (from 1); None removes it, a line one behind the end is added."""
    with open(path, encoding="ascii") as f:
        lines = f.read().splitlines()
    lines[line - 1:line] = [] if text is None else [text]
    write(path, "".join(x + "\n" for x in lines))


def mangle(args):
    """Breaks the last node (a GPU), or what is around it, in one way."""
    nodes = os.path.join(args.out, "topology", "nodes")
    last = args.cpus + args.gpus - 1
    node = f"{nodes}/{last}"
    main, bank, io_link = f"{node}/properties", f"{node}/mem_banks/0/properties", f"{node}/io_links/0/properties"
    edits = {
        "three-words": (main, 2, "simd_count 4 16"), "one-word": (main, 2, "simd_count"),
        "empty-line": (main, 2, ""), "two-spaces": (main, 2, "simd_count  416"),
        "no-number": (main, 2, "simd_count many"), "negative": (main, 2, "simd_count -1"),
        "hexadecimal": (main, 2, "simd_count 0x10"), "above-64-bits": (main, 2, "simd_count 18446744073709551616"),
        "bad-name": (main, 2, "SIMD-count 416"), "long-name": (main, 2, "a" * 64 + " 1"),
        "duplicate": (main, 10, "hive_id 5"), "nul-byte": (main, 2, "simd_count 4\0"),
        "missing-cores": (main, 1, None), "missing-simds": (main, 2, None), "missing-banks": (main, 3, None),
        "missing-links": (main, 5, None), "both-kinds": (main, 1, "cpu_cores_count 8"),
        "no-kind": (main, 2, "simd_count 0"), "fewer-banks": (main, 3, "mem_banks_count 1"),
        "more-banks": (main, 3, "mem_banks_count 3"), "endless-banks": (main, 3, f"mem_banks_count {2**64 - 1}"),
        "fewer-links": (main, 5, "io_links_count 0"), "more-links": (main, 5, "io_links_count 99"),
        "more-peers": (main, 6, "p2p_links_count 99"), "no-capacity": (bank, 1, "heap_type 5"),
        "huge-capacity": (bank, 2, "size_in_bytes 9223372036854775808"), "missing-heap": (bank, 1, None),
        "missing-size": (bank, 2, None), "missing-target": (io_link, 5, None),
        "foreign-source": (io_link, 4, "node_from 0"), "dangling": (io_link, 5, f"node_to {last + 1}"),
        "to-itself": (io_link, 5, f"node_to {last}"), "heavy": (io_link, 6, "weight 4294967296"),
    }
    if args.mangle in edits:
        edit(*edits[args.mangle])
    elif args.mangle == "gap":
        shutil.rmtree(f"{nodes}/{last - 1}")
    elif args.mangle == "stray-folder":
        os.mkdir(f"{nodes}/x1")
    elif args.mangle == "leading-zero":
        os.rename(node, f"{nodes}/0{last}")
    elif args.mangle == "too-many-nodes":
        os.mkdir(f"{nodes}/256")
    elif args.mangle == "no-nodes":
        shutil.rmtree(nodes)
        os.mkdir(nodes)
    elif args.mangle == "no-properties":
        os.remove(main)
    elif args.mangle == "empty-file":
        write(main, "")
    elif args.mangle == "too-large":
        write(main, "x" * ((1 << 20) + 1))
    elif args.mangle == "too-many-lines":
        write(main, "".join(f"p{i} 1\n" for i in range(1025)))
    elif args.mangle == "long-model":
        edit(main, 7, "gfx_target_version 0")
        write(f"{node}/name", "m" * 64 + "\n")
    elif args.mangle == "unprintable-model":
        edit(main, 7, "gfx_target_version 0")
        write(f"{node}/name", "m\x1bm\n")
    else:
        raise SystemExit(f"mkmachine: no such way to mangle a recording: {args.mangle}")


def size(text):
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", metavar="OUT_DIR")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--hives", type=int, default=1, help="0: no fast links")
    parser.add_argument("--mem", type=size, default=size("64G"), help="of each GPU, as 64G")
    parser.add_argument("--host-mem", type=size, default=size("256G"), help="of each CPU node")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--mangle", metavar="KIND")
    args = parser.parse_args()
    for node in range(args.cpus + args.gpus):
        write_node(args, node)
    if args.mangle:
        mangle(args)


if __name__ == "__main__":
    main()
