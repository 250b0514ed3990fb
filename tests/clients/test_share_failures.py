"""What share groups keep while the nodes die that hold their records and their state."""

import json

import pytest
from confluent_kafka import Producer

from conftest import eventually
from test_share_groups import QUICK, Member, create, groups, row
from test_share_members import Puppet, set_group

STATE_TOPIC = "__share_group_state"
# One partition, so that every share partition has the same coordinator; snapshots and pruning in the middle of it all.
SETTINGS = {
    **{key.replace("_", "."): str(value) for key, value in QUICK.items()},
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.min.isr": "2",
    "share.coordinator.snapshot.update.records.per.snapshot": "5",
    "share.coordinator.state.topic.prune.interval.ms": "1000",
    "share.coordinator.cold.partition.snapshot.interval.ms": "1000",
}


@pytest.fixture
def cluster(start_cluster, java):
    cluster = start_cluster(settings=SETTINGS)
    done = java("kafka-topics", "--bootstrap-server", cluster.bootstrap, "--create", "--topic", "t", "--partitions", 1,
                "--replication-factor", 3)
    assert done.returncode == 0, done.stderr
    create(cluster, java)
    return cluster


def send(cluster, first, count):
    """Values that are acknowledged by all in-sync replicas, in the order of their numbers."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "enable.idempotence": True,
                         "message.timeout.ms": 60_000})
    for n in range(first, first + count):
        producer.produce("t", f"v{n}")
    assert producer.flush(60) == 0


def left(cluster):
    """How many records the group has not done with, as `--describe` shows it; None where it cannot say just now."""
    try:
        return row(groups(cluster, "--describe", "--group", "g"), "t", 0)[1]
    except StopIteration:
        return None


def take_all(member, known, wanted):
    """Polls and accepts until a member has accepted all of the wanted offsets; gives what it got."""
    got = set()

    def is_done():
        records = member.poll(10)
        for offset in records:
            assert offset not in known, f"{offset} was accepted, and told to be taken"
        got.update(records)
        if records and member.say("ACCEPT", *records) == []:
            known.update(records)
        return wanted <= known

    eventually(is_done, 120, "all records are accepted")
    return got


def test_records_that_are_out_when_their_leader_dies_are_delivered_again_and_accepted_ones_are_not(cluster, java):
    set_group(cluster, java, "share.record.lock.duration.ms=60000")
    send(cluster, 0, 10)
    holder = Puppet(cluster)
    heir = None
    try:
        held = set()
        while len(held) < 10:
            held |= set(holder.poll())
        assert holder.say("ACCEPT", *range(4)) == []
        cluster.leader("t", 0).kill()
        send(cluster, 10, 5)
        holder.end()
        heir = Puppet(cluster)
        got = take_all(heir, set(range(4)), set(range(15)))
        assert got == set(range(4, 15))
    finally:
        for member in filter(None, (holder, heir)):
            member.end()


def test_what_was_accepted_outlives_the_death_of_its_coordinator(cluster, java):
    send(cluster, 0, 20)
    member = Puppet(cluster)
    accepted = set()
    try:
        records = member.poll()
        assert member.say("ACCEPT", *records) == []
        accepted |= set(records)
        cluster.leader(STATE_TOPIC, 0).kill()
        take_all(member, accepted, set(range(20)))
        send(cluster, 20, 5)
        take_all(member, accepted, set(range(25)))
    finally:
        member.end()


def events(member, name):
    return [json.loads(line) for line in member.lines(name)]


def test_nothing_is_lost_or_accepted_twice_while_node_after_node_dies(cluster, tmp_path):
    members = [Member(cluster, tmp_path, name) for name in ("a", "b")]
    delivered = lambda: {event["value"] for member in members for event in events(member, "record_data")}
    sent = 0
    try:
        for round_, topic in enumerate(("t", STATE_TOPIC, "t", STATE_TOPIC)):
            send(cluster, sent, 100)
            sent += 100
            eventually(lambda: len(delivered()) > 100 * round_, 120, f"members get records in round {round_}")
            victim = cluster.leader(topic, 0)
            victim.kill()
            send(cluster, sent, 20)
            sent += 20
            victim.spawn()
            victim.wait_until_it_answers(60)
            cluster.wait_until_whole(["t", STATE_TOPIC])
        eventually(lambda: len(delivered()) == sent, 120, "every record is delivered")
        eventually(lambda: left(cluster) == "0", 120, "and done with")
    finally:
        for member in members:
            member.end()
    taken = {}
    for member in members:
        for event in events(member, "offsets_acknowledged"):
            if not event.get("success", True):
                continue
            for partition in event["partitions"]:
                for offset in partition["offsets"]:
                    taken[offset] = taken.get(offset, 0) + 1
    assert taken and max(taken.values()) == 1, {offset: times for offset, times in taken.items() if times > 1}
