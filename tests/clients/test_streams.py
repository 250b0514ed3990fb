"""Kafka Streams with exactly_once_v2 (tests/apps/java/WordCount.java): a word count whose counts are exact whatever is killed,
by the classic protocol and by that of streams groups (KIP-1071)."""

import collections
import random
import subprocess
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import SETUP, eventually

PARTITIONS = 4
LINES, WORDS_IN_LINE = 2000, 5  # of each round
WORDS = [f"word-{n}" for n in range(30)]
SECONDS = 120


class Application:
    """One JVM of the word count."""

    def __init__(self, node, output, state, settings=()):
        self.output, self.state = output, state
        self.process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", f"{SETUP}/jars/*:{SETUP}/apps/classes",
             "WordCount", node.bootstrap, str(state), *settings],
            stdin=subprocess.DEVNULL, stdout=output.open("w"), stderr=subprocess.STDOUT)

    def runs(self):
        text = self.output.read_text()
        assert self.process.poll() is None, text[-4000:]
        return "RUNNING" in text

    def kill(self):
        assert self.process.poll() is None, self.output.read_text()[-4000:]
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def start_application(tmp_path):
    started = []

    def start(node, state="state", *settings):
        started.append(Application(node, tmp_path / f"application-{len(started)}", tmp_path / state, settings))
        return started[-1]

    yield start
    for application in started:
        if application.process.poll() is None:
            application.process.kill()
        application.process.wait(30)


class Counts:
    """The counts that a read_committed reader has seen, by word, in order."""

    def __init__(self, node, topic="counts", partitions=PARTITIONS):
        self.seen = collections.defaultdict(list)
        self.consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": str(uuid.uuid4()),
                                  "isolation.level": "read_committed", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])

    def read(self):
        for message in self.consumer.consume(1000, timeout=0.1):
            if message.error() is None:
                self.seen[message.key().decode()].append(message.value())
            elif not message.error().retriable() and message.error().code() not in (
                    KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise KafkaException(message.error())
        return sum(map(len, self.seen.values()))


class Feed:
    """Produces lines of random words, and knows how often each was sent."""

    def __init__(self, node, seed):
        self.random, self.sent = random.Random(seed), collections.Counter()
        self.producer = Producer({"bootstrap.servers": node.bootstrap, "enable.idempotence": True, "linger.ms": 5})

    def produce(self):
        for _ in range(LINES):
            words = self.random.choices(WORDS, k=WORDS_IN_LINE)
            self.sent.update(words)
            self.producer.produce("lines", " ".join(words), key=words[0])
        assert self.producer.flush(SECONDS) == 0


def check_counts(node, start_application, replicas, strike, *settings):
    """Counts lines while `strike` does something to what runs, twice, in the middle of the counting. Takes the application
    that runs, and returns the one that does afterwards."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, replicas) for topic in ("lines", "counts")]).values():
        future.result(20)
    feed, counts = Feed(node, seed), Counts(node)
    application = start_application(node, "state", *settings)
    eventually(application.runs, SECONDS, "the application")
    feed.produce()
    eventually(counts.read, SECONDS, "the first counts")
    for turn in range(2):
        feed.produce()
        before = counts.read()
        eventually(lambda: counts.read() > before, SECONDS, "counts before the strike")
        print(f"struck at {counts.read()} of {sum(feed.sent.values())} counts")
        application = strike(application, turn)
    feed.produce()
    total = sum(feed.sent.values())
    eventually(lambda: counts.read() >= total, SECONDS, "all counts")
    assert {word: len(seen) for word, seen in counts.seen.items()} == feed.sent
    for word, seen in counts.seen.items():
        assert seen == [b"%d" % n for n in range(1, len(seen) + 1)], f"{word} has each of its counts once, in order"
    assert application.runs()
    assert {"word-count-words-repartition", "word-count-store-changelog"} <= set(admin.list_topics(timeout=10).topics)


@pytest.mark.parametrize("killed", ["application", "application and its state", "broker"])
def test_every_word_is_counted_exactly_once_whatever_is_killed(moldau, start_application, killed):
    def strike(application, turn):
        if killed == "broker":
            moldau.kill()
            moldau.start()
            return application
        application.kill()
        # Without the folder that it left, its state comes from the changelog.
        return start_application(moldau, "state" if killed == "application" else f"state-{turn}")

    check_counts(moldau, start_application, 1, strike)


def test_every_word_is_counted_exactly_once_while_leaders_die(cluster, start_application):
    def strike(application, turn):
        leader = cluster.leader("counts", turn)
        leader.kill()
        leader.spawn()
        leader.wait_until_it_answers(SECONDS)
        return application

    check_counts(cluster, start_application, 3, strike)


STREAMS_GROUP = "group.protocol=streams"
# What a killed instance has left is taken over in a test's time.
QUICK = {
    "group.streams.min.session.timeout.ms": 6000, "group.streams.session.timeout.ms": 6000,
    "group.streams.min.heartbeat.interval.ms": 500, "group.streams.heartbeat.interval.ms": 1000,
    "group.streams.initial.rebalance.delay.ms": 500,
}


@pytest.fixture
def java_groups(java):
    """Runs Kafka's own kafka-streams-groups; gives what it prints, line by line, without the heading."""

    def run(node, *arguments):
        result = java("kafka-streams-groups", "--bootstrap-server", node.bootstrap, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        lines = [line for line in result.stdout.splitlines() if line.strip()]
        return [line for line in lines if not line.startswith("GROUP")]

    return run


@pytest.mark.parametrize("killed", ["application", "broker"])
def test_a_streams_group_counts_every_word_exactly_once_whatever_is_killed(start_moldau, start_application, killed):
    moldau = start_moldau(**QUICK)

    def strike(application, turn):
        if killed == "broker":
            moldau.kill()
            moldau.start()
            return application
        application.kill()
        return start_application(moldau, f"state-{turn}", STREAMS_GROUP)

    check_counts(moldau, start_application, 1, strike, STREAMS_GROUP)


def test_two_instances_of_a_streams_group_share_the_work_and_one_goes_on_when_the_other_is_killed(
        start_moldau, start_application, java_groups):
    moldau = start_moldau(**QUICK, **{"group.streams.num.standby.replicas": 1})
    instances = []

    def members():
        return {line.split()[1] for line in java_groups(moldau, "--describe", "--group", "word-count", "--members")}

    def strike(application, turn):
        if turn == 0:
            instances.extend([application, start_application(moldau, "state-of-another", STREAMS_GROUP)])
            eventually(instances[1].runs, SECONDS, "the second instance")
            # Each has two threads, and each thread is a member.
            eventually(lambda: len(members()) == 4, SECONDS, "four members")
            return application
        instances[0].kill()
        eventually(lambda: len(members()) == 2, SECONDS, "two members")
        return instances[1]

    check_counts(moldau, start_application, 1, strike, STREAMS_GROUP)
    state, = java_groups(moldau, "--describe", "--group", "word-count", "--state")
    assert "Stable" in state
    assert java_groups(moldau, "--list") == ["word-count"]
    lags = [line.split() for line in java_groups(moldau, "--describe", "--group", "word-count", "--offsets")]
    assert {line[1] for line in lags} >= {"lines", "word-count-words-repartition"}, lags
    instances[1].kill()
    eventually(lambda: " Empty " in java_groups(moldau, "--describe", "--group", "word-count", "--state")[-1], SECONDS, "nobody")
    reset = java_groups(moldau, "--reset-offsets", "--group", "word-count", "--input-topic", "lines", "--to-earliest", "--execute")
    assert [line.split()[1:] for line in reset] == [["lines", str(partition), "0"] for partition in range(PARTITIONS)]
    java_groups(moldau, "--delete", "--group", "word-count")
    assert java_groups(moldau, "--list") == []


def test_a_streams_group_counts_every_word_exactly_once_while_leaders_die(start_cluster, start_application):
    cluster = start_cluster(settings=QUICK)

    def strike(application, turn):
        leader = cluster.leader("counts", turn)
        leader.kill()
        leader.spawn()
        leader.wait_until_it_answers(SECONDS)
        return application

    check_counts(cluster, start_application, 3, strike, STREAMS_GROUP)
