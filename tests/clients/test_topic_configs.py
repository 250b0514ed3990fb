"""Every setting of a topic does something that can be seen, on a real node. A setting that nobody looks at fails the test."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from conftest import eventually

SMALL = {"internal.segment.bytes": "2000"}
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "0", **SMALL}
NEVER = str(2**63 - 1)

# What one node cannot show, and where it is seen instead.
SEEN_ELSEWHERE = {
    "follower.replication.throttled.replicas": "broker/tests/broker/throttles.rs",
    "leader.replication.throttled.replicas": "broker/tests/broker/throttles.rs",
    "min.insync.replicas": "broker/tests/broker/replication.rs",
    "segment.jitter.ms": "broker/log/tests/log/append.rs",
    "unclean.leader.election.enable": "controller/src/manage/partition_change/tests.rs",
}
# Without effect, as docs/CONFIGURATION.md says.
WITHOUT_EFFECT = ["compression.lz4.level", "local.retention.bytes", "local.retention.ms", "remote.log.copy.disable",
                  "remote.log.delete.on.disable"]


class Node:
    def __init__(self, moldau):
        self.moldau, self.bootstrap = moldau, moldau.bootstrap
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def make(self, name, **configs):
        self.admin.create_topics([NewTopic(name, 1, 1, config=configs)])[name].result(10)
        return name

    def alter(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(10)

    def send(self, topic, records, batched=False, timestamps=None, **settings):
        """Each record a batch of its own, unless they are to come together. Returns the errors."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 20 if batched else 0, **settings})
        errors = []
        for n, (key, value) in enumerate(records):
            when = {"timestamp": timestamps[n]} if timestamps else {}
            producer.produce(topic, key=key, value=value, partition=0, **when,
                             on_delivery=lambda error, _: error and errors.append(error.code()))
            if not batched:
                producer.flush(30)
        assert producer.flush(30) == 0
        return errors

    def fill(self, topic, count=40, size=200):
        """Values of one key, and a full segment of something else behind them."""
        assert not self.send(topic, [(b"a", b"v" * size)] * count + [(b"z", b"v" * size)] * 12)

    def files(self, topic, suffix=".log"):
        """Names and sizes; one that is renamed meanwhile is looked for again."""
        folder = self.moldau.folder / "data" / f"{topic}-0"
        while True:
            try:
                return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name.endswith(suffix)}
            except FileNotFoundError:
                time.sleep(0.01)

    def size(self, topic):
        return sum(self.files(topic).values())

    def offsets(self, topic):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "offsets"})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        finally:
            consumer.close()

    def read(self, topic):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "read", "enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = []
        while True:
            message = consumer.poll(10)
            assert message is not None, "the end of the partition"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                consumer.close()
                return found
            found.append(message)

    def is_compacted(self, topic, count=40):
        return sum(message.key() == b"a" for message in self.read(topic)) < count // 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("configs")


@pytest.fixture(scope="module")
def node(folder):
    from conftest import Moldau
    moldau = Moldau(folder, log_cleaner_backoff_ms=50, log_retention_check_interval_ms=50, flush_policy="interval",
                    log_flush_offset_checkpoint_interval_ms=50).start()
    yield Node(moldau)
    moldau.kill()
    assert "panicked at" not in moldau.log(), moldau.log()


def now_ms():
    return int(time.time() * 1000)


def of_text(level, node, codec, name):
    topic = node.make(name, **{"compression.type": codec, f"compression.{codec}.level": str(level)})
    text = " ".join(str(n * n) for n in range(20_000)).encode()
    assert not node.send(topic, [(b"k", text)])
    return node.size(topic)


def see_cleanup_policy(node):
    topic = node.make("cleanup", **COMPACTED)
    node.fill(topic)
    eventually(lambda: node.is_compacted(topic), message="compaction")
    node.alter(topic, "cleanup.policy", "delete")
    node.alter(topic, "retention.bytes", "0")
    eventually(lambda: node.offsets(topic)[0] > 0, message="deletion")


def see_compression_gzip_level(node):
    assert of_text(9, node, "gzip", "gzip-9") < of_text(1, node, "gzip", "gzip-1")


def see_compression_zstd_level(node):
    assert of_text(19, node, "zstd", "zstd-19") < of_text(-50, node, "zstd", "zstd-50")


