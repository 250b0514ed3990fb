#!/usr/bin/env python3
"""How long a cluster of three is without an answer, as a stock client sees it: one table, measured in this run.

    run.sh clocks [--samples N] [--kafka [--kafka-samples N]]

A librdkafka producer (idempotent, acks=all) sends a record every 5 ms to a partition with three replicas, two of which have
to be in sync. From a kill on, the clock runs until the first acknowledgement of a record that was sent after it. Both
systems get the same client, with short back-offs; the topic is made anew for each sample, so that it is known who leads.
"Tuned" is Apache Kafka with a session of 1.5 s and elections as short as it allows."""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import wire
from cluster import Cluster, eventually

DEFAULTS = {"broker.session.timeout.ms": None, "broker.heartbeat.interval.ms": None, "replica.lag.time.max.ms": None}
TUNED = {"broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "200",
         "controller.quorum.election.timeout.ms": "500", "controller.quorum.election.backoff.max.ms": "200",
         "controller.quorum.fetch.timeout.ms": "1000"}
CLIENT = {"retry.backoff.ms": 10, "retry.backoff.max.ms": 100, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100,
          "topic.metadata.refresh.fast.interval.ms": 20, "socket.timeout.ms": 5000, "log_level": 0}
IMPATIENT = {"socket.timeout.ms": 500, "request.timeout.ms": 500, "topic.metadata.refresh.interval.ms": 200}
ACK_SECONDS_MAX = 60


class Probe:
    """Sends to one partition until it is closed; `acks` is [(sent, acknowledged)]."""

    def __init__(self, bootstrap, topic, **more):
        self.acks, self.closed, self.topic = [], threading.Event(), topic
        self.producer = Producer({**CLIENT, "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all",
                                  "linger.ms": 0, "request.timeout.ms": 4000, "message.timeout.ms": 120_000, **more})
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def loop(self):
        while not self.closed.is_set():
            sent = time.monotonic()

            def note(error, _, sent=sent):
                if error is None:
                    self.acks.append((sent, time.monotonic()))

            try:
                self.producer.produce(self.topic, b"x" * 100, partition=0, on_delivery=note)
            except BufferError:
                pass
            self.producer.poll(0.005)

    def first_ack_after(self, moment):
        found = eventually(lambda: [acked for sent, acked in list(self.acks) if sent >= moment], ACK_SECONDS_MAX,
                           "an acknowledgement")
        return min(found) - moment

    def longest_gap(self, since):
        times = [since, *sorted(acked for _, acked in list(self.acks) if acked >= since)]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def close(self):
        self.closed.set()
        self.thread.join()
        self.producer.purge()
        self.producer.flush(5)


class Clocks:
    def __init__(self, kind, settings, folder):
        self.kind, self.settings, self.folder = kind, settings, pathlib.Path(folder)
        self.cluster, self.topics, self.clusters = None, 0, 0
        self.rows = {}

    def fresh_cluster(self):
        self.clusters += 1
        self.cluster = Cluster(self.kind, self.folder / f"{self.clusters}", settings=self.settings)
        return self.cluster

    def topic_led_by(self, node):
        """A topic with one partition whose first, and so leading, replica is there."""
        self.topics += 1
        name = f"clock-{self.topics}"
        others = [other.id for other in self.cluster.nodes.values() if other is not node]
        admin = AdminClient({**CLIENT, "bootstrap.servers": self.cluster.bootstrap})
        admin.create_topics([NewTopic(name, num_partitions=1, replica_assignment=[[node.id, *others]])])[name].result(30)
        self.cluster.wait_until_whole([name])
        assert self.cluster.leader(name, 0) is node, "the first replica leads a new topic"
        return name

    def probe(self, node, **more):
        probe = Probe(self.cluster.bootstrap, self.topic_led_by(node), **more)
        # Steady before the fault: producer ids, connections and the first elections are not what is measured.
        eventually(lambda: len(probe.acks) > 50, 60, "the probe's first acknowledgements")
        return probe

    def whole_again(self, *probes):
        topics = [probe.topic for probe in probes]
        for node in self.cluster.nodes.values():
            if not node.is_alive():
                node.spawn()
        self.cluster.wait_until_whole(topics)
        for probe in probes:
            probe.close()
        AdminClient({**CLIENT, "bootstrap.servers": self.cluster.bootstrap}).delete_topics(topics)
        # A cluster that has just become whole still moves things about.
        time.sleep(1)

    def note(self, row, seconds):
        self.rows.setdefault(row, []).append(seconds)
        print(f"  {self.kind}: {row}: {seconds * 1000:.0f} ms", file=sys.stderr, flush=True)

    def any_but(self, *nodes):
        return next(node for node in self.cluster.nodes.values() if node not in nodes)

    def kill_leader(self):
        node = self.any_but(self.cluster.controller())
        probe = self.probe(node)
        killed = time.monotonic()
        assert node.kill() == -9
        eventually(lambda: self.cluster.partition(probe.topic, 0).leader != node.id, ACK_SECONDS_MAX, "another leader")
        self.note("kill -9 of the leader, until another leads (polled)", time.monotonic() - killed)
        self.note("kill -9 of the leader", probe.first_ack_after(killed))
        self.whole_again(probe)

    def kill_controller(self):
        node = self.cluster.controller()
        led_by_it, led_elsewhere = self.probe(node), self.probe(self.any_but(node))
        killed = time.monotonic()
        assert node.kill() == -9
        self.note("kill -9 of the active controller, it leads", led_by_it.first_ack_after(killed))
        time.sleep(1)
        self.note("kill -9 of the active controller, another leads: longest gap", led_elsewhere.longest_gap(killed))
        self.whole_again(led_by_it, led_elsewhere)

    def handover(self):
        node = self.any_but(self.cluster.controller())
        probe = self.probe(node)
        told = time.monotonic()
        node.stop()
        probe.first_ack_after(time.monotonic())
        time.sleep(0.5)
        self.note("SIGTERM of the leader: longest gap", probe.longest_gap(told))
        self.whole_again(probe)

    def pause(self):
        node = self.any_but(self.cluster.controller())
        # What was sent to a node that is silent waits for the client's own timeout: a short one, or that is all one sees.
        probe = self.probe(node, **IMPATIENT)
        stopped = time.monotonic()
        node.pause()
        try:
            self.note("SIGSTOP of the leader", probe.first_ack_after(stopped))
            assert node.state() == "T"
        finally:
            node.resume()
        self.whole_again(probe)

    def kill_all(self):
        probe = self.probe(self.any_but(self.cluster.controller()))
        killed = time.monotonic()
        for node in self.cluster.nodes.values():
            node.send_kill()
        for node in self.cluster.nodes.values():
            assert node.process.wait(30) == -9
            node.spawn()
        self.note("kill -9 of all, and started at once", probe.first_ack_after(killed))
        self.whole_again(probe)

    def cold_start(self):
        """Empty folders; the client makes the topic as soon as somebody answers."""
        cluster = self.fresh_cluster()
        started = time.monotonic()
        for node in cluster.nodes.values():
            node.spawn()

        def made():
            try:
                return cluster.ask(lambda port: wire.create_topic(port, "cold", 1, 3) is None)
            except wire.NoAnswer:
                return False

        eventually(made, ACK_SECONDS_MAX, "the first topic")
        probe = Probe(cluster.bootstrap, "cold")
        eventually(lambda: probe.acks, ACK_SECONDS_MAX, "the first acknowledgement")
        self.note("cold start to the first acknowledgement", min(acked for _, acked in probe.acks) - started)
        probe.close()
        return cluster


