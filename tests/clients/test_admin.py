"""Quotas, features, clients' metrics and transactions, administered by Kafka's tools and ours, felt by stock clients."""

import socket
import time
import urllib.request

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import eventually

SECONDS = 60
LIMIT = 200_000


def create(node, *topics, partitions=1, **settings):
    admin = AdminClient({"bootstrap.servers": node.bootstrap, **settings})
    for future in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
        future.result(SECONDS)


def ran(run, *line):
    done = run(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alter(java, node, *line):
    ran(java, "kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", *line)


def produce(node, topic, count, **settings):
    """Produces records of ten thousand bytes; returns how long the client was told to wait, in seconds."""
    waits, delivered = [], []
    producer = Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 5, "batch.num.messages": 10,
                         "throttle_cb": lambda event: waits.append(event.throttle_time), **settings})
    for _ in range(count):
        producer.produce(topic, b"x" * 10_000, callback=lambda error, _: delivered.append(error))
    assert producer.flush(SECONDS) == 0
    assert delivered == [None] * count
    # Of the last answer the client tells when it looks next.
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        producer.poll(0.1)
    return max(waits, default=0)


def test_a_producer_over_its_quota_waits_and_loses_nothing(start_moldau, java):
    node = start_moldau()
    create(node, "slow")
    assert produce(node, "slow", 400, **{"client.id": "limited"}) == 0, "nobody has a quota yet"
    alter(java, node, "--entity-type", "clients", "--entity-name", "limited", "--add-config",
          f"producer_byte_rate={LIMIT}")
    assert produce(node, "slow", 400, **{"client.id": "limited"}) > 0
    assert produce(node, "slow", 400, **{"client.id": "another"}) == 0
    alter(java, node, "--client", "limited", "--delete-config", "producer_byte_rate")
    assert produce(node, "slow", 400, **{"client.id": "limited"}) == 0


def test_a_consumer_over_its_quota_waits_and_misses_nothing(start_moldau, java):
    node = start_moldau()
    create(node, "slow")
    produce(node, "slow", 400)
    alter(java, node, "--entity-type", "users", "--entity-name", "ANONYMOUS", "--entity-type", "clients",
          "--entity-default", "--add-config", f"consumer_byte_rate={LIMIT}")
    waits = []
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "g", "client.id": "reader",
                         "throttle_cb": lambda event: waits.append(event.throttle_time)})
    consumer.assign([TopicPartition("slow", 0, 0)])
    offsets, deadline = [], time.monotonic() + SECONDS
    while len(offsets) < 400:
        assert time.monotonic() < deadline, len(offsets)
        message = consumer.poll(0.5)
        if message is not None:
            assert message.error() is None
            offsets.append(message.offset())
    consumer.close()
    assert offsets == list(range(400)) and max(waits) > 0


def test_whoever_has_too_many_partitions_created_is_refused_more(start_moldau, java):
    node = start_moldau()
    alter(java, node, "--user", "ANONYMOUS", "--add-config", "controller_mutation_rate=1")
    create = ("kafka-topics", "--bootstrap-server", node.bootstrap, "--create", "--partitions", "300", "--topic")
    ran(java, *create, "first")
    refused = java(*create, "second")
    assert refused.returncode == 1 and "The throttling quota has been exceeded." in refused.stdout + refused.stderr
    assert ran(java, "kafka-topics", "--bootstrap-server", node.bootstrap, "--list").split() == ["first"]


def test_an_address_that_connects_too_often_is_cut_off(start_moldau, java):
    node = start_moldau()
    alter(java, node, "--ip", "127.0.0.1", "--add-config", "connection_creation_rate=10")
    sockets = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(300)]

    def cut_off():
        ended = 0
        for one in sockets:
            one.settimeout(0.001)
            try:
                ended += one.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                ended += 1
        return ended

    assert eventually(lambda: cut_off() > 100)
    assert cut_off() < 300, "those within the quota stay"
    for one in sockets:
        one.close()


