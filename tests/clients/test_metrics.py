"""What `/metrics` tells of a live cluster, that our dashboards and alert rules ask for nothing else, and JSON logs."""

import collections
import json
import re
import subprocess
import urllib.request

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import ROOT, SETUP, eventually

PROMTOOL = SETUP / "prometheus" / "usr" / "bin" / "promtool"
LINE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-zA-Z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_]+)="((?:[^"\\\n]|\\.)*)"')
# Words of PromQL, and `up`, which Prometheus itself adds.
NAME = re.compile(r"\b(?:kafka|moldau|process)_[a-z0-9_]+\b")
RECORDS, COMMITTED, PARTITIONS = 300, 40, 3


class Scrape:
    """One node's answer: `values[name]` is a list of (labels, value)."""

    def __init__(self, address):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            self.text = answer.read().decode()
        self.values, self.types, seen = collections.defaultdict(list), {}, set()
        for line in self.text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} is told in two places"
                self.types[name] = kind
            elif not line.startswith("# HELP "):
                match = LINE.fullmatch(line)
                assert match, f"no line of Prometheus' text format: {line!r}"
                name, labels, value = match.groups()
                assert line.rsplit(" ", 1)[0] not in seen, f"twice: {line}"
                seen.add(line.rsplit(" ", 1)[0])
                self.values[name].append((dict(LABEL.findall(labels or "")), float(value)))
        families = set(self.types) | {f"{name}{suffix}" for name, kind in self.types.items()
                                      if kind in ("histogram", "summary") for suffix in ("_bucket", "_sum", "_count")}
        assert set(self.values) <= families, set(self.values) - families

    def of(self, name, **labels):
        return [value for told, value in self.values[name] if labels.items() <= told.items()]


def http_address(node):
    return node.overrides["http.listener"]


