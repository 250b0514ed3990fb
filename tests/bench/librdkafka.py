#!/usr/bin/env python3
"""Moldau beside Apache Kafka 4.3.0 under a stock client: librdkafka, by its Python package, makes its own batches.

    tests/.setup/venv/bin/python tests/bench/librdkafka.py [--rounds N]

`side_by_side.py` sends batches of a fixed size as fast as a connection takes them; here the client decides, as in users'
programs. Both run as one node on loopback, acks=all, six partitions. Kafka acknowledges from the page cache, its default;
Moldau after fdatasync, ours. The client is one process and often the slowest part: the server's CPU seconds are what tells.

Prints one table in Markdown, and nothing that it did not measure in this run."""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import uuid

import side_by_side
from side_by_side import conftest, cpu_seconds, delete_topic, make_topic, memory_mb, moldau, touch_memory

PARTITIONS = 6
MINUTES_MAX = 5
WORK = [  # name, records, record bytes, settings of the producer
    ("100 B", 2_000_000, 100, {"linger.ms": 5, "batch.size": 262_144}),
    ("1 KiB", 500_000, 1024, {"linger.ms": 5}),
    ("1 KiB, idempotent, lz4", 500_000, 1024, {"linger.ms": 5, "enable.idempotence": True, "compression.type": "lz4"}),
    ("100 B, at most 10 in a batch", 100_000, 100, {"linger.ms": 0, "batch.num.messages": 10}),
]


def produce(bootstrap, topic, records, record_bytes, settings):
    from confluent_kafka import Producer
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "queue.buffering.max.messages": 200_000,
                         "on_delivery": lambda error, _: failed.append(error) if error else None, **settings})
    value = os.urandom(record_bytes // 2) + bytes(record_bytes - record_bytes // 2)
    for _ in range(records):
        while True:
            try:
                producer.produce(topic, value)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    if producer.flush(60 * MINUTES_MAX) or failed:
        raise SystemExit(f"{topic}: not all was acknowledged: {failed[:3]}")


def consume(bootstrap, topic, records):
    from confluent_kafka import Consumer
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe([topic])
    seen, deadline = 0, time.monotonic() + 60 * MINUTES_MAX
    while seen < records:
        if time.monotonic() > deadline:
            raise SystemExit(f"{topic}: {seen} of {records} records read")
        seen += sum(1 for message in consumer.consume(10_000, timeout=0.2) if not message.error())
    consumer.close()


def loads(rounds, systems):
    """{(produce or fetch, workload): {system: [(MB/s, CPU seconds per GB)]}}"""
    figures = {}
    for name, records, record_bytes, settings in WORK:
        megabytes = records * record_bytes / 1e6
        for n in range(rounds):
            for system, bootstrap, pid in systems[::-1] if n % 2 else systems:
                topic = f"l-{uuid.uuid4().hex[:8]}"
                make_topic(bootstrap, topic, PARTITIONS)
                touch_memory(int(megabytes) + 256)
                for kind, work in (("produce", lambda: produce(bootstrap, topic, records, record_bytes, settings)),
                                   ("fetch", lambda: consume(bootstrap, topic, records))):
                    before, started = cpu_seconds(pid), time.monotonic()
                    work()
                    pair = megabytes / (time.monotonic() - started), (cpu_seconds(pid) - before) / (megabytes / 1e3)
                    figures.setdefault((kind, name), {}).setdefault(system, []).append(pair)
                delete_topic(bootstrap, topic)
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau"], cwd=side_by_side.ROOT, check=True)
    with tempfile.TemporaryDirectory(prefix="moldau-librdkafka-") as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "kafka").mkdir()
        ours = moldau(scratch / "ours").start()
        try:
            kafka = conftest.Kafka(scratch / "kafka", heap="1G")
            try:
                systems = [("Kafka", kafka.bootstrap, kafka.process.pid), ("Moldau", ours.bootstrap, ours.process.pid)]
                figures = loads(options.rounds, systems)
                memory = {system: memory_mb(pid) for system, _, pid in systems}
            finally:
                kafka.stop()
        finally:
            ours.stop()
    print(f"{options.rounds} rounds, medians; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| librdkafka | Kafka MB/s | Moldau MB/s | ratio | Kafka CPU s/GB | Moldau CPU s/GB | Kafka / Moldau |\n"
          "|---|---|---|---|---|---|---|")
    for (kind, name), by_system in figures.items():
        (ks, kc), (ms, mc) = ([statistics.median(column) for column in zip(*by_system[s])] for s in ("Kafka", "Moldau"))
        spared = f"{kc / mc:.1f}" if mc > 0 else "-"
        print(f"| {kind} {name} | {ks:.0f} | {ms:.0f} | {ms / ks:.2f} | {kc:.2f} | {mc:.2f} | {spared} |")
    print(f"\nmemory after the load: Kafka {memory['Kafka']:.0f} MB, Moldau {memory['Moldau']:.0f} MB")


if __name__ == "__main__":
    main()
