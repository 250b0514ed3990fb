"""Transactions through stock clients: librdkafka by confluent-kafka, and Kafka's own tools."""

import socket
import struct
import subprocess
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.record.default_records import DefaultRecordBatchBuilder

from conftest import SETUP, eventually

SECONDS = 30


def create(node, topic, partitions=3):
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)


def transactional(node, transactional_id, **settings):
    return Producer({"bootstrap.servers": node.bootstrap, "transactional.id": transactional_id, "linger.ms": 0,
                     **settings})


def started(node, transactional_id, **settings):
    producer = transactional(node, transactional_id, **settings)
    producer.init_transactions(SECONDS)
    return producer


def committed(node, topic, count, group=None):
    """The values a read_committed consumer sees, until there are `count`, and then for as long as more could come."""
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": group or str(uuid.uuid4()),
                         "auto.offset.reset": "earliest", "isolation.level": "read_committed",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    values, at_end, deadline = [], set(), time.monotonic() + SECONDS
    while len(values) < count or len(at_end) < len(partitions):
        assert time.monotonic() < deadline, f"{len(values)} of {count} values"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
            at_end.add(message.partition())
        elif message.error():
            raise KafkaException(message.error())
        else:
            at_end.discard(message.partition())
            values.append(message.value())
    consumer.close()
    return sorted(values)


def java(*command):
    done = subprocess.run(["java", "-cp", f"{SETUP}/jars/*", *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(node, *arguments):
    return java("org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", node.bootstrap, *arguments)


def test_what_is_committed_is_seen_and_what_is_aborted_is_not(moldau):
    create(moldau, "t")
    producer = started(moldau, "x")
    for n in range(10):
        producer.begin_transaction()
        for partition in range(3):
            producer.produce("t", b"%d-%d" % (n, partition), partition=partition)
        if n % 2:
            producer.abort_transaction(SECONDS)
        else:
            producer.commit_transaction(SECONDS)
    expected = sorted(b"%d-%d" % (n, partition) for n in range(0, 10, 2) for partition in range(3))
    assert committed(moldau, "t", len(expected)) == expected


def test_an_open_transaction_is_not_seen_and_holds_back_what_follows(moldau):
    create(moldau, "t", 1)
    open_one, other = started(moldau, "open"), started(moldau, "other")
    open_one.begin_transaction()
    open_one.produce("t", b"open", partition=0)
    open_one.flush(10)
    other.begin_transaction()
    other.produce("t", b"other", partition=0)
    other.commit_transaction(SECONDS)
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g", "isolation.level": "read_committed",
                         "auto.offset.reset": "earliest"})
    assert consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=10)[0] == 0
    consumer.close()
    open_one.commit_transaction(SECONDS)
    assert committed(moldau, "t", 2) == [b"open", b"other"]


def test_a_new_producer_of_an_id_fences_the_one_before_it_and_aborts_what_it_has_open(moldau):
    create(moldau, "t")
    old = started(moldau, "x")
    old.begin_transaction()
    old.produce("t", b"old", partition=0)
    old.flush(10)
    new = started(moldau, "x")
    new.begin_transaction()
    new.produce("t", b"new", partition=0)
    new.commit_transaction(SECONDS)
    with pytest.raises(KafkaException) as fenced:
        old.commit_transaction(SECONDS)
    assert fenced.value.args[0].code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH,
                                           KafkaError.PRODUCER_FENCED)
    assert committed(moldau, "t", 1) == [b"new"]


def test_a_transaction_that_takes_too_long_is_aborted(start_moldau):
    node = start_moldau(**{"transaction_abort_timed_out_transaction_cleanup_interval_ms": 100})
    create(node, "t")
    slow = started(node, "slow", **{"transaction.timeout.ms": 1000})
    slow.begin_transaction()
    slow.produce("t", b"slow", partition=0)
    slow.flush(10)
    eventually(lambda: "CompleteAbort" in tool(node, "list"), SECONDS, "the coordinator's abort")
    with pytest.raises(KafkaException):
        slow.commit_transaction(SECONDS)
    other = started(node, "other")
    other.begin_transaction()
    other.produce("t", b"other", partition=0)
    other.commit_transaction(SECONDS)
    assert committed(node, "t", 1) == [b"other"]


