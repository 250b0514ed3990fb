"""The nodes that lines of the comparison share."""

import os
import pathlib
import time
import uuid

import systems
from systems import Node, load


class Session:
    """The nodes that lines share, started when they are first needed; one set for each settings."""

    def __init__(self, folder):
        self.folder, self.nodes, self.has_settled = pathlib.Path(folder), {}, False

    def node(self, kind, moldau_only=None):
        key = (kind, tuple(sorted((moldau_only or {}).items())) if kind == "moldau" else ())
        if key not in self.nodes:
            self.nodes[key] = Node(kind, self.folder / uuid.uuid4().hex[:8], moldau_only=moldau_only)
            warm_up(self.nodes[key])
        return self.nodes[key]

    def settle(self):
        """Leaves nothing of other lines still to be deleted: a minute after its topic is gone a system unlinks the files, and who
        waits for the disk then waits for the room to be given up, be it another system's."""
        if not self.has_settled:
            self.close()
            os.sync()
            self.has_settled = True

    def fresh(self, kind, **arguments):
        return Node(kind, self.folder / uuid.uuid4().hex[:8], **arguments)

    def cluster(self, kind):
        """Three nodes, which are never up at the same time as others."""
        key = ("cluster", kind)
        if key not in self.nodes:
            self.close()
            from cluster import Cluster
            # Sessions of Kafka's and our defaults: this is no test of failover.
            defaults = {"broker.session.timeout.ms": None, "broker.heartbeat.interval.ms": None, "replica.lag.time.max.ms": None}
            cluster = Cluster(kind, self.folder / f"{kind}-{time.monotonic_ns()}", settings=defaults)
            for node in cluster.nodes.values():
                node.heap = systems.HEAP
            cluster.start()
            cluster.stop = cluster.close
            self.nodes[key] = cluster
        return self.nodes[key]

    def close(self):
        for node in self.nodes.values():
            node.stop()
        self.nodes.clear()


def warm_up(node):
    """Kafka's code is compiled, both have touched their memory."""
    topic = uuid.uuid4().hex
    node.make_topic(topic, 2)
    for arguments in ((1024, 100, 300, 2), (100, 10, 5, 2)):
        load("produce", node.bootstrap, topic, *arguments)
    load("fetch", node.bootstrap, topic, 300, 2)
    node.delete_topic(topic)
