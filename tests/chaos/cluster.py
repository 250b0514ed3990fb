"""Clusters of real processes on free ports of this machine: Moldau's, and Apache Kafka's for comparison, behind one face.

Each node has three listeners: EXTERNAL for clients, PLAINTEXT between brokers, CONTROLLER. With `links` the latter two are
reached through `proxy.py`, which can hold back what one node sends to another."""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))
from conftest import BINARY, SETUP, answers, free_port  # noqa: E402

import disk  # noqa: E402
import names as names_of_nodes  # noqa: E402
import wall_clock  # noqa: E402
import wire  # noqa: E402

# An earlier version's, to come from and to go back to: tests/upgrade.sh builds it.
OLD_BINARY = pathlib.Path(os.environ["MOLDAU_OLD_BINARY"]).resolve() if os.environ.get("MOLDAU_OLD_BINARY") else None
# Bounds of waiting. A JVM on a loaded machine needs more of them than ours: there it is the harness that is tested.
PATIENCE = {"moldau": 1, "kafka": 3}
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
# A session timeout of 3 s, as the tests of both; everything else that is named here makes three nodes survive one's death.
SETTINGS = {
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "5000",
}
KAFKA_SETTINGS = {
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


def eventually(check, seconds, what):
    """Polls until `check()` is truthy; a bounded wait for something other processes do."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = check()
        except wire.NoAnswer:
            result = None
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.02)


class NodeEnded(AssertionError):
    """A node that nobody told to."""


class Node:
    """One process; `kill` is SIGKILL, `stop` SIGTERM. `spawn` again keeps the data."""

    def __init__(self, node_id, folder):
        self.id, self.folder = node_id, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.client_port, self.broker_port, self.controller_port = free_port(), free_port(), free_port()
        self.broker_address = f"127.0.0.1:{self.broker_port}"
        self.controller_address = f"127.0.0.1:{self.controller_port}"
        self.bootstrap = f"127.0.0.1:{self.client_port}"
        self.data = self.folder / "data"
        self.log_path = self.folder / "node.log"
        self.process = None
        self.is_wanted = False  # whether it should be running
        self.has_metadata_apart = self.is_mounted = False
        self.variables = {}  # of the environment, for this node alone

    def settings(self, voters, extra):
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.id),
            "listeners": f"EXTERNAL://127.0.0.1:{self.client_port},PLAINTEXT://127.0.0.1:{self.broker_port},"
                         f"CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"EXTERNAL://{self.bootstrap},PLAINTEXT://{self.broker_address}",
            "listener.security.protocol.map": "EXTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            "log.dirs": str(self.data),
            **({"metadata.log.dir": str(self.folder / "metadata")} if self.has_metadata_apart else {}),
            **{key: value for key, value in {**SETTINGS, **extra}.items() if value is not None},
        }

    def environment(self):
        # MOLDAU_* is a setting; these are the tests' own. The proxy tells nodes apart by CHAOS_NODE.
        kept = {k: v for k, v in os.environ.items() if k not in ("MOLDAU_BINARY", "MOLDAU_OLD_BINARY", "MOLDAU_TEST_SETUP")}
        return {**kept, "CHAOS_NODE": str(self.id), "CLUSTER_ID": CLUSTER_ID, **self.variables}

    def preload(self, variables):
        """One more library in the process: LD_PRELOAD takes several."""
        before = self.variables.get("LD_PRELOAD")
        self.variables |= variables
        if before:
            self.variables["LD_PRELOAD"] = f"{before}:{variables['LD_PRELOAD']}"

    def spawn(self):
        assert not self.is_alive(), f"node {self.id} runs already"
        self.is_wanted = True
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment())
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_until_it_answers(self, seconds):
        def check():
            if not self.is_alive():
                raise AssertionError(f"node {self.id} ended with {self.process.returncode}:\n{self.log()}")
            return answers(self.client_port, 2)

        eventually(check, seconds, f"an answer of node {self.id}")
        return self

    def send_kill(self):
        self.is_wanted = False
        self.process.kill()

    def kill(self):
        """SIGKILL; returns the exit code, -9 where that was what ended it."""
        self.send_kill()
        return self.process.wait(timeout=STOP_SECONDS_MAX)

    def stop(self):
        """SIGTERM; returns the exit code. A node that does not end is killed, and its code is None."""
        self.is_wanted = False
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def state(self):
        """The process's state as the kernel names it: S sleeps, T is stopped, Z has ended."""
        try:
            return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return "Z"

    def mount(self, megabytes):
        self.data.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", f"chaos-{self.id}", str(self.data)], check=True)
        self.is_mounted = True

    def unmount(self):
        if self.is_mounted:
            # What is on it goes with it: whoever looks into a failure needs the files.
            shutil.rmtree(self.folder / "data.kept", ignore_errors=True)
            shutil.copytree(self.data, self.folder / "data.kept")
            subprocess.run(["umount", "-l", str(self.data)], check=False)
            self.is_mounted = False

    def memory_mb(self):
        fields = pathlib.Path(f"/proc/{self.pid}/status").read_text().split()
        return int(fields[fields.index("VmRSS:") + 1]) / 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wipe(self):
        """Takes all that the stopped node's broker has stored. Its controller keeps what it has: a voter that forgot
        its vote would have to come back as somebody else."""
        assert not self.is_alive() and self.has_metadata_apart
        shutil.rmtree(self.data)
        self.data.mkdir()

    def log(self, bytes_max=8000):
        return self.log_path.read_text(errors="replace")[-bytes_max:] if self.log_path.exists() else ""


class MoldauNode(Node):
    binary = BINARY

    def prepare(self, voters, extra):
        self.overrides = {**self.settings(voters, extra), "http.listener": f"127.0.0.1:{free_port()}"}

    def command(self):
        command = [str(self.binary), "start"]
        for key, value in self.overrides.items():
            command += ["--override", f"{key}={value}"]
        return command


class NamedNode(names_of_nodes.Named, MoldauNode):
    pass


class KafkaNode(Node):
    heap = "320M"

    def java(self, *arguments):
        return ["java", f"-Xms{self.heap}", f"-Xmx{self.heap}", "-cp", f"{SETUP}/jars/*", *arguments]

    def prepare(self, voters, extra):
        self.properties = self.folder / "server.properties"
        settings = {**self.settings(voters, extra), **KAFKA_SETTINGS}
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self.format()

    def format(self, *more):
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self.properties), *more),
                       check=True, capture_output=True, timeout=120)

    def wipe(self):
        super().wipe()
        self.format("--ignore-formatted")

    def command(self):
        return self.java("kafka.Kafka", str(self.properties))


