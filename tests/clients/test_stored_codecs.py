"""`compression.type`: whatever stock clients compress by, a topic's batches lie on disk in the topic's codec, and what is in
them comes back as it was sent. The disk is read by Apache Kafka's own DumpLogSegments."""

import random
import re
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from conftest import eventually

STORED = {"producer": None, "uncompressed": "none", "gzip": "gzip", "snappy": "snappy", "lz4": "lz4", "zstd": "zstd"}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RECORDS = 60


def record(n):
    """Key, value, headers: null ones, empty ones, repeated ones."""
    key = None if n % 7 == 0 else f"key{n % 11}".encode()
    value = None if n % 5 == 0 and key else random.Random(n).randbytes(n % 40) + b"pageview" * (n % 200)
    headers = [("h", b"1"), ("h", None), ("x", b"")][:n % 4]
    return key, value, headers


def send(moldau, topic, codec, start_ms, **settings):
    producer = Producer({"bootstrap.servers": moldau.bootstrap, "compression.type": codec, "linger.ms": 5, **settings})
    failed = []
    if "transactional.id" in settings:
        producer.init_transactions(30)
        producer.begin_transaction()
    for n in range(RECORDS):
        key, value, headers = record(n)
        producer.produce(topic, key=key, value=value, headers=headers, timestamp=start_ms + n,
                         on_delivery=lambda error, _: error and failed.append(error))
    if "transactional.id" in settings:
        producer.commit_transaction(30)
    assert producer.flush(60) == 0 and not failed, failed[:3]


def read(moldau, topic, count):
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "codecs", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, deadline = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None:
            assert not message.error(), message.error()
            found.append((message.key(), message.value(), message.headers() or [], message.timestamp()[1]))
    consumer.close()
    return found


def make(moldau, **configs):
    topic = f"stored-{configs['compression.type']}"
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config=configs)])[topic].result(10)
    return topic


def batches(moldau, java, topic):
    """What DumpLogSegments says of each batch: whether it is a control batch, and its codec."""
    logs = sorted(str(path) for path in (moldau.folder / "data" / f"{topic}-0").glob("*.log"))
    result = java("kafka-dump-log", "--deep-iteration", "--files", ",".join(logs))
    assert result.returncode == 0 and not re.search(r"(?i)invalid|exception|isvalid: false", result.stdout), result.stdout[-2000:]
    lines = [line for line in result.stdout.splitlines() if line.startswith("baseOffset: ")]
    return [("isControl: true" in line, re.search(r"compresscodec: (\w+)", line).group(1)) for line in lines]


@pytest.mark.parametrize("stored", STORED)
def test_batches_lie_in_the_topics_codec_and_come_back_as_they_were(start_moldau, java, stored):
    moldau = start_moldau()
    topic = make(moldau, **{"compression.type": stored})
    start_ms = int(time.time() * 1000) - 1_000_000
    for number, codec in enumerate(CODECS):
        settings = [{}, {"enable.idempotence": True}, {"transactional.id": f"t-{stored}"}][number % 3]
        send(moldau, topic, codec, start_ms, **settings)
    python = KafkaProducer(bootstrap_servers=moldau.bootstrap, compression_type="gzip")
    for n in range(RECORDS):
        key, value, headers = record(n)
        headers = [(name, b"" if text is None else text) for name, text in headers]
        python.send(topic, key=key, value=value, headers=headers, timestamp_ms=start_ms + n)
    python.flush(30)
    python.close()
    expected = [(*record(n), start_ms + n) for n in range(RECORDS)]
    found = read(moldau, topic, RECORDS * 6)
    for part in range(5):
        assert found[part * RECORDS:(part + 1) * RECORDS] == expected, f"{CODECS[part]} stored as {stored}"
    assert [row[:2] for row in found[5 * RECORDS:]] == [row[:2] for row in expected]
    moldau.stop()
    on_disk = batches(moldau, java, topic)
    assert (True, "none") in on_disk, "the end of a transaction is never compressed"
    codecs = {codec for is_control, codec in on_disk if not is_control}
    assert codecs == ({STORED[stored]} if STORED[stored] else set(CODECS)), stored


def test_a_stored_codec_and_the_brokers_time_together(start_moldau, java):
    moldau = start_moldau()
    topic = make(moldau, **{"compression.type": "lz4", "message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    send(moldau, topic, "zstd", 1_000_000)
    found = read(moldau, topic, RECORDS)
    after = int(time.time() * 1000)
    assert [row[:3] for row in found] == [record(n) for n in range(RECORDS)]
    assert all(before <= row[3] <= after for row in found)
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "times"})
    [by_time] = consumer.offsets_for_times([TopicPartition(topic, 0, before)], timeout=10)
    assert by_time.offset == 0
    consumer.close()
    result = java("kafka-get-offsets", "--bootstrap-server", moldau.bootstrap, "--topic", topic, "--time", "max-timestamp")
    assert re.match(rf"{topic}:0:\d+", result.stdout), result.stdout + result.stderr
    moldau.stop()
    assert {codec for _, codec in batches(moldau, java, topic)} == {"lz4"}


def test_the_codec_changes_while_the_topic_is_in_use(start_moldau, java):
    moldau = start_moldau()
    topic = make(moldau, **{"compression.type": "gzip"})
    send(moldau, topic, "none", int(time.time() * 1000))
    done = java("kafka-configs", "--bootstrap-server", moldau.bootstrap, "--alter", "--entity-type", "topics",
                "--entity-name", topic, "--add-config", "compression.type=zstd")
    assert done.returncode == 0, done.stderr

    def stores_zstd():
        send(moldau, topic, "none", int(time.time() * 1000))
        data = (moldau.folder / "data" / f"{topic}-0" / "00000000000000000000.log").read_bytes()
        return b"\x28\xb5\x2f\xfd" in data

    eventually(stores_zstd, message="a batch in the new codec")
    moldau.stop()
    codecs = [codec for _, codec in batches(moldau, java, topic)]
    assert codecs == sorted(codecs) and set(codecs) == {"gzip", "zstd"}, codecs