QUOTAS = [
    ("--alter", "--entity-type", "clients", "--entity-name", "c1", "--add-config",
     "producer_byte_rate=1024,consumer_byte_rate=2048"),
    ("--alter", "--entity-type", "users", "--entity-name", "u1", "--entity-type", "clients", "--entity-name", "c1",
     "--add-config", "request_percentage=12.5"),
    ("--alter", "--entity-type", "users", "--entity-default", "--add-config", "producer_byte_rate=50000000"),
    ("--alter", "--user", "u2", "--client-defaults", "--add-config", "controller_mutation_rate=3"),
    ("--alter", "--ip-defaults", "--add-config", "connection_creation_rate=1000"),
    ("--describe", "--entity-type", "clients"),
    ("--describe", "--entity-type", "users"),
    ("--describe", "--entity-type", "ips"),
    ("--describe", "--entity-type", "users", "--entity-type", "clients"),
    ("--describe", "--entity-type", "users", "--entity-name", "u1", "--entity-type", "clients", "--entity-name", "c1"),
    ("--describe", "--client", "none"),
    ("--alter", "--client", "c1", "--delete-config", "producer_byte_rate"),
    ("--alter", "--client", "c1", "--delete-config", "producer_byte_rate"),
    ("--alter", "--client", "c1", "--add-config", "nosuch=1"),
    ("--alter", "--client", "c1", "--add-config", "producer_byte_rate=abc"),
    ("--alter", "--entity-type", "clients", "--add-config", "producer_byte_rate=1"),
]


def without_java(done):
    """What a tool says, without what the JVM says."""
    code, out, err = done.returncode, done.stdout, done.stderr
    return code, out, "\n".join(line for line in err.splitlines() if not line.startswith("SLF4J"))


def unordered(done):
    """The same for lists in the order of a Java hash map."""
    code, out, err = without_java(done)
    return code, sorted(out.splitlines()), err


def test_our_tool_says_of_quotas_what_kafkas_says(start_moldau, java, tools):
    by_java, by_ours = start_moldau(), start_moldau()
    for line in QUOTAS:
        expected = unordered(java("kafka-configs", "--bootstrap-server", by_java.bootstrap, *line))
        assert unordered(tools("kafka-configs", "--bootstrap-server", by_ours.bootstrap, *line)) == expected, line


FEATURES = [
    ("describe",),
    ("downgrade", "--feature", "group.version=0"),
    ("downgrade", "--feature", "transaction.version=1", "--dry-run"),
    ("upgrade", "--feature", "group.version=1"),
    ("upgrade", "--feature", "group.version=9"),
    ("upgrade", "--feature", "nosuch.version=1"),
    ("upgrade", "--metadata", "4.2"),
    ("upgrade", "--release-version", "4.3"),
    ("upgrade", "--feature", "kraft.version=1"),
    ("downgrade", "--feature", "kraft.version=0"),
    ("disable", "--feature", "kraft.version"),
    ("downgrade", "--metadata", "4.0"),
    ("downgrade", "--metadata", "3.9", "--unsafe"),
    ("disable", "--feature", "eligible.leader.replicas.version"),
    ("disable", "--feature", "metadata.version"),
    ("upgrade", "--feature", "eligible.leader.replicas.version=1", "--feature", "group.version=1"),
    ("upgrade", "--feature", "x"),
    ("version-mapping",),
    ("version-mapping", "--release-version", "4.0"),
    ("feature-dependencies", "--feature", "eligible.leader.replicas.version=1"),
    ("describe",),
]


def test_our_tool_says_of_features_what_kafkas_says(start_moldau, java, tools):
    by_java, by_ours = start_moldau(), start_moldau()

    def told(run, node, line):
        code, out, err = without_java(run("kafka-features", "--bootstrap-server", node.bootstrap, *line))
        # The epoch is how far each cluster's metadata is.
        return code, [line.split("Epoch:")[0] for line in out.splitlines()], err

    for line in FEATURES:
        assert told(tools, by_ours, line) == told(java, by_java, line), line


CLIENT_METRICS = [
    ("--list",),
    ("--alter", "--name", "m1", "--metrics", "org.apache.kafka.producer.,org.apache.kafka.consumer.", "--interval",
     "5000", "--match", "client_software_name=apache-kafka-java,client_id=abc"),
    ("--list",),
    ("--describe",),
    ("--describe", "--name", "nope"),
    ("--alter", "--name", "m1", "--interval", "1"),
    ("--alter", "--name", "m1", "--match", "nosuch=1"),
    ("--alter", "--name", "m1", "--match", "client_id=b", "--metrics", ""),
    ("--describe", "--name", "m1"),
    ("--delete", "--name", "m1"),
    ("--list",),
]


