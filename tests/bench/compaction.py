#!/usr/bin/env python3
"""The cleaner beside Apache Kafka 4.3.0's: the same records in the same topics, one pass over each, megabytes a second,
memory and processor time.

    tests/.setup/venv/bin/python tests/bench/compaction.py [--rounds N] [--megabytes N] [--only TEXT]

Both run as one node with Kafka's settings of the cleaner: one thread, 128 MiB for keys. A topic is filled while nothing may
be compacted (min.cleanable.dirty.ratio=1), its last segment is closed, and then the ratio is set to 0. The clock runs from
the answer to that until `cleaner-offset-checkpoint` says that everything below the active segment was compacted, which both
write at the end of a pass. Megabytes are those that lay there before. Memory is the peak of the process's resident set
during the pass, and how far that lies above what it had before.

MOLDAU_BINARY names another binary than the release build, which is built otherwise. Prints a table in Markdown, and nothing
that it did not measure in this run.
"""

import argparse
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
import conftest  # noqa: E402

SEGMENT_BYTES = 64 << 20
PASS_SECONDS_MAX = 600
# Some of a pass is the wait for the cleaner to look, which has to be small beside the rest of it.
CLEANER = {"log_cleaner_backoff_ms": 20, "log_retention_check_interval_ms": 3_600_000}
WORK = [  # name, keys, value bytes, codec, share of the megabytes
    ("100 B, few keys", 1_000, 100, "none", 0.5),
    ("100 B, a million keys", 1_000_000, 100, "none", 0.5),
    ("1 KiB, a million keys, most of them once", 1_000_000, 1024, "none", 1.0),
    ("1 KiB, few keys, lz4", 1_000, 1024, "lz4", 1.0),
    ("1 KiB, few keys, zstd", 1_000, 1024, "zstd", 1.0),
]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid, field):
    return int(re.search(rf"{field}:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def set_config(bootstrap, topic, name, value):
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)


def fill(bootstrap, topic, keys, value_bytes, codec, megabytes):
    """Values that compress by half, keys by chance; the same ones whoever is asked."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    settings = {"cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "1.0",
                "file.delete.delay.ms": "0"}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config=settings)])[topic].result(30)
    chance = random.Random(7)
    half = value_bytes // 2
    pool = chance.randbytes(1 << 20)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "acks": "1", "linger.ms": 20,
                         "batch.size": 200_000, "queue.buffering.max.messages": 500_000})
    failed = []
    for _ in range(int(megabytes * 1e6 / value_bytes)):
        at = chance.randrange(len(pool) - half)
        value = pool[at:at + half] + b"pageview" * (half // 8)
        while True:
            try:
                producer.produce(topic, key=b"user%d" % chance.randrange(keys), value=value, partition=0,
                                 on_delivery=lambda error, _: error and failed.append(error))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0 and not failed, failed[:3]


def first_dirty(data, topic):
    try:
        lines = (data / "cleaner-offset-checkpoint").read_text().split("\n")
    except FileNotFoundError:
        return -1
    return next((int(line.split()[2]) for line in lines if line.startswith(f"{topic} 0 ")), -1)


def clean(bootstrap, pid, data, topic):
    """Seconds, megabytes before and after, peak memory, what it grew by, CPU seconds."""
    folder = data / f"{topic}-0"
    sizes = {int(path.stem): path.stat().st_size for path in folder.glob("*.log")}
    active = max(sizes)
    assert active > 0, "too few megabytes for a segment to be closed"
    before = sum(sizes.values()) - sizes[active]
    forget_peak(pid)
    resident, spent = memory_mb(pid, "VmRSS"), cpu_seconds(pid)
    set_config(bootstrap, topic, "min.cleanable.dirty.ratio", "0.0")
    started = time.monotonic()
    while first_dirty(data, topic) < active:
        if time.monotonic() > started + PASS_SECONDS_MAX:
            raise SystemExit(f"{topic} was not compacted within {PASS_SECONDS_MAX} s")
        time.sleep(0.005)
    seconds = time.monotonic() - started
    peak, spent = memory_mb(pid, "VmHWM"), cpu_seconds(pid) - spent
    after = sum(path.stat().st_size for path in folder.glob("*.log") if int(path.stem) < active)
    return seconds, before / 1e6, after / 1e6, peak, peak - resident, spent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if "MOLDAU_BINARY" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "moldau"], cwd=conftest.ROOT, check=True)
    median = statistics.median
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in ("ours", "kafka"):
            (scratch / name).mkdir()
        ours = conftest.Moldau(scratch / "ours", **CLEANER).start()
        kafka = conftest.Kafka(scratch / "kafka", heap="1G", **CLEANER)
        systems = [("Kafka", kafka.bootstrap, kafka.process.pid, scratch / "kafka" / "data"),
                   ("Moldau", ours.bootstrap, ours.process.pid, scratch / "ours" / "data")]
        try:
            from confluent_kafka.admin import AdminClient
            for number, (name, keys, value_bytes, codec, share) in enumerate(WORK):
                if options.only not in name:
                    continue
                for n in range(options.rounds):
                    for system, bootstrap, pid, data in systems[::-1] if n % 2 else systems:
                        topic = f"c-{number}-{n}"
                        fill(bootstrap, topic, keys, value_bytes, codec, options.megabytes * share)
                        figures.setdefault(name, {}).setdefault(system, []).append(clean(bootstrap, pid, data, topic))
                        admin = AdminClient({"bootstrap.servers": bootstrap})
                        admin.delete_topics([topic])[topic].result(30)
        finally:
            ours.stop()
            kafka.stop()
    print(f"{options.rounds} rounds, up to {options.megabytes} MB, medians; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| records | MB (Kafka, Moldau) | left MB | Kafka MB/s | Moldau MB/s | ratio | Kafka peak MB (growth) |"
          " Moldau peak MB (growth) | share | Kafka CPU s | Moldau CPU s |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for name, by_system in figures.items():
        rows = []
        for system in ("Kafka", "Moldau"):
            seconds, before, after, peak, growth, spent = (median(column) for column in zip(*by_system[system]))
            rows.append((before, after, before / seconds, peak, growth, spent))
        (kb, ka, ks, kp, kg, kc), (mb, ma, ms, mp, mg, mc) = rows
        print(f"| {name} | {kb:.0f}, {mb:.0f} | {ka:.1f}, {ma:.1f} | {ks:.0f} | {ms:.0f} | {ms / ks:.2f} "
              f"| {kp:.0f} ({kg:.0f}) | {mp:.0f} ({mg:.0f}) | {mp / kp:.2f} | {kc:.2f} | {mc:.2f} |")


if __name__ == "__main__":
    main()
