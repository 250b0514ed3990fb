"""The lines of the comparison: what is done, what is measured, what it has to reach.

Each line is run by a function that gets the kind of system and gives figures; `limit` names the probe's figure that bounds
each of them. Figures: `mb_s`, `requests_s`, `cpu_s_gb`, `cpu_us` (of the server's processor for each request), `p50_ms`, ...,
`ms`, `mb`, `kb`, `per_s`."""

import dataclasses
import math
import subprocess
import time
import uuid

import limits
import systems
from session import warm_up
from systems import load, touch_memory

PRODUCE, FETCH, LATENCY = "Produce", "Fetch", "End-to-end latency"
REPLICATED, MIXED, FOOTPRINT, RECOVERY = "Replicated produce", "Catch-up and fan-out", "Footprint", "Start and recovery"
SECTIONS = [PRODUCE, FETCH, LATENCY, REPLICATED, MIXED, FOOTPRINT, RECOVERY]
MORE_IS_BETTER = {"mb_s", "requests_s", "per_s"}
TINY_REQUESTS = 50_000
CATCH_UP_RATE = 1000
INTERVAL = {"flush.policy": "interval"}


@dataclasses.dataclass(frozen=True)
class Line:
    section: str
    name: str
    run: object  # (session, kind, options) -> {figure: value}
    targets: dict  # figure -> how many times better than Kafka's
    limits: dict = dataclasses.field(default_factory=dict)  # figure -> the probe's
    frame_bytes: int = 0  # of the probe
    files: int = 1  # that the probe's frames are cut for
    batch: tuple = ()  # that the probe sends instead, one for each file: bytes of a record, records, codec
    megabytes: object = None  # options -> of records, which the probe takes as well
    kind: str = "plain"  # of the producer whose batches they are
    probe: object = None  # (folder, options) -> {its figure: value}, where it is not one of frames
    is_settled: bool = False  # nothing of other lines may be left to be deleted
    near: bool = False  # has to be within 1.5 times of the limit in any case
    moldau_only: dict = dataclasses.field(default_factory=dict)


def counted(node, megabytes, run):
    """What a load gives, and what the server's processor did for it."""
    before = node.cpu_seconds()
    mb_s = run()
    spent = node.cpu_seconds() - before
    return {"mb_s": mb_s, "cpu_s_gb": spent / (megabytes / 1000)}, spent


def produced_megabytes(options, request_bytes, requests_min, share):
    """Ticks of a hundredth of a second are what the kernel counts the server's processor in: there are to be some."""
    return math.ceil(max(options.megabytes * share, request_bytes * requests_min / 1e6))


def produce(record_bytes, records, partitions=1, share=1.0, connections=1, codec="none", kind="plain", moldau_only=None,
            tiny=False):
    def run(session, system, options):
        node = session.node(system, moldau_only)
        topic = uuid.uuid4().hex
        node.make_topic(topic, partitions)
        batches = partitions if connections == 1 else 1
        request_bytes = record_bytes * records * batches
        megabytes = produced_megabytes(options, request_bytes, TINY_REQUESTS if tiny else connections * 20, share)
        touch_memory(megabytes + 256, session.folder)
        figures, spent = counted(node, megabytes, lambda: load(
            "produce", node.bootstrap, topic, record_bytes, records, megabytes, partitions,
            f"connections={connections}", f"codec={codec}", f"kind={kind}"))
        if tiny:
            figures = {"requests_s": figures["mb_s"] * 1e6 / request_bytes,
                       "cpu_us": spent * request_bytes / megabytes}
        node.delete_topic(topic)
        return figures
    return run


def fetch(record_bytes, records, partitions=1, share=1.0, codec="none", consumers=1):
    def run(session, system, options):
        node = session.node(system)
        topic = uuid.uuid4().hex
        node.make_topic(topic, partitions)
        megabytes = max(20, round(options.megabytes * share / consumers))
        load("produce", node.bootstrap, topic, record_bytes, records, megabytes, partitions, f"codec={codec}")
        # Compressed records are half as long in the log, and those are the bytes that are read.
        readable = round(megabytes * (0.45 if codec != "none" else 1))
        figures, _ = counted(node, readable * consumers, lambda: load(
            "fetch", node.bootstrap, topic, readable, partitions, f"consumers={consumers}"))
        node.delete_topic(topic)
        return figures
    return run


