"""Several log directories: replicas move between them while they are produced to and consumed, through kill -9, by the Java
administrator's tools; and what a cordoned directory gets."""

import json
import pathlib
import socket
import struct
import subprocess
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from conftest import eventually

THROTTLE = "replica.alter.log.dirs.io.max.bytes.per.second"


def directories(node):
    return [str(path) for path in sorted(node.folder.glob("disk-*"))]


def start(start_moldau, tmp_path, count=3):
    return start_moldau(log_dirs=",".join(str(tmp_path / "node-0" / f"disk-{n}") for n in range(count)))


def holders(node, name):
    """The directories that have the partition, and those that have a copy on its way."""
    there, copies = [], []
    for directory in directories(node):
        for entry in pathlib.Path(directory).iterdir():
            if entry.name == name:
                there.append(directory)
            elif entry.name.startswith(name + ".") and entry.name.endswith("-future"):
                copies.append(directory)
    return there, copies


def described(java, node):
    """{(topic, partition): [(directory, offset lag, whether it is a copy)]} by kafka-log-dirs."""
    done = java("kafka-log-dirs", "--bootstrap-server", node.bootstrap, "--describe")
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    found = {}
    for broker in json.loads(line)["brokers"]:
        for directory in broker["logDirs"]:
            assert directory["error"] is None, directory
            for partition in directory["partitions"]:
                found.setdefault(partition["partition"], []).append(
                    (directory["logDir"], partition["offsetLag"], partition["isFuture"]))
    return found


def alter(node, key, value):
    """Asks again where no answer comes: the broker may have been started a moment ago."""
    eventually(lambda: is_altered(node, key, value), 60, f"{key}={value}")


def is_altered(node, key, value):
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        try:
            future.result(10)
        except TimeoutError:
            return False
    return True


def move(java, node, tmp_path, topic, to, partition=0):
    plan = tmp_path / f"plan-{time.monotonic_ns()}.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [
        {"topic": topic, "partition": partition, "replicas": [1], "log_dirs": [to]}]}))
    at = ("--bootstrap-server", node.bootstrap, "--reassignment-json-file", str(plan))
    moved = java("kafka-reassign-partitions", *at, "--execute")
    assert f"log directory to {to} for replica {topic}-{partition} with broker 1" in moved.stdout, moved.stdout
    return lambda: java("kafka-reassign-partitions", *at, "--verify").stdout


class Steady:
    """Produces numbers without an end, and keeps those that were acknowledged."""

    def __init__(self, node, topic):
        self.node, self.topic, self.acked, self.sent, self.ends = node, topic, {}, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        producer = Producer({"bootstrap.servers": self.node.bootstrap, "acks": "all", "linger.ms": 2,
                             "enable.idempotence": True, "message.timeout.ms": 60_000})

        def note(error, message):
            assert error is None, error
            self.acked[int(message.value()[:12])] = message.offset()

        while not self.ends.is_set():
            producer.produce(self.topic, b"%012d" % self.sent + b"x" * 500, partition=0, on_delivery=note)
            self.sent += 1
            producer.poll(0)
            time.sleep(0.0005)
        assert producer.flush(60) == 0

    def stop(self):
        self.ends.set()
        self.thread.join(90)
        assert len(self.acked) == self.sent


def read_all(node, topic):
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "reader", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest"})
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    consumer.assign([TopicPartition(topic, 0, low)])
    records, deadline = {}, time.monotonic() + 60
    while len(records) < high - low and time.monotonic() < deadline:
        for message in consumer.consume(1000, 1):
            assert message.error() is None, message.error()
            records[message.offset()] = int(message.value()[:12])
    consumer.close()
    return records


def make_topic(node, name):
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic(name, 1, 1, config={"segment.bytes": str(1 << 20)})])[name].result(10)


def test_a_partition_moves_while_it_is_produced_to_and_keeps_every_record(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path)
    make_topic(node, "moved")
    producing = Steady(node, "moved")
    eventually(lambda: len(producing.acked) > 2000, 60, "some records")
    for _ in range(2):
        (here,), _ = holders(node, "moved-0")
        to = next(directory for directory in directories(node) if directory != here)
        verify = move(java, node, tmp_path, "moved", to)
        eventually(lambda: holders(node, "moved-0") == ([to], []), 60, "the move")
        assert "completed successfully" in verify()
        assert [directory for directory, _, _ in described(java, node)["moved-0"]] == [to]
    producing.stop()
    records = read_all(node, "moved")
    assert records == {offset: number for number, offset in producing.acked.items()}
    node.stop()
    node.start()
    assert read_all(node, "moved") == records


