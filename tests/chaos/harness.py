"""One run: a cluster, the clients of its workloads, the faults that it went through, and the end at which all is judged."""

import collections
import contextlib
import json
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

import histcheck
import replicas
import wire
from cluster import HERE, SETUP, eventually
from worker import value_of

TOPIC, GROUP, CHURN_GROUP, PARTITIONS = "w1", "g1", "churn", 3
# What copiers write, and their group.
COPY, COPY_GROUP = "copied", "copiers"
DRAIN_SECONDS_MAX = 60
BEHIND_SECONDS_MAX = 600
# A producer waits for its last answers as long as its message timeout, and some.
STOP_SECONDS_MAX = 90
HEAL_SECONDS_MAX = 90


class Worker:
    tells_where_it_hangs = True

    def __init__(self, run, kind, client, **options):
        self.client, self.kind = client, kind
        history = run.folder / f"{client}.jsonl"
        command = [sys.executable, str(HERE / "worker.py"), kind, "--client", client, "--bootstrap", run.cluster.bootstrap,
                   "--history", str(history), "--topic", TOPIC, "--seed", str(run.rng.randrange(1 << 31))]
        for key, value in options.items():
            command += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        with open(run.folder / f"{client}.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)

    def is_alive(self):
        return self.process.poll() is None

    def end(self):
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)

    def code(self, seconds=STOP_SECONDS_MAX):
        """How it ended: what does not end within its time is killed, and that is no good end."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            if self.tells_where_it_hangs:
                self.process.send_signal(signal.SIGUSR1)
                time.sleep(1)
            self.process.kill()
            self.process.wait(timeout=10)
            return -9

    def until(self, offsets):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"until": offsets}) + "\n")
            self.process.stdin.flush()


class JavaProducer(Worker):
    """Apache Kafka's verifiable producer, idempotent and with acks=all; its lines become rows when it has ended."""

    tells_where_it_hangs = False

    def __init__(self, run, client, number, rate):
        self.client, self.kind, self.number, self.folder = client, "producer", number, run.folder
        settings = run.folder / f"{client}.properties"
        settings.write_text("enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=60000\nrequest.timeout.ms=5000\nretry.backoff.ms=50\n"
                            "reconnect.backoff.ms=50\nreconnect.backoff.max.ms=500\n")
        command = ["java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{SETUP}/jars/*",
                   "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", run.cluster.bootstrap, "--topic", TOPIC,
                   "--acks", "-1", "--throughput", str(rate), "--value-prefix", str(number), "--command-config", str(settings)]
        self.output = run.folder / f"{client}.out"
        with open(self.output, "wb") as out, open(run.folder / f"{client}.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    def code(self, seconds=STOP_SECONDS_MAX):
        code = super().code(seconds)
        code = 0 if code == 128 + signal.SIGTERM else code  # Java's way to end by SIGTERM
        return self.convert() or code

    def convert(self):
        acked, sent = {}, 0
        with open(self.output) as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if row["name"] == "producer_send_success":
                        acked[row["value"]] = row
                    elif row["name"] == "tool_data":
                        sent = row["sent"]
        with open(self.folder / f"{self.client}.jsonl", "w") as history:
            for seq in range(max([sent, *(int(value.split(".")[1]) + 1 for value in acked)])):
                value = f"{self.number}.{seq}"
                row = {"op": "send", "client": self.client, "topic": TOPIC, "value": value, "seq": seq, "start": 0, "end": 0}
                if value in acked:
                    row |= {"partition": acked[value]["partition"], "offset": acked[value]["offset"], "result": "ok"}
                else:
                    row |= {"partition": 0, "result": "unknown"}
                history.write(json.dumps(row) + "\n")
        return 0 if acked else 4


class Churn:
    """Members that join a group of their own and leave it again: in good order, without a word, or killed; some static."""

    def __init__(self, run):
        self.run, self.stopped, self.bad = run, threading.Event(), []
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def loop(self):
        rng, n, members = random.Random(self.run.rng.randrange(1 << 31)), 0, []
        while not self.stopped.is_set():
            instance = {"instance": f"static-{n % 2}"} if rng.random() < 0.3 else {}
            if instance and any(m.instance == instance for m in members):
                instance = {}
            member = Worker(self.run, "group", f"c{n}", group=CHURN_GROUP, **instance,
                            **({"abrupt": True} if rng.random() < 0.3 else {}))
            member.instance = instance
            members.append(member)
            n += 1
            self.stopped.wait(rng.uniform(1, 4))
            if len(members) > 2:
                self.leave(members.pop(rng.randrange(len(members))), rng.random() < 0.3)
        for member in members:
            self.leave(member, False)

    def leave(self, member, is_killed):
        # Told to end before its interpreter was up, it would end without a word.
        eventually((self.run.folder / f"{member.client}.jsonl").exists, 60, f"the start of {member.client}")
        if is_killed:
            member.process.kill()
            member.code()
            drop_torn_line(self.run.folder / f"{member.client}.jsonl")
        else:
            member.end()
            if member.code(30) != 0:
                self.bad.append(member.client)

    def end(self):
        self.stopped.set()
        self.thread.join(120)


class Watcher:
    """Looks a few times a second at what every node says of the partitions, and at the ends that their leaders tell."""

    def __init__(self, run):
        self.run, self.stopped = run, threading.Event()
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def loop(self):
        with open(self.run.folder / "watcher.jsonl", "w") as file:
            while not self.stopped.wait(0.25):
                for row in self.look():
                    file.write(json.dumps(row) + "\n")

    def look(self):
        newest = {}
        for node in self.run.cluster.alive():
            start, pid = time.monotonic_ns(), node.pid
            try:
                found = wire.metadata(node.client_port, [TOPIC], timeout=1)[1].get(TOPIC, {})
            except wire.NoAnswer:
                continue
            for index, p in found.items():
                yield {"op": "leader", "node": node.id, "pid": pid, "topic": TOPIC, "partition": index, "leader": p.leader,
                       "epoch": p.leader_epoch, "start": start, "end": time.monotonic_ns()}
                if p.leader >= 0 and (index not in newest or p.leader_epoch > newest[index].leader_epoch):
                    newest[index] = p
        for index, p in newest.items():
            node, start = self.run.cluster.nodes[p.leader], time.monotonic_ns()
            with contextlib.suppress(wire.NoAnswer):
                offset = wire.end_offset(node.client_port, TOPIC, index, timeout=1, epoch=p.leader_epoch)
                yield {"op": "end", "topic": TOPIC, "partition": index, "epoch": p.leader_epoch, "offset": offset,
                       "start": start, "end": time.monotonic_ns()}

    def end(self):
        self.stopped.set()
        self.thread.join(60)


def drop_torn_line(path):
    """A history whose writer was killed may end in the middle of a line."""
    if path.exists():
        data = path.read_bytes()
        path.write_bytes(data[:data.rfind(b"\n") + 1])


class Run:
    """`deadline`: from then on no more faults begin (CLOCK_MONOTONIC seconds)."""

    def __init__(self, cluster, folder, seed, plan, deadline=float("inf")):
        self.cluster, self.folder = cluster, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng, self.workers, self.churn, self.watcher = random.Random(seed), [], None, None
        self.file = open(self.folder / "harness.jsonl", "w")
        self.topics = [TOPIC]
        self.plan, self.deadline = plan, deadline
        self.installed, self.began = [], None  # the kinds of all faults that were there; when the present one began
        self.flips = collections.Counter()     # kind -> bits that it turned over

    def record(self, op, **fields):
        self.file.write(json.dumps({"op": op, **fields}) + "\n")
        self.file.flush()

    def begin(self):
        """Now a fault begins: from here its clock runs (gaps.py)."""
        self.began = time.monotonic_ns()

    def fault(self, kind, installed, **proof):
        times = {"began": self.began, "at": time.monotonic_ns()}
        self.began = None
        self.record("fault", kind=kind, installed=bool(installed), proof={**proof, **times})
        if not installed:
            raise AssertionError(f"the fault was not really installed: {kind} {proof}")
        self.installed.append(kind)
        if "flips" in proof:
            self.flips[kind] += proof["flips"]

    def start(self, producers=4, rate=150, java=0, churn=False, admin=False, copiers=0, impatient=False):
        """W1, and W2 to W4 where asked for: producers, three members of a group, one reader of everything. Impatient copiers
        ask again, and elsewhere, after seconds."""
        self.cluster.create_topic(TOPIC, PARTITIONS)
        self.watcher = Watcher(self)
        for n in range(producers):
            compression = ("none", "lz4", "zstd", "none")[n % 4]
            self.workers.append(Worker(self, "producer", f"p{n}", rate=rate, compression=compression))
        for n in range(java):
            self.workers.append(JavaProducer(self, f"j{n}", 100 + n, rate))
        self.workers += [Worker(self, "group", f"g{n}", group=GROUP) for n in range(3)]
        self.workers.append(Worker(self, "assign", "a0"))
        if admin:
            self.workers.append(Worker(self, "admin", "m0"))
        if copiers:
            self.cluster.create_topic(COPY, PARTITIONS)
            self.topics += [COPY, "__transaction_state"]
        self.workers += [Worker(self, "copy", f"t{n}", group=COPY_GROUP, **({"impatient": True} if impatient else {})) for n in range(copiers)]
        if churn:
            self.churn = Churn(self)
        # Faults begin once everything is under way.
        eventually(lambda: len(self.cluster.committed(GROUP)) == PARTITIONS, 60, "the group's first commits")
        if copiers:
            eventually(lambda: len(self.cluster.committed(COPY_GROUP)) == PARTITIONS, 60, "the copiers' first commits")
        self.topics.append("__consumer_offsets")

    def finish(self):
        """Heals, drains, reads everything again, compares the replicas; returns the verdict."""
        if self.cluster.links:
            self.cluster.links.heal()
        for node in self.cluster.nodes.values():
            if not node.is_alive():
                node.spawn()
            else:
                node.resume()
        self.cluster.wait_until_whole(self.topics, HEAL_SECONDS_MAX)
        early = [worker.client for worker in self.workers if not worker.is_alive()]
        if self.churn:
            self.churn.end()
            early += self.churn.bad
        for client in early:
            self.record("worker", client=client, code=f"ended before it was told to, see {client}.log")
        writers = [worker for worker in self.workers if worker.kind in ("producer", "admin")]
        readers = [worker for worker in self.workers if worker.kind == "assign"]
        members = [worker for worker in self.workers if worker.kind == "group"]
        copiers = [worker for worker in self.workers if worker.kind == "copy"]
        self.end(writers)
        ends = self.cluster.end_offsets(TOPIC)
        for reader in readers:
            reader.until(ends)
        self.wait_for_group(ends)
        if copiers:
            self.wait_for_group(ends, COPY_GROUP)
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while any(reader.is_alive() for reader in readers) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.end(readers + members + copiers)
        read = self.read_everything(ends)
        if copiers:
            self.compare_copies(read)
        if any(worker.kind == "admin" for worker in self.workers):
            self.list_topics()
        self.watcher.end()
        self.compare_replicas(ends)
        for node in self.cluster.panics():
            self.record("worker", client=f"node {node}", code="panicked, see its log")
        self.record("plan", whole_groups=[GROUP], readers=[reader.client for reader in readers], **self.plan)
        self.file.close()
        return histcheck.check(histcheck.read([self.folder]))

    def end(self, workers):
        for worker in workers:
            worker.end()
        for worker in workers:
            self.record("worker", client=worker.client, code=worker.code())

    def wait_for_group(self, ends, group=GROUP):
        """What a group has not read by the end of this wait is found as unseen. Who goes on is waited for: one copier that commits
        a transaction for each two hundred records may be minutes behind."""
        last, deadline = {}, time.monotonic() + BEHIND_SECONDS_MAX
        stalled = time.monotonic() + DRAIN_SECONDS_MAX
        while time.monotonic() < min(deadline, stalled):
            committed = last
            with contextlib.suppress(wire.NoAnswer):
                committed = {p: at for (topic, p), at in self.cluster.committed(group).items() if topic == TOPIC}
            if committed and all(committed.get(p, -1) >= end for p, end in ends.items()):
                return
            if committed != last:
                last, stalled = committed, time.monotonic() + DRAIN_SECONDS_MAX
            time.sleep(0.2)

    def read_everything(self, ends):
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": "final", "enable.auto.commit": False,
                             "check.crcs": True, "auto.offset.reset": "error"})
        consumer.assign([TopicPartition(TOPIC, p, 0) for p in ends])
        found, deadline = {p: [] for p in ends}, time.monotonic() + DRAIN_SECONDS_MAX
        while time.monotonic() < deadline and any(end and (not found[p] or found[p][-1][0] + 1 < end) for p, end in ends.items()):
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    found[message.partition()].append([message.offset(), value_of(message.value())])
        consumer.close()
        for p, end in ends.items():
            # A read that did not get to the end is none: the partition stays unread for the judge.
            if end == 0 or (found[p] and found[p][-1][0] + 1 >= end):
                self.record("final", topic=TOPIC, partition=p, records=found[p])
        return {p: [value for _, value in records] for p, records in found.items()}

    def compare_copies(self, read):
        """Every record was copied once, and in its order: whatever died between a record's copy and its offset's commit."""
        ends = self.cluster.end_offsets(COPY)
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": "copies", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "error"})
        consumer.assign([TopicPartition(COPY, p, 0) for p in ends])
        found, at_end, deadline = {p: [] for p in ends}, set(), time.monotonic() + DRAIN_SECONDS_MAX
        while len(at_end) < len(ends) and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    found[message.partition()].append(value_of(message.value()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
        consumer.close()
        for p, expected in read.items():
            if found[p] != expected:
                times = collections.Counter(found[p])
                lost = [value for value in expected if value not in times]
                again = [value for value, count in times.items() if count > 1]
                code = f"of {len(expected)} records of {p} {len(found[p])} were copied, lost {lost[:5]}, twice {again[:5]}"
                self.record("worker", client="the copies", code=code)
        self.record("note", text=f"copied {sum(map(len, found.values()))} records")

    def list_topics(self):
        for node in self.cluster.nodes.values():
            admin = AdminClient({"bootstrap.servers": node.bootstrap})
            names = [name for name in wire.metadata(node.client_port)[1] if name.startswith("m0-")]
            listed = {name: {} for name in names}
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
            for resource, answer in (admin.describe_configs(resources) if resources else {}).items():
                with contextlib.suppress(KafkaException):
                    listed[resource.name] = {"value": answer.result(20)["retention.ms"].value}
            self.record("topics", node=node.id, topics=listed)

    def compare_replicas(self, ends):
        self.cluster.wait_until_whole(self.topics, HEAL_SECONDS_MAX)
        placed = {p: self.cluster.partition(TOPIC, p).replicas for p in ends}
        for node_id, code in self.cluster.stop(10 if self.cluster.kind == "kafka" else 30).items():
            # Three of Kafka's that are stopped together wait minutes for a controller that is gone.
            if code != 0 and self.cluster.kind != "kafka":
                self.record("worker", client=f"node {node_id}", code=f"SIGTERM ended it with {code}")
        for p, end in ends.items():
            folders = {node: self.cluster.nodes[node].data / f"{TOPIC}-{p}" for node in placed[p]}
            equal, detail = replicas.compare(folders, end)
            self.record("replicas", topic=TOPIC, partition=p, equal=equal, detail=detail)

    def close(self):
        for each in (self.churn, self.watcher):
            if each:
                each.end()
        for worker in self.workers:
            if worker.is_alive():
                worker.process.kill()
                worker.process.wait(timeout=10)
        self.cluster.close()
        self.file.close()