ROWS = ("kill_leader", "kill_controller", "handover", "pause", "kill_all")


def measure(name, kind, settings, samples, folder, only):
    clocks = Clocks(kind, {**DEFAULTS, **settings}, folder)
    starts = max(1, samples // 5)
    for n in range(starts):
        cluster = clocks.cold_start()
        if n < starts - 1:
            cluster.close()
    try:
        time.sleep(10)
        memory = max(node.memory_mb() for node in cluster.nodes.values())
        for row in ROWS:
            if only and only not in row:
                continue
            for _ in range(max(1, samples // 4) if row in ("pause", "kill_all") else samples):
                getattr(clocks, row)()
    finally:
        cluster.close()
    return name, clocks.rows, memory


def cell(seconds):
    if not seconds:
        return "", ""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered):.2f} / {p99:.2f} / {ordered[-1]:.2f}", str(len(ordered))


def main():
    parser = argparse.ArgumentParser(prog="run.sh clocks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--kafka", action="store_true", help="Apache Kafka 4.3.0 too, with its defaults and tuned")
    parser.add_argument("--kafka-samples", type=int, default=5)
    parser.add_argument("--without-moldau", action="store_true")
    parser.add_argument("--figures", help="a file to which a line of JSON is added")
    parser.add_argument("--only", help="only the rows with this in their names: " + ", ".join(ROWS))
    options = parser.parse_args()
    columns = []
    with tempfile.TemporaryDirectory(prefix="moldau-clocks-") as folder:
        folder = pathlib.Path(folder)
        if not options.without_moldau:
            columns.append(measure("Moldau", "moldau", {}, options.samples, folder / "m", options.only))
        if options.kafka:
            columns.append(measure("Kafka, defaults", "kafka", {}, options.kafka_samples, folder / "k", options.only))
            columns.append(measure("Kafka, tuned", "kafka", TUNED, options.kafka_samples, folder / "t", options.only))
    if options.figures:
        with open(options.figures, "a") as file:
            kept = {name: {"memory_mb": round(memory), "rows": {row: [round(s, 3) for s in seconds] for row, seconds in rows.items()}}
                    for name, rows, memory in columns}
            file.write(json.dumps({"systems": kept}) + "\n")
    print(f"\nseconds: median / p99 / longest (samples); {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| | " + " | ".join(name for name, _, _ in columns) + " |\n|---" + "|---" * len(columns) + "|")
    for row in dict.fromkeys(row for _, rows, _ in columns for row in rows):
        cells = [cell(rows.get(row)) for _, rows, _ in columns]
        print(f"| {row} | " + " | ".join(f"{text} ({n})" if n else "" for text, n in cells) + " |")
    print("| idle memory, the largest of three nodes | " + " | ".join(f"{memory:.0f} MB" for _, _, memory in columns) + " |")


if __name__ == "__main__":
    main()
