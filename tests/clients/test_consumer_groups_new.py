"""Consumer groups of KIP-848 (`group.protocol=consumer`) through stock clients: librdkafka by confluent-kafka, and
Kafka's own consumer and tools."""

import subprocess
import threading

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import SETUP, eventually

# Members are told to come every half second, so that a group settles in a test's time.
QUICK = {
    "group_consumer_heartbeat_interval_ms": 500,
    "group_consumer_min_heartbeat_interval_ms": 500,
    "group_consumer_session_timeout_ms": 6000,
    "group_consumer_min_session_timeout_ms": 1000,
    "group_consumer_assignment_interval_ms": 0,
}
SECONDS = 40


def create(node, topic, partitions):
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)


def produce(node, topic, partitions, count=1):
    producer = Producer({"bootstrap.servers": node.bootstrap})
    for partition in range(partitions):
        for n in range(count):
            producer.produce(topic, f"{topic}-{partition}-{n}".encode(), partition=partition)
    assert producer.flush(20) == 0


class Member:
    """A consumer that polls until it is closed; what it reads and has may be looked at meanwhile."""

    def __init__(self, node, topics, group="g", **settings):
        self.consumer = Consumer({
            "bootstrap.servers": node.bootstrap, "group.id": group, "group.protocol": "consumer",
            "auto.offset.reset": "earliest", "enable.auto.commit": False, **settings})
        self.values, self.has, self.errors, self.ends = [], set(), [], threading.Event()
        self.consumer.subscribe(topics)
        self.thread = threading.Thread(target=self.poll)
        self.thread.start()

    def poll(self):
        while not self.ends.is_set():
            message = self.consumer.poll(0.1)
            self.has = {(p.topic, p.partition) for p in self.consumer.assignment()}
            if message is None:
                continue
            if message.error():
                self.errors.append(message.error())
            else:
                self.values.append(message.value())
                self.consumer.commit(message=message, asynchronous=True)
        self.consumer.close()

    def close(self):
        self.ends.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def member():
    members = []

    def start(*arguments, **settings):
        members.append(Member(*arguments, **settings))
        return members[-1]

    yield start
    for one in members:
        one.close()


def shares(members, partitions):
    """Whether the members have all partitions, none twice, in shares that differ by one at most."""
    has = [one.has for one in members]
    sizes = [len(share) for share in has]
    return sum(sizes) == len(set().union(*has)) == partitions and max(sizes) - min(sizes) <= 1


def test_members_share_partitions_and_hand_them_over(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "t", 6)
    produce(node, "t", 6)
    first = member(node, ["t"])
    eventually(lambda: len(first.values) == 6, SECONDS, "the first member's records")
    others = [member(node, ["t"]) for _ in range(2)]
    eventually(lambda: shares([first, *others], 6), SECONDS, "three equal shares")
    produce(node, "t", 6)
    read = lambda: sum(len(one.values) for one in [first, *others])
    eventually(lambda: read() == 12, SECONDS, "everybody's records")
    others.pop().close()
    eventually(lambda: shares([first, others[0]], 6), SECONDS, "two equal shares")
    assert not first.errors and not others[0].errors


def test_offsets_are_where_the_group_left_off_even_after_a_restart(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "t", 2)
    produce(node, "t", 2, 5)
    one = member(node, ["t"])
    eventually(lambda: len(one.values) == 10, SECONDS, "all records")
    node.stop()
    node.start()
    produce(node, "t", 2, 1)
    eventually(lambda: len(one.values) == 12, SECONDS, "the records after the restart")
    one.close()
    late = member(node, ["t"])
    produce(node, "t", 2, 1)
    eventually(lambda: len(late.values) == 2, SECONDS, "what nobody has read")
    assert len(set(one.values + late.values)) == 10, one.values + late.values


def test_a_pattern_takes_topics_in_as_they_come(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "orders-1", 1)
    create(node, "other", 1)
    one = member(node, ["^orders-.*"])
    eventually(lambda: one.has == {("orders-1", 0)}, SECONDS, "the topic that is there")
    create(node, "orders-2", 2)
    eventually(lambda: len(one.has) == 3, SECONDS, "the topic that came")


def test_a_static_member_finds_its_partitions_again(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "t", 4)
    members = [member(node, ["t"], **{"group.instance.id": f"i{n}"}) for n in range(2)]
    eventually(lambda: shares(members, 4), SECONDS, "two equal shares")
    had = members[0].has
    members[0].close()
    back = member(node, ["t"], **{"group.instance.id": "i0"})
    eventually(lambda: back.has == had, SECONDS, "what it had")


def test_the_range_assignor_gives_partitions_of_one_number_to_one_member(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "a", 2)
    create(node, "b", 2)
    members = [member(node, ["a", "b"], **{"group.remote.assignor": "range"}) for _ in range(2)]
    eventually(lambda: sorted(sorted(one.has) for one in members) ==
               [[("a", 0), ("b", 0)], [("a", 1), ("b", 1)]], SECONDS, "ranges")


