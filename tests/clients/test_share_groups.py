"""Share groups (KIP-932) through Kafka's own share consumer and tools: there is no other stock client that speaks them."""

import signal
import subprocess

import pytest

from conftest import SETUP, eventually

# Members are told to come every half second, and have a record for a second, so that a group settles in a test's time.
QUICK = {
    "group_share_heartbeat_interval_ms": 500,
    "group_share_min_heartbeat_interval_ms": 500,
    "group_share_session_timeout_ms": 6000,
    "group_share_min_session_timeout_ms": 1000,
    "group_share_assignment_interval_ms": 0,
    "group_share_record_lock_duration_ms": 3000,
    "group_share_min_record_lock_duration_ms": 1000,
}
CONSOLE = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
GROUPS = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
VERIFIABLE = "org.apache.kafka.tools.VerifiableShareConsumer"


def command(name, *arguments):
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", f"{SETUP}/jars/*", name,
            *map(str, arguments)]


def run(name, *arguments, timeout=120):
    done = subprocess.run(command(name, *arguments), text=True, capture_output=True, timeout=timeout)
    return done.stdout


@pytest.fixture
def node(start_moldau):
    return start_moldau(**QUICK)


def create(node, java, topic="t", partitions=1, group="g"):
    """A topic, and a group that reads it from its beginning."""
    java("kafka-topics", "--bootstrap-server", node.bootstrap, "--create", "--topic", topic, "--partitions", partitions)
    done = java("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "groups",
                "--entity-name", group, "--add-config", "share.auto.offset.reset=earliest")
    assert "Completed" in done.stdout, done.stderr


def produce(node, java, count, topic="t", first=0):
    values = "".join(f"v{n}\n" for n in range(first, first + count))
    java("kafka-console-producer", "--bootstrap-server", node.bootstrap, "--topic", topic, input=values)


def consume(node, count, *arguments, topic="t", group="g", wait_ms=20_000):
    """The values that a member got, and said something of."""
    output = run(CONSOLE, "--bootstrap-server", node.bootstrap, "--topic", topic, "--group", group, "--max-messages",
                 count, "--timeout-ms", wait_ms, *arguments)
    return [line for line in output.splitlines() if line.startswith("v")]


def groups(node, *arguments):
    return run(GROUPS, "--bootstrap-server", node.bootstrap, *arguments)


def row(output, topic, partition):
    """Start offset and lag of a partition, as `--describe` shows them."""
    rows = [line.split() for line in output.splitlines()]
    return next(tuple(cells[3:5]) for cells in rows if cells[1:3] == [topic, str(partition)])


class Member:
    """A share consumer that reads and accepts until it is ended; `lines` is what it has said so far."""

    def __init__(self, node, folder, name, *arguments):
        self.path = folder / f"{name}.log"
        self.process = subprocess.Popen(
            command(VERIFIABLE, "--bootstrap-server", node.bootstrap, "--topic", "t", "--group-id", "g", "--verbose",
                    *arguments), stdout=open(self.path, "wb"), stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def lines(self, event):
        return [line for line in self.path.read_text().splitlines() if f'"name":"{event}"' in line]

    def end(self, how=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)


def test_records_are_delivered_until_they_are_accepted(node, java):
    create(node, java)
    produce(node, java, 20)
    assert consume(node, 10) == [f"v{n}" for n in range(10)]
    again = [f"v{n}" for n in range(10, 15)]
    assert consume(node, 5, "--release") == again
    assert consume(node, 5, "--reject") == again, "released records come again, rejected ones do not"
    assert consume(node, 50, wait_ms=5_000) == [f"v{n}" for n in range(15, 20)]
    assert consume(node, 50, wait_ms=3_000) == []


def test_a_restart_keeps_what_was_accepted(node, java):
    create(node, java)
    produce(node, java, 10)
    assert len(consume(node, 4)) == 4
    node.kill()
    node.start()
    produce(node, java, 2, first=10)
    assert consume(node, 50, wait_ms=6_000) == [f"v{n}" for n in range(4, 12)]


def test_what_a_killed_member_had_goes_to_another(node, java, tmp_path):
    create(node, java)
    members = [Member(node, tmp_path, "a"), Member(node, tmp_path, "b")]
    try:
        for round_ in range(4):
            produce(node, java, 50, first=50 * round_)
        delivered = lambda: sum(len(member.lines("record_data")) for member in members)
        eventually(lambda: delivered() >= 200, 60, "all records are delivered")
        members[0].end()
        produce(node, java, 50, first=200)
        seen = lambda: {line.split('"value":"')[1].split('"')[0] for member in members
                        for line in member.lines("record_data")}
        eventually(lambda: len(seen()) == 250, 60, "what comes afterwards is delivered by the other")
    finally:
        for member in members:
            member.end()
    eventually(lambda: row(groups(node, "--describe", "--group", "g"), "t", 0)[1] == "0", 60, "nothing is left")


def test_a_group_is_listed_described_and_deleted(node, java):
    create(node, java, partitions=2)
    produce(node, java, 10)
    assert len(consume(node, 10)) == 10
    assert groups(node, "--list").split() == ["g"]
    described = groups(node, "--describe", "--group", "g")
    assert sorted([row(described, "t", 0), row(described, "t", 1)])[0][0] in ("-", "0")
    state = groups(node, "--describe", "--group", "g", "--state")
    assert "Empty" in state
    assert "NEW-OFFSET" in groups(node, "--reset-offsets", "--group", "g", "--topic", "t", "--to-earliest", "--execute")
    assert len(consume(node, 50, wait_ms=5_000)) == 10, "they are delivered again"
    assert "Successful" in groups(node, "--delete-offsets", "--group", "g", "--topic", "t")
    assert "no offset information" in groups(node, "--describe", "--group", "g")
    assert "successful" in groups(node, "--delete", "--group", "g")
    assert groups(node, "--list").strip() == ""


def test_our_tool_says_what_kafkas_says(node, java, tools, tmp_path):
    create(node, java, partitions=2)
    produce(node, java, 10)
    at = ("--bootstrap-server", node.bootstrap)

    def said(run, *arguments):
        done = run("kafka-share-groups", *at, *arguments)
        return done.stdout, "".join(line for line in done.stderr.splitlines(True) if not line.startswith("SLF4J"))

    def both(*arguments):
        ours, theirs = said(tools, *arguments), said(java, *arguments)
        assert ours == theirs, arguments
        return ours[0]

    describe = ("--describe", "--group", "g")
    reset = ("--reset-offsets", "--group", "g")
    # A stack trace is what Kafka's tool adds on standard error where it cannot describe.
    assert said(tools, *describe)[0] == said(java, *describe)[0]
    both("--list")
    both("--describe", "--all-groups")
    both("--delete", "--group", "g")
    both("--delete-offsets", "--group", "g", "--topic", "t")
    member = Member(node, tmp_path, "a")
    try:
        eventually(lambda: len(member.lines("record_data")) == 10, 60, "all is delivered")
        eventually(lambda: row(groups(node, *describe), "t", 0)[1] != "-" or row(groups(node, *describe), "t", 1)[1] != "-",
                   60, "something is accepted")
        eventually(lambda: {row(groups(node, *describe), "t", partition)[1] for partition in (0, 1)} <= {"0", "-"}, 60,
                   "and all of it")
        for arguments in ((), ("--offsets", "--verbose"), ("--members",), ("--members", "--verbose"), ("--state",),
                          ("--state", "--verbose")):
            assert both(*describe, *arguments).count("\n") > 2
        assert "Stable" in both("--list", "--state")
        both("--list", "--state", "empty,Dead")
        both("--delete", "--group", "g")
        both("--delete-offsets", "--group", "g", "--topic", "t")
        both(*reset, "--topic", "t", "--to-earliest", "--dry-run")
    finally:
        member.end(signal.SIGTERM)
    eventually(lambda: "Empty" in groups(node, "--list", "--state"), 30, "the group is empty")
    for arguments in ((), ("--members",), ("--state",)):
        both(*describe, *arguments)
    both(*reset, "--topic", "t", "--to-earliest", "--dry-run")
    both(*reset, "--topic", "t:1", "--to-latest", "--dry-run")
    both(*reset, "--all-topics", "--to-datetime", "2020-01-01T00:00:00.000", "--dry-run")
    both("--reset-offsets", "--group", "new", "--all-topics", "--to-earliest", "--dry-run")
    assert "does not host" in said(tools, *reset, "--topic", "none", "--to-latest", "--dry-run")[0]
    assert said(tools, *reset, "--topic", "t:7", "--to-latest", "--dry-run")[0] \
        == said(java, *reset, "--topic", "t:7", "--to-latest", "--dry-run")[0]
    # Each of the two does it, and the other sees it done.
    for execute, look in ((tools, java), (java, tools)):
        execute("kafka-share-groups", *at, *reset, "--topic", "t", "--to-latest", "--execute")
        assert "NEW-OFFSET" in said(execute, *reset, "--topic", "t", "--to-earliest", "--execute")[0]
        assert row(said(look, *describe)[0], "t", 1)[0] == "0"
    both("--delete-offsets", "--group", "g", "--topic", "none")
    assert said(tools, "--delete-offsets", "--group", "g", "--topic", "t") == (
        "\nTOPIC           STATUS\nt               Successful\n", "")
    both(*describe)
    failed = tools("kafka-share-groups", *at, "--delete", "--group", "g", "--group", "h")
    assert failed.returncode == 1 and "deleted successfully: 'g'" in failed.stdout
    assert both("--list") == ""


def test_our_consumer_takes_part_in_a_group_beside_kafkas(node, java, tools):
    create(node, java)
    done = java("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "groups",
                "--entity-name", "g", "--add-config", "share.delivery.count.limit=10")
    assert "Completed" in done.stdout, done.stderr
    produce(node, java, 20)
    command = ("kafka-console-share-consumer", "--bootstrap-server", node.bootstrap, "--topic", "t", "--group", "g")

    def ours(count, *arguments, wait_ms=20_000):
        done = tools(*command, "--max-messages", count, "--timeout-ms", wait_ms, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"Processed a total of {len(done.stdout.splitlines())} messages\n"
        return done.stdout.splitlines()

    assert ours(5) == [f"v{n}" for n in range(5)]
    assert consume(node, 5) == [f"v{n}" for n in range(5, 10)], "what ours did not print is for others"
    again = [f"v{n}" for n in range(10, 15)]
    assert ours(5, "--release") == again
    shown = [word for name in ("offset", "partition", "delivery", "epoch", "headers", "key") for word in
             ("--formatter-property", f"print.{name}=true")]
    told = ours(5, "--release", *shown)
    theirs = run(CONSOLE, *command[1:], "--max-messages", 5, "--timeout-ms", 20_000, "--release", *shown)
    # What a member gives back unseen was delivered, too: the fourth time and the fifth, here.
    assert [line.replace("Delivery:4", "Delivery:5") for line in told] \
        == [line for line in theirs.splitlines() if line.startswith("Partition")]
    assert ours(5, "--reject") == again
    assert ours(50, wait_ms=5_000) == [f"v{n}" for n in range(15, 20)]
    assert ours(50, wait_ms=3_000) == []
    eventually(lambda: row(groups(node, "--describe", "--group", "g"), "t", 0)[1] == "0", 60, "nothing is left")
    assert "Empty" in groups(node, "--describe", "--group", "g", "--state"), "it has left the group"


def test_kafka_reads_what_was_written(node, java, tools):
    create(node, java)
    produce(node, java, 5)
    assert len(consume(node, 5)) == 5
    node.stop()
    logs = sorted((node.folder / "data").glob("__share_group_state-*/*.log"))
    written = [path for path in logs if path.stat().st_size > 0]
    dump, ours = (run("kafka-dump-log", "--share-group-state-decoder", "--print-data-log", "--files",
                      ",".join(map(str, written))).stdout for run in (java, tools))
    assert '"deliveryState":2' in dump and '"groupId":"g"' in dump, dump
    assert ours == dump
    offsets = sorted((node.folder / "data").glob("__consumer_offsets-*/*.log"))
    offsets = ",".join(str(path) for path in offsets if path.stat().st_size > 0)
    dump, ours = (run("kafka-dump-log", "--offsets-decoder", "--files", offsets).stdout for run in (java, tools))
    assert '"type":"11"' in dump and ours == dump


def test_the_death_of_a_node_loses_nothing_that_was_accepted(start_cluster, java):
    cluster = start_cluster()
    topic = ("kafka-topics", "--bootstrap-server", cluster.bootstrap, "--create", "--topic", "t", "--partitions", 1,
             "--replication-factor", 3)
    assert java(*topic).returncode == 0
    create(cluster, java)
    produce(cluster, java, 20)
    accepted = consume(cluster, 7, wait_ms=30_000)
    assert accepted == [f"v{n}" for n in range(7)]
    cluster.leader("t", 0).kill()
    produce(cluster, java, 5, first=20)
    rest = consume(cluster, 50, wait_ms=15_000)
    assert sorted(rest, key=lambda value: int(value[1:])) == [f"v{n}" for n in range(7, 25)]
