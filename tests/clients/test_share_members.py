"""What members of share groups are promised, one command of Kafka's own client at a time (tests/apps/java/ShareMember.java)."""

import queue
import subprocess
import threading

import pytest
from confluent_kafka import Producer

from conftest import SETUP, eventually
from test_share_groups import QUICK, Member, consume, create, groups, produce, row

ANSWER_SECONDS_MAX = 90


class Puppet:
    """A member that does what it is told, and nothing else."""

    def __init__(self, node, *settings, group="g"):
        self.process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp",
             f"{SETUP}/jars/*:{SETUP}/apps/classes", "ShareMember", node.bootstrap, group, "t", *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("ended")

    def ask(self, *words):
        """What it answers to a command."""
        print(*words, file=self.process.stdin)
        answer = []
        while True:
            line = self.lines.get(timeout=ANSWER_SECONDS_MAX)
            assert line != "ended", f"the member ended at {words}"
            if line == "end":
                return answer
            # Kafka's logger writes to the same stream.
            if line.split(" ")[0] in ("record", "refused", "failed", "lock", "metric"):
                answer.append(line)

    def poll(self, seconds=30):
        """{offset: deliveries} of what it got."""
        lines = self.ask("poll", seconds)
        assert not [line for line in lines if line.startswith("failed")], lines
        return {int(line.split()[1]): int(line.split()[2]) for line in lines}

    def say(self, kind, *offsets):
        """Says it, and what is answered."""
        return self.ask("say", kind, *offsets) + self.ask("commit")

    def end(self):
        self.process.kill()
        self.process.wait(timeout=30)


@pytest.fixture
def node(start_moldau):
    return start_moldau(**QUICK)


@pytest.fixture
def puppet():
    started = []

    def start(*arguments, **more):
        started.append(Puppet(*arguments, **more))
        return started[-1]

    yield start
    for member in started:
        member.end()


def set_group(node, java, setting, group="g"):
    done = java("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "groups",
                "--entity-name", group, "--add-config", setting)
    assert "Completed" in done.stdout, done.stderr


def test_a_record_that_fails_again_and_again_is_at_last_delivered_alone(node, java, puppet):
    create(node, java)
    produce(node, java, 6)
    member = puppet(node)
    last_deliveries = set()
    # Each answer brings one delivery of a record at least, and there are six records with five deliveries each.
    for _ in range(30):
        got = member.poll()
        assert got, "no record is lost before its last delivery"
        if 5 in got.values():
            assert len(got) == 1, f"others are delivered beside a record on its last delivery: {got}"
            last_deliveries |= set(got)
        assert member.say("RELEASE", *got) == []
        if len(last_deliveries) == 6:
            break
    assert last_deliveries == set(range(6))
    assert member.poll(3) == {}, "after the fifth delivery they are given up"
    eventually(lambda: row(groups(node, "--describe", "--group", "g"), "t", 0)[1] == "0", 30, "nothing is left")


def test_a_member_can_ask_for_more_time_while_it_has_a_record(node, java, puppet):
    create(node, java)
    produce(node, java, 1)
    first, second = puppet(node), puppet(node)
    assert first.poll() == {0: 1}
    assert first.ask("lock") == ["lock 3000"]
    # Only the time of the member's own that a loaded machine leaves it can make this fail: it is tried again then.
    deliveries = 1
    for _ in range(20):
        if first.say("RENEW", 0) == []:
            break
        deliveries = first.poll()[0]
    else:
        raise AssertionError("no renewal is taken")
    assert second.poll(30) == {0: deliveries + 1}, "once its time is over others get it"
    assert first.poll(1) == {0: deliveries}, "the client shows a renewed record again"
    assert first.say("RENEW", 0) == ["refused InvalidRecordStateException"], "and it is not the member's any more"


def test_a_group_can_forbid_renewals(node, java, puppet):
    create(node, java)
    set_group(node, java, "share.renew.acknowledge.enable=false")
    produce(node, java, 1)
    member = puppet(node)
    assert member.poll() == {0: 1}
    assert member.say("RENEW", 0) != []


def test_a_group_has_records_for_as_long_as_its_own_setting_says(node, java, puppet):
    create(node, java)
    set_group(node, java, "share.record.lock.duration.ms=20000")
    produce(node, java, 1)
    member = puppet(node)
    assert member.poll() == {0: 1}
    assert member.ask("lock") == ["lock 20000"]


def test_a_strict_member_gets_not_one_record_more_than_it_asks_for(node, java, puppet):
    create(node, java)
    set_group(node, java, "share.record.lock.duration.ms=60000")
    producer = Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 1000})
    for n in range(10):
        producer.produce("t", f"v{n}")
    assert producer.flush(30) == 0
    strict = ("share.acquire.mode=record_limit", "max.poll.records=3")
    first, second = puppet(node, *strict), puppet(node, *strict)
    assert first.poll() == {0: 1, 1: 1, 2: 1}
    assert second.poll() == {3: 1, 4: 1, 5: 1}, "the others of the same batch are for others"
    assert first.say("ACCEPT", 0, 1, 2) == []
    assert first.poll() == {6: 1, 7: 1, 8: 1}


