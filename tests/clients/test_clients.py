"""Stock clients beside kafka-python: librdkafka by confluent-kafka and kcat, aiokafka, and the Java tools."""

import asyncio
import subprocess
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, ResourceType)

from conftest import eventually

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def drain(consumer, count, seconds=20):
    """Exactly the next `count` records; a bounded wait, without a pause between records that are there."""
    records = []
    deadline = time.monotonic() + seconds
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records within {seconds} s"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        records.append(message)
    return records


@pytest.mark.parametrize("codec", CODECS)
def test_librdkafka_gets_back_what_it_sent_in_every_codec(moldau, codec):
    delivered = []
    producer = Producer({"bootstrap.servers": moldau.bootstrap, "enable.idempotence": True,
                         "compression.type": codec, "linger.ms": 5})
    for n in range(500):
        producer.produce("t", key=str(n), value=b"v%d" % n * 10, headers=[("h", b"1"), ("h", b"2")], partition=0,
                         on_delivery=lambda error, m: delivered.append((error, m.offset())))
    assert producer.flush(20) == 0
    assert [offset for error, offset in delivered if error is None] == list(range(500))
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    records = drain(consumer, 500)
    consumer.close()
    assert [m.offset() for m in records] == list(range(500))
    assert [m.value() for m in records] == [b"v%d" % n * 10 for n in range(500)]
    assert records[0].headers() == [("h", b"1"), ("h", b"2")], "equal header keys are kept, in order"


def test_librdkafkas_admin_client_manages_topics_and_configs(moldau):
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    admin.create_topics([NewTopic("a", 2, 1, config={"retention.ms": "60000"})])["a"].result(10)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS|already exists"):
        admin.create_topics([NewTopic("a", 2, 1)])["a"].result(10)
    admin.create_partitions([NewPartitions("a", 3)])["a"].result(10)
    assert len(admin.list_topics(timeout=10).topics["a"].partitions) == 3
    resource = ConfigResource(ResourceType.TOPIC, "a")
    configs = admin.describe_configs([resource])[resource].result(10)
    assert configs["retention.ms"].value == "60000" and configs["cleanup.policy"].value == "delete"
    change = ConfigResource(ResourceType.TOPIC, "a", incremental_configs=[
        ConfigEntry("segment.bytes", "2097152", incremental_operation=AlterConfigOpType.SET)])
    admin.incremental_alter_configs([change])[change].result(10)
    configs = admin.describe_configs([resource])[resource].result(10)
    assert configs["segment.bytes"].value == "2097152" and configs["retention.ms"].value == "60000"
    admin.delete_topics(["a"])["a"].result(10)
    eventually(lambda: "a" not in admin.list_topics(timeout=10).topics, message="the topic's end")


def test_librdkafka_commits_and_seeks(moldau):
    producer = Producer({"bootstrap.servers": moldau.bootstrap})
    for n in range(10):
        producer.produce("t", value=str(n), partition=0)
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g", "enable.auto.commit": False})
    assert consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=10) == (0, 10)
    consumer.commit(offsets=[TopicPartition("t", 0, 4)], asynchronous=False)
    assert consumer.committed([TopicPartition("t", 0)], timeout=10)[0].offset == 4
    consumer.assign([TopicPartition("t", 0, 7)])
    assert [m.value() for m in drain(consumer, 3)] == [b"7", b"8", b"9"]
    consumer.close()


def test_aiokafka_produces_and_consumes_in_a_group(moldau):
    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=moldau.bootstrap, enable_idempotence=True)
        await producer.start()
        for n in range(20):
            metadata = await producer.send_and_wait("t", b"%d" % n, partition=0)
            assert metadata.offset == n
        await producer.stop()
        consumer = AIOKafkaConsumer("t", bootstrap_servers=moldau.bootstrap, group_id="g",
                                    auto_offset_reset="earliest")
        await consumer.start()
        values = [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(20)]
        await consumer.commit()
        await consumer.stop()
        assert values == [b"%d" % n for n in range(20)]

    asyncio.run(run())