def latency(rate, record_bytes=100):
    def run(session, system, options):
        node = session.node(system)
        topic = uuid.uuid4().hex
        node.make_topic(topic)
        found = load("latency", node.bootstrap, topic, rate, options.latency_seconds, record_bytes)
        node.delete_topic(topic)
        return {figure: found[name] for figure, name in PERCENTILES.items()}
    return run


def replicated(name, record_bytes, records, targets, share, tiny=False):
    """A line of three nodes, whose probe takes as much of the same batches."""
    request_bytes = record_bytes * records

    def megabytes_of(options):
        return max(20, produced_megabytes(options, request_bytes, TINY_REQUESTS if tiny else 0, share))

    def run(session, system, options):
        cluster = session.cluster(system)
        topic = uuid.uuid4().hex
        cluster.create_topic(topic, partitions=1)
        megabytes = megabytes_of(options)
        touch_memory(3 * megabytes + 256, session.folder)
        nodes = cluster.nodes.values()
        leader = cluster.leader(topic, 0)
        before = sum(node.cpu_seconds() for node in nodes)
        mb_s = load("produce", leader.bootstrap, topic, record_bytes, records, megabytes, 1)
        systems.conftest.eventually(lambda: cluster.is_whole([topic]), 60, "all replicas in sync")
        time.sleep(0.5)
        spent = sum(node.cpu_seconds() for node in nodes) - before
        if tiny:
            return {"requests_s": mb_s * 1e6 / request_bytes, "cpu_us": spent * request_bytes / megabytes}
        return {"mb_s": mb_s, "cpu_s_gb": spent / (megabytes / 1000)}
    bounds = {"requests_s": "frames_s", "cpu_us": "cpu_us"} if tiny else {"mb_s": "mb_s", "cpu_s_gb": "cpu_s_gb"}
    return Line(REPLICATED, name, run, targets, bounds, probe=limits.replicated(record_bytes, records, megabytes_of))


