"""Producer ids by the million, while controllers are killed: no id is given out twice, and nobody remembers those that are.

An id is of use for one producer alone: two that have the same take each other's records for repetitions, and lose them."""

import argparse
import collections
import pathlib
import socket
import struct
import sys
import tempfile
import threading
import time

import wire
from cluster import Cluster, eventually

# A request of InitProducerId 0 without a transactional id, and what it is answered: size, correlation id, throttle time,
# error, producer id, epoch.
REQUEST = struct.pack(">ihhihhi", 16, 22, 0, 0, -1, -1, 0)
ANSWER = struct.Struct(">iiihqh")
# Requests under way on one connection.
PIPELINED = 200
CONNECTIONS_EACH = 2
# What a node may hold beyond what it held before: ids are handed out and forgotten.
GROWTH_MB_MAX = 100


def resident_mb(node):
    for line in pathlib.Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"node {node.id} has no memory")


class Ids:
    """Takes ids from all nodes at once, until told to stop."""

    def __init__(self, cluster):
        self.given, self.twice, self.errors = set(), [], collections.Counter()
        self.lock, self.ends, self.is_calm = threading.Lock(), threading.Event(), False
        self.threads = [threading.Thread(target=self.ask, args=(node,), daemon=True)
                        for node in cluster.nodes.values() for _ in range(CONNECTIONS_EACH)]
        for thread in self.threads:
            thread.start()

    def ask(self, node):
        while not self.ends.is_set():
            try:
                with socket.create_connection(("127.0.0.1", node.client_port), timeout=30) as connection:
                    stream = connection.makefile("rb")
                    while not self.ends.is_set():
                        connection.sendall(REQUEST * PIPELINED)
                        answers = stream.read(ANSWER.size * PIPELINED)
                        self.note(answers[:len(answers) // ANSWER.size * ANSWER.size])
                        if len(answers) < ANSWER.size * PIPELINED:
                            break
                        if self.is_calm:
                            time.sleep(0.05)
            except OSError:
                pass
            time.sleep(0.05)

    def note(self, answers):
        with self.lock:
            for _, _, _, error, producer_id, _ in ANSWER.iter_unpack(answers):
                if error:
                    self.errors[error] += 1
                elif producer_id in self.given:
                    self.twice.append(producer_id)
                else:
                    self.given.add(producer_id)

    def count(self):
        return len(self.given)

    def stop(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(60)


def kill_controller(cluster):
    """Kills the active controller, waits for the next one, and brings it back."""
    node, epoch = cluster.controller(), cluster.controller_epoch()
    node.kill()
    eventually(lambda: cluster.controller_epoch() > epoch and cluster.controller().is_alive(), 60, "another controller")
    node.spawn()
    eventually(lambda: wire.metadata(node.client_port), 60, f"node {node.id} back")


def run(count, kills):
    with tempfile.TemporaryDirectory(prefix="producer-ids-") as folder, Cluster("moldau", folder) as cluster:
        cluster.start()
        before = {node.id: resident_mb(node) for node in cluster.nodes.values()}
        began, ids = time.monotonic(), Ids(cluster)
        eventually(lambda: ids.count() >= count, 600, f"{count} producer ids")
        took = time.monotonic() - began
        grown = max(resident_mb(node) - before[node.id] for node in cluster.nodes.values())
        print(f"{count} producer ids in {took:.1f} s; a node grew by {grown:.0f} MB", flush=True)
        assert grown <= GROWTH_MB_MAX, f"a node grew by {grown:.0f} MB"
        ids.is_calm = True
        for number in range(kills):
            held = ids.count()
            kill_controller(cluster)
            eventually(lambda: ids.count() > held, 60, f"more ids after kill {number + 1}")
        # All at once, too: what the metadata log says of blocks outlives the memory of all.
        for node in cluster.nodes.values():
            node.kill()
        cluster.start()
        held = ids.count()
        eventually(lambda: ids.count() > held, 60, "more ids after all were killed")
        ids.stop()
        refused = ", ".join(f"{n} times {code}" for code, n in sorted(ids.errors.items())) or "none"
        print(f"{ids.count()} producer ids over {kills} kills of the active controller and one of all nodes, "
              f"{len(ids.twice)} given out twice; refused: {refused}")
        assert not ids.twice, ids.twice[:10]
    print("1 passed, 0 failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    arguments = parser.parse_args()
    sys.exit(run(arguments.count, arguments.kills))
