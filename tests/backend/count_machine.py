#!/usr/bin/env python3
"""Prints what a recorded machine says, from its files alone: one line a node, then one line a link of it. The test of
recording.c prints the same of what it has read. The last line sums up."""
import collections
import os
import sys

TYPES = {1: "HT", 2: "PCIe", 3: "AMBA", 4: "MIPI", 5: "QPI", 8: "RapidIO", 9: "InfiniBand", 11: "XGMI", 12: "XGOP",
         13: "GZ", 14: "RoCE", 15: "RDMA"}


def properties(folder):
    with open(os.path.join(folder, "properties"), encoding="ascii") as f:
        return {name: int(value) for name, value in (line.split() for line in f)}


def folders(path):
    return [os.path.join(path, d) for d in sorted(os.listdir(path), key=int)] if os.path.isdir(path) else []


def main():
    root = next(p for p in (sys.argv[1] + t for t in ("/topology", "/sys/class/kfd/kfd/topology",
                                                     "/sys/devices/virtual/kfd/kfd/topology", ""))
                if os.path.isdir(p + "/nodes"))
    nodes = [(d, properties(d)) for d in folders(root + "/nodes")]
    names, seen, total = [], collections.Counter(), collections.Counter()
    for _, p in nodes:
        kind = "gpu" if p["simd_count"] else "host"
        names.append(f"{kind}{seen[kind]}")
        seen[kind] += 1
    for (folder, p), name in zip(nodes, names):
        gpu = name.startswith("gpu")
        banks = [properties(d) for d in folders(folder + "/mem_banks")]
        capacity = sum(b["size_in_bytes"] for b in banks if b["heap_type"] in ((1, 2) if gpu else (0,)))
        if gpu and not capacity:
            capacity = p["local_mem_size"]
        print(f"{name} {capacity // 4096 * 4096} {p.get('hive_id', 0)}")
        for kind, peer in (("io_links", 0), ("p2p_links", 1)):
            for link in map(properties, folders(f"{folder}/{kind}")):
                target, name_of_type = names[link["node_to"]], TYPES.get(link["type"], "other")
                print(f"  {target} {name_of_type} {link['weight']} {link['min_bandwidth']} {link['max_bandwidth']} {peer}")
                total[f"peer-{name_of_type}" if peer else name_of_type] += 1
    hives = {p.get("hive_id", 0) for _, p in nodes} - {0}
    print(f"total hosts={seen['host']} gpus={seen['gpu']} hives={len(hives)} XGMI={total['XGMI']} PCIe={total['PCIe']} "
          f"peers={sum(n for t, n in total.items() if t.startswith('peer-'))}")


if __name__ == "__main__":
    main()