def test_an_open_transaction_goes_on_after_the_broker_was_killed(moldau):
    create(moldau, "t")
    producer = started(moldau, "x")
    producer.begin_transaction()
    producer.produce("t", b"before", partition=0)
    producer.flush(10)
    moldau.kill()
    moldau.start()
    producer.produce("t", b"after", partition=1)
    producer.commit_transaction(SECONDS)
    assert committed(moldau, "t", 2) == [b"after", b"before"]
    producer.begin_transaction()
    producer.produce("t", b"next", partition=2)
    producer.commit_transaction(SECONDS)
    assert committed(moldau, "t", 3) == [b"after", b"before", b"next"]


def test_offsets_are_committed_with_the_transaction_and_not_without_it(moldau):
    create(moldau, "in", 1)
    create(moldau, "out", 1)
    feed = Producer({"bootstrap.servers": moldau.bootstrap})
    for n in range(20):
        feed.produce("in", b"%d" % n, partition=0)
    assert feed.flush(10) == 0
    producer = started(moldau, "x")
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g", "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.subscribe(["in"])

    def step(count, commits):
        producer.begin_transaction()
        for _ in range(count):
            message = None
            deadline = time.monotonic() + SECONDS
            while message is None:
                assert time.monotonic() < deadline, "a record"
                message = consumer.poll(0.2)
            assert message.error() is None, message.error()
            producer.produce("out", message.value(), partition=0)
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                             consumer.consumer_group_metadata(), SECONDS)
        (producer.commit_transaction if commits else producer.abort_transaction)(SECONDS)

    def offset():
        return consumer.committed([TopicPartition("in", 0)], timeout=10)[0].offset

    step(5, True)
    assert offset() == 5
    step(5, False)
    assert offset() == 5, "an aborted transaction commits no offset"
    consumer.seek(TopicPartition("in", 0, 5))
    step(15, True)
    assert offset() == 20
    consumer.close()
    assert committed(moldau, "out", 20) == sorted(b"%d" % n for n in range(20)), "each exactly once"


def test_each_transaction_has_one_outcome_whichever_nodes_die(cluster):
    """One node after the other is killed, and comes back, while two producers commit and abort. What was acknowledged is
    there, what was aborted is not, and what nobody knows the outcome of is there whole or not at all."""
    cluster.create_topic("t", partitions=6)
    ids = ["x", "y"]
    acknowledged, aborted, unknown = set(), set(), set()
    producers = {name: started(cluster, name) for name in ids}
    number, deadline = 0, time.monotonic() + 4 * SECONDS
    for node in cluster.nodes.values():
        for turn in range(30):
            if turn == 5:
                node.kill()
            if turn == 15:
                node.spawn()
                node.wait_until_it_answers(SECONDS)
            for name in ids:
                number += 1
                tag = b"%s-%d" % (name.encode(), number)
                try:
                    producers[name].begin_transaction()
                    for partition in range(6):
                        producers[name].produce("t", tag, partition=partition)
                    if number % 5:
                        unknown.add(tag)
                        producers[name].commit_transaction(SECONDS)
                        unknown.discard(tag)
                        acknowledged.add(tag)
                    else:
                        producers[name].abort_transaction(SECONDS)
                        aborted.add(tag)
                except KafkaException:
                    assert time.monotonic() < deadline, "producers go on"
                    unknown.add(tag)
                    producers[name] = started(cluster, name)
    values = committed(cluster, "t", 6 * len(acknowledged))
    counts = {tag: values.count(tag) for tag in set(values)}
    assert set(counts.values()) <= {6}, "a transaction is whole"
    assert acknowledged <= set(counts), acknowledged - set(counts)
    assert not aborted & set(counts)
    assert set(counts) <= acknowledged | unknown
    assert len(acknowledged) > 60, (len(acknowledged), len(unknown))


def test_kafkas_tool_lists_and_describes_transactions(moldau):
    create(moldau, "t")
    producer = started(moldau, "orders-1")
    producer.begin_transaction()
    producer.produce("t", b"1", partition=2)
    producer.flush(10)
    listed = tool(moldau, "list")
    assert "orders-1" in listed and "Ongoing" in listed
    described = tool(moldau, "describe", "--transactional-id", "orders-1")
    assert "Ongoing" in described and "t-2" in described
    producer.commit_transaction(SECONDS)
    eventually(lambda: "CompleteCommit" in tool(moldau, "list"), SECONDS, "the markers")


