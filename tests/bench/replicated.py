#!/usr/bin/env python3
"""Replicated produce: three nodes of Moldau, then three of Apache Kafka 4.3.0, the same load on the same machine.

    tests/.setup/venv/bin/python tests/bench/replicated.py [--rounds N] [--megabytes N]

One partition with three replicas, min.insync.replicas 2, acks=all. Kafka acknowledges from the page caches, its default;
Moldau after fdatasync on every replica that is in sync, ours. CPU seconds are those of all three nodes together, until the
followers have everything. The two take turns in coming first, and are never up at the same time.

Prints one table in Markdown, and nothing that it did not measure in this run."""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "chaos")]
from cluster import Cluster, eventually  # noqa: E402
from side_by_side import ROOT, WORK, load, touch_memory  # noqa: E402

HEAP = "1G"  # for each of Kafka's nodes, as in side_by_side.py


def round_of(kind, folder, megabytes, n):
    """{workload: (MB/s, CPU seconds per GB)} of one fresh cluster, and the largest memory of a node at the end."""
    figures = {}
    # Sessions of Kafka's and our defaults: this is no test of failover.
    settings = {"broker.session.timeout.ms": None, "broker.heartbeat.interval.ms": None, "replica.lag.time.max.ms": None}
    cluster = Cluster(kind, folder, settings=settings)
    for node in cluster.nodes.values():
        node.heap = HEAP
    try:
        cluster.start()
        for name, record_bytes, records, partitions, share in WORK:
            if partitions > 1:
                continue  # the load asks one broker, which leads only some of several partitions
            size, topic = max(20, int(megabytes * share)), f"r-{record_bytes}-{records}-{n}"
            cluster.create_topic(topic, partitions=1)
            touch_memory(3 * size + 512)
            leader = cluster.leader(topic, 0)
            before = sum(node.cpu_seconds() for node in cluster.nodes.values())
            speed = load("produce", leader.bootstrap, topic, record_bytes, records, size, partitions)
            # acks=all with min.insync.replicas 2: the third replica may still be behind.
            eventually(lambda: cluster.is_whole([topic]), 60, "all replicas in sync")
            time.sleep(0.5)
            spent = sum(node.cpu_seconds() for node in cluster.nodes.values()) - before
            figures[name] = (speed, spent / (size / 1000))
        memory = max(node.memory_mb() for node in cluster.nodes.values())
    finally:
        cluster.close()
    return figures, memory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau", "-p", "moldau-tests", "--example",
                    "load", "--bin", "moldau"], cwd=ROOT, check=True)
    seen, memory = {}, {}
    with tempfile.TemporaryDirectory(prefix="moldau-replicated-") as folder:
        for n in range(options.rounds):
            for kind in ("kafka", "moldau") if n % 2 else ("moldau", "kafka"):
                figures, memory_mb = round_of(kind, pathlib.Path(folder) / f"{kind}-{n}", options.megabytes, n)
                memory[kind] = max(memory.get(kind, 0), memory_mb)
                for name, pair in figures.items():
                    seen.setdefault(name, {}).setdefault(kind, []).append(pair)
    print(f"{options.rounds} rounds, {options.megabytes} MB, medians; three nodes, replication factor 3, acks=all; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| produce | Kafka MB/s | Moldau MB/s | ratio | Kafka CPU s/GB | Moldau CPU s/GB | Kafka / Moldau |\n"
          "|---|---|---|---|---|---|---|")
    for name, by_kind in seen.items():
        (ks, kc), (ms, mc) = ([statistics.median(column) for column in zip(*by_kind[kind])] for kind in ("kafka", "moldau"))
        print(f"| {name} | {ks:.1f} | {ms:.1f} | {ms / ks:.2f} | {kc:.2f} | {mc:.2f} | {kc / max(mc, 1e-9):.1f} |")
    print(f"\nmemory of the largest node after the load: Kafka {memory['kafka']:.0f} MB, Moldau {memory['moldau']:.0f} MB")


if __name__ == "__main__":
    main()
