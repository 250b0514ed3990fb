"""A small application of confluent-kafka: the scenarios of tests/clients/test_applications.py, as
    python confluent.py BOOTSTRAP SCENARIO ARGUMENT...
which prints what it saw as one line of JSON."""

import json
import sys
import threading
import time
import uuid

from confluent_kafka import Consumer, ElectionType, IsolationLevel, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions as GroupOffsets
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CODEC_RECORDS = 50
GROUP_PARTITIONS, GROUP_RECORDS = 4, 40
TRANSACTIONS, TRANSACTION_PARTITIONS = 10, 3
PIPE_RECORDS, PIPE_BATCH, PIPE_PARTITIONS = 60, 5, 2
WAIT = 60

bootstrap = sys.argv[1]
at = {"bootstrap.servers": bootstrap}


def eventually(what, check):
    deadline = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.01)


def create(topic, partitions):
    client = AdminClient(at)  # futures fail when it goes
    client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT)


def send(producer, records):
    failed = []
    for topic, partition, value, more in records:
        producer.produce(topic, value, partition=partition, on_delivery=lambda e, _: failed.append(e) if e else None, **more)
    assert producer.flush(WAIT) == 0 and not failed, failed


def idempotent(**settings):
    return Producer({**at, "enable.idempotence": True, "linger.ms": 0, **settings})


def poll(consumer):
    message = consumer.poll(0.2)
    if message is not None and message.error():
        raise KafkaException(message.error())
    return message


def read(topic, partitions, level, enough):
    """The values from the beginning on, until `enough` says so of those so far."""
    reader = Consumer({**at, "group.id": str(uuid.uuid4()), "isolation.level": level, "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    values, deadline = [], time.monotonic() + WAIT
    while not enough(values):
        assert time.monotonic() < deadline, f"only {len(values)} values"
        if (message := poll(reader)) is not None:
            values.append(message.value().decode())
    reader.close()
    return values


def codecs(topic):
    create(topic, 3)
    for codec in CODECS:
        send(idempotent(**{"compression.type": codec}), [
            (topic, n % 3, f"{codec}-{n}-{'x' * 200}", {"key": str(n), "headers": [("codec", codec.encode())]})
            for n in range(CODEC_RECORDS)])
    count = len(CODECS) * CODEC_RECORDS
    return {"codecs": CODECS, "read": read(topic, 3, "read_uncommitted", lambda values: len(values) >= count)}


class Member:
    """A consumer of a group that commits each record when it has read it."""

    def __init__(self, topic, group, values):
        self.consumer = Consumer({**at, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                  "heartbeat.interval.ms": 500, "session.timeout.ms": 10000})
        self.has, self.values, self.ends = 0, values, threading.Event()
        self.consumer.subscribe([topic])
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends.is_set():
            if (message := poll(self.consumer)) is not None:
                self.values.append(message.value().decode())
                self.consumer.commit(message=message, asynchronous=False)
            self.has = len(self.consumer.assignment())
        self.consumer.close()

    def leave(self):
        self.ends.set()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()


def group(topic, name):
    create(topic, GROUP_PARTITIONS)
    producer, sent, values, rest, seen = idempotent(), 0, [], [], {}

    def produce():
        nonlocal sent
        send(producer, [(topic, n % GROUP_PARTITIONS, str(n), {}) for n in range(sent, sent + GROUP_RECORDS)])
        sent += GROUP_RECORDS

    produce()
    first = Member(topic, name, values)
    eventually("all records read", lambda: len(values) >= sent)
    seen["alone"] = first.has
    second = Member(topic, name, values)
    eventually("two equal shares", lambda: first.has == 2 and second.has == 2)
    seen["shared"] = [first.has, second.has]
    produce()
    eventually("all records read by two", lambda: len(values) >= sent)
    second.leave()
    eventually("everything with one", lambda: first.has == GROUP_PARTITIONS)
    first.leave()
    produce()
    third = Member(topic, name, rest)
    eventually("the rest read", lambda: len(rest) >= GROUP_RECORDS)
    third.leave()
    return {**seen, "read": values, "resumed": rest}


def transactional(name):
    producer = idempotent(**{"transactional.id": name})
    producer.init_transactions(WAIT)
    return producer


def transactions(topic, name):
    create(topic, TRANSACTION_PARTITIONS)
    producer = transactional(name)
    for n in range(TRANSACTIONS + 1):
        producer.begin_transaction()
        send(producer, [(topic, partition, f"{n}-{partition}", {}) for partition in range(TRANSACTION_PARTITIONS)])
        (producer.abort_transaction if n % 2 else producer.commit_transaction)(WAIT)

    def last(values):
        """The last transaction is a committed one: who has read it from all partitions has read all there is before it."""
        return sum(value.startswith(f"{TRANSACTIONS}-") for value in values) == TRANSACTION_PARTITIONS

    return {"committed": read(topic, TRANSACTION_PARTITIONS, "read_committed", last),
            "uncommitted": read(topic, TRANSACTION_PARTITIONS, "read_uncommitted", last)}


def pipe(source, target, name):
    create(source, PIPE_PARTITIONS)
    create(target, PIPE_PARTITIONS)
    send(idempotent(), [(source, n % PIPE_PARTITIONS, str(n), {}) for n in range(PIPE_RECORDS)])
    producer = transactional(name)
    consumer = Consumer({**at, "group.id": name, "auto.offset.reset": "earliest", "isolation.level": "read_committed",
                         "enable.auto.commit": False})
    consumer.subscribe([source])
    committed, aborted, turn = 0, 0, 0
    deadline = time.monotonic() + WAIT
    while committed < PIPE_RECORDS:
        assert time.monotonic() < deadline, f"{committed} records copied"
        batch = [message for _ in range(PIPE_BATCH) if (message := poll(consumer)) is not None]
        if not batch:
            continue
        turn += 1
        producer.begin_transaction()
        for message in batch:
            producer.produce(target, message.value(), partition=message.partition())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), WAIT)
        if turn % 3 == 0:
            producer.abort_transaction(WAIT)
            aborted += 1
            first = {}
            for message in batch:
                first.setdefault(message.partition(), message.offset())
            for partition, offset in first.items():
                consumer.seek(TopicPartition(source, partition, offset))
        else:
            producer.commit_transaction(WAIT)
            committed += len(batch)
    offsets = consumer.committed([TopicPartition(source, partition) for partition in range(PIPE_PARTITIONS)], timeout=WAIT)
    consumer.close()
    return {"offsets": sum(p.offset for p in offsets), "aborted": aborted,
            "out": read(target, PIPE_PARTITIONS, "read_committed", lambda values: len(values) >= PIPE_RECORDS)}