def test_a_slow_move_is_shown_and_goes_on_after_kill_9_and_may_be_given_up(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path)
    make_topic(node, "slow")
    producing = Steady(node, "slow")
    eventually(lambda: len(producing.acked) > 8000, 120, "some records")
    producing.stop()
    alter(node, THROTTLE, "50000")
    (here,), _ = holders(node, "slow-0")
    to, other = [directory for directory in directories(node) if directory != here]
    verify = move(java, node, tmp_path, "slow", to)
    assert "is still in progress" in verify()
    shown = {directory: (lag, is_copy) for directory, lag, is_copy in described(java, node)["slow-0"]}
    assert shown[here] == (0, False)
    assert shown[to][1] and 0 < shown[to][0] <= len(producing.acked)
    node.kill()
    node.start()
    assert holders(node, "slow-0") == ([here], [to])
    assert len(read_all(node, "slow")) == len(producing.acked), "the log is of use all the while"
    # Another goal: the first copy goes.
    move(java, node, tmp_path, "slow", other)
    eventually(lambda: holders(node, "slow-0") == ([here], [other]), 20, "the other goal")
    node.kill()
    node.start()
    alter(node, THROTTLE, "1000000000")
    eventually(lambda: holders(node, "slow-0") == ([other], []), 60, "the end of the move")
    assert read_all(node, "slow") == {offset: number for number, offset in producing.acked.items()}


def test_kill_9_in_the_midst_of_moves_takes_nothing_that_was_acknowledged(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path)
    make_topic(node, "killed")
    producing = Steady(node, "killed")
    for number in range(3):
        eventually(lambda: len(producing.acked) > 1000 * (number + 1), 60, "some records")
        (here,), _ = holders(node, "killed-0")
        to = next(directory for directory in directories(node) if directory != here)
        alter(node, THROTTLE, "100000" if number % 2 else "1000000000")
        move(java, node, tmp_path, "killed", to)
        node.kill()
        node.start()
        alter(node, THROTTLE, "1000000000")
        # Where the process ended before the move had begun, there is none; one that had begun goes on.
        eventually(lambda: [len(found) for found in holders(node, "killed-0")] == [1, 0], 60, "the end of the move")
    producing.stop()
    numbers = list(read_all(node, "killed").values())
    assert sorted(numbers) == sorted(set(numbers)), "nothing twice"
    assert set(producing.acked) <= set(numbers)


def test_a_cordoned_directory_gets_no_new_partition_and_with_all_cordoned_there_is_none(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path, count=2)
    first, second = directories(node)
    alter(node, "cordoned.log.dirs", first)
    admin = AdminClient({"bootstrap.servers": node.bootstrap})

    eventually(lambda: cordoned(node) == [first], 20, "the cordon")
    admin.create_topics([NewTopic("new", 6, 1)])["new"].result(10)
    eventually(lambda: all(holders(node, f"new-{n}")[0] for n in range(6)), 20, "the partitions")
    assert all(holders(node, f"new-{n}")[0] == [second] for n in range(6))
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [
        {"topic": "new", "partition": 0, "replicas": [1], "log_dirs": [first]}]}))
    refused = java("kafka-reassign-partitions", "--bootstrap-server", node.bootstrap, "--reassignment-json-file",
                   str(plan), "--execute", "--timeout", "1000")
    assert "Successfully started moving log directory" not in refused.stdout, refused.stdout
    alter(node, "cordoned.log.dirs", "*")
    eventually(lambda: cordoned(node) == [first, second], 20, "the cordon")
    eventually(lambda: refuses(admin), 20, "the controller's word")


def cordoned(node):
    """The directories that DescribeLogDirs 5 calls cordoned: no stock tool of 4.3 shows them."""
    host, port = node.bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(struct.pack(">ihhihBBB", 13, 35, 5, 1, -1, 0, 1, 0))
        stream = s.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    # Correlation id, no tagged fields, throttle time, code; then one more than the number of directories.
    at, found = 4 + 1 + 4 + 2, []
    count, at = answer[at] - 1, at + 1
    for _ in range(count):
        length, at = answer[at + 2], at + 3
        if length >= 0x80:
            length, at = (length & 0x7F) | answer[at] << 7, at + 1
        path, at = answer[at:at + length - 1].decode(), at + length - 1
        assert answer[at] == 1, "no topics were asked for"
        if answer[at + 17]:
            found.append(path)
        at += 19
    return found