def catch_up(session, system, options):
    """A consumer far behind reads from the disk while others produce and consume at a fixed rate."""
    node = session.node(system)
    cold, hot = uuid.uuid4().hex, uuid.uuid4().hex
    node.make_topic(cold)
    node.make_topic(hot)
    load("produce", node.bootstrap, cold, 1024, 100, options.megabytes, 1)
    node.make_cold(cold)
    arguments = [str(systems.LOAD), "latency", node.bootstrap, hot, *map(str, (CATCH_UP_RATE, options.latency_seconds, 100))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as beside:
        time.sleep(1)
        figures, _ = counted(node, options.megabytes, lambda: load("fetch", node.bootstrap, cold, options.megabytes, 1))
        words = beside.communicate(timeout=120)[0].split()
    figures["p99_ms"] = float(words[words.index("p99") + 1])
    for topic in (cold, hot):
        node.delete_topic(topic)
    return figures


def start(session, system, options):
    """On a folder that was used before, from exec to the first answer; and the memory of an idle node."""
    node = session.fresh(system)
    try:
        node.terminate()
        return {"ms": node.first_answer_ms()}
    finally:
        node.stop()


def idle_memory(session, system, options):
    node = session.fresh(system)
    try:
        time.sleep(5)
        return {"mb": node.memory_mb()}
    finally:
        node.stop()


def peak_memory(session, system, options):
    """One node's peak after produce and fetch of each size, a hundred connections and a thousand partitions."""
    node = session.fresh(system)
    try:
        node.make_topic("peak", 6)
        node.make_topic("many", 1000)
        for record_bytes, records in ((100, 1000), (1024, 100), (102_400, 10)):
            load("produce", node.bootstrap, "peak", record_bytes, records, max(100, options.megabytes // 3), 6)
        load("produce", node.bootstrap, "peak", 1024, 100, max(100, options.megabytes // 3), 6, "connections=100")
        load("produce", node.bootstrap, "many", 100, 10, 50, 1000)
        load("fetch", node.bootstrap, "peak", max(100, options.megabytes // 3), 6, "consumers=20")
        return {"mb": node.memory_mb("VmHWM")}
    finally:
        node.stop()


def memory_each(count, make):
    """Kilobytes of memory for each of so many things."""
    def run(session, system, options):
        node = session.fresh(system)
        try:
            warm_up(node)
            time.sleep(3)
            before = node.memory_mb()
            held = make(node, count)
            time.sleep(3)
            grown = node.memory_mb() - before
            if held:
                held.communicate("", timeout=60)
            return {"kb": max(grown, 0) * 1024 / count}
        finally:
            node.stop()
    return run


def hold(*arguments):
    held = subprocess.Popen([str(systems.LOAD), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not held.stdout.readline():
        raise RuntimeError(f"load {arguments} failed")
    return held


def connections(node, count):
    return hold("idle", node.bootstrap, count)


def members(node, count):
    node.make_topic("t", 12)
    return hold("members", node.bootstrap, "t", "g", count)


def partitions(node, count):
    node.make_topic("t", count)


def creation(session, system, options):
    node = session.fresh(system)
    try:
        load("topics", node.bootstrap, 20, 1)
        return {"per_s": load("topics", node.bootstrap, options.topics, 1)}
    finally:
        node.stop()


def recovery(session, system, options):
    node = session.fresh(system)
    try:
        node.make_topic("t", 10)
        load("produce", node.bootstrap, "t", 1024, 100, options.recovery_megabytes, 10)
        node.kill()
        return {"ms": node.first_answer_ms("t")}
    finally:
        node.stop()


DURABLE = {"mb_s": "durable_mb_s", "cpu_s_gb": "durable_cpu_s_gb"}
TINY = {"requests_s": "durable_frames_s", "cpu_us": "durable_cpu_us"}
SENDFILE = {"mb_s": "sendfile_mb_s", "cpu_s_gb": "sendfile_cpu_s_gb"}
PERCENTILES = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "p99.9_ms": "p99.9"}
SIZES = [("100 B", 100, 1000), ("1 KiB", 1024, 100), ("10 KiB", 10_240, 10), ("100 KiB", 102_400, 10)]


def produced(name, record_bytes, records, partitions=1, codec="none", kind="plain", targets=None, limits=None, near=False,
             share=1.0, tiny=False):
    """A line of one connection, whose probe takes as much of the same batches."""
    request_bytes = record_bytes * records * partitions
    return Line(PRODUCE, name, produce(record_bytes, records, partitions, share, codec=codec, kind=kind, tiny=tiny),
                near=near, kind=kind,
                targets=targets or {"mb_s": 2, "cpu_s_gb": 2}, limits=limits or DURABLE, batch=(record_bytes, records, codec),
                files=partitions, megabytes=lambda options: produced_megabytes(
                    options, request_bytes, TINY_REQUESTS if tiny else 20, share))


def lines():
    found = []
    for name, size, records in SIZES:
        found.append(produced(f"{name}, batches of {records}", size, records, near=True,
                              targets={"mb_s": 2, "cpu_s_gb": 4 if size == 100 else 2}))
    for name, records, count in (("10 records", 10, 1), ("10 records, 6 partitions", 10, 6), ("1 record", 1, 1)):
        found.append(produced(f"100 B, tiny batches: {name}", 100, records, count, share=0.004 * records * count / 10, tiny=True,
                              targets={"requests_s": 3, "cpu_us": 6}, limits=TINY))
    for codec in ("lz4", "zstd", "snappy", "gzip"):
        found.append(produced(f"1 KiB, batches of 100, {codec}", 1024, 100, codec=codec))
    for kind in ("idempotent", "transactional"):
        found.append(produced(f"1 KiB, batches of 100, {kind}", 1024, 100, kind=kind))
    for count in (10, 100):
        found.append(produced(f"1 KiB, batches of 10, {count} partitions", 1024, 10, count))
    found.append(Line(PRODUCE, "1 KiB, batches of 10, 1000 partitions", produce(1024, 10, 1000), targets={"mb_s": 1},
                      limits={"mb_s": "files_mb_s"}, frame_bytes=10_240_000))
    found.append(Line(PRODUCE, "1 KiB, batches of 10, 1000 partitions, flush.policy=interval",
                      produce(1024, 10, 1000, moldau_only=INTERVAL), targets={"mb_s": 3, "cpu_s_gb": 2},
                      limits={"mb_s": "write_mb_s", "cpu_s_gb": "write_cpu_s_gb"}, frame_bytes=10_240_000))
    for count in (10, 100, 1000):
        found.append(Line(PRODUCE, f"1 KiB, batches of 10, {count} connections", produce(1024, 10, 6, connections=count),
                          targets={"mb_s": 2, "cpu_s_gb": 2}, limits=DURABLE, batch=(1024, 10, "none"),
                          megabytes=lambda options: options.megabytes))
    for name, size, records in SIZES:
        found.append(Line(FETCH, f"{name}, batches of {records}", fetch(size, records), near=True,
                          targets={"mb_s": 2, "cpu_s_gb": 2}, limits=SENDFILE, frame_bytes=size * records))
    found.append(Line(FETCH, "100 B, batches of 10", fetch(100, 10, share=0.1), targets={"mb_s": 2, "cpu_s_gb": 2},
                      limits=SENDFILE, frame_bytes=1 << 20))
    found.append(Line(FETCH, "1 KiB, batches of 100, lz4", fetch(1024, 100, codec="lz4"), targets={"mb_s": 2, "cpu_s_gb": 2},
                      limits=SENDFILE, frame_bytes=1 << 20))
    for count in (10, 100):
        found.append(Line(FETCH, f"1 KiB, batches of 10, {count} partitions", fetch(1024, 10, count),
                          targets={"mb_s": 2, "cpu_s_gb": 2}, limits=SENDFILE, frame_bytes=1 << 20))
    for rate in (100, 1000, 10_000, 50_000):
        found.append(Line(LATENCY, f"{rate} records/s of 100 B", latency(rate), targets={"p99_ms": 2, "p99.9_ms": 2},
                          limits=PERCENTILES, probe=limits.latency(rate, 100), is_settled=True))
    for name, size, records in SIZES[:2]:
        found.append(replicated(f"{name}, batches of {records}", size, records, share=0.5,
                                targets={"mb_s": 2, "cpu_s_gb": 4 if size == 100 else 2}))
    found.append(replicated("100 B, tiny batches: 10 records", 100, 10, share=0.01, tiny=True,
                            targets={"requests_s": 3, "cpu_us": 6}))
    found.append(Line(MIXED, f"catch-up from cold disk beside {CATCH_UP_RATE} records/s", catch_up,
                      targets={"mb_s": 2, "cpu_s_gb": 2, "p99_ms": 2}, probe=limits.catch_up(CATCH_UP_RATE, 100),
                      limits={"mb_s": "mb_s", "cpu_s_gb": "cpu_s_gb", "p99_ms": "p99"}))
    for count in (10, 50):
        found.append(Line(MIXED, f"{count} consumers of one topic", fetch(1024, 100, share=4.0, consumers=count),
                          targets={"mb_s": 2, "cpu_s_gb": 2}, limits=SENDFILE, frame_bytes=1 << 20))
    found.append(Line(FOOTPRINT, "idle memory", idle_memory, targets={"mb": 10}))
    found.append(Line(FOOTPRINT, "peak memory under load", peak_memory, targets={"mb": 10}))
    for name, count, make in (("connection", 1000, connections), ("partition", 1000, partitions), ("group member", 1000, members)):
        found.append(Line(FOOTPRINT, f"memory for each {name}", memory_each(count, make), targets={"kb": 10}))
    found.append(Line(RECOVERY, "start to the first answer", start, targets={"ms": 20}))
    found.append(Line(RECOVERY, "recovery after kill -9", recovery, targets={"ms": 5}))
    found.append(Line(RECOVERY, "topics created", creation, targets={"per_s": 2}))
    return found