def test_our_tool_says_of_client_metrics_what_kafkas_says(start_moldau, java, tools):
    by_java, by_ours = start_moldau(), start_moldau()
    for line in CLIENT_METRICS:
        expected = without_java(java("kafka-client-metrics", "--bootstrap-server", by_java.bootstrap, *line))
        assert without_java(tools("kafka-client-metrics", "--bootstrap-server", by_ours.bootstrap, *line)) == expected, line


LOG_DIRS = [
    ("--describe",),
    ("--describe", "--topic-list", "spread"),
    ("--describe", "--topic-list", "b.c,nosuch", "--broker-list", "1"),
    ("--describe", "--broker-list", "1,9,7"),
    ("--topic-list", "spread"),
    (),
]


def test_our_tool_says_of_log_directories_what_kafkas_says(start_moldau, java, tools, tmp_path):
    node = start_moldau(log_dirs=",".join(str(tmp_path / f"disk-{n}") for n in range(3)))
    create(node, "spread", partitions=20)
    create(node, "b.c", partitions=3)
    for line in LOG_DIRS:
        at = ("--bootstrap-server", node.bootstrap) if line else ()
        expected = without_java(java("kafka-log-dirs", *at, *line))
        assert without_java(tools("kafka-log-dirs", *at, *line)) == expected, line


def metrics(node):
    with urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_clients_push_the_metrics_that_somebody_subscribed_to(start_moldau, java):
    node = start_moldau()
    create(node, "t")

    def names_telemetry():
        served = ran(java, "kafka-broker-api-versions", "--bootstrap-server", node.bootstrap)
        return "PushTelemetry(72): 0 [" in served

    assert not names_telemetry(), "nobody wants anything of clients"
    ran(java, "kafka-client-metrics", "--bootstrap-server", node.bootstrap, "--alter", "--name", "m", "--metrics",
        "org.apache.kafka.producer.", "--interval", "500", "--match", "client_id=told.*")
    assert names_telemetry()
    told, silent = (Producer({"bootstrap.servers": node.bootstrap, "client.id": name}) for name in ("told-1", "silent"))

    def pushed():
        for producer in (told, silent):
            producer.produce("t", b"v")
            producer.flush(10)
        return 'client_id="told-1"' in metrics(node)

    assert eventually(pushed)
    text = metrics(node)
    assert "# TYPE org_apache_kafka_producer_" in text and 'client_id="silent"' not in text
    # Three seconds of sending: a producer that closes before its subscription came pushes nothing, Kafka's included.
    ran(java, "kafka-producer-perf-test", "--bootstrap-server", node.bootstrap, "--topic", "t", "--num-records", "300",
        "--record-size", "10", "--throughput", "100", "--command-property", "client.id=told-java")
    assert 'client_id="told-java"' in metrics(node)


@pytest.mark.parametrize("which", ["ours", "kafkas"])
def test_a_transaction_is_listed_described_and_ended_by_force(start_moldau, java, tools, which):
    run = tools if which == "ours" else java
    node = start_moldau()
    create(node, "t")
    line = ("kafka-transactions", "--bootstrap-server", node.bootstrap)
    producer = Producer({"bootstrap.servers": node.bootstrap, "transactional.id": "tx", "linger.ms": 0})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    producer.produce("t", b"v")
    producer.flush(SECONDS)

    def rows(*words):
        head, *rows = [[cell.strip() for cell in row.split("\t")] for row in ran(run, *line, *words).splitlines()]
        return [dict(zip(head, row)) for row in rows]

    [listed] = rows("list")
    assert (listed["TransactionalId"], listed["TransactionState"]) == ("tx", "Ongoing")
    [described] = rows("describe", "--transactional-id", "tx")
    assert described["TopicPartitions"] == "t-0" and int(described["TransactionDurationMs"]) >= 0
    [writer] = rows("describe-producers", "--topic", "t", "--partition", "0")
    assert writer["CurrentTransactionStartOffset"] == "0" and writer["ProducerId"] == listed["ProducerId"]
    assert rows("find-hanging", "--topic", "t", "--max-transaction-timeout", "0") == []
    ran(run, *line, "forceTerminateTransaction", "--transactionalId", "tx")
    assert eventually(lambda: rows("list")[0]["TransactionState"] in ("CompleteAbort", "Empty"))
    assert eventually(lambda: rows("describe-producers", "--topic", "t", "--partition", "0")
                      [0]["CurrentTransactionStartOffset"] == "None")
    unknown = run(*line, "describe", "--transactional-id", "none")
    assert unknown.returncode == 1 and "because the ID could not be found" in unknown.stderr
