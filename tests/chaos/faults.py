"""The faults. Each one is proved: what was done is seen in the process, the link or the disk, or the run has failed."""

import os
import time

import wire
from cluster import BINARY, OLD_BINARY, eventually
from disk_faults import DiskFaults
from harness import GROUP, PARTITIONS, TOPIC
from link_faults import LinkFaults
from name_faults import NameFaults


# What a partition has to take after a fault before the next one comes.
PROGRESS_RECORDS = 50


class Faults(LinkFaults, DiskFaults, NameFaults):
    def __init__(self, run):
        self.run, self.cluster, self.rng = run, run.cluster, run.rng
        self.without_quorum = 0

    def is_over(self):
        return time.monotonic() > self.run.deadline

    def whole(self, seconds=60):
        self.cluster.wait_until_whole(self.run.topics, seconds)

    def settle(self):
        """Mostly the next fault waits until every replica is in sync again; sometimes it comes upon the last one."""
        if self.rng.random() < 0.75:
            self.whole()
        else:
            time.sleep(self.rng.uniform(0.2, 1.5))

    def progress(self):
        """After a fault every partition takes records again; the next fault comes at some moment of that."""
        before = self.cluster.end_offsets(TOPIC, 60)

        def grown():
            now = self.cluster.end_offsets(TOPIC)
            return all(now[p] >= end + PROGRESS_RECORDS for p, end in before.items())

        eventually(grown, 60, f"{PROGRESS_RECORDS} more records in every partition")
        time.sleep(self.rng.uniform(0, 1))

    def some_leader(self):
        return self.cluster.leader(TOPIC, self.rng.randrange(PARTITIONS))

    def kill(self, kind, node, down):
        self.run.begin()
        pid, code = node.pid, node.kill()
        self.run.fault(kind, code == -9, node=node.id, pid=pid, code=code)
        time.sleep(down)
        node.spawn()

    def kill_leader(self):
        index = self.rng.randrange(PARTITIONS)
        before = eventually(lambda: self.cluster.partition(TOPIC, index), 30, "a leader")
        self.kill("kill leader", self.cluster.nodes[before.leader], self.rng.uniform(0, 3))
        # It may lead again after its return, but in a new epoch.
        eventually(lambda: self.cluster.partition(TOPIC, index).leader_epoch > before.leader_epoch, 60, "a new leader epoch")
        self.settle()

    def kill_controller(self):
        self.kill("kill controller", self.cluster.controller(), self.rng.uniform(0, 3))
        self.cluster.controller(60)
        self.settle()

    def kill_coordinator(self):
        self.kill("kill coordinator", self.cluster.coordinator(GROUP), self.rng.uniform(0, 3))
        self.cluster.coordinator(GROUP, 60)
        self.settle()

    def copiers_coordinator(self, seconds=30):
        return self.cluster.nodes[eventually(lambda: self.cluster.ask(wire.transaction_coordinator, "t0"), seconds,
                                             "a coordinator of t0")]

    def kill_copiers_coordinator(self):
        """Of a copier's transactions, which is killed between any of their steps."""
        self.kill("kill transaction coordinator", self.copiers_coordinator(), self.rng.uniform(0, 2))
        self.copiers_coordinator(60)
        self.settle()

    def kill_all(self):
        nodes = list(self.cluster.nodes.values())
        self.run.begin()
        for node in nodes:
            node.send_kill()
        codes = [node.process.wait(timeout=30) for node in nodes]
        self.run.fault("kill all", codes == [-9] * len(nodes), codes=codes)
        time.sleep(self.rng.uniform(0, 1))
        for node in nodes:
            node.spawn()
        self.whole(90)

    def roll(self):
        """SIGTERM, one node after the other, each only once all replicas are in sync."""
        for node in self.cluster.nodes.values():
            self.whole()
            self.run.begin()
            code = node.stop()
            self.run.fault("roll", code in (0, 143), node=node.id, code=code)
            node.spawn()
        self.whole()

    def change_binaries(self):
        """As `roll`, and each node comes back as the other version: a rolling upgrade, and then the way back."""
        for node in self.cluster.nodes.values():
            self.whole()
            is_old = node.binary == OLD_BINARY
            self.run.begin()
            code = node.stop()
            node.binary = BINARY if is_old else OLD_BINARY
            node.spawn().wait_until_it_answers(60)
            runs = os.path.realpath(f"/proc/{node.pid}/exe")
            self.run.fault("upgrade" if is_old else "downgrade", code in (0, 143) and runs == os.path.realpath(node.binary),
                           node=node.id, code=code, runs=runs)
        self.whole()

    def pause(self, node, seconds, kind="pause"):
        self.run.begin()
        node.pause()
        eventually(lambda: node.state() == "T", 5, "the process stopped")
        time.sleep(seconds)
        held = node.state() == "T"
        node.resume()
        self.run.fault(kind, held, node=node.id, seconds=seconds)

    def pause_leader(self, seconds_max=8):
        self.pause(self.some_leader(), self.rng.uniform(1, seconds_max), "pause leader")
        self.settle()

    def pause_controller(self, seconds_max=8):
        self.pause(self.cluster.controller(), self.rng.uniform(1, seconds_max), "pause controller")
        self.settle()

    def pause_follower(self, seconds_max=12):
        """Often longer than replica.lag.time.max.ms and a session: it leaves the ISR, is fenced, and comes back."""
        self.pause(self.cluster.nodes[self.rng.choice(self.others(self.some_leader()))], self.rng.uniform(1, seconds_max),
                   "pause follower")
        self.settle()

    def pause_all(self, seconds_max=8):
        """As a machine does that sleeps: all clocks go on, nobody has heard of anybody."""
        nodes, seconds = list(self.cluster.nodes.values()), self.rng.uniform(1, seconds_max)
        for node in nodes:
            node.pause()
        eventually(lambda: all(node.state() == "T" for node in nodes), 5, "all processes stopped")
        time.sleep(seconds)
        held = all(node.state() == "T" for node in nodes)
        for node in nodes:
            node.resume()
        self.run.fault("pause all", held, seconds=seconds)
        self.settle()

    def jump_clock(self, seconds=4):
        """The wall clock of one node, there and perhaps back, at once or many times; the others' stay."""
        node = self.rng.choice(list(self.cluster.nodes.values()))
        clock = self.cluster.wall_clocks[node.id]
        jump = self.rng.choice([seconds for seconds in (3_600, -3_600, 86_400, -86_400) if seconds != clock.offset()])
        before, strobes = clock.shifted_readings(), self.rng.random() < 0.3
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            clock.shift(jump)
            time.sleep(0.2 if strobes else seconds)
            if strobes:
                clock.shift(0)
                time.sleep(0.2)
        readings = clock.shifted_readings() - before
        # Half of the times the next fault, and the next jump, come upon a clock that is wrong.
        if self.rng.random() < 0.5:
            clock.shift(0)
        self.run.fault("clock jump", readings > 0, node=node.id, seconds=jump, strobes=strobes, readings=readings)
        self.settle()

    def move_replicas(self):
        """To three of four nodes, in an order of its own; often one of them is killed while the move is under way."""
        index, nodes = self.rng.randrange(PARTITIONS), list(self.cluster.nodes)
        before = eventually(lambda: self.cluster.partition(TOPIC, index), 30, "a leader")
        target = self.rng.sample(nodes, 3)
        while set(target) == set(before.replicas):
            target = self.rng.sample(nodes, 3)
        eventually(lambda: self.cluster.ask(wire.move_replicas, TOPIC, index, target) is None, 60, f"a move to {target}")
        victim = self.rng.choice((None, *target, before.leader))
        if victim:
            time.sleep(self.rng.uniform(0, 0.3))
            self.kill("kill while replicas move", self.cluster.nodes[victim], self.rng.uniform(0, 2))

        def moved():
            now = self.cluster.partition(TOPIC, index)
            return now.replicas == tuple(target) and set(now.isr) == set(target)

        eventually(moved, 90, f"{TOPIC}-{index} on {target}")
        self.run.fault("move of replicas", True, before=before.replicas, after=target)
        self.whole(90)
