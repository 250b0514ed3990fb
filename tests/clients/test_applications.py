"""Small applications (tests/apps), each written with one stock client: what a user's program does, judged by what it saw.

`APPLICATIONS_AGAINST=kafka` runs them against Apache Kafka instead, which tells a fault of an application from one of ours.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import ROOT, SETUP, eventually, served

APPS = ROOT / "tests" / "apps"
SECONDS_MAX = 240

CLIENTS = {
    "franz-go": [SETUP / "apps" / "franz"],
    "sarama": [SETUP / "apps" / "sarama"],
    "kafkajs": ["node", APPS / "node" / "application.cjs"],
    "confluent-kafka": [sys.executable, APPS / "python" / "confluent.py"],
}
# Every codec that the client brings; kafkajs has snappy by a package of its own.
CODECS = {client: {"none", "gzip", "snappy", "lz4", "zstd"} for client in CLIENTS} | {"kafkajs": {"none", "gzip", "snappy"}}

# Calls of security, which are refused by Apache Kafka, too, where there is neither an authorizer nor authentication; not
# all clients report that as an error.
SECURITY = {"describeacls", "listacls", "createacls", "deleteacl", "deleteacls", "describedelegationtokens"}
# Calls whose API may not be served, which docs/API_SUPPORT.md then says: they have to fail, and the others to work.
LATER = {"describeuserscramcredentials": 50, "describeuserscrams": 50, "alteruserscramcredentials": 51,
         "alteruserscrams": 51, "upsertuserscramcredentials": 51, "describeclientquotas": 48, "alterclientquotas": 49,
         "updatefeatures": 57, "alterallreplicalogdirs": 34, "describesharegroups": 77, "describesharegroupoffsets": 90,
         "altersharegroupoffsets": 91, "deletesharegroupoffsets": 92}


@pytest.fixture
def node(request):
    if os.environ.get("APPLICATIONS_AGAINST") != "kafka":
        return request.getfixturevalue("moldau")
    kafka = request.getfixturevalue("kafka")
    # Its coordinator refuses the first requests, until its topic is there, and not all clients try again.
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic("warm", 1, 1)])["warm"].result(60)
    warm = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "warm"})

    def commits():
        try:
            return warm.commit(offsets=[TopicPartition("warm", 0, 0)], asynchronous=False)
        except KafkaException:
            return None

    eventually(commits, 60, "a commit")
    warm.close()
    return kafka


def needs(program):
    skipped = SETUP / "apps" / "skipped-node"
    if program == "node" and skipped.exists():
        pytest.skip(skipped.read_text().strip())
    if not shutil.which(program):
        skipped = SETUP / "apps" / "skipped-go"
        if skipped.exists():
            pytest.skip(skipped.read_text().strip())
        pytest.fail(f"{program} is not set up: run tests/setup.sh")


@pytest.fixture(params=CLIENTS)
def application(request, node):
    """Runs a scenario of one client's application."""
    command = CLIENTS[request.param]
    needs(command[0])

    def run(scenario, *arguments):
        environment = {**os.environ, "NODE_PATH": str(SETUP / "apps" / "node" / "node_modules"),
                       "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
        done = subprocess.run([str(part) for part in (*command, node.bootstrap, scenario, *arguments)], text=True,
                              capture_output=True, timeout=SECONDS_MAX, env=environment)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    run.client, run.node = request.param, node
    return run


def test_everything_sent_in_every_codec_is_read(application):
    seen = application("codecs", "t")
    assert set(seen["codecs"]) == CODECS[application.client]
    assert sorted(seen["read"]) == sorted(f"{codec}-{n}-{'x' * 200}" for codec in seen["codecs"] for n in range(50))


def test_a_group_shares_partitions_and_resumes_where_it_was(application):
    """A member has all partitions, then half of them beside another, then all again. Each commits what it has read before it
    gives a partition up, so that nothing is read twice; one that comes later reads only what is new."""
    seen = application("group", "t", "g")
    assert (seen["alone"], seen["shared"]) == (4, [2, 2])
    assert sorted(map(int, seen["read"])) == list(range(80))
    assert sorted(map(int, seen["resumed"])) == list(range(80, 120))


def test_readers_see_what_is_committed_and_nothing_that_is_aborted(application):
    seen = application("transactions", "t", "x")
    assert sorted(seen["committed"]) == sorted(f"{n}-{p}" for n in range(0, 11, 2) for p in range(3))
    assert sorted(seen["uncommitted"]) == sorted(f"{n}-{p}" for n in range(11) for p in range(3))


def test_each_record_is_copied_exactly_once_with_its_offset_in_the_transaction(application):
    """From topic to topic in transactions that commit the group's offsets (sendOffsetsToTransaction); every third is
    aborted, and its records are read again."""
    seen = application("pipe", "in", "out", "g")
    assert sorted(map(int, seen["out"])) == list(range(60))
    assert seen["offsets"] == 60
    assert seen["aborted"] > 0


def test_producers_side_by_side_commit_one_transaction_after_the_other(node):
    """Each begins the next transaction while the markers of its last one are on their way, to several partitions at once, and
    is never told anything that it could not go on from."""
    needs(SETUP / "apps" / "bench")
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic("t", 6, 1)])["t"].result(20)
    done = subprocess.run([SETUP / "apps" / "bench", "transactions", node.bootstrap, "t", "4", "5", "7"], text=True,
                          capture_output=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stderr[-2000:]
    print(f"{done.stdout.strip()} transactions/s")
    reader = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "g", "isolation.level": "read_committed",
                       "enable.partition.eof": True})
    reader.assign([TopicPartition("t", partition, 0) for partition in range(6)])
    records, ends = 0, 0
    while ends < 6 and (message := reader.poll(20)) is not None:
        ends += bool(message.error())
        records += not message.error()
    reader.close()
    assert ends == 6 and records > 0 and records % 7 == 0, "whole transactions"


def test_the_administrator_of_each_client_gets_through(application):
    seen = application("admin", "t", "g")
    assert len(seen) > 20
    outcomes = {call.replace("_", "").lower(): outcome for call, outcome in seen.items()}
    unserved = {call for call, key in LATER.items() if key not in served(application.node.bootstrap)}
    failed = {call: outcome for call, outcome in outcomes.items() if outcome != "ok" and call not in SECURITY}
    assert not {call: outcome for call, outcome in failed.items() if call not in unserved}
    assert set(failed) == unserved & set(outcomes), "what is not served fails"
