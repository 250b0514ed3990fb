"""Faults of disks: of what is on them, of what they have not kept (disk.py), of their room, of their syncs."""

import errno
import os
import shutil
import subprocess
import time

import replicas
from cluster import NodeEnded, eventually
from harness import PARTITIONS, TOPIC

# Beside a partition's log: what a start has to make anew when it finds nonsense.
SMALL_FILES = {".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint"}

class DiskFaults:
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
        self.run.begin()
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

    def power_loss_some(self):
        """Any of the nodes: one, two or all."""
        nodes = list(self.cluster.nodes.values())
        self.lose_power("power loss of some", self.rng.sample(nodes, self.rng.randint(1, len(nodes))))

    def last_replica_standing(self):
        """A leader whose followers do not hear it any more, one after the other, and then it loses its power, too: KIP-966's
        story. Whoever leads next has to have all that was acknowledged."""
        links, index = self.cluster.links, self.rng.randrange(PARTITIONS)
        self.whole()
        node = self.cluster.leader(TOPIC, index)
        for other in self.rng.sample(self.others(node), 2):
            for pair in ((node.id, other), (other, node.id)):
                links.rule(*pair, "hold", kind="broker")
            eventually(lambda gone=other: gone not in self.cluster.partition(TOPIC, index).isr, 60, f"an ISR without {other}")
        isr = self.cluster.partition(TOPIC, index).isr
        disk = self.cluster.disks[node.id]
        node.send_kill()
        code = node.process.wait(timeout=30)
        syncs, torn = disk.counts()[0], self.rng.random() < 0.5
        changed = disk.lose_power(self.rng if torn else None)
        links.heal()
        self.run.fault("last replica standing", code == -9 and isr == (node.id,), isr=isr, syncs=syncs, torn=torn, changed=changed)
        time.sleep(self.rng.uniform(0, 6))
        node.spawn()
        self.whole(90)

    def stop_out_of_sync(self):
        """Kills a leader, and waits until all its partitions have others: what becomes of its files harms nobody's copy."""
        node = self.some_leader()
        code = node.kill()

        def gone():
            found = [self.cluster.partition(TOPIC, index) for index in range(PARTITIONS)]
            return all(node.id not in p.isr and p.leader != node.id for p in found)

        eventually(gone, 60, f"an ISR without {node.id}")
        return node, code

    def tear_files(self):
        """While a node is down, the ends of its logs are cut off or become zeros, and small files become nonsense."""
        node, code = self.stop_out_of_sync()
        cut = damaged = 0
        for folder in sorted(node.data.glob(f"{TOPIC}-*")):
            log = max(folder.glob("*.log"))
            size = log.stat().st_size
            torn = self.rng.randint(1, 4096)
            with open(log, "r+b") as file:
                file.truncate(max(0, size - torn))
                if self.rng.random() < 0.5:
                    file.truncate(size)
            cut += min(torn, size)
            small = [path for path in folder.iterdir() if path.suffix in SMALL_FILES or path.name in SMALL_FILES]
            for path in self.rng.sample(small, min(2, len(small))):
                path.write_bytes(self.rng.choice((b"", b"\0" * 100, self.rng.randbytes(100))))
                damaged += 1
        self.run.fault("torn files", code == -9 and cut > 0, node=node.id, bytes=cut, small_files=damaged)
        node.spawn()
        self.whole(90)

    def rot_bits(self):
        """While a node is down, a bit of each of its logs turns over, in what a checksum covers. It may not lead with that,
        nor give it to anybody: it has to have the record again from those who have it whole."""
        node, code = self.stop_out_of_sync()
        flips = 0
        for folder in sorted(node.data.glob(f"{TOPIC}-*")):
            batches = list(replicas.batches(folder))
            if not batches:
                continue
            base, _, data = self.rng.choice(batches)
            log = max(path for path in folder.glob("*.log") if int(path.stem) <= base)
            whole = log.read_bytes()
            at = whole.find(data) + self.rng.randrange(replicas.CHECKED_AT, len(data))
            log.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << self.rng.randrange(8)]) + whole[at + 1:])
            flips += 1
        self.run.fault("rotten bits", code == -9 and flips > 0, node=node.id, flips=flips)
        node.spawn()
        self.whole(90)

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

    def failing_write(self):
        """Writes to a leader's log fail for a moment; strace has the kernel say so, for the broker's own system calls pass by
        every library. It may not acknowledge what they were to keep. Then it loses its power."""
        index = self.rng.randrange(PARTITIONS)
        node = self.cluster.leader(TOPIC, index)
        log, said = max((node.data / f"{TOPIC}-{index}").glob("*.log")), node.folder / "strace.out"
        calls = "write,writev,pwrite64,pwritev,pwritev2"
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(node.pid), "-P", str(log), "-o", str(said), "-e", f"trace={calls}",
                                   "-e", f"inject={calls}:error=EIO"], stdin=subprocess.DEVNULL)
        try:
            eventually(lambda: said.exists() and "(INJECTED)" in said.read_text() or not node.is_alive(), 30, "a write that fails")
        finally:
            tracer.terminate()
            tracer.wait(timeout=30)
        injected = said.read_text().count("(INJECTED)")
        time.sleep(self.rng.uniform(0, 3))
        ended = not node.is_alive()
        if not ended:
            node.send_kill()
        node.process.wait(timeout=30)
        self.run.fault("failing write", injected > 0, node=node.id, writes=injected, ended_by_itself=ended,
                       changed=self.cluster.disks[node.id].lose_power())
        said.unlink()
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


def why_no_failing_writes():
    """Why writes cannot be made to fail here, or None."""
    if not shutil.which("strace"):
        return "there is no strace"
    probe = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:error=EIO", "true"],
                           capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else f"strace is refused: {probe.stderr.strip()[:200]}"


def why_no_small_disks():
    """Why this process may not mount, or None."""
    probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "probe", "/mnt"],
                           capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if probe is None:
        return "only root may mount a small file system"
    return None if probe.returncode == 0 else f"mount is refused: {probe.stderr.strip()}"