def test_kcat_lists_produces_and_consumes(moldau):
    def kcat(*arguments, input=None):
        done = subprocess.run(["kcat", "-b", moldau.bootstrap, *arguments], input=input, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout

    kcat("-P", "-t", "t", "-K:", input="k1:one\nk2:two\n")
    assert kcat("-C", "-t", "t", "-e", "-q", "-f", "%p %o %k %s\n") == "0 0 k1 one\n0 1 k2 two\n"
    listing = kcat("-L")
    assert 'topic "t" with 1 partitions' in listing and f"at {moldau.bootstrap}" in listing


def test_the_java_tools_run_the_tutorial(moldau, java):
    at = ("--bootstrap-server", moldau.bootstrap)
    assert java("kafka-topics", *at, "--create", "--topic", "pageview").stdout == "Created topic pageview.\n"
    java("kafka-topics", *at, "--alter", "--topic", "pageview", "--partitions", "2")
    described = java("kafka-topics", *at, "--describe", "--topic", "pageview").stdout
    assert "PartitionCount: 2\tReplicationFactor: 1" in described and "Leader: 1" in described
    sent = java("kafka-console-producer", *at, "--topic", "pageview", input="one\ntwo\nthree\n")
    assert sent.returncode == 0, sent
    got = java("kafka-console-consumer", *at, "--topic", "pageview", "--from-beginning", "--group", "g1",
               "--max-messages", "3")
    assert sorted(got.stdout.split()) == ["one", "three", "two"], got
    groups = java("kafka-consumer-groups", *at, "--describe", "--group", "g1").stdout
    rows = [line.split() for line in groups.splitlines() if line.startswith("g1")]
    assert sum(int(row[3]) for row in rows) == 3 and all(row[5] == "0" for row in rows), groups
    offsets = java("kafka-get-offsets", *at, "--topic", "pageview").stdout.split()
    assert sum(int(line.rsplit(":", 1)[1]) for line in offsets) == 3


def test_the_java_tools_read_and_change_configs(moldau, java):
    at = ("--bootstrap-server", moldau.bootstrap)
    java("kafka-topics", *at, "--create", "--topic", "t", "--config", "retention.ms=60000")
    topic = (*at, "--entity-type", "topics", "--entity-name", "t")
    altered = java("kafka-configs", *topic, "--alter", "--add-config", "segment.bytes=2097152")
    assert altered.stdout == "Completed updating config for topic t.\n", altered
    shown = java("kafka-configs", *topic, "--describe").stdout
    assert "retention.ms=60000" in shown and "segment.bytes=2097152" in shown


def test_the_java_tools_elect_reassign_and_unregister(moldau, java, tmp_path):
    at = ("--bootstrap-server", moldau.bootstrap)
    java("kafka-topics", *at, "--create", "--topic", "t", "--partitions", "2")
    elected = java("kafka-leader-election", *at, "--election-type", "preferred", "--topic", "t", "--partition", "0")
    assert "Valid replica already elected for partitions t-0" in elected.stdout, elected
    plan = tmp_path / "plan.json"
    plan.write_text('{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]}]}')
    moved = java("kafka-reassign-partitions", *at, "--reassignment-json-file", str(plan), "--execute")
    assert "Successfully started partition reassignment for t-0" in moved.stdout, moved
    done = java("kafka-reassign-partitions", *at, "--reassignment-json-file", str(plan), "--verify")
    assert "Reassignment of partition t-0 is completed." in done.stdout, done
    assert java("kafka-reassign-partitions", *at, "--list").stdout.strip() == "No partition reassignments found."
    plan.write_text(plan.read_text().replace("[1]", "[9]"))
    refused = java("kafka-reassign-partitions", *at, "--reassignment-json-file", str(plan), "--execute")
    assert refused.returncode == 1 and "Unknown broker id 9" in refused.stdout + refused.stderr, refused
    gone = java("kafka-cluster", "unregister", *at, "--id", "9")
    assert "Broker ID 9 is not currently registered" in gone.stdout + gone.stderr, gone


def test_an_idempotent_producer_leaves_no_duplicate_when_the_broker_is_killed(moldau):
    """Retries after a kill -9 find the producer's state in the log again."""
    topic = uuid.uuid4().hex
    acked, producer = {}, Producer({
        "bootstrap.servers": moldau.bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 1,
        "message.timeout.ms": 60000, "retry.backoff.ms": 20, "reconnect.backoff.max.ms": 200})

    def note(error, message):
        if error is None:
            acked[message.value()] = message.offset()

    for round_number in range(3):
        for n in range(200):
            producer.produce(topic, b"%d-%d" % (round_number, n), partition=0, on_delivery=note)
            producer.poll(0)
        moldau.kill()
        moldau.start()
    assert producer.flush(60) == 0
    assert len(acked) == 600
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    records = drain(consumer, 600)
    consumer.close()
    values = [m.value() for m in records]
    assert values == [b"%d-%d" % (r, n) for r in range(3) for n in range(200)], "in order, none lost, none twice"
    assert all(acked[m.value()] == m.offset() for m in records)
