"""What an operator does with `moldau`'s own commands: topics from a file, a broker out of the cluster, a look at what is wrong."""

import json
import os
import re
import subprocess
import threading

from conftest import BINARY, eventually, free_port

SECONDS_MAX = 90


def environment(**more):
    return {k: v for k, v in os.environ.items() if k not in ("MOLDAU_BINARY", "MOLDAU_TEST_SETUP")} | more


def moldau(*arguments, input=None):
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS_MAX,
                          input=input, env=environment())


def answer(*arguments, code=0):
    """A command's JSON."""
    done = moldau(*arguments, "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


FILE = """
topics:
  - name: orders
    partitions: 3
    configs:
      retention.ms: 60000
      cleanup.policy: [compact, delete]
  - plain
"""


def test_topics_become_what_a_file_says_and_a_second_time_nothing_changes(start_moldau, tmp_path):
    at = ("-b", start_moldau().bootstrap)
    file = tmp_path / "topics.yaml"
    file.write_text(FILE)
    dry = moldau("apply", "-f", file, "--dry-run", *at)
    assert (dry.returncode, dry.stdout) == (0, """\
+ orders
    partitions          3
    replication factor  the cluster's default
    cleanup.policy=compact,delete
    retention.ms=60000
+ plain
    partitions          the cluster's default
    replication factor  the cluster's default

2 topics would change; the cluster would take it
""")
    assert moldau("topic", "list", *at).stdout == ""
    asked = moldau("apply", "-f", file, *at, input="")
    assert asked.returncode == 1 and "add --yes" in asked.stderr
    assert moldau("topic", "list", *at).stdout == ""
    done = moldau("topic", "apply", "-f", file, "--yes", *at)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 topics changed")
    assert moldau("topic", "list", *at).stdout == "orders\nplain\n"
    again = moldau("apply", "-f", file, "--yes", *at)
    assert (again.returncode, again.stdout) == (0, "2 topics are as the file says, nothing to change\n")
    file.write_text(FILE.replace("partitions: 3", "partitions: 5").replace("60000", "null") + "  - {name: gone, state: absent}\n")
    changed = moldau("apply", "-f", file, "--yes", *at)
    assert changed.stdout.startswith("~ orders\n    partitions 3 -> 5\n    retention.ms 60000 -> (default)\n"), changed.stdout
    described = answer("topic", "describe", "orders", *at)
    assert len(described["partitions"]) == 5
    assert described["configs"]["cleanup.policy"] == "compact,delete" and "retention.ms" not in described["configs"]


def test_a_file_that_cannot_be_applied_changes_nothing_at_all(start_moldau, tmp_path):
    at = ("-b", start_moldau().bootstrap)
    assert moldau("topic", "create", "a", "-p", 3, *at).returncode == 0
    file = tmp_path / "topics.yaml"
    for text, words in [
        ("topics: [{name: new}, {name: a, partitions: 2}]", "a has 3 partitions and cannot have 2"),
        ("topics: [{name: new}, {name: a, configs: {retention.ms: soon}}]", "Invalid value soon for configuration retention.ms"),
        ("topics: [{name: new}, {name: b, replication_factor: 9}]", "b: "),
        ("topics: [{name: new, partition: 1}]", "new: partition is no field"),
    ]:
        file.write_text(text)
        refused = moldau("apply", "-f", file, "--yes", *at)
        assert (refused.returncode, refused.stdout) == (1, ""), text
        assert words in refused.stderr, refused.stderr
        assert moldau("topic", "list", *at).stdout == "a\n", text


def test_topics_of_the_environment_are_there_once_the_node_is(tmp_path):
    port, http = free_port(), free_port()
    node = subprocess.Popen(
        [str(BINARY), "start", "--override", f"listeners=PLAINTEXT://127.0.0.1:{port}", "--override",
         f"log.dirs={tmp_path}/data", "--override", f"http.listener=127.0.0.1:{http}"],
        stdout=subprocess.DEVNULL, stderr=open(tmp_path / "log", "w"),
        env=environment(KAFKA_CREATE_TOPICS="first:2:1,second:1:1:compact,bad:x:1"))
    try:
        at = ("-b", f"127.0.0.1:{port}")
        eventually(lambda: moldau("topic", "list", *at).stdout == "first\nsecond\n", message="the topics")
        assert len(answer("topic", "describe", "first", *at)["partitions"]) == 2
        assert answer("topic", "describe", "second", *at)["configs"]["cleanup.policy"] == "compact"
        assert "bad:x:1 is not NAME:PARTITIONS:REPLICAS" in (tmp_path / "log").read_text()
    finally:
        node.terminate()
        assert node.wait(timeout=30) == 0


def test_a_broker_is_drained_with_all_its_records(start_cluster):
    cluster = start_cluster()
    at = ("-b", cluster.bootstrap)
    for name in ("a", "b"):
        assert moldau("topic", "create", name, "-p", 6, "-r", 2, *at).returncode == 0
    produced = moldau("produce", "a", *at, input="".join(f"{n}\n" for n in range(1000)))
    assert produced.returncode == 0, produced.stderr
    assert [row["id"] for row in answer("broker", "list", *at)] == [1, 2, 3]
    planned = answer("broker", "drain", 3, "--dry-run", *at)
    assert planned and all(3 not in row["replicas"] for row in planned)
    drained = moldau("broker", "drain", 3, *at)
    assert drained.returncode == 0, drained.stderr
    assert "replicas moved" in drained.stderr and "broker 3 holds no replica any more" in drained.stdout
    rows = {row["id"]: row for row in answer("broker", "list", *at)}
    assert rows[3]["replicas"] == 0 and rows[1]["replicas"] == rows[2]["replicas"] == 12
    read = moldau("consume", "a", "-o", "earliest", "-n", 1000, *at)
    assert sorted(map(int, read.stdout.split())) == list(range(1000))
    assert moldau("topic", "create", "everywhere", "-r", 3, *at).returncode == 0
    refused = moldau("broker", "drain", 2, *at)
    assert refused.returncode == 1 and "1 partitions have a replica on every broker" in refused.stderr, refused.stderr
    unknown = moldau("broker", "drain", 9, *at)
    assert (unknown.returncode, unknown.stderr) == (1, "error: there is no broker 9; these are: 1,2,3\n")


def test_a_broker_that_is_decommissioned_is_forgotten_once_it_stops(start_cluster):
    cluster = start_cluster()
    at = ("-b", ",".join(node.bootstrap for node in cluster.nodes.values() if node.id != 3))
    assert moldau("topic", "create", "a", "-p", 3, "-r", 2, *at).returncode == 0
    leaving = subprocess.Popen([str(BINARY), "broker", "decommission", "3", *at], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=environment())
    told = []
    threading.Thread(target=lambda: told.extend(leaving.stderr), daemon=True).start()
    try:
        eventually(lambda: any("now stop node 3" in line for line in told) or leaving.poll() is not None, SECONDS_MAX,
                   "the request to stop node 3")
        assert leaving.poll() is None, told
        assert cluster.nodes[3].stop() == 0
        assert leaving.wait(timeout=SECONDS_MAX) == 0, told
    finally:
        leaving.kill()
    assert leaving.stdout.read() == "broker 3 is forgotten; its data can be removed\n"
    assert [row["id"] for row in answer("broker", "list", *at)] == [1, 2]
    replicas = answer("cluster", "quorum", *at)["replicas"]
    assert sorted(row["node_id"] for row in replicas if row["status"] != "observer") == [1, 2]
    assert moldau("cluster", "health", *at).returncode == 0


def test_a_cluster_says_whether_its_brokers_can_be_restarted(start_cluster):
    cluster = start_cluster()
    at = ("-b", cluster.bootstrap)
    assert moldau("topic", "create", "safe", "-p", 3, "-r", 3, "-c", "min.insync.replicas=2", *at).returncode == 0
    checked = answer("cluster", "rolling-restart", "--check", *at)
    assert checked["safe"] and sorted(row["broker"] for row in checked["order"]) == [1, 2, 3]
    leader = answer("cluster", "quorum", *at)["leader_id"]
    assert checked["order"][-1]["broker"] == leader
    cluster.nodes[1].kill()
    eventually(lambda: "would fall below min.insync.replicas" in moldau("cluster", "restart-safe", 2, *at).stderr,
               SECONDS_MAX, "broker 2 to be needed")
    assert moldau("cluster", "restart-safe", 2, *at).returncode == 4
    assert answer("cluster", "rolling-restart", "--check", *at, code=4)["safe"] is False


def test_a_doctor_finds_nothing_in_a_sound_cluster_and_an_address_that_leads_nowhere(start_moldau):
    node = start_moldau()
    found = answer("doctor", "-b", node.bootstrap)
    subjects = {finding["subject"] for finding in found["findings"]}
    assert {"bootstrap", "broker 1", "disk of 1", "versions", "partitions", "quorum", "clock", "open files"} <= subjects
    assert [f for f in found["findings"] if f["subject"] in ("broker 1", "clock") and f["verdict"] != "ok"] == []
    nowhere = start_moldau(advertised_listeners=f"PLAINTEXT://127.0.0.1:{free_port()}")
    sick = moldau("doctor", "-b", nowhere.bootstrap)
    assert sick.returncode == 4
    assert re.search(r"PROBLEM +broker 1 +clients are told 127.0.0.1:\d+: connection refused", sick.stdout), sick.stdout
    another = start_moldau(advertised_listeners=f"PLAINTEXT://{node.bootstrap}")
    sick = moldau("doctor", "-b", another.bootstrap)
    assert sick.returncode == 4 and "where a broker of cluster" in sick.stdout, sick.stdout


def test_a_doctor_of_a_dead_broker_says_what_refused():
    sick = moldau("doctor", "-b", f"127.0.0.1:{free_port()}")
    assert sick.returncode == 4
    assert "connection refused" in sick.stdout and "is a node running" in sick.stdout


def test_settings_that_differ_are_shown(start_moldau):
    at = ("-b", start_moldau(num_partitions=7).bootstrap)
    rows = answer("config", "diff", *at)
    assert rows["num.partitions"] == {"default": "1", "brokers": {"1": {"value": "7", "source": "start"}}}
    assert "node.id" not in rows and "node.id" in answer("config", "diff", "--all", *at)
    assert moldau("config", "diff", "--between", *at).stdout == "the brokers do not differ\n"


def test_a_load_that_remembers_finds_nothing_lost_when_a_leader_is_killed(start_cluster):
    cluster = start_cluster()
    at = ("-b", cluster.bootstrap)
    checking = subprocess.Popen([str(BINARY), "verify", "--duration-s", "8", "--rate", "400", *at, "--format", "json"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        eventually(lambda: moldau("topic", "list", *at).stdout.startswith("moldau-verify-"), message="the load's topic")
        topic = moldau("topic", "list", *at).stdout.strip()
        cluster.leader(topic, 0).kill()
        out, err = checking.communicate(timeout=SECONDS_MAX)
    finally:
        checking.kill()
    assert checking.returncode == 0, out + err
    found = json.loads(out)
    assert found["sound"] and found["acknowledged"] > 0 and found["found"] >= found["acknowledged"]
    assert moldau("topic", "list", *at).stdout == "", "its topic is deleted"


def test_a_load_that_remembers_notices_records_that_are_gone(start_moldau, tools):
    """Without this one the one above could not fail."""
    at = ("-b", start_moldau().bootstrap)
    assert moldau("topic", "create", "t", "-p", 1, *at).returncode == 0
    checking = subprocess.Popen([str(BINARY), "verify", "--topic", "t", "--duration-s", "5", "--rate", "200", *at],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    eventually(lambda: int(tools("kafka-get-offsets", "--bootstrap-server", at[1], "--topic", "t").stdout.split(":")[2]) > 20,
               message="the first records")
    deleting = tools("kafka-delete-records", "--bootstrap-server", at[1], "--offset-json-file", "/dev/stdin",
                     input=json.dumps({"partitions": [{"topic": "t", "partition": 0, "offset": 10}]}))
    assert deleting.returncode == 0, deleting.stderr
    out, err = checking.communicate(timeout=SECONDS_MAX)
    assert checking.returncode == 4, out + err
    assert "FAULT          10 lost: " in out and "the topic t stays" in err, out + err


def test_a_bench_measures_what_it_produced_and_consumed(start_moldau):
    at = ("-b", start_moldau().bootstrap)
    found = answer("bench", "--duration-s", 2, "--rate", 200, "--record-bytes", 100, *at)
    assert found["produced"]["records"] == found["consumed"]["records"] > 0
    assert 0 < found["consumed"]["latency_ms"]["p50"] <= found["consumed"]["latency_ms"]["max"]
    assert moldau("topic", "list", *at).stdout == ""
    assert moldau("bench", "--record-bytes", 1, *at).stderr == "error: --record-bytes 1: from 16 to 1048576\n"


def test_top_shows_topics_and_lag_where_there_is_no_terminal(start_moldau):
    at = ("-b", start_moldau().bootstrap)
    assert moldau("produce", "live", *at, input="a\nb\nc\n").returncode == 0
    assert moldau("consume", "live", "-g", "readers", "-o", "earliest", "-n", 1, *at).returncode == 0
    shown = moldau("top", "-n", 1, *at)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^live +- +3 +1 +0 +0$", shown.stdout, re.M), shown.stdout
    assert re.search(r"^readers +- +2 \w+$", shown.stdout, re.M), shown.stdout
