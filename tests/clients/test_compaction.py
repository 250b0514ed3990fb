"""The same records, compacted by Apache Kafka and by Moldau: what is left has to be the same, batch by batch."""

import asyncio
import itertools
import random
import re
import time

import kafka
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AioTopicPartition
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from conftest import Kafka, eventually

TOPIC = "compacted"
SEGMENT_BYTES = 1 << 20
CLEANER = {"log_cleaner_backoff_ms": 50}
PASS_SECONDS_MAX = 120


class Log:
    """One partition on one of the two systems, written batch by batch, the same on both."""

    def __init__(self, name, node, **configs):
        self.name, self.node, self.bootstrap = name, node, node.bootstrap
        self.data = node.folder / "data"
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        self.watcher = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "watcher"})
        configs = {"cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "1.0",
                   "file.delete.delay.ms": "0", **configs}
        self.admin.create_topics([NewTopic(TOPIC, 1, 1, config=configs)])[TOPIC].result(30)
        self.end = 0
        self.producers = {}

    def producer(self, name, codec):
        settings = {"bootstrap.servers": self.bootstrap, "linger.ms": 1000, "compression.type": codec}
        if name.startswith("transactional"):
            settings["transactional.id"] = name
        elif name.startswith("idempotent"):
            settings["enable.idempotence"] = True
        if name not in self.producers:
            self.producers[name] = Producer(settings)
            if "transactional.id" in settings:
                self.producers[name].init_transactions(60)
        return self.producers[name]

    def wait_for_end(self):
        at = TopicPartition(TOPIC, 0)
        eventually(lambda: self.watcher.get_watermark_offsets(at, timeout=10)[1] == self.end, message=f"{self.name}'s end")

    def batch(self, producer, records):
        failed = []
        for key, value, timestamp in records:
            producer.produce(TOPIC, key=key, value=value, partition=0, timestamp=timestamp, headers=[("h", b"1")],
                             on_delivery=lambda error, _: error and failed.append(error))
        assert producer.flush(60) == 0 and not failed, failed
        self.end += len(records)

    def transaction(self, producer, batches, commits):
        producer.begin_transaction()
        for records in batches:
            self.batch(producer, records)
        (producer.commit_transaction if commits else producer.abort_transaction)(60)
        # Its end is written a little later.
        self.end += 1
        self.wait_for_end()

    def active(self):
        return max(int(path.stem) for path in (self.data / f"{TOPIC}-0").glob("*.log"))

    def set_ratio(self, ratio):
        entry = ConfigEntry("min.cleanable.dirty.ratio", ratio, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def compact(self):
        active = self.active()

        def is_done():
            path = self.data / "cleaner-offset-checkpoint"
            lines = path.read_text().split("\n") if path.exists() else []
            return any(line.startswith(f"{TOPIC} 0 ") and int(line.split()[2]) >= active for line in lines)

        self.set_ratio("0.0")
        eventually(is_done, PASS_SECONDS_MAX, f"{self.name}'s pass")
        self.set_ratio("1.0")

    def batches(self, java, codec):
        """What DumpLogSegments says of the closed segments, without what each system makes up: ids, times, checksums, and
        how small its codec makes something."""
        active = self.active()
        logs = [path for path in sorted((self.data / f"{TOPIC}-0").glob("*.log")) if int(path.stem) < active]
        result = java("kafka-dump-log", "--deep-iteration", "--print-data-log", "--files", ",".join(map(str, logs)))
        assert result.returncode == 0, result.stderr[-2000:]
        ids, found = {}, []
        lines = [line for line in result.stdout.splitlines() if re.match(r"\|? ?(baseOffset|offset): ", line)]
        for line in without_the_time_of_the_pass(lines):
            line = re.sub(r"(producerId: )(\d+)", lambda m: m[1] + str(ids.setdefault(m[2], f"#{len(ids)}")), line)
            line = re.sub(r"(deleteHorizonMs: OptionalLong)\[\d+\]", r"\1[some]", line)
            if "isControl: true" in line or "endTxnMarker" in line:
                line = re.sub(r"CreateTime: \d+", "CreateTime: -", line)
            line = re.sub(r" crc: \d+| partitionLeaderEpoch: \d+", "", line)
            found.append(line if codec == "none" else re.sub(r" (size|position): \d+", "", line))
        return [path.name for path in logs], found


def varint_bytes(number):
    return max(1, -(-(number << 1 ^ number >> 63).bit_length() // 7))


def record_bytes(line, base_offset, time_delta):
    """Of a record without headers."""
    offset, key, value = (int(re.search(rf"{name}: (-?\d+)", line)[1]) for name in ("offset", "keySize", "valueSize"))
    body = 1 + varint_bytes(time_delta) + varint_bytes(offset - base_offset) + varint_bytes(key) + max(0, key) + \
        varint_bytes(value) + max(0, value) + 1
    return varint_bytes(body) + body


def without_the_time_of_the_pass(lines):
    """Sizes and positions as if each record's time stood at its batch's. With a delete horizon, times are told as distances
    from it, and take a byte more when the pass was later."""
    lines, moved = list(lines), 0
    for number, line in enumerate(lines):
        if not line.startswith("baseOffset"):
            continue
        if " position: 0 " in line:
            moved = 0
        lines[number] = re.sub(r"position: (\d+)", lambda m: f"position: {int(m[1]) - moved}", line)
        if horizon := re.search(r"deleteHorizonMs: OptionalLong\[(\d+)\]", line):
            longer, base_offset = 0, int(re.match(r"baseOffset: (\d+)", line)[1])
            for record in itertools.takewhile(lambda line: line.startswith("|"), lines[number + 1:]):
                delta = int(re.search(r"CreateTime: (\d+)", record)[1]) - int(horizon[1])
                longer += record_bytes(record, base_offset, delta) - record_bytes(record, base_offset, 0)
            lines[number] = re.sub(r" size: (\d+)", lambda m: f" size: {int(m[1]) - longer}", lines[number])
            moved += longer
    return lines


def write(logs, seed, codec, count):
    """Plain, idempotent and transactional batches of few keys, tombstones among them, some over several segments."""
    chance = random.Random(seed)
    timestamp = int(time.time() * 1000) - 100_000 + 10_000 * seed
    for _ in range(count):
        def records():
            nonlocal timestamp
            rows = []
            for _ in range(chance.randrange(1, 5)):
                timestamp += chance.randrange(3)
                value = None if chance.random() < 0.1 else chance.randbytes(chance.randrange(6000))
                rows.append((b"key%d" % chance.randrange(25), value, timestamp))
            return rows

        name = chance.choice(["plain", "idempotent-a", "idempotent-b", "transactional-a", "transactional-b"])
        batches, commits = [records() for _ in range(chance.randrange(1, 4))], chance.random() < 0.5
        for log in logs:
            producer = log.producer(name, codec)
            if name.startswith("transactional"):
                log.transaction(producer, batches, commits)
            else:
                for rows in batches:
                    log.batch(producer, rows)


def close_segment(logs, seed):
    """Fills the active segment with something that never comes again."""
    timestamp = int(time.time() * 1000) + seed
    value = random.Random(seed).randbytes(300_000)
    for log in logs:
        for n in range(5):
            log.batch(log.producer("plain", "none"), [(b"filler%d-%d" % (seed, n), value, timestamp + n)])
        log.wait_for_end()


@pytest.mark.parametrize("codec, retention_ms", [("none", "86400000"), ("none", "0"), ("lz4", "0")])
def test_what_the_cleaner_leaves_is_what_apache_kafkas_leaves(start_moldau, tmp_path, java, codec, retention_ms):
    folder = tmp_path / "kafka"
    folder.mkdir()
    kafka = Kafka(folder, **CLEANER)
    try:
        configs = {"delete.retention.ms": retention_ms}
        logs = [Log("Kafka", kafka, **configs), Log("Moldau", start_moldau(**CLEANER), **configs)]
        for seed in range(3):
            write(logs, seed, codec, 60)
            close_segment(logs, seed)
            for log in logs:
                log.compact()
            theirs, ours = (log.batches(java, codec) for log in logs)
            assert ours[1] == theirs[1], f"after pass {seed}"
            assert ours[0] == theirs[0], f"the segments after pass {seed}"
        assert any("deleteHorizonMs: OptionalLong[some]" in line for line in ours[1])
        assert any("endTxnMarker: ABORT" in line for line in ours[1])
    finally:
        kafka.stop()


def by_librdkafka(log, offset):
    consumer = Consumer({"bootstrap.servers": log.bootstrap, "group.id": "librdkafka", "isolation.level": "read_committed",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(TOPIC, 0, offset)])
    found, deadline = [], time.monotonic() + PASS_SECONDS_MAX
    while True:
        assert time.monotonic() < deadline, f"the end, {len(found)} records from {offset} on"
        message = consumer.poll(0.2)
        if message is not None and message.error() and message.error().code() == KafkaError._PARTITION_EOF:
            consumer.close()
            return found
        if message is not None:
            assert not message.error(), message.error()
            found.append((message.offset(), message.key(), message.value()))


def by_kafka_python(log, offset):
    at = kafka.TopicPartition(TOPIC, 0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=log.bootstrap, isolation_level="read_committed",
                                   enable_auto_commit=False)
    consumer.assign([at])
    consumer.seek(at, offset)
    found, deadline = [], time.monotonic() + PASS_SECONDS_MAX
    while consumer.position(at) < log.end:
        assert time.monotonic() < deadline, f"{log.end} of {consumer.position(at)}"
        for message in consumer.poll(timeout_ms=200).get(at, []):
            found.append((message.offset, message.key, message.value))
    consumer.close()
    return found


def by_aiokafka(log, offset):
    async def run():
        at = AioTopicPartition(TOPIC, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=log.bootstrap, isolation_level="read_committed",
                                    enable_auto_commit=False)
        await consumer.start()
        consumer.assign([at])
        consumer.seek(at, offset)
        found, deadline = [], time.monotonic() + PASS_SECONDS_MAX
        while await consumer.position(at) < log.end:
            assert time.monotonic() < deadline, f"{log.end} of {await consumer.position(at)}"
            for message in (await consumer.getmany(timeout_ms=200)).get(at, []):
                found.append((message.offset, message.key, message.value))
        await consumer.stop()
        return found

    return asyncio.run(run())


def test_readers_of_committed_records_step_over_what_compaction_and_transactions_leave_empty(start_moldau, java):
    """Markers, batches of which compaction kept the end alone, and offsets that nobody has: three clients get over them, see
    the same records from wherever they begin, and reach the log's end, where there is nothing to see, either."""
    log = Log("Moldau", start_moldau(**CLEANER), **{"delete.retention.ms": "0"})
    for seed in range(2):
        write([log], seed, "none", 60)
        close_segment([log], seed)
        log.compact()
    now = int(time.time() * 1000)
    for commits in (True, False):
        log.transaction(log.producer("transactional-a", "none"), [[(b"key1", b"last", now)], [(b"key2", None, now)]], commits)
    whole = by_librdkafka(log, 0)
    offsets = [offset for offset, _, _ in whole]
    assert len(offsets) < log.end - 100, "much is gone"
    gaps = [offset + 1 for offset, following in zip(offsets, offsets[1:]) if following > offset + 1]
    assert gaps, "offsets that nobody has"
    for offset in [0, *random.Random(1).sample(gaps, min(4, len(gaps))), log.end - 1]:
        expected = [record for record in whole if record[0] >= offset]
        for read in (by_librdkafka, by_kafka_python, by_aiokafka):
            assert read(log, offset) == expected, (read.__name__, offset)
    shown = java("kafka-console-consumer", "--bootstrap-server", log.bootstrap, "--topic", TOPIC, "--from-beginning",
                 "--timeout-ms", "10000", "--isolation-level", "read_committed", "--property", "print.offset=true",
                 "--property", "print.value=false")
    assert [int(offset) for offset in re.findall(r"Offset:(\d+)", shown.stdout)] == offsets, shown.stderr[-2000:]
