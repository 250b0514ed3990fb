"""The main job: the tutorial a newcomer types, with kafka-python and the Kafka tools unchanged."""

import collections
import json
import threading
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from conftest import eventually


class Consumer(threading.Thread):
    """The tutorial's consumer in a thread: it prints topic, partition, offset, key and value, and keeps them."""

    def __init__(self, bootstrap, group, **settings):
        super().__init__(daemon=True)
        self.lines, self.partitions, self.stopping, self.error = [], set(), threading.Event(), None
        self.consumer = KafkaConsumer(
            "pageview", group_id=group, bootstrap_servers=bootstrap, auto_offset_reset="earliest",
            value_deserializer=lambda v: json.loads(v.decode()), consumer_timeout_ms=1000,
            metadata_max_age_ms=1000, heartbeat_interval_ms=300, session_timeout_ms=6000,
            auto_commit_interval_ms=200, **settings)
        # A broker that does not delay the first rebalance answers before the client knows the topic, and the client then
        # joins twice. kafka-python 3.0.12 forgets the second assignment when a poll times out between JoinGroup and
        # SyncGroup (`need_rejoin` is false by then), so the topic is asked for first and a poll seldom times out.
        self.consumer.partitions_for_topic("pageview")
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                for m in self.consumer:
                    self.lines.append((m.topic, m.partition, m.offset, m.key, m.value))
                self.partitions = {tp.partition for tp in self.consumer.assignment()}
        except Exception as error:  # shown by stop()
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join(20)
        self.consumer.close()
        if self.error:
            raise self.error

    def values(self):
        return [line[4]["n"] for line in self.lines]


def producer(bootstrap):
    return KafkaProducer(bootstrap_servers=bootstrap, acks="all",
                         value_serializer=lambda v: json.dumps(v).encode())


def send(bootstrap, numbers, partition=None):
    p = producer(bootstrap)
    for n in numbers:
        p.send("pageview", {"n": n, "page": f"/{n}"}, key=str(n).encode(), partition=partition).get(10)
    p.close()


def test_the_topic_is_made_listed_altered_and_described(moldau, tools):
    at = ("--bootstrap-server", moldau.bootstrap)
    made = tools("kafka-topics.sh", *at, "--create", "--topic", "pageview")
    assert (made.returncode, made.stdout) == (0, "Created topic pageview.\n"), made
    listed = tools("kafka-topics.sh", *at, "--list")
    assert (listed.returncode, listed.stdout) == (0, "pageview\n"), listed
    altered = tools("kafka-topics.sh", *at, "--alter", "--topic", "pageview", "--partitions", "2")
    assert (altered.returncode, altered.stdout) == (0, ""), altered
    described = tools("kafka-topics.sh", *at, "--describe", "--topic", "pageview")
    assert described.returncode == 0, described
    first, *rest = described.stdout.splitlines()
    assert first.startswith("Topic: pageview\tTopicId: ")
    assert "\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: " in first
    assert rest == [
        f"\tTopic: pageview\tPartition: {n}\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: " for n in (0, 1)]


def test_a_producer_sends_and_a_consumer_prints_from_offset_zero(moldau, tools):
    tools("kafka-topics.sh", "--bootstrap-server", moldau.bootstrap, "--create", "--topic", "pageview")
    p = producer(moldau.bootstrap)
    for n in range(3):  # one pageview a second, as in the tutorial, only quicker
        p.send("pageview", {"n": n})
        time.sleep(0.05)
    p.flush()
    c = Consumer(moldau.bootstrap, "pageview-group1")
    eventually(lambda: len(c.lines) == 3, message="three records")
    c.stop()
    assert c.lines == [("pageview", 0, n, None, {"n": n}) for n in range(3)]
    p.close()


def test_two_consumers_share_a_group_and_an_independent_group_reads_everything(moldau, tools):
    at = ("--bootstrap-server", moldau.bootstrap)
    tools("kafka-topics.sh", *at, "--create", "--topic", "pageview")
    one, two = (Consumer(moldau.bootstrap, "pageview-group1") for _ in range(2))
    eventually(lambda: sorted((len(one.partitions), len(two.partitions))) == [0, 1], message="one owner")
    send(moldau.bootstrap, range(10))
    eventually(lambda: len(one.lines) + len(two.lines) == 10, message="ten records")
    assert sorted((len(one.lines), len(two.lines))) == [0, 10], "one partition feeds exactly one of the two"

    tools("kafka-topics.sh", *at, "--alter", "--topic", "pageview", "--partitions", "2")
    eventually(lambda: (len(one.partitions), len(two.partitions)) == (1, 1), message="one partition each")
    send(moldau.bootstrap, range(10, 20), partition=0)
    send(moldau.bootstrap, range(20, 30), partition=1)
    eventually(lambda: len(one.lines) + len(two.lines) >= 30, message="thirty records")
    assert one.values() and two.values()
    assert sorted(one.values() + two.values()) == list(range(30)), "nothing lost, nothing twice"

    other = Consumer(moldau.bootstrap, "pageview-group2")
    eventually(lambda: len(other.lines) == 30, message="the independent group's records")
    for c in (one, two, other):
        c.stop()
    by_partition = collections.defaultdict(list)
    for _, partition, offset, _, _ in other.lines:
        by_partition[partition].append(offset)
    assert all(offsets == list(range(len(offsets))) for offsets in by_partition.values())


def test_groups_resume_from_their_commits_after_everything_was_restarted(start_moldau, tools):
    moldau = start_moldau()
    tools("kafka-topics.sh", "--bootstrap-server", moldau.bootstrap, "--create", "--topic", "pageview")
    send(moldau.bootstrap, range(5))
    c = Consumer(moldau.bootstrap, "pageview-group1")
    eventually(lambda: len(c.lines) == 5, message="five records")
    c.stop()
    moldau.stop()
    moldau.start()
    send(moldau.bootstrap, range(5, 8))
    c = Consumer(moldau.bootstrap, "pageview-group1")
    eventually(lambda: len(c.lines) == 3, message="three more records")
    time.sleep(0.5)
    c.stop()
    assert c.values() == [5, 6, 7], "the group goes on where it committed"
    check = KafkaConsumer(bootstrap_servers=moldau.bootstrap, group_id="pageview-group1")
    assert check.committed(TopicPartition("pageview", 0)) == 8
    check.close()


def test_a_producer_to_an_unknown_topic_makes_it(moldau, tools):
    send(moldau.bootstrap, [1])
    listed = tools("kafka-topics.sh", "--bootstrap-server", moldau.bootstrap, "--list", "--exclude-internal")
    assert listed.stdout == "pageview\n"