def expressions():
    """Every PromQL expression that we ship, with where it stands."""
    for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        assert dashboard["uid"] == path.stem and dashboard["title"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield path.name, variable["definition"]
        for panel in dashboard["panels"]:
            assert panel["type"] == "row" or panel["targets"], f"{path.name}: {panel['title']} shows nothing"
            yield from ((f"{path.name}: {panel['title']}", target["expr"]) for target in panel.get("targets", []))
    rules = (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text()
    found = re.findall(r"^ +expr: (.+)$", rules, re.MULTILINE)
    assert len(found) == rules.count("- alert: "), "a rule's expression does not stand in one line"
    yield from (("rules.yaml", expression) for expression in found)


def test_names_in_dashboards_and_rules_are_documented():
    documented = (ROOT / "docs" / "METRICS.md").read_text()
    rows = {match[1]: match[2] for match in re.finditer(r"^\| `([a-z0-9_]+)` \| ([a-z]+) \|", documented, re.MULTILINE)}
    names = set(rows) | {f"{name}_{suffix}" for name, kind in rows.items()
                         if kind in ("histogram", "summary") for suffix in ("bucket", "sum", "count")}
    asked = [(where, name) for where, expression in expressions() for name in NAME.findall(expression)]
    assert len(asked) > 100
    assert not [(where, name) for where, name in asked if name not in names]


@pytest.mark.skipif(not PROMTOOL.exists(), reason="no promtool: apt-get could not bring it")
def test_promtool_takes_the_rules_and_the_scrape_configuration():
    for kind, file in (("rules", "rules.yaml"), ("config", "prometheus.yaml")):
        done = subprocess.run([PROMTOOL, "check", kind, ROOT / "deploy" / "prometheus" / file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_cluster_that_works_tells_all_that_dashboards_and_rules_ask_for_and_nothing_twice(start_cluster):
    cluster = start_cluster()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for name, future in admin.create_topics([NewTopic("told", PARTITIONS, 3), NewTopic("single", 1, 1)]).items():
        future.result(30)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    for n in range(RECORDS):
        producer.produce("told", b"%d" % n, partition=n % PARTITIONS)
    producer.produce("single", b"x")
    assert producer.flush(60) == 0
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "readers", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe(["told"])
    eventually(lambda: consumer.poll(1) is not None, 60, "a record")
    consumer.commit(offsets=[TopicPartition("told", 0, COMMITTED), TopicPartition("single", 0, 1)], asynchronous=False)

    def settled():
        """All three have seen the records committed everywhere."""
        nodes = {node.id: Scrape(http_address(node)) for node in cluster.nodes.values()}
        ends = [sum(s.of("kafka_topic_partition_current_offset", topic="told")) for s in nodes.values()]
        lag = [value for s in nodes.values() for value in s.of("kafka_consumergroup_lag", topic="told", partition="0")]
        return nodes if sum(ends) == RECORDS and lag == [RECORDS / PARTITIONS - COMMITTED] else None

    nodes = eventually(settled, 30, "what was written shows in the metrics")

    def total(name, **labels):
        return sum(sum(scrape.of(name, **labels)) for scrape in nodes.values())

    # What is the cluster's is told once.
    assert total("kafka_controller_kafkacontroller_activecontrollercount") == 1
    for name in ("kafka_brokers", "kafka_controller_kafkacontroller_activebrokercount"):
        assert [value for scrape in nodes.values() for value in scrape.of(name)] == [3]
    assert total("kafka_topic_partitions", topic="told") == PARTITIONS
    assert total("kafka_server_brokertopicmetrics_messagesin_total", topic="told") == RECORDS
    assert total("kafka_consumergroup_members", consumergroup="readers") == 1
    assert total("kafka_consumergroup_lag", topic="single") == 0, "a leader elsewhere was asked"
    assert len([1 for scrape in nodes.values() for _ in scrape.of("kafka_consumergroup_lag", topic="single")]) == 1
    told = collections.Counter((name, *sorted(labels.items())) for scrape in nodes.values() for name, all_values
                               in scrape.values.items() if name.startswith(("kafka_topic_", "kafka_consumergroup_", "kafka_cluster_"))
                               for labels, _ in all_values)
    assert told and set(told.values()) == {1}, [what for what, count in told.items() if count > 1]
    # Whoever follows has them too, and each node tells its own logs.
    assert total("kafka_log_log_logendoffset", topic="told") == 3 * RECORDS
    assert total("kafka_server_brokertopicmetrics_replicationbytesin_total") > 0
    assert all(sum(scrape.of("moldau_sync_seconds_count")) > 0 for scrape in nodes.values())
    assert total("moldau_request_seconds_count", request="Produce", part="remote") > 0
    assert total("kafka_network_requestmetrics_requests_total", request="ApiVersions") > 0
    # Dashboards and rules ask for nothing else.
    exported = {name for scrape in nodes.values() for name in scrape.values}
    asked = {(where, name) for where, expression in expressions() for name in NAME.findall(expression)}
    assert not {(where, name) for where, name in asked if name not in exported}
    consumer.close()


def test_families_and_numbers_of_series_are_the_operators_choice(start_moldau):
    node = start_moldau(metrics_families="exporter,moldau", metrics_series_max="10")
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    admin.create_topics([NewTopic("many", 20, 1)])["many"].result(30)

    def scraped():
        scrape = Scrape(f"127.0.0.1:{node.http_port}")
        return scrape if scrape.of("moldau_metrics_series_omitted")[0] > 0 else None

    scrape = eventually(scraped, 20, "series that are left out")
    assert scrape.of("moldau_metrics_series")[0] <= 10
    assert not [name for name in scrape.values if name.startswith(("process_", "kafka_server_", "kafka_log_"))]
    assert scrape.of("kafka_brokers") == [1]


def test_metrics_of_a_thousand_partitions_are_told_whole(start_moldau):
    node = start_moldau()
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    for future in admin.create_topics([NewTopic(f"topic-{n}", 100, 1) for n in range(10)]).values():
        future.result(60)

    def scraped():
        scrape = Scrape(f"127.0.0.1:{node.http_port}")
        return scrape if len(scrape.of("kafka_topic_partition_current_offset")) >= 1000 else None

    scrape = eventually(scraped, 60, "all partitions")
    assert scrape.of("moldau_metrics_series_omitted") == [0]
    assert len(scrape.of("kafka_log_log_size")) >= 1000


def test_logs_are_json_where_the_environment_says_so(start_moldau, monkeypatch):
    monkeypatch.setenv("MOLDAU_LOG_FORMAT", "json")
    node = start_moldau(no_such_setting="1")
    node.stop()
    lines = [json.loads(line) for line in node.log_path.read_text().splitlines() if line.startswith("{")]
    assert any("no.such.setting" in line["message"] and line["level"] == "WARN" for line in lines), lines
    assert all({"timestamp", "level", "message", "target"} <= line.keys() for line in lines)
    assert " INFO " not in node.log_path.read_text()
