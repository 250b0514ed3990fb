"""Tools of ours beside Apache Kafka's own, at the same broker: the same lines, streams and exit codes."""

import json
import re
import subprocess

from conftest import BINARY


def said(done):
    """Output, exit code, and of standard error the first line: behind it Java prints where it was."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("SLF4J")]
    return done.stdout, done.returncode, errors[:1]


def test_cluster_election_and_groups_print_what_kafkas_own_print(moldau, tools, java, tmp_path):
    at = ("--bootstrap-server", moldau.bootstrap)
    assert tools("kafka-topics", *at, "--create", "--topic", "a", "--partitions", 2).returncode == 0
    assert tools("kafka-console-producer", *at, "--topic", "a", input="x\ny\n").returncode == 0
    assert tools("kafka-console-consumer", *at, "--topic", "a", "--group", "readers", "--from-beginning", "--max-messages",
                 2).returncode == 0
    two, twice = tmp_path / "two.json", tmp_path / "twice.json"
    two.write_text(json.dumps({"partitions": [{"topic": "a", "partition": 0}, {"topic": "a", "partition": 1}]}))
    twice.write_text(json.dumps({"partitions": [{"topic": "a", "partition": 0}] * 2}))
    elect = ("kafka-leader-election", *at, "--election-type")
    for line in [
        ("kafka-cluster", "cluster-id", *at),
        ("kafka-cluster", "list-endpoints", *at),
        ("kafka-cluster", "unregister", *at, "--id", "9"),
        ("kafka-cluster", "unregister", *at),
        ("kafka-cluster", "list-endpoints", "--help"),
        (*elect, "preferred", "--path-to-json-file", two),
        (*elect, "preferred", "--path-to-json-file", twice),
        (*elect, "unclean", "--topic", "nope", "--partition", "0"),
        (*elect, "preferred", "--topic", "a"),
        ("kafka-leader-election", "--help"),
        ("kafka-groups", *at, "--list"),
        ("kafka-groups", *at, "--list", "--share"),
        ("kafka-groups", *at, "--list", "--group-type", "frob"),
    ]:
        assert said(tools(*line)) == said(java(*line)), line


def test_records_are_deleted_and_reported_as_kafkas_own_tool_does(moldau, tools, java, tmp_path):
    at = ("--bootstrap-server", moldau.bootstrap)
    outputs = {}
    for name, run in [("ours", tools), ("java", java)]:
        for topic, count in [("x", 5), ("y", 2)]:
            topic += name
            assert tools("kafka-topics", *at, "--create", "--topic", topic).returncode == 0
            lines = "".join(f"{n}\n" for n in range(count))
            assert tools("kafka-console-producer", *at, "--topic", topic, input=lines).returncode == 0
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"partitions": [{"topic": "x" + name, "partition": 0, "offset": 3},
                                                   {"topic": "y" + name, "partition": 0, "offset": 9}], "version": 1}))
        done = run("kafka-delete-records", *at, "--offset-json-file", file)
        # Topics of other names stand elsewhere in Java's order.
        outputs[name] = done.returncode, sorted(done.stdout.replace(name, "").splitlines())
        assert tools("kafka-get-offsets", *at, "--topic", "x" + name, "--time", "earliest").stdout == f"x{name}:0:3\n"
    assert outputs["ours"] == outputs["java"]
    for text in ["x", '{"version":2,"partitions":[]}', '{"partitions":[{"topic":"x","partition":0,"offset":1},'
                 '{"topic":"x","partition":0,"offset":1}]}']:
        file = tmp_path / "wrong.json"
        file.write_text(text)
        line = ("kafka-delete-records", *at, "--offset-json-file", file)
        assert said(tools(*line)) == said(java(*line)), text


def test_a_consumer_is_measured_in_the_lines_of_kafkas_own_tool(moldau, tools, java):
    at = ("--bootstrap-server", moldau.bootstrap)
    assert tools("kafka-topics", *at, "--create", "--topic", "perf", "--partitions", 2).returncode == 0
    lines = "".join(f"key{n}:{'v' * 1000}\n" for n in range(1500))
    keyed = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    assert tools("kafka-console-producer", *at, "--topic", "perf", *keyed, input=lines).returncode == 0
    perf = ("kafka-consumer-perf-test", *at)

    def shape(done):
        """The lines without what differs from run to run: times, rates, and which seconds they are of."""
        output, code, errors = said(done)
        rows = []
        for line in output.splitlines():
            cells = line.split(", ")
            # Of a row of figures, how much was read stays: megabytes and records.
            figures = len(cells) >= 10 and cells[2].replace(".", "").isdigit()
            kept = [cell if n in (2, 4) else re.sub(r"\d+", "#", cell) for n, cell in enumerate(cells)]
            rows.append(", ".join(kept) if figures else line)
        return rows, code, errors

    for arguments in [
        # A Java client on a busy machine takes its time to join.
        ("--topic", "perf", "--num-records", 1500, "--timeout", 60_000),
        ("--include", "pe.f", "--messages", 1500, "--hide-header", "--timeout", 60_000),
        ("--topic", "perf", "--num-records", 2000, "--timeout", 12_000, "--date-format", "yyyy/MM/dd HH-mm-ss"),
        ("--topic", "perf", "--num-records", 1500, "--timeout", 60_000, "--group", "stays", "--command-property", "client.id=me"),
        # Its offsets are committed.
        ("--topic", "perf", "--num-records", 10, "--timeout", 2000, "--group", "stays"),
        ("--topic", "perf", "--num-records", 10, "--timeout", 2000, "--from-latest", "--show-detailed-stats"),
        ("--topic", "perf"),
        ("--num-records", 5),
        ("--topic", "perf", "--num-records", "five"),
        ("--help",),
    ]:
        # The two have groups of their own where a group stays, so that each finds what it left itself.
        ours, theirs = (
            shape(run(*perf, *(f"{name}-{word}" if word == "stays" else word for word in arguments)))
            for name, run in (("ours", tools), ("java", java))
        )
        assert ours == theirs, arguments


def test_completions_name_what_there_is(moldau, tools, tmp_path):
    at = ("--bootstrap-server", moldau.bootstrap)
    for topic in ("orders", "orders.dead", "payments"):
        assert tools("kafka-topics", *at, "--create", "--topic", topic).returncode == 0
    script = subprocess.run([str(BINARY), "completions", "bash"], capture_output=True, text=True, check=True).stdout

    def completed(*words):
        """What bash offers behind these words, whose names come from the broker of the environment."""
        (tmp_path / "moldau.bash").write_text(script)
        quoted = " ".join(f"'{word}'" for word in words)
        asked = f"""source {tmp_path}/moldau.bash
            COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
            _moldau_live moldau '{words[-1]}' '{words[-2]}'; printf '%s\\n' "${{COMPREPLY[@]}}\""""
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, env={
            "PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "KAFKA_BOOTSTRAP_SERVERS": moldau.bootstrap})
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    (tmp_path / "moldau").symlink_to(BINARY)
    # The first time on a machine that is busy may take longer than anybody waits.
    for _ in range(20):
        if completed("moldau", "topic", "describe", "ord") == ["orders", "orders.dead"]:
            break
    assert completed("moldau", "topic", "describe", "ord") == ["orders", "orders.dead"]
    assert completed("moldau", "consume", "pay") == ["payments"]
    assert completed("moldau", "config", "explain", "retention.m") == ["retention.ms"]
    assert "describe" in completed("moldau", "topic", "de")
    # A broker that is away is not waited for: the names of the last time are offered.
    moldau.stop()
    assert completed("moldau", "topic", "describe", "ord") == ["orders", "orders.dead"]
