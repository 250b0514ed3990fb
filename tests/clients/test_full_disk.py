"""The disk of a node that is broker and controller, with its metadata on the disk of its records, is filled by producers. Records
are refused before the metadata finds no room, so that topics can be made, altered and deleted, which is how room comes back."""

import os
import re
import shutil
import subprocess
import threading
import urllib.request

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from conftest import BINARY, eventually

VOLUME_BYTES = 96 << 20
# A sixteenth of the volume, which is less than the 64 MiB of the default.
RESERVE_BYTES = VOLUME_BYTES // 16
# What indexes, the journal and the metadata may have taken of it by then.
TAKEN_BYTES_MAX = 2 << 20
# A disk that was full counts as such for ten seconds.
FULL_SECONDS = 60


@pytest.fixture
def volume(tmp_path):
    folder = tmp_path / "volume"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES}", "full-disk", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip() if done else 'there is no mount'}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def free_bytes(folder):
    volume = os.statvfs(folder)
    return volume.f_bavail * volume.f_frsize


def produced(node, topic, value, seconds=10):
    """The error of one record, or None."""
    errors = []
    producer = Producer({"bootstrap.servers": node.bootstrap, "retries": 0, "acks": "all",
                         "message.timeout.ms": seconds * 1000})
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    producer.flush(seconds + 5)
    return errors[0]


class Filling:
    """A producer that takes whatever room there is, and does not give up."""

    def __init__(self, node, topic):
        self.refusals, self.errors, self.is_over = 0, set(), False
        self.settings = {"bootstrap.servers": node.bootstrap, "retries": 0, "acks": 1, "linger.ms": 0, "message.timeout.ms": 5000,
                         "log_level": 0}
        self.topic = topic
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def run(self):
        producer = Producer(self.settings)
        while not self.is_over:
            for size in (100_000, 1000, 10):
                producer.produce(self.topic, os.urandom(size), on_delivery=self.note)
            producer.flush(10)

    def note(self, error, _):
        if error is not None:
            self.refusals += 1
            self.errors.add(error.code())

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()


def answer(futures):
    for future in futures.values():
        future.result(30)


def make_and_alter(node, round_):
    """What an operator does, and what makes the metadata grow."""
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    names = [f"made-{round_}-{n}" for n in range(20)]
    answer(admin.create_topics([NewTopic(name, 5, 1, config={"retention.ms": "1000"}) for name in names], operation_timeout=30))
    for name in names:
        entry = ConfigEntry("retention.bytes", str(round_ + 1), incremental_operation=AlterConfigOpType.SET)
        answer(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])]))
    answer(admin.delete_topics(names, operation_timeout=30))


def read(node, topic, count):
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    eventually(lambda: values.extend(m.value() for m in consumer.consume(10, 1) if not m.error()) or len(values) >= count, 30,
               f"{count} records")
    consumer.close()
    return values


def metric(node, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/metrics", timeout=10).read().decode()
    return float(re.search(rf"^{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)[1])


def health(node):
    return subprocess.run([str(BINARY), "cluster", "health", "-b", node.bootstrap], capture_output=True, text=True, timeout=60)


def test_a_node_that_is_filled_by_producers_goes_on_and_makes_room(start_moldau, volume):
    node = start_moldau(log_dirs=volume / "data", log_segment_bytes=4 << 20, log_segment_delete_delay_ms=1000,
                        offsets_topic_num_partitions=1)
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    answer(admin.create_topics([NewTopic("filler", 1, 1), NewTopic("kept", 1, 1)], operation_timeout=30))
    assert produced(node, "kept", b"before") is None
    reader = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "readers", "auto.offset.reset": "earliest",
                       "enable.auto.commit": False})
    reader.subscribe(["kept"])
    eventually(lambda: (got := reader.poll(1)) is not None and not got.error(), 30, "the group's first record")

    with Filling(node, "filler") as filling:
        eventually(lambda: filling.refusals > 100 or node.process.poll() is not None, 120, "refusals")
        for round_ in range(5):
            make_and_alter(node, round_)
            assert node.process.poll() is None, node.log()
        free = free_bytes(volume)
        assert RESERVE_BYTES - TAKEN_BYTES_MAX < free < RESERVE_BYTES + (1 << 20), free
        assert produced(node, "kept", b"refused" * 1000).code() == KafkaError.KAFKA_STORAGE_ERROR
        # It says so as of a full disk, and once.
        assert metric(node, "moldau_log_dir_full") == 1 and metric(node, "moldau_log_dir_online") == 1
        assert metric(node, "moldau_log_dir_reserve_bytes") == RESERVE_BYTES
        checked = health(node)
        assert checked.returncode == 4 and re.search(r"log directory +broker 1: \S+ is full: ", checked.stdout), checked.stdout
        said = node.log_path.read_text()
        assert said.count("no room is left") == 1 and "there is room again" not in said
        # A pipe into it ends with the first records that are lost, and does not try the rest of them one after the other.
        piped = subprocess.run([str(BINARY), "produce", "kept", "-b", node.bootstrap, "--timeout-ms", "2000"],
                               input="x" * 999 + "\n" + ("y" * 999 + "\n") * 20_000, capture_output=True, text=True, timeout=30)
        assert piped.returncode == 1 and re.search(r"error: \d+ of the \d+ records that were read were not written: Disk error", piped.stderr)
        # The sync journal, which small records go through, has left the volume to them.
        journals = sum(path.stat().st_size for path in (volume / "data").glob("moldau-journal-*"))
        assert 0 < journals <= VOLUME_BYTES // 16, journals
        # What is there is read, by who is in a group, too.
        assert read(node, "kept", 1) == [b"before"]
        reader.seek(TopicPartition("kept", 0, 0))
        eventually(lambda: (got := reader.poll(1)) is not None and got.value() == b"before", 30, "a read in the group")
    assert filling.errors == {KafkaError.KAFKA_STORAGE_ERROR}

    # A node that crashes now comes back into the same disk.
    node.kill()
    node.start()
    with Filling(node, "filler") as filling:
        eventually(lambda: filling.refusals > 100, 60, "refusals after a restart")
        make_and_alter(node, 5)
    assert free_bytes(volume) > RESERVE_BYTES - TAKEN_BYTES_MAX
    node.stop()
    node.start()

    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    answer(admin.delete_topics(["filler"], operation_timeout=30))
    eventually(lambda: produced(node, "kept", b"after") is None, 60, "room for a record")
    eventually(lambda: metric(node, "moldau_log_dir_full") == 0 and health(node).returncode == 0, FULL_SECONDS, "room again")
    assert node.log_path.read_text().count("there is room again") == 1
    assert free_bytes(volume) > VOLUME_BYTES // 2
    reader.close()
    node.stop()
    node.start()
    assert read(node, "kept", 2) == [b"before", b"after"]
    assert produced(node, "kept", b"at last") is None
