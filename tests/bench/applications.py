#!/usr/bin/env python3
"""Moldau beside Apache Kafka 4.3.0 as applications use them: transactions, exactly-once copying, and a group of 100 members.

    tests/.setup/venv/bin/python tests/bench/applications.py [--rounds N] [--seconds N] [--only WORD]

Both run as one node on loopback, and the same stock client (franz-go, tests/apps/go/bench) does the same with each in turn. Kafka
acknowledges from the page cache, its default; Moldau after fdatasync, ours. Groups are measured twice: without the delay
before a group's first rebalance, and with its default of three seconds, which Kafka's users wait for.

`MOLDAU_BINARY` names another binary than a release build of this tree. Prints one table in Markdown, and nothing that it did
not measure in this run."""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import uuid

import side_by_side
from side_by_side import conftest, cpu_seconds, make_topic

BENCH = conftest.SETUP / "apps" / "bench"
PARTITIONS, MEMBERS = 6, 100
DELAY = {"group.initial.rebalance.delay.ms": "3000"}


def bench(*arguments):
    done = subprocess.run([str(BENCH), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"bench {arguments}: {done.stderr[:2000]}")
    return float(done.stdout)


def transactions(producers, records):
    def run(bootstrap, options):
        topic = uuid.uuid4().hex
        make_topic(bootstrap, topic, PARTITIONS)
        return bench("transactions", bootstrap, topic, producers, options.seconds, records)
    return run


def pipe(records, batch):
    def run(bootstrap, options):
        source, target = uuid.uuid4().hex, uuid.uuid4().hex
        for topic in (source, target):
            make_topic(bootstrap, topic, PARTITIONS)
        return bench("pipe", bootstrap, source, target, records, batch)
    return run


def members(protocol):
    def run(bootstrap, options):
        topic = uuid.uuid4().hex
        make_topic(bootstrap, topic, 2 * MEMBERS)
        return bench("members", bootstrap, topic, topic, MEMBERS, protocol)
    return run


WORK = [  # name, unit, whether more is better, settings of the node, what is measured
    ("1 producer, transactions of 1 record", "transactions/s", True, {}, transactions(1, 1)),
    ("8 producers, transactions of 1 record", "transactions/s", True, {}, transactions(8, 1)),
    ("8 producers, transactions of 100 records", "transactions/s", True, {}, transactions(8, 100)),
    ("copying exactly once, 100 records in a transaction", "records/s", True, {}, pipe(20_000, 100)),
    ("copying exactly once, 1000 records in a transaction", "records/s", True, {}, pipe(200_000, 1000)),
    ("100 members join, classic protocol", "s", False, {}, members("classic")),
    ("100 members join, classic protocol, default delay", "s", False, DELAY, members("classic")),
    ("100 members join, consumer protocol", "s", False, {}, members("consumer")),
]


def start(kind, folder, settings):
    folder.mkdir(parents=True)
    if kind == "Kafka":
        return conftest.Kafka(folder, heap="1G", **settings)
    node = conftest.Moldau(folder)
    node.settings.update(settings)
    return node.start()


def measure(options, folder):
    """{workload: {system: [(figure, CPU seconds)]}}; a node of its own for each settings, and the systems take turns."""
    figures = {}
    work = [each for each in WORK if options.only in each[0]]
    for number, settings in enumerate([settings for settings in ({}, DELAY) if any(each[3] == settings for each in work)]):
        nodes = {}
        try:
            for kind in ("Kafka", "Moldau"):
                nodes[kind] = start(kind, folder / f"{kind}-{number}", settings)
                # The coordinators' topics are made, and Kafka's code compiled.
                transactions(1, 1)(nodes[kind].bootstrap, options)
                pipe(5000, 100)(nodes[kind].bootstrap, options)
            for turn in range(options.rounds):
                for name, _, _, wanted, run in work:
                    if wanted != settings:
                        continue
                    for kind in ("Moldau", "Kafka") if turn % 2 else ("Kafka", "Moldau"):
                        before = cpu_seconds(nodes[kind].process.pid)
                        figure = run(nodes[kind].bootstrap, options)
                        spent = cpu_seconds(nodes[kind].process.pid) - before
                        figures.setdefault(name, {}).setdefault(kind, []).append((figure, spent))
        finally:
            for node in nodes.values():
                node.stop()
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if "MOLDAU_BINARY" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau"], cwd=side_by_side.ROOT, check=True)
    with tempfile.TemporaryDirectory(prefix="moldau-applications-") as folder:
        figures = measure(options, pathlib.Path(folder))
    print(f"{options.rounds} rounds, medians; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| | Apache Kafka 4.3.0 | Moldau | times better | Kafka CPU s | Moldau CPU s |\n|---|---|---|---|---|---|")
    for name, unit, more_is_better, _, _ in WORK:
        if name not in figures:
            continue
        (kafka, kafka_cpu), (ours, our_cpu) = (
            [statistics.median(column) for column in zip(*figures[name][kind])] for kind in ("Kafka", "Moldau"))
        ratio = ours / kafka if more_is_better else kafka / ours
        digits = 0 if more_is_better else 2
        print(f"| {name} | {kafka:,.{digits}f} {unit} | {ours:,.{digits}f} {unit} | {ratio:.2f} | {kafka_cpu:.1f} | {our_cpu:.1f} |")


if __name__ == "__main__":
    main()