def test_a_commit_from_outside_is_refused_while_there_are_members(start_moldau, member):
    node = start_moldau(**QUICK)
    create(node, "t", 1)
    one = member(node, ["t"])
    eventually(lambda: one.has, SECONDS, "the partition")
    outsider = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "g"})
    with pytest.raises(KafkaException):
        outsider.commit(offsets=[TopicPartition("t", 0, 7)], asynchronous=False)
    outsider.close()
    one.close()


def test_kafkas_own_consumer_and_tools(start_moldau, java, tools):
    node = start_moldau(**QUICK)
    at = ("--bootstrap-server", node.bootstrap)
    create(node, "t", 2)
    produce(node, "t", 2, 2)
    got = java("kafka-console-consumer", *at, "--topic", "t", "--from-beginning", "--group", "g", "--max-messages", 4,
               "--timeout-ms", 30000, "--command-property", "group.protocol=consumer")
    assert sorted(got.stdout.split()) == ["t-0-0", "t-0-1", "t-1-0", "t-1-1"], got.stderr
    consumer = subprocess.Popen(
        ["java", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", f"{SETUP}/jars/*",
         "org.apache.kafka.tools.consumer.ConsoleConsumer", *at, "--topic", "t", "--group", "g",
         "--command-property", "group.protocol=consumer", "--command-property", "client.id=me"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown = lambda run, *what: run("kafka-consumer-groups", *at, "--describe", "--group", "g", *what).stdout
        eventually(lambda: "Stable" in shown(java, "--state"), SECONDS, "a stable group")
        for run in (java, tools):
            state, members, offsets = shown(run, "--state"), shown(run, "--members", "--verbose"), shown(run)
            assert "uniform" in state and "Stable" in state, state
            assert "me" in members and "t" in members, members
            lines = [line.split() for line in offsets.splitlines() if line.startswith("g ")]
            assert [line[1:6] for line in lines] == [["t", "0", "2", "2", "0"], ["t", "1", "2", "2", "0"]], offsets
        listed = java("kafka-groups", *at, "--list").stdout
        assert ["g", "Consumer", "consumer"] in [line.split() for line in listed.splitlines()], listed
        refused = java("kafka-consumer-groups", *at, "--delete", "--group", "g").stdout
        assert "GroupNotEmptyException" in refused, refused
    finally:
        consumer.terminate()
        consumer.wait(30)
    eventually(lambda: "successful" in java("kafka-consumer-groups", *at, "--delete", "--group", "g").stdout, SECONDS,
               "the deletion")


def test_a_groups_own_settings_are_told_to_its_members(start_moldau, java, member):
    node = start_moldau()
    at = ("--bootstrap-server", node.bootstrap)
    create(node, "t", 2)
    altered = java("kafka-configs", *at, "--alter", "--entity-type", "groups", "--entity-name", "g", "--add-config",
                   "consumer.heartbeat.interval.ms=6000,consumer.session.timeout.ms=50000")
    assert altered.returncode == 0, altered.stdout + altered.stderr
    refused = java("kafka-configs", *at, "--alter", "--entity-type", "groups", "--entity-name", "g", "--add-config",
                   "consumer.session.timeout.ms=100")
    assert "group.consumer.min.session.timeout.ms" in refused.stdout + refused.stderr
    one = member(node, ["t"])
    eventually(lambda: len(one.has) == 2, SECONDS, "the partitions")


def test_a_group_changes_its_protocol_member_by_member_and_misses_nothing(start_moldau, member):
    """A rolling change from the classic protocol to the new one and back, as a team does it: one member at a time."""
    node = start_moldau(**QUICK)
    create(node, "t", 4)
    classic = {"group.protocol": "classic", "partition.assignment.strategy": "range", "session.timeout.ms": 6000,
               "heartbeat.interval.ms": 500}
    members = [member(node, ["t"], **classic) for _ in range(2)]
    every = list(members)
    expected = 0

    def goes_on(what):
        nonlocal expected
        eventually(lambda: shares(members, 4), SECONDS, what)
        produce(node, "t", 4, 5)
        expected += 20
        eventually(lambda: sum(len(one.values) for one in every) >= expected, SECONDS, f"all records: {what}")

    goes_on("two classic members share the topic")
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    for settings, kind in (({}, "CONSUMER"), (classic, "CLASSIC")):
        for at in range(2):
            members[at].close()
            members[at] = member(node, ["t"], **settings)
            every.append(members[at])
            goes_on(f"member {at} speaks {kind}")
        assert [group.type.name for group in admin.list_consumer_groups().result(10).valid] == [kind]
    assert not [error for one in every for error in one.errors]
