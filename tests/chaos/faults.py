"""The faults. Each one is proved: what was done is seen in the process, the link or the disk, or the run has failed."""

import errno
import os
import subprocess
import time

import wire
from cluster import BINARY, OLD_BINARY, NodeEnded, eventually
from harness import GROUP, PARTITIONS, TOPIC


# What a partition has to take after a fault before the next one comes.
PROGRESS_RECORDS = 50


class Faults:
    def __init__(self, run):
        self.run, self.cluster, self.rng = run, run.cluster, run.rng

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

    def kill_copiers_coordinator(self):
        """Of a copier's transactions, which is killed between any of their steps."""
        coordinator = self.cluster.nodes[eventually(lambda: self.cluster.ask(wire.transaction_coordinator, "t0"), 30,
                                                    "a coordinator of t0")]
        self.kill("kill transaction coordinator", coordinator, self.rng.uniform(0, 2))
        eventually(lambda: self.cluster.ask(wire.transaction_coordinator, "t0"), 60, "a coordinator of t0")
        self.settle()

    def kill_all(self):
        nodes = list(self.cluster.nodes.values())
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
            code = node.stop()
            self.run.fault("roll", code in (0, 143), node=node.id, code=code)
            node.spawn()
        self.whole()

    def change_binaries(self):
        """As `roll`, and each node comes back as the other version: a rolling upgrade, and then the way back."""
        for node in self.cluster.nodes.values():
            self.whole()
            is_old = node.binary == OLD_BINARY
            code = node.stop()
            node.binary = BINARY if is_old else OLD_BINARY
            node.spawn().wait_until_it_answers(60)
            runs = os.path.realpath(f"/proc/{node.pid}/exe")
            self.run.fault("upgrade" if is_old else "downgrade", code in (0, 143) and runs == os.path.realpath(node.binary),
                           node=node.id, code=code, runs=runs)
        self.whole()

    def pause(self, node, seconds, kind="pause"):
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

    def cut(self, name, pairs, seconds, mode="hold", **more):
        """Rules for links, for a while; each pair has to have met traffic."""
        links, before = self.cluster.links, self.cluster.links.counts()
        for source, target in pairs:
            links.rule(source, target, mode, **more)
        time.sleep(seconds)
        touched = links.counts() - before
        links.heal()
        met = {f"{s}>{t}": sum(n for key, n in touched.items() if key.startswith(f"{s}>{t} {mode}")) for s, t in pairs}
        # One way, the other side's silence may have closed everything before: then new connections were held or reset.
        self.run.fault(name, sum(met.values()) > 0, met=met, seconds=seconds)
        self.settle()

    def others(self, node):
        return [other.id for other in self.cluster.nodes.values() if other is not node]

    def isolate_leader(self, seconds=6):
        node = self.some_leader()
        pairs = [pair for other in self.others(node) for pair in ((node.id, other), (other, node.id))]
        self.cut("partition two ways", pairs, seconds)

    def mute_leader(self, seconds=6):
        """Nothing of what it sends arrives; it hears everything."""
        node = self.some_leader()
        self.cut("partition one way, out", [(node.id, other) for other in self.others(node)], seconds)

    def deafen_leader(self, seconds=6):
        node = self.some_leader()
        self.cut("partition one way, in", [(other, node.id) for other in self.others(node)], seconds)

    def isolate_controller(self, seconds=6):
        node = self.cluster.controller()
        pairs = [pair for other in self.others(node) for pair in ((node.id, other), (other, node.id))]
        self.cut("partition controllers", pairs, seconds, kind="controller")

    def part_two_brokers(self, seconds=6):
        """A follower does not reach its leader; both reach everybody else: the ISR has to shrink."""
        node = self.some_leader()
        other = self.rng.choice(self.others(node))
        self.cut("partition between two", [(node.id, other), (other, node.id)], seconds, kind="broker")

    def reset_links(self, seconds=2):
        node = self.some_leader()
        self.cut("reset links", [(node.id, other) for other in self.others(node)], seconds, mode="reset")

    def slow_links(self, seconds=4):
        node = self.some_leader()
        self.cut("slow links", [(node.id, other) for other in self.others(node)], seconds, mode="delay",
                 ms=self.rng.choice((20, 100, 300)))

    def wipe(self):
        node = self.some_leader()
        code = node.kill()
        kept = sum(file.stat().st_size for file in node.data.glob(f"{TOPIC}-*/*.log"))
        node.wipe()
        left = len(list(node.data.glob(f"{TOPIC}-*")))
        self.run.fault("wipe", code == -9 and kept > 0 and left == 0, node=node.id, bytes=kept)
        time.sleep(self.rng.uniform(0, 4))
        node.spawn()
        self.whole(90)

    def lose_power(self, name, nodes):
        """SIGKILL of these at once, and what they had not synced is gone: all of it, or all but some torn tails. Often
        their syncs take long before: then much waits for one, and who does not wait with it is found out."""
        slow = self.rng.choice((0, 0, 20, 100))
        for node in nodes:
            self.cluster.disks[node.id].delay_syncs(slow)
        time.sleep(self.rng.uniform(0.2, 1))
        for node in nodes:
            node.send_kill()
        codes = [node.process.wait(timeout=30) for node in nodes]
        torn = self.rng.random() < 0.5
        disks = [self.cluster.disks[node.id] for node in nodes]
        syncs = [disk.counts()[0] for disk in disks]
        changed = [disk.lose_power(self.rng if torn else None) for disk in disks]
        self.run.fault(name, codes == [-9] * len(nodes) and all(syncs), nodes=[node.id for node in nodes], torn=torn,
                       slow=slow, syncs=syncs, changed=changed)
        for node in nodes:
            node.spawn()
        self.whole(90)

    def power_loss_all(self):
        self.lose_power("power loss of all", list(self.cluster.nodes.values()))

    def power_loss_leader(self):
        self.lose_power("power loss of the leader", [self.some_leader()])

    def failing_sync(self):
        """One sync of a leader's disk fails: it may not acknowledge what that was to keep. Then it loses its power."""
        node = self.some_leader()
        disk = self.cluster.disks[node.id]
        disk.fail_syncs(errno.EIO)
        eventually(lambda: disk.counts()[2] > 0, 20, "a sync that fails")
        time.sleep(self.rng.uniform(0, 3))
        ended = not node.is_alive()
        if not ended:
            node.send_kill()
        node.process.wait(timeout=30)
        self.run.fault("failing sync", disk.counts()[2] > 0, node=node.id, ended_by_itself=ended, changed=disk.lose_power())
        node.spawn()
        self.whole(90)

    def slow_syncs(self, seconds=6):
        node = self.some_leader()
        disk, milliseconds = self.cluster.disks[node.id], self.rng.choice((50, 200, 1000))
        before = disk.counts()[0]
        disk.delay_syncs(milliseconds)
        time.sleep(seconds)
        disk.delay_syncs(0)
        self.run.fault("slow syncs", disk.counts()[0] > before, node=node.id, milliseconds=milliseconds)
        self.settle()

    def fill_disk(self, seconds=6):
        node = self.some_leader()
        ballast = node.data / "ballast"
        refused = fill(ballast)
        time.sleep(seconds)
        room = os.statvfs(node.data).f_bavail
        self.run.fault("full disk", refused, node=node.id, blocks_left=room, alive=node.is_alive())
        ballast.unlink()
        # What came back by itself, and what an operator had to start again, are both fine; lost records are not.
        try:
            if node.is_alive():
                self.whole(20)
        except (TimeoutError, NodeEnded):
            node.kill()
        if not node.is_alive():
            node.spawn()
        self.whole(90)


def fill(path):
    """Writes until the file system is full; whether it said so."""
    piece = b"\1" * (1 << 16)
    with open(path, "wb", buffering=0) as file:
        while True:
            try:
                if file.write(piece) < len(piece):
                    piece = piece[:4096]
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    return False
                if len(piece) == 1:
                    return True
                piece = piece[:len(piece) // 16 or 1]


def why_no_small_disks():
    """Why this process may not mount, or None."""
    probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "probe", "/mnt"],
                           capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if probe is None:
        return "only root may mount a small file system"
    return None if probe.returncode == 0 else f"mount is refused: {probe.stderr.strip()}"