def refuses(admin):
    name = f"none-{time.monotonic_ns()}"
    try:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
        return False
    except Exception as error:
        return "cordoned" in str(error)


def offline(java, node):
    """The directories that kafka-log-dirs shows with an error."""
    done = java("kafka-log-dirs", "--bootstrap-server", node.bootstrap, "--describe")
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    found = [directory for broker in json.loads(line)["brokers"] for directory in broker["logDirs"] if directory["error"]]
    assert all("KafkaStorageException" in directory["error"] for directory in found), found
    return [directory["logDir"] for directory in found]


def test_a_directory_that_cannot_be_opened_at_the_start_is_offline_and_the_others_are_served(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path)
    first, second, third = directories(node)
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic("spread", 9, 1)])["spread"].result(10)
    producer = Producer({"bootstrap.servers": node.bootstrap, "acks": "all"})
    for partition in range(9):
        producer.produce("spread", b"%d" % partition, partition=partition)
    assert producer.flush(30) == 0
    places = {partition: holders(node, f"spread-{partition}")[0][0] for partition in range(9)}
    assert set(places.values()) == {first, second, third}
    node.stop()

    def value(partition):
        consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "g", "enable.auto.commit": False,
                             "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("spread", partition, 0)])
        found = consumer.poll(3)
        consumer.close()
        return None if found is None or found.error() else found.value()

    # The disk is gone: something is in its place that is no directory.
    away = tmp_path / "away"
    pathlib.Path(second).rename(away)
    pathlib.Path(second).write_text("")
    node.start()
    assert offline(java, node) == [second]
    for partition, place in places.items():
        assert value(partition) == (None if place == second else b"%d" % partition), (partition, place)
    admin.create_topics([NewTopic("later", 6, 1)])["later"].result(10)
    eventually(lambda: all((pathlib.Path(first) / f"later-{n}").exists() or (pathlib.Path(third) / f"later-{n}").exists()
                           for n in range(6)), 20, "the new partitions")
    assert not any(holder.joinpath(f"spread-{n}").exists() for n, place in places.items() if place == second
                   for holder in map(pathlib.Path, (first, third))), "an empty log stands for none that is away"
    node.stop()
    # The disk is back.
    pathlib.Path(second).unlink()
    away.rename(second)
    node.start()
    assert offline(java, node) == []
    assert [value(partition) for partition in places] == [b"%d" % partition for partition in places]
    node.stop()
    # Without the directory of the metadata there is no start.
    pathlib.Path(first).rename(away)
    pathlib.Path(first).write_text("")
    assert ended(node).returncode == 1
    pathlib.Path(first).unlink()
    away.rename(first)
    node.start()


def ended(node):
    """The end of a start that cannot be."""
    return subprocess.run(node.command(), stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=60)


def test_cordoned_directories_are_directories_of_the_broker(start_moldau, java, tmp_path):
    node = start(start_moldau, tmp_path, count=2)
    first, _ = directories(node)

    def altered(value):
        return java("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "brokers",
                    "--entity-name", "1", "--add-config", f"cordoned.log.dirs=[{value}]")

    # The words of Apache Kafka 4.3.0.
    missing = ("requirement failed: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. "
               "Missing entries : /nope, /nor-this")
    done = altered(f"/nope,{first},/nor-this")
    assert missing in done.stdout + done.stderr, done.stdout + done.stderr
    star = "requirement failed: When cordoned.log.dirs is set to *, it must not contain other values"
    done = altered(f"*,{first}")
    assert star in done.stdout + done.stderr, done.stdout + done.stderr
    assert cordoned(node) == []
    assert "Completed updating config for broker 1." in altered(first).stdout
    eventually(lambda: cordoned(node) == [first], 20, "the cordon")
    node.stop()
    for value, problem in ((f"/nope,{first},/nor-this", missing), (f"*,{first}", star)):
        node.settings["cordoned.log.dirs"] = value
        done = ended(node)
        assert done.returncode == 1 and problem.removeprefix("requirement failed: ") in done.stderr, done.stderr
    node.settings["cordoned.log.dirs"] = "*"
    node.start()