def see_compression_type(node):
    value = [(b"k", b"pageview" * 1000)]
    plain, packed = node.make("plain"), node.make("packed", **{"compression.type": "snappy"})
    assert not node.send(plain, value) + node.send(packed, value)
    assert node.size(packed) < node.size(plain) // 4
    assert [message.value() for message in node.read(packed)] == [value[0][1]]


def see_delete_retention_ms(node):
    topics = [node.make(f"tombstones-{ms}", **COMPACTED, **{"delete.retention.ms": ms}) for ms in ("0", "3600000")]
    for topic in topics:
        assert not node.send(topic, [(b"t", b"1"), (b"t", None)])

    def tombstones(topic):
        node.fill(topic, count=12)
        return [message for message in node.read(topic) if message.value() is None]

    eventually(lambda: not tombstones(topics[0]), message="the tombstone goes")
    assert tombstones(topics[1])


def see_file_delete_delay_ms(node):
    topics = [node.make(f"deleted-{ms}", **{**COMPACTED, "file.delete.delay.ms": ms}) for ms in ("0", "3600000")]
    for topic in topics:
        node.fill(topic)
    for topic in topics:
        eventually(lambda: node.is_compacted(topic), message="compaction")
    eventually(lambda: not node.files(topics[0], ".deleted"), message="deleted files go")
    assert node.files(topics[1], ".deleted")


def recovery_point(node, topic):
    path = node.moldau.folder / "data" / "recovery-point-offset-checkpoint"
    lines = path.read_text().split("\n") if path.exists() else []
    return next((int(line.split()[2]) for line in lines if line.startswith(f"{topic} ")), 0)


def see_flush(node, name, value):
    topics = node.make(name), node.make(f"{name}-often", **{name: value})
    for topic in topics:
        assert not node.send(topic, [(b"k", b"v")] * 20)
    eventually(lambda: recovery_point(node, topics[1]) == 20, message="the flush")
    assert recovery_point(node, topics[0]) == 0


def see_flush_messages(node):
    see_flush(node, "flush.messages", "1")


def see_flush_ms(node):
    see_flush(node, "flush.ms", "1")


def see_index_interval_bytes(node):
    topic = node.make("index", **{"index.interval.bytes": "0", "internal.segment.bytes": "1000"})
    plain = node.make("no-index", **{"internal.segment.bytes": "1000"})
    for name in (topic, plain):
        assert not node.send(name, [(b"k", b"v")] * 30)
    # An entry for each batch of a closed segment but its first.
    assert node.files(topic, ".index")["00000000000000000000.index"] > 8 * 8
    assert node.files(plain, ".index")["00000000000000000000.index"] == 0


def see_internal_segment_bytes(node):
    topic = node.make("internal", **{"internal.segment.bytes": "1000"})
    assert not node.send(topic, [(b"k", b"v" * 100)] * 30)
    assert len(node.files(topic)) > 3 and max(node.files(topic).values()) <= 1000


def see_max_compaction_lag_ms(node):
    topics = [node.make(f"max-lag-{ms}", **{**COMPACTED, "min.cleanable.dirty.ratio": "1.0", "max.compaction.lag.ms": ms})
              for ms in ("100", NEVER)]
    for topic in topics:
        node.fill(topic)
    eventually(lambda: node.is_compacted(topics[0]), message="compaction in time")
    assert not node.is_compacted(topics[1])


def see_min_compaction_lag_ms(node):
    topics = [node.make(f"min-lag-{ms}", **COMPACTED, **{"min.compaction.lag.ms": ms}) for ms in ("3600000", "0")]
    for topic in topics:
        node.fill(topic)
    eventually(lambda: node.is_compacted(topics[1]), message="compaction at once")
    assert not node.is_compacted(topics[0])


def see_min_cleanable_dirty_ratio(node):
    topics = [node.make(f"ratio-{ratio}", **{**COMPACTED, "min.cleanable.dirty.ratio": ratio}) for ratio in ("1.0", "0.5")]
    for topic in topics:
        node.fill(topic)
    eventually(lambda: node.is_compacted(topics[1]), message="compaction of what is dirty")
    assert not node.is_compacted(topics[0])