def alone(settings):
    """The settings of a node without others: it can have no second copy of anything."""
    return {**{key: "1" for key in SETTINGS if key.endswith(("replication.factor", "min.isr", "insync.replicas"))}, **settings}


class Links:
    """The proxy process and its rules."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(HERE / "proxy.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.rules = []

    def ask(self, command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the proxy has ended"
        return json.loads(answer)

    def listen(self, node, kind, port):
        at = free_port()
        self.ask({"do": "listen", "node": str(node), "kind": kind, "port": port, "at": at})
        return f"127.0.0.1:{at}"

    def rule(self, source, target, mode, **more):
        self.rules.append({"from": str(source), "to": str(target), "mode": mode, **more})
        self.ask({"do": "rules", "rules": self.rules})

    def heal(self):
        self.rules = []
        self.ask({"do": "rules", "rules": []})

    def counts(self):
        return collections.Counter(self.ask({"do": "counts"}))

    def close(self):
        self.process.kill()
        self.process.wait(timeout=10)


class Cluster:
    """Three nodes of both roles, of `kind` moldau or kafka. With `metadata_apart`, log.dirs holds partitions only;
    with `small_disks_mb` they are on a file system of that size; with `disks`, each node has one that forgets what was not
    synced (disk.py), and with `wall_clocks` a wall clock that can be moved (wall_clock.py). `links` puts the proxy between
    nodes, `client_links` also between clients and nodes. With `from_old` they begin as an earlier version's binary, with `names` they are found by names and
    change their addresses (names.py)."""

    def __init__(self, kind, folder, nodes=3, links=False, metadata_apart=False, disks=False, small_disks_mb=0,
                 wall_clocks=False, client_links=False, from_old=False, names=False, settings=None):
        self.kind, self.folder = kind, pathlib.Path(folder)
        make = {"moldau": NamedNode if names else MoldauNode, "kafka": KafkaNode}[kind]
        self.nodes = {i: make(i, self.folder / f"node-{i}") for i in range(1, nodes + 1)}
        for node in self.nodes.values():
            node.has_metadata_apart = metadata_apart
            if from_old:
                node.binary = OLD_BINARY
            if small_disks_mb:
                node.mount(small_disks_mb)
        self.names = names_of_nodes.Names(self.folder) if names else None
        if self.names:
            ports = [free_port() for _ in range(3)]
            for node in self.nodes.values():
                node.name_it(ports)
            self.names.tell({node.name: node.address for node in self.nodes.values()})
        self.links = Links() if links or client_links else None
        if self.links:
            for node in self.nodes.values():
                node.broker_address = self.links.listen(node.id, "broker", node.broker_port)
                node.controller_address = self.links.listen(node.id, "controller", node.controller_port)
                if client_links:
                    node.bootstrap = self.links.listen(node.id, "client", node.client_port)
        voters = ",".join(f"{node.id}@{node.controller_address}" for node in self.nodes.values())
        for node in self.nodes.values():
            node.prepare(voters, (settings or {}) if nodes > 1 else alone(settings or {}))
        self.disks = {}
        if disks:
            library = disk.build(self.folder)
            for node in self.nodes.values():
                self.disks[node.id] = disk.Disk(node.data, node.folder / "shadow", library)
                node.preload(self.disks[node.id].variables)
        self.wall_clocks = {}
        if wall_clocks:
            library = wall_clock.build(self.folder)
            for node in self.nodes.values():
                self.wall_clocks[node.id] = wall_clock.WallClock(node.folder / "clock", library)
                node.preload(self.wall_clocks[node.id].variables)
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes.values())

    def start(self):
        for node in self.nodes.values():
            node.spawn()
        for node in self.nodes.values():
            node.wait_until_it_answers(START_SECONDS_MAX * PATIENCE[self.kind])
        eventually(lambda: len(wire.metadata(self.port())[0]) == len(self.nodes), START_SECONDS_MAX, "all brokers there")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for node in self.nodes.values():
            if node.is_alive():
                node.resume()
                node.kill()
            node.unmount()
        if self.links:
            self.links.close()
        if self.names:
            self.names.close()

    def stop(self, seconds=30):
        """SIGTERM to all at once; the exit codes, None for what had to be killed."""
        nodes, deadline = [node for node in self.nodes.values() if node.is_alive()], time.monotonic() + seconds
        for node in nodes:
            node.is_wanted = False
            node.process.send_signal(signal.SIGTERM)
        codes = {}
        for node in nodes:
            try:
                codes[node.id] = node.process.wait(timeout=max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.kill()
                codes[node.id] = None
        return codes

    def alive(self):
        return [node for node in self.nodes.values() if node.is_alive() and node.state() not in "TZ"]

    def ask(self, question, *arguments, of=None, **named):
        """Asks one node after another until one answers."""
        error = wire.NoAnswer("no node is alive")
        for node in of or self.alive():
            try:
                return question(node.client_port, *arguments, **named)
            except wire.NoAnswer as e:
                error = e
        raise error

    def port(self):
        return self.alive()[0].client_port

    def create_topic(self, name, partitions=3, settings=None):
        replicas = min(3, len(self.nodes))
        eventually(lambda: self.ask(wire.create_topic, name, partitions, replicas, settings) is None, 60,
                   f"topic {name} created")
        self.wait_until_whole([name])

    def partition(self, topic, index):
        """A partition as the first node sees it that knows a leader."""
        error = wire.NoAnswer(f"nobody knows a leader of {topic}-{index}")
        for node in self.alive():
            try:
                found = wire.metadata(node.client_port, [topic])[1].get(topic, {}).get(index)
            except wire.NoAnswer as e:
                error = e
                continue
            if found and found.leader >= 0:
                return found
        raise error

    def leader(self, topic, index, seconds=30):
        return self.nodes[eventually(lambda: self.partition(topic, index), seconds, f"a leader of {topic}-{index}").leader]

    def controller(self, seconds=30):
        def check():
            leader, _ = self.ask(wire.quorum_leader)
            return self.nodes.get(leader)

        return eventually(check, seconds, "an active controller")

    def controller_epoch(self):
        return self.ask(wire.quorum_leader)[1]

    def coordinator(self, group, seconds=30):
        return self.nodes[eventually(lambda: self.ask(wire.coordinator, group), seconds, f"a coordinator of {group}")]

    def committed(self, group):
        return wire.committed(self.coordinator(group).client_port, group)

    def end_offsets(self, topic, seconds=30):
        def of(index):
            return eventually(lambda: (wire.end_offset(self.leader(topic, index).client_port, topic, index),), seconds,
                              f"the end of {topic}-{index}")[0]

        return {index: of(index) for index in wire.metadata(self.port(), [topic])[1][topic]}

    def is_whole(self, topics):
        """Whether every replica of these topics is in sync, with a leader, in the view of every node."""
        for node in self.nodes.values():
            if node.is_wanted and not node.is_alive():
                raise NodeEnded(f"node {node.id} ended by itself with {node.process.returncode}: {node.log(1000)}")
        if len(self.alive()) < len(self.nodes):
            return False
        for node in self.nodes.values():
            found = wire.metadata(node.client_port, topics)[1]
            partitions = [p for topic in topics for p in found.get(topic, {}).values()]
            if set(found) != set(topics) or not partitions:
                return False
            if any(p.leader < 0 or set(p.isr) != set(p.replicas) for p in partitions):
                return False
        return True

    def wait_until_whole(self, topics, seconds=60):
        seconds *= PATIENCE[self.kind]
        eventually(lambda: self.is_whole(topics), seconds, f"every replica of {', '.join(topics)} in sync")

    def view(self):
        """What every node says of every partition, for whoever looks into a failure."""
        lines = []
        for node in self.nodes.values():
            lines.append(f"node {node.id}: " + ("alive" if node.is_alive() else f"ended with {node.process and node.process.poll()}"))
            try:
                lines.append(f"    active controller, epoch: {wire.quorum_leader(node.client_port)}")
                for topic, partitions in sorted(wire.metadata(node.client_port)[1].items()):
                    lines += [f"    {topic}-{index}: {p}" for index, p in sorted(partitions.items())]
            except wire.NoAnswer as error:
                lines.append(f"    {error}")
        return "\n".join(lines) + "\n"

    def panics(self):
        return [node.id for node in self.nodes.values() if "panicked at" in node.log(1 << 22)]