def test_who_reads_committed_records_never_sees_an_aborted_one(node, java):
    create(node, java)
    create(node, java, group="dirty")
    set_group(node, java, "share.isolation.level=read_committed")
    producer = Producer({"bootstrap.servers": node.bootstrap, "transactional.id": "x", "linger.ms": 0})
    producer.init_transactions(30)

    def write(*values):
        producer.begin_transaction()
        for value in values:
            producer.produce("t", value)
        assert producer.flush(30) == 0

    write("v0", "v1")
    producer.commit_transaction(30)
    write("v2", "v3")
    producer.abort_transaction(30)
    write("v4")
    producer.commit_transaction(30)
    write("v5")
    assert consume(node, 50, wait_ms=5_000) == ["v0", "v1", "v4"], "nor one whose transaction is open"
    producer.abort_transaction(30)
    write("v6")
    producer.commit_transaction(30)
    assert consume(node, 50, wait_ms=5_000) == ["v6"]
    assert consume(node, 50, wait_ms=5_000, group="dirty") == [f"v{n}" for n in range(7)]


def test_share_state_is_pruned_and_a_restart_keeps_what_was_said(start_moldau, java):
    node = start_moldau(**QUICK, share_coordinator_state_topic_prune_interval_ms=500,
                        share_coordinator_cold_partition_snapshot_interval_ms=500,
                        share_coordinator_state_topic_num_partitions=1)
    create(node, java)
    produce(node, java, 20)
    assert len(consume(node, 5)) == 5

    def bounds():
        offsets = []
        for which in ("earliest", "latest"):
            output = java("kafka-get-offsets", "--bootstrap-server", node.bootstrap, "--topic", "__share_group_state",
                          "--time", which).stdout
            offsets.append(int(output.strip().rsplit(":", 1)[1]))
        return offsets

    eventually(lambda: bounds()[0] > 0, 60, "the topic of share state begins later")
    _, end = bounds()
    assert len(consume(node, 5)) == 5
    eventually(lambda: bounds()[0] >= end, 60, "nothing stays that was written before what was said last")
    node.kill()
    node.start()
    assert bounds()[0] > 0, "what was deleted stays so"
    assert consume(node, 50, wait_ms=6_000) == [f"v{n}" for n in range(10, 20)]


def test_what_members_get_counts_for_their_quota(node, java, puppet):
    create(node, java)
    done = java("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "clients",
                "--entity-default", "--add-config", "consumer_byte_rate=2000")
    assert "Completed" in done.stdout, done.stderr
    producer = Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 0})
    for n in range(60):
        producer.produce("t", bytes(1000))
        producer.flush(30)
    member = puppet(node)
    got = set()

    def is_throttled():
        records = member.poll()
        got.update(records)
        member.say("ACCEPT", *records)
        return float(member.ask("metric", "fetch-throttle-time-max")[0].split()[1]) > 0

    eventually(is_throttled, 60, "a member over its quota is told to wait")
    assert got, "and what it has got is its"


def test_what_is_left_for_a_group_is_known_whoever_leads(start_cluster, java, tools):
    cluster = start_cluster(settings={key.replace("_", "."): str(value) for key, value in QUICK.items()})
    done = java("kafka-topics", "--bootstrap-server", cluster.bootstrap, "--create", "--topic", "t", "--partitions", 3,
                "--replication-factor", 1)
    assert done.returncode == 0, done.stderr
    create(cluster, java)
    produce(cluster, java, 3)
    assert len({cluster.leader("t", partition).id for partition in range(3)}) == 3
    producer = Producer({"bootstrap.servers": cluster.bootstrap})
    for partition in range(3):
        producer.produce("t", "v", partition=partition)
    assert producer.flush(30) == 0
    assert len(consume(cluster, 6, wait_ms=30_000)) == 6
    lags = lambda: [row(groups(cluster, "--describe", "--group", "g"), "t", partition)[1] for partition in range(3)]
    eventually(lambda: lags() == ["0", "0", "0"], 60, "nothing is left anywhere")
    for partition in range(3):
        producer.produce("t", "v", partition=partition)
    assert producer.flush(30) == 0
    assert lags() == ["1", "1", "1"]
    done = tools("kafka-console-share-consumer", "--bootstrap-server", cluster.bootstrap, "--topic", "t", "--group", "g",
                 "--max-messages", 3, "--timeout-ms", 30_000)
    assert done.stdout == "v\nv\nv\n", "our consumer reads from all three leaders"
    eventually(lambda: lags() == ["0", "0", "0"], 60, "nothing is left again")