def see_max_message_bytes(node):
    topic = node.make("small", **{"max.message.bytes": "1000"})
    assert node.send(topic, [(b"k", b"v" * 2000), (b"k", b"v")]) == [KafkaError.MSG_SIZE_TOO_LARGE]


def see_message_timestamp_before_max_ms(node):
    topic = node.make("before", **{"message.timestamp.before.max.ms": "60000"})
    records, times = [(b"k", b"v")] * 2, [now_ms() - 120_000, now_ms()]
    assert node.send(topic, records, timestamps=times) == [KafkaError.INVALID_TIMESTAMP]


def see_message_timestamp_after_max_ms(node):
    topic = node.make("after", **{"message.timestamp.after.max.ms": "60000"})
    records, times = [(b"k", b"v")] * 2, [now_ms() + 120_000, now_ms()]
    assert node.send(topic, records, timestamps=times) == [KafkaError.INVALID_TIMESTAMP]


def see_message_timestamp_type(node):
    topic = node.make("type", **{"message.timestamp.type": "LogAppendTime"})
    before = now_ms()
    assert not node.send(topic, [(b"k", b"v")], timestamps=[1000])
    [message] = node.read(topic)
    assert message.timestamp()[0] == 2 and message.timestamp()[1] >= before


def see_preallocate(node):
    topic = node.make("full-size", **{"preallocate": "true", "segment.bytes": str(1 << 20)})
    assert not node.send(topic, [(b"k", b"v")] * 3)
    assert list(node.files(topic).values()) == [1 << 20]
    assert not node.send(topic, [(b"k", b"v" * 400_000)] * 3)
    first, second = node.files(topic).values()
    assert first < second == 1 << 20, "a closed segment keeps what it needs"
    assert len(node.read(topic)) == 6


def see_retention_bytes(node):
    topic = node.make("by-size", **SMALL, **{"retention.bytes": "4000"})
    node.fill(topic)
    eventually(lambda: node.offsets(topic)[0] > 0 and node.size(topic) < 8000, message="the oldest segments go")


def see_retention_ms(node):
    topic = node.make("by-age", **SMALL, **{"retention.ms": "500"})
    node.fill(topic)
    eventually(lambda: node.offsets(topic)[0] >= 52, message="all of it goes")


def see_segment_bytes(node):
    topic = node.make("segments", **{"segment.bytes": str(1 << 20)})
    assert not node.send(topic, [(b"k", b"v" * 300_000)] * 10)
    assert len(node.files(topic)) >= 3 and max(node.files(topic).values()) <= 1 << 20


def see_segment_index_bytes(node):
    topic = node.make("index-bytes", **{"index.interval.bytes": "0", "segment.index.bytes": "100"})
    assert not node.send(topic, [(b"k", b"v")] * 30)
    assert len(node.files(topic)) >= 3


def see_segment_ms(node):
    topic = node.make("by-time", **{"segment.ms": "1000"})
    start = now_ms() - 100_000
    assert not node.send(topic, [(b"k", b"v")] * 3, timestamps=[start, start + 900, start + 1100])
    assert list(node.files(topic)) == ["00000000000000000000.log", "00000000000000000002.log"]


def see_remote_storage_enable(node):
    with pytest.raises(KafkaException) as refused:
        node.make("tiered", **{"remote.storage.enable": "true"})
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG


SEEN = {name.removeprefix("see_").replace("_", "."): see for name, see in list(globals().items())
        if name.startswith("see_") and name != "see_flush"}


@pytest.mark.parametrize("name", SEEN)
def test_a_topics_setting_does_what_it_says(node, name):
    SEEN[name](node)


def test_no_setting_of_a_topic_is_left_out(node):
    topic = node.make("all-settings")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    names = set(node.admin.describe_configs([resource])[resource].result(10))
    # DescribeConfigs shows no internal setting.
    names |= {"internal.segment.bytes"}
    assert names == set(SEEN) | set(SEEN_ELSEWHERE) | set(WITHOUT_EFFECT)


@pytest.mark.parametrize("codec", ["producer", "lz4"])
def test_records_without_keys_have_no_place_in_a_compacted_topic(node, codec):
    topic = node.make(f"keys-{codec}", **COMPACTED, **{"compression.type": codec})
    errors = node.send(topic, [(b"k", b"v"), (None, b"v")])
    assert errors == [KafkaError.INVALID_RECORD]
