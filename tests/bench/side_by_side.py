#!/usr/bin/env python3
"""Moldau beside Apache Kafka 4.3.0: the same load on the same machine in turn, several rounds, medians and ratios.

    tests/.setup/venv/bin/python tests/bench/side_by_side.py [--rounds N] [--megabytes N]

Both run as one node on loopback. Kafka acknowledges from the page cache, its default; Moldau after fdatasync, ours. What
the kernel writes back later for Kafka is in nobody's CPU seconds here; Moldau's is in its own.

In a virtual machine, memory that the guest has not touched for a while is the host's, and the first write to such a page
costs several times what copying to it does. Whoever comes first would pay for that, so that memory is touched before
each load, and the two take turns in coming first.

Prints one table in Markdown, and nothing that it did not measure in this run.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
import conftest  # noqa: E402
from systems import touch_memory  # noqa: E402

ROOT = conftest.ROOT
TICKS = os.sysconf("SC_CLK_TCK")
LOAD = ROOT / "target" / "release" / "examples" / "load"
WORK = [  # name, record bytes, records per batch, partitions in each request, share of the megabytes
    ("100 B, batches of 1000, 1 partition", 100, 1000, 1, 1.0),
    ("100 B, batches of 1000, 6 partitions", 100, 1000, 6, 1.0),
    ("1 KiB, batches of 100, 1 partition", 1024, 100, 1, 1.0),
    ("1 KiB, batches of 100, 6 partitions", 1024, 100, 6, 1.0),
    ("1 KiB, batches of 1000, 1 partition", 1024, 1000, 1, 1.0),
    ("100 B, batches of 10, 1 partition", 100, 10, 1, 0.02),
    ("100 B, batches of 10, 6 partitions", 100, 10, 6, 0.02),
]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


def load(*arguments):
    done = subprocess.run([str(LOAD), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"load {arguments}: {done.stderr}")
    return float(done.stdout.split()[0])


def make_topic(bootstrap, name, partitions=1):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    time.sleep(0.5)


def delete_topic(bootstrap, name):
    """The next workloads need the room."""
    from confluent_kafka.admin import AdminClient
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([name])[name].result(30)


def moldau(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return conftest.Moldau(folder)


def start_times(rounds, scratch):
    """Milliseconds from exec to the first Metadata answer: on an empty folder, and again on the same one."""
    first, again = [], []
    for n in range(rounds):
        node = moldau(scratch / f"start-{n}")
        for times in (first, again):
            log = open(node.log_path, "ab")
            node.process = subprocess.Popen(node.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            times.append(load("first", node.bootstrap, 30))
            time.sleep(0.3)
            node.stop()
    return first, again


def join_times(rounds, scratch):
    """Milliseconds of the first JoinGroup on a fresh broker, __consumer_offsets not made yet."""
    from kafka import KafkaConsumer
    times = []
    for n in range(rounds):
        node = moldau(scratch / f"join-{n}").start()
        make_topic(node.bootstrap, "t")
        consumer = KafkaConsumer("t", bootstrap_servers=node.bootstrap, group_id="g")
        started = time.monotonic()
        while not consumer.assignment():
            consumer.poll(timeout_ms=20)
        times.append((time.monotonic() - started) * 1e3)
        consumer.close()
        node.stop()
    return times


def list_times(rounds, bootstrap, scratch):
    link = scratch / "kafka-topics.sh"
    link.symlink_to(conftest.BINARY)
    times = []
    for _ in range(rounds * 5):
        started = time.monotonic()
        subprocess.run([str(link), "--bootstrap-server", bootstrap, "--list"], check=True, capture_output=True)
        times.append((time.monotonic() - started) * 1e3)
    return times


def loads(options, systems):
    """{(produce or fetch, workload): {system: [(MB/s, CPU seconds per GB)]}}"""
    figures = {}
    for name, record_bytes, records, partitions, share in WORK:
        megabytes = max(20, int(options.megabytes * share))
        for n in range(options.rounds):
            for system, bootstrap, pid in systems[::-1] if n % 2 else systems:
                topic = f"b-{record_bytes}-{records}-{partitions}-{n}"
                make_topic(bootstrap, topic, partitions)
                touch_memory(megabytes + 512)
                for kind, arguments in (("produce", (record_bytes, records, megabytes, partitions)),
                                        ("fetch", (megabytes, partitions))):
                    before = cpu_seconds(pid)
                    speed = load(kind, bootstrap, topic, *arguments)
                    spent = (cpu_seconds(pid) - before) / (megabytes / 1000)
                    figures.setdefault((kind, name), {}).setdefault(system, []).append((speed, spent))
                delete_topic(bootstrap, topic)
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=2000)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau", "-p", "moldau-tests", "--example",
                    "load", "--bin", "moldau"], cwd=ROOT, check=True)
    median = statistics.median
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        first, again = start_times(options.rounds * 2, scratch)
        joins = join_times(options.rounds, scratch)
        ours = moldau(scratch / "ours").start()
        time.sleep(3)
        idle = memory_mb(ours.process.pid)
        (scratch / "kafka").mkdir()
        started = time.monotonic()
        kafka = conftest.Kafka(scratch / "kafka", heap="1G")
        try:
            kafka_start = (time.monotonic() - started) * 1e3
            time.sleep(3)
            kafka_idle = memory_mb(kafka.process.pid)
            lists = list_times(options.rounds, ours.bootstrap, scratch)
            systems = [("Kafka", kafka.bootstrap, kafka.process.pid), ("Moldau", ours.bootstrap, ours.process.pid)]
            figures = loads(options, systems)
            peak = {system: memory_mb(pid) for system, _, pid in systems}
        finally:
            ours.stop()
            kafka.stop()
    print(f"{options.rounds} rounds, {options.megabytes} MB, medians; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| | Apache Kafka 4.3.0 | Moldau |\n|---|---|---|")
    print(f"| exec to first Metadata answer, first start | {kafka_start:.0f} ms (its format step included) | {median(first):.1f} ms |")
    print(f"| exec to first Metadata answer, restart | | {median(again):.1f} ms |")
    print(f"| idle memory | {kafka_idle:.0f} MB | {idle:.1f} MB |")
    print(f"| memory after the load | {peak['Kafka']:.0f} MB | {peak['Moldau']:.1f} MB |")
    print(f"| a consumer's first assignment on a fresh broker | | {median(joins):.1f} ms |")
    print(f"| `kafka-topics.sh --list` | | {median(lists):.1f} ms |")
    print("\n| workload | Kafka MB/s | Moldau MB/s | ratio | Kafka CPU s/GB | Moldau CPU s/GB | Kafka / Moldau |\n"
          "|---|---|---|---|---|---|---|")
    for (kind, name), by_system in figures.items():
        (ks, kc), (ms, mc) = ([median(column) for column in zip(*by_system[s])] for s in ("Kafka", "Moldau"))
        # A short load may take less than one tick of the clock: then there is nothing to divide by.
        spared = f"{kc / mc:.1f}" if mc > 0 else "-"
        print(f"| {kind} {name} | {ks:.0f} | {ms:.0f} | {ms / ks:.2f} | {kc:.2f} | {mc:.2f} | {spared} |")


if __name__ == "__main__":
    main()
