"""Kafka Connect in distributed mode, with its own file connectors: what is in the source file comes to the sink file."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from conftest import SETUP, eventually, free_port

SECONDS = 120
INTERNAL = {"config.storage": "connect-configs", "offset.storage": "connect-offsets", "status.storage": "connect-status"}


class Worker:
    """A worker of Kafka Connect, with the settings of a user who has one broker; `stop` is SIGTERM, `kill` is SIGKILL."""

    def __init__(self, node, folder):
        self.port, self.folder, self.process = free_port(), folder, None
        plugins = folder / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "connect-file.jar").symlink_to(SETUP / "jars" / "connect-file-4.3.0.jar")
        settings = {
            "bootstrap.servers": node.bootstrap, "group.id": "connect", "listeners": f"http://127.0.0.1:{self.port}",
            "plugin.path": plugins, "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "offset.flush.interval.ms": 500, "scheduled.rebalance.max.delay.ms": 0, "exactly.once.source.support": "enabled",
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
            # Segments end every second, so that the broker has something to compact in a test's time.
            "offset.storage.segment.ms": 1000, "offset.storage.min.cleanable.dirty.ratio": 0.01,
            "offset.storage.partitions": 1,
        }
        for store, topic in INTERNAL.items():
            settings |= {f"{store}.topic": topic, f"{store}.replication.factor": 1}
        (folder / "worker.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (folder / "log4j2.yaml").write_text("""Configuration:
  Appenders: {Console: {name: out, PatternLayout: {pattern: '%d %p %m (%c)%n'}}}
  Loggers: {Root: {level: WARN, AppenderRef: {ref: out}}}
""")

    def start(self):
        self.process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx384m",
             f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml", "-cp", f"{SETUP}/jars/*",
             "org.apache.kafka.connect.cli.ConnectDistributed", str(self.folder / "worker.properties")],
            stdin=subprocess.DEVNULL, stdout=(self.folder / "output").open("a"), stderr=subprocess.STDOUT)
        eventually(lambda: self.ask("GET", "/connectors") is not None, SECONDS, "the worker's REST interface")
        return self

    def output(self):
        return (self.folder / "output").read_text()[-6000:]

    def ask(self, method, path, body=None):
        """The answer, or nothing while the worker starts or its group rebalances."""
        assert self.process.poll() is None, self.output()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=json.dumps(body).encode() if body else None,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or "true")
        except urllib.error.HTTPError as error:
            assert error.code in (404, 409, 500, 503), (error.code, error.read())
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        return None

    def create(self, name, kind, **settings):
        config = {"connector.class": f"org.apache.kafka.connect.file.FileStream{kind}Connector", "tasks.max": 1, **settings}
        eventually(lambda: self.ask("PUT", f"/connectors/{name}/config", config), SECONDS, f"the connector {name}")

    def runs(self, name):
        status = self.ask("GET", f"/connectors/{name}/status")
        tasks = [task["state"] for task in status["tasks"]] if status else []
        assert "FAILED" not in tasks, status
        return tasks == ["RUNNING"]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(60)


@pytest.fixture
def worker(start_moldau, tmp_path):
    node = start_moldau(log_cleaner_backoff_ms=200)
    worker = Worker(node, tmp_path / "connect")
    worker.node = node
    yield worker
    if worker.process and worker.process.poll() is None:
        worker.kill()


def committed(admin, group, topic):
    partitions = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20).topic_partitions
    return {(p.topic, p.partition): p.offset for p in partitions}.get((topic, 0))


def offsets_in(node, topic, first=0):
    """The offsets of the records that a topic of one partition has, from an offset on. Markers of transactions have some, too,
    and are no records: the end of a partition is not what its reader commits."""
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "compaction", "enable.partition.eof": True,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, first)])
    found = []
    while (message := consumer.poll(20)) is not None:
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            break
        found.append(message.offset())
    consumer.close()
    return found


def test_a_files_lines_come_to_another_file_through_restarts_and_kills_of_the_worker(worker, tmp_path):
    node, source, sink = worker.node, tmp_path / "source.txt", tmp_path / "sink.txt"
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    lines = 0

    def write(count):
        nonlocal lines
        with source.open("a") as file:
            file.writelines(f"line {n}\n" for n in range(lines, lines + count))
        lines += count

    def copied():
        """Everything is in the sink's file, and the group's offset says so: a restart repeats nothing."""
        eventually(lambda: sink.exists() and sink.read_bytes() == source.read_bytes(), SECONDS, "the sink's file")
        eventually(lambda: not offsets_in(node, "lines", committed(admin, "connect-sink", "lines") or 0), SECONDS,
                   "the sink's offsets")

    write(1000)
    worker.start()
    worker.create("source", "Source", file=str(source), topic="lines")
    worker.create("sink", "Sink", file=str(sink), topics="lines", **{"consumer.override.auto.offset.reset": "earliest"})
    eventually(lambda: worker.runs("source") and worker.runs("sink"), SECONDS, "both tasks")
    copied()
    write(500)
    worker.stop()
    write(500)
    worker.start()
    copied()
    worker.kill()
    write(1000)
    worker.start()
    copied()
    node.kill()
    node.start()
    write(1000)
    copied()
    assert sink.read_text().splitlines() == [f"line {n}" for n in range(4000)]
    eventually(lambda: worker.runs("source") and worker.runs("sink"), SECONDS, "both tasks")

    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in INTERNAL.values()]
    for resource, future in admin.describe_configs(resources).items():
        assert future.result(20)["cleanup.policy"].value == "compact", resource
    # The source's position is written again with every transaction; of the older ones compaction leaves nothing.
    last = offsets_in(node, "connect-offsets")[-1]

    def compacted():
        write(1)
        copied()
        return offsets_in(node, "connect-offsets")[0] >= last

    eventually(compacted, SECONDS, "the compaction of the positions")
    for connector in ("source", "sink"):
        eventually(lambda: worker.ask("DELETE", f"/connectors/{connector}"), SECONDS, "the deletion")
    eventually(lambda: worker.ask("GET", "/connectors") == [], SECONDS, "no connector")