def test_kafkas_own_producer_has_an_epoch_for_each_transaction(moldau):
    """Java's producer knows transaction.version 2: it leaves it to the broker to add partitions, and every end of a
    transaction raises its epoch. It writes again at once, while the markers of its last transaction are on their way."""
    create(moldau, "t")
    java("org.apache.kafka.tools.ProducerPerformance", "--topic", "t", "--num-records", "20000", "--record-size", "100",
         "--throughput", "-1", "--transactional-id", "java", "--transaction-duration-ms", "1", "--bootstrap-server",
         moldau.bootstrap)
    assert len(committed(moldau, "t", 20000)) == 20000
    eventually(lambda: "CompleteCommit" in tool(moldau, "list"), SECONDS, "the markers of the last transaction")
    described = tool(moldau, "describe", "--transactional-id", "java").splitlines()
    epoch = int(described[1].split()[described[0].split().index("ProducerEpoch")])
    assert epoch > 10, described


def produce_in_transaction(node, topic, transactional_id, producer_id, value, timestamp):
    """One batch of a transaction of which its coordinator is not told, by Produce version 8. Returns the error code."""
    batch = DefaultRecordBatchBuilder(2, 0, True, producer_id, 0, 0, 1 << 16)
    batch.append(0, timestamp, None, value, [])
    records = bytes(batch.build())

    def text(words):
        return struct.pack(">h", len(words)) + words.encode()

    body = (struct.pack(">hhi", 0, 8, 1) + text("by hand") + text(transactional_id) + struct.pack(">hi", -1, 30000)
            + struct.pack(">i", 1) + text(topic) + struct.pack(">iii", 1, 0, len(records)) + records)
    host, port = node.bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answers = connection.makefile("rb")
        answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    # Correlation, one topic, its name, one partition, its index.
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">h", answer[at:at + 2])[0]


@pytest.mark.parametrize("which", ["ours", "kafkas"])
def test_a_transaction_that_nobody_ends_is_found_and_aborted_by_hand(start_moldau, java, tools, which):
    """Where partitions do not ask the coordinator, a batch of which it does not know opens a transaction that hangs."""
    run = tools if which == "ours" else java
    node = start_moldau(transaction_partition_verification_enable="false")
    create(node, "t", 1)
    hour_ago = int(time.time() * 1000) - 3_600_000
    assert produce_in_transaction(node, "t", "lost", 4711, b"hanging", hour_ago) == 0
    other = started(node, "other")
    other.begin_transaction()
    other.produce("t", b"behind", partition=0)
    other.commit_transaction(SECONDS)

    def rows(*words):
        done = run("kafka-transactions", "--bootstrap-server", node.bootstrap, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [[cell.strip() for cell in line.split("\t")] for line in done.stdout.splitlines()]
        return [dict(zip(lines[0], line)) for line in lines[1:]] if lines else []

    for where in (["--topic", "t"], ["--broker-id", "1"]):
        [hanging] = rows("find-hanging", *where)
        assert (hanging["Topic"], hanging["Partition"], hanging["ProducerId"]) == ("t", "0", "4711")
        assert hanging["StartOffset"] == "0" and int(hanging["Duration(min)"]) >= 59
    assert rows("find-hanging", "--topic", "t", "--max-transaction-timeout", "120") == []
    assert rows("abort", "--topic", "t", "--partition", "0", "--start-offset", "0") == []
    assert committed(node, "t", 1) == [b"behind"]
    assert rows("find-hanging", "--topic", "t") == []


def test_where_partitions_ask_the_coordinator_no_transaction_hangs(moldau):
    create(moldau, "t", 1)
    assert produce_in_transaction(moldau, "t", "lost", 4711, b"hanging", int(time.time() * 1000)) != 0
    other = started(moldau, "other")
    other.begin_transaction()
    other.produce("t", b"first", partition=0)
    other.commit_transaction(SECONDS)
    assert committed(moldau, "t", 1) == [b"first"]
