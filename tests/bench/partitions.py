#!/usr/bin/env python3
"""What partitions cost: three nodes, and more and more partitions with three replicas each.

    tests/.setup/venv/bin/python tests/bench/partitions.py [--counts 1000,3000,10000] [--kafka]

For each count a fresh cluster: how long they take to be made, what a node needs then, how long a node takes from its start
to its first answer and until it is in sync again, and how long after SIGKILL of a node both others know a new leader of all
that it led. Sessions are as long as by default: a port that refuses is what tells of the death.

Prints one table in Markdown, and nothing that it did not measure in this run."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "chaos")]
import wire  # noqa: E402
from cluster import Cluster, eventually  # noqa: E402
from side_by_side import ROOT  # noqa: E402

PARTITIONS_PER_TOPIC = 500
SECONDS_MAX = 600
DEFAULTS = {"broker.session.timeout.ms": None, "broker.heartbeat.interval.ms": None, "replica.lag.time.max.ms": None}


def seconds_until(check, what):
    started = time.monotonic()
    eventually(check, SECONDS_MAX, what)
    return time.monotonic() - started


def make(cluster, count):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "socket.timeout.ms": 300_000})
    names = []
    while count > 0:
        partitions = min(count, PARTITIONS_PER_TOPIC)
        names.append(f"many-{len(names)}")
        admin.create_topics([NewTopic(names[-1], partitions, 3)], request_timeout=300, operation_timeout=300)[names[-1]].result(300)
        count -= partitions
    return names


def led_by(node, broker):
    topics = wire.metadata(node.client_port)[1]
    return sum(1 for partitions in topics.values() for p in partitions.values() if p.leader in (broker, -1))


def curve(kind, folder, count):
    with Cluster(kind, folder, settings=DEFAULTS) as cluster:
        for node in cluster.nodes.values():
            node.heap = "1G"
        cluster.start()
        started = time.monotonic()
        topics = make(cluster, count)
        eventually(lambda: cluster.is_whole(topics), SECONDS_MAX, "all in sync")
        made = time.monotonic() - started
        time.sleep(5)
        before = [node.cpu_seconds() for node in cluster.nodes.values()]
        time.sleep(10)
        idle = max(node.cpu_seconds() - b for node, b in zip(cluster.nodes.values(), before)) / 10 * 100
        memory = max(node.memory_mb() for node in cluster.nodes.values())
        # Not the active controller: what a new one has to do first is measured by `run.sh clocks`.
        victim = next(node for node in cluster.nodes.values() if node is not cluster.controller())
        others = [node for node in cluster.nodes.values() if node is not victim]
        led = led_by(others[0], victim.id)
        victim.kill()
        moved = seconds_until(lambda: all(led_by(node, victim.id) == 0 for node in others), "leaderships moved")
        victim.spawn()
        first = seconds_until(lambda: wire.metadata(victim.client_port, []), "a first answer")
        whole = first + seconds_until(lambda: cluster.is_whole(topics), "all in sync again")
        return made, memory, idle, led, moved, first, whole


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--counts", default="1000,3000,10000")
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    if "MOLDAU_BINARY" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau", "--bin", "moldau"], cwd=ROOT, check=True)
    print("| | partitions | made and in sync, s | memory, MB a node | idle, % of a core | led by the killed node "
          "| moved after SIGKILL, s | start to first answer, s | to all in sync, s |\n|---|---|---|---|---|---|---|---|---|")
    for count in map(int, options.counts.split(",")):
        for kind in ["moldau"] + ["kafka"] * options.kafka:
            with tempfile.TemporaryDirectory(prefix="moldau-partitions-") as folder:
                made, memory, idle, led, moved, first, whole = curve(kind, pathlib.Path(folder), count)
            print(f"| {kind} | {count} | {made:.1f} | {memory:.0f} | {idle:.1f} | {led} | {moved:.2f} | {first:.2f} | {whole:.1f} |", flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
