"""A broker for each test that asks for one: the release binary, on free ports, in a folder of its own."""

import itertools
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETUP = pathlib.Path(os.environ.get("MOLDAU_TEST_SETUP", ROOT / "tests" / ".setup"))
BINARY = pathlib.Path(os.environ.get("MOLDAU_BINARY", ROOT / "target" / "release" / "moldau"))
START_SECONDS_MAX = 60


# Below the range from which the kernel takes the ports of outgoing connections: one of those would otherwise sit on a
# port between the moment it was chosen here and the moment the broker listens on it, or while a broker restarts.
PORTS = itertools.cycle(random.sample(range(16_000, 32_000), 16_000))


def free_port():
    for port in itertools.islice(PORTS, 200):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port between 16000 and 32000")


def answers(port, seconds):
    """Whether a broker answers here. One that listens may not serve yet: librdkafka waits ten seconds for that, and then
    begins anew, so that its own timeouts on a machine under load say nothing about the broker."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
            s.settimeout(max(seconds, 0.1))
            s.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
            return len(s.recv(8)) > 0
    except OSError:
        return False


def served(bootstrap):
    """What the broker advertises, by ApiVersions in version 0: {key: (lowest version, highest version)}."""
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
        stream = s.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    error, count = struct.unpack_from(">hi", answer, 4)
    assert error == 0
    rows = (struct.unpack_from(">hhh", answer, 10 + 6 * n) for n in range(count))
    return {key: (lowest, highest) for key, lowest, highest in rows}


class Moldau:
    """One `moldau start` process. `stop` is SIGTERM, `kill` is SIGKILL; `start` again keeps the data."""

    def __init__(self, folder, **overrides):
        self.folder = pathlib.Path(folder)
        self.port, self.controller_port, self.http_port = free_port(), free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.log_path = self.folder / "moldau.log"
        self.settings = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "node.id": "1",
            "log.dirs": str(self.folder / "data"),
            "http.listener": f"127.0.0.1:{self.http_port}",
            "group.initial.rebalance.delay.ms": "0",
            **{key.replace("_", "."): str(value) for key, value in overrides.items()},
        }
        self.process = None

    def command(self):
        command = [str(BINARY), "start"]
        for key, value in self.settings.items():
            command += ["--override", f"{key}={value}"]
        return command

    def start(self):
        log = open(self.log_path, "ab")
        # MOLDAU_* is a setting; these two are the tests' own.
        environment = {k: v for k, v in os.environ.items() if k not in ("MOLDAU_BINARY", "MOLDAU_TEST_SETUP")}
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=environment)
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"moldau exited with {self.process.returncode}:\n{self.log()}")
            if answers(self.port, deadline - time.monotonic()):
                return self
            time.sleep(0.01)
        raise AssertionError(f"moldau did not answer within {START_SECONDS_MAX} s:\n{self.log()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(timeout=30)
            assert code == 0, f"SIGTERM ended moldau with {code}:\n{self.log()}"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def log(self):
        return self.log_path.read_text(errors="replace")[-8000:]


class Kafka:
    """A real Apache Kafka 4.3.0 of one node, to compare with; stopped by its pid. Settings may name `{port}` and `{controller_port}`."""

    def __init__(self, folder, heap="512M", **overrides):
        self.folder, self.port, controller_port = pathlib.Path(folder), free_port(), free_port()
        ports = {"{port}": str(self.port), "{controller_port}": str(controller_port)}

        def setting(key, value):
            for name, port in ports.items():
                value = str(value).replace(name, port)
            return f"{key.replace('_', '.')}={value}"

        self.bootstrap = f"127.0.0.1:{self.port}"
        properties = self.folder / "server.properties"
        properties.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names=CONTROLLER",
            f"log.dirs={self.folder}/data", "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            *(setting(key, value) for key, value in overrides.items()), ""]))
        java = ["java", f"-Xms{heap}", f"-Xmx{heap}", "-cp", f"{SETUP}/jars/*"]
        # As Moldau's: controllers can be added and removed, for which the tool wants settings that do not name the voters.
        for_format = self.folder / "format.properties"
        for_format.write_text(properties.read_text().replace("quorum.voters=1@", "quorum.bootstrap.servers="))
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "--standalone", "-c",
                        str(for_format)], check=True, capture_output=True, timeout=120)
        log = open(self.folder / "kafka.log", "ab")
        self.process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log)

        def listens():
            assert self.process.poll() is None, (self.folder / "kafka.log").read_text()[-4000:]
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            except OSError:
                return False

        eventually(listens, 120, "Apache Kafka's listener")

    def stop(self):
        self.process.kill()
        self.process.wait(timeout=60)


@pytest.fixture
def kafka(tmp_path):
    folder = tmp_path / "kafka"
    folder.mkdir()
    node = Kafka(folder)
    yield node
    node.stop()


@pytest.fixture
def start_moldau(tmp_path):
    """Starts brokers that end with the test."""
    started = []

    def start(**overrides):
        folder = tmp_path / f"node-{len(started)}"
        folder.mkdir()
        node = Moldau(folder, **overrides).start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.kill()
        assert "panicked at" not in node.log(), node.log()


@pytest.fixture
def moldau(start_moldau):
    return start_moldau()


@pytest.fixture
def start_cluster(tmp_path):
    """Starts clusters of three nodes, each broker and controller, that end with the test: `cluster.nodes[1].kill()`,
    `cluster.leader("t", 0)`, `cluster.bootstrap`. Arguments as of `Cluster` in tests/chaos/cluster.py."""
    sys.path.insert(0, str(ROOT / "tests" / "chaos"))
    from cluster import Cluster
    started = []

    def start(kind="moldau", **arguments):
        cluster = Cluster(kind, tmp_path / f"cluster-{len(started)}", **arguments)
        started.append(cluster)
        return cluster.start()

    yield start
    for cluster in started:
        cluster.close()
        assert not cluster.panics(), cluster.panics()


@pytest.fixture
def cluster(start_cluster):
    return start_cluster()


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    """Our own Kafka tools by the names users type: links to the one binary."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("kafka-topics", "kafka-console-producer", "kafka-console-consumer", "kafka-consumer-groups",
                 "kafka-configs", "kafka-get-offsets", "kafka-broker-api-versions", "kafka-storage",
                 "kafka-metadata-quorum", "kafka-features", "kafka-transactions", "kafka-client-metrics",
                 "kafka-share-groups", "kafka-console-share-consumer", "kafka-log-dirs", "kafka-cluster",
                 "kafka-leader-election", "kafka-delete-records", "kafka-groups", "kafka-dump-log", "kafka-acls",
                 "kafka-consumer-perf-test", "kafka-delegation-tokens"):
        for suffix in ("", ".sh"):
            (folder / (name + suffix)).symlink_to(BINARY)

    def run(name, *arguments, input=None, timeout=60):
        return subprocess.run([str(folder / name), *map(str, arguments)], input=input, text=True,
                              capture_output=True, timeout=timeout)

    return run


JAVA_TOOLS = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "kafka-delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-console-share-consumer": "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
    "kafka-share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
}


@pytest.fixture(scope="session")
def java(tmp_path_factory):
    """Apache Kafka 4.3.0's own tools, by the same names."""
    jars = SETUP / "jars"
    if not jars.is_dir() or shutil.which("java") is None:
        pytest.fail("Apache Kafka's jars are not set up: run tests/setup.sh")
    log4j = tmp_path_factory.mktemp("java") / "log4j2.yaml"
    log4j.write_text("Configuration:\n  Loggers:\n    Root: {level: 'OFF'}\n")

    def run(name, *arguments, input=None, timeout=120, options=()):
        return subprocess.run(
            ["java", *options, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m",
             f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}/*", JAVA_TOOLS[name], *map(str, arguments)],
            input=input, text=True, capture_output=True, timeout=timeout)

    return run


def eventually(check, seconds=20, message="the condition"):
    """Polls until `check()` is truthy; a bounded wait for something another process does."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{message} did not come true within {seconds} s")
        time.sleep(0.05)