def admin(topic, group):
    """Calls what the admin client has, in an order in which each finds what it needs."""
    client, calls = AdminClient(at), {}
    topics, partition = TopicCollection([topic]), TopicPartition(topic, 0, 1)
    resource = kafka_admin.ConfigResource(kafka_admin.ResourceType.TOPIC, topic)
    broker = kafka_admin.ConfigResource(kafka_admin.ResourceType.BROKER, "1")

    def note(name, call):
        """`call` returns a future, or futures by what each is for."""
        try:
            answer = call()
            for future in answer.values() if isinstance(answer, dict) else [answer]:
                result = future.result(WAIT)
                for part in result if isinstance(result, list) else result.values() if isinstance(result, dict) else []:
                    if isinstance(part, Exception):
                        raise part
            calls[name] = "ok"
        except Exception as error:  # noqa: BLE001 - any of them is what the test asks for
            calls[name] = f"error: {error}"

    def entry(key, value):
        return [kafka_admin.ConfigEntry(key, value, incremental_operation=kafka_admin.AlterConfigOpType.SET)]

    note("create_topics", lambda: client.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "60000"})]))
    note("create_partitions", lambda: client.create_partitions([NewPartitions(topic, 3)]))
    note("describe_topics", lambda: client.describe_topics(topics))
    note("describe_cluster", lambda: client.describe_cluster())
    note("describe_configs", lambda: client.describe_configs([resource]))
    altered = kafka_admin.ConfigResource(resource.restype, topic, incremental_configs=entry("segment.bytes", "2097152"))
    note("incremental_alter_configs", lambda: client.incremental_alter_configs([altered]))
    altered_broker = kafka_admin.ConfigResource(broker.restype, "1", incremental_configs=entry("log.cleaner.threads", "1"))
    note("incremental_alter_configs of a broker", lambda: client.incremental_alter_configs([altered_broker]))
    whole = kafka_admin.ConfigResource(resource.restype, topic, set_config={"segment.bytes": "2097152"})
    note("alter_configs", lambda: client.alter_configs([whole]))
    send(idempotent(), [(topic, n % 3, "v", {}) for n in range(6)])
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp(), OffsetSpec.for_timestamp(1)):
        note("list_offsets", lambda: client.list_offsets({TopicPartition(topic, 0): spec},
                                                         isolation_level=IsolationLevel.READ_COMMITTED))
    note("delete_records", lambda: client.delete_records([partition]))
    note("alter_consumer_group_offsets", lambda: client.alter_consumer_group_offsets([GroupOffsets(group, [partition])]))
    note("list_consumer_group_offsets", lambda: client.list_consumer_group_offsets([GroupOffsets(group)]))
    note("list_consumer_groups", lambda: client.list_consumer_groups())
    note("describe_consumer_groups", lambda: client.describe_consumer_groups([group]))
    note("delete_consumer_groups", lambda: client.delete_consumer_groups([group]))
    note("describe_user_scram_credentials", lambda: client.describe_user_scram_credentials())
    scram = kafka_admin.UserScramCredentialUpsertion(
        "a", kafka_admin.ScramCredentialInfo(kafka_admin.ScramMechanism.SCRAM_SHA_256, 4096), b"password")
    note("alter_user_scram_credentials", lambda: client.alter_user_scram_credentials([scram]))
    binding = ("a", kafka_admin.ResourcePatternType.LITERAL, "User:a", "*", kafka_admin.AclOperation.READ,
               kafka_admin.AclPermissionType.ALLOW)
    kind = kafka_admin.ResourceType.TOPIC
    note("create_acls", lambda: client.create_acls([kafka_admin.AclBinding(kind, *binding)]))
    note("describe_acls", lambda: client.describe_acls(kafka_admin.AclBindingFilter(kind, *binding)))
    note("delete_acls", lambda: client.delete_acls([kafka_admin.AclBindingFilter(kind, *binding)]))
    note("elect_leaders", lambda: client.elect_leaders(ElectionType.PREFERRED))
    note("delete_topics", lambda: client.delete_topics([topic]))
    return calls


print(json.dumps({f.__name__: f for f in (codecs, group, transactions, pipe, admin)}[sys.argv[2]](*sys.argv[3:])))
