"""Faults of the links between nodes: what proxy.py does to what one node sends to another."""

import time

import wire
from cluster import eventually
from harness import TOPIC

# What has to be acknowledged while a fault lasts that the partitions' leaders need not notice.
PROGRESS_DURING_FAULT_RECORDS = 100

class LinkFaults:
    def cut(self, name, pairs, seconds, mode="hold", **more):
        """Rules for links, for a while; each pair has to have met traffic."""
        links, before = self.cluster.links, self.cluster.links.counts()
        self.run.begin()
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

    def trickle_links(self, seconds=6):
        """A few bytes now and then: not silent, and of no use."""
        node = self.some_leader()
        self.cut("trickling links", [(node.id, other) for other in self.others(node)], seconds, mode="trickle",
                 bytes_per_second=self.rng.choice((500, 5_000, 50_000)))

    def lossy_links(self, seconds=6):
        """Some of what is sent comes late, and what is behind it too: what packets that are lost are to TCP."""
        node = self.some_leader()
        pairs = [pair for other in self.others(node) for pair in ((node.id, other), (other, node.id))]
        self.cut("lossy links", pairs, seconds, mode="lossy", share=self.rng.choice((0.05, 0.15, 0.3)), ms=250)

    def flip_bits(self, seconds=4):
        """In records on their way to followers, where the batches' checksums cover them: nobody may keep such a batch."""
        node, links = self.some_leader(), self.cluster.links
        pairs = [(node.id, other) for other in self.others(node)]
        before = links.counts()
        for source, target in pairs:
            links.rule(source, target, "flip", kind="broker", share=0.3)
        time.sleep(seconds)
        links.heal()
        touched = links.counts() - before
        flips = sum(touched[f"{s}>{t} flips"] for s, t in pairs)
        self.run.fault("flipped bits", flips > 0, node=node.id, flips=flips)
        self.settle()

    def lose_quorum(self, seconds=8):
        """No controller hears another one: nothing can be decided. Leaders with all their followers go on; and nobody is
        told of a topic that it was made."""
        links, nodes = self.cluster.links, list(self.cluster.nodes)
        self.whole()
        before = self.cluster.end_offsets(TOPIC)
        pairs = [(source, target) for source in nodes for target in nodes if source != target]
        for source, target in pairs:
            links.rule(source, target, "hold", kind="controller")
        self.without_quorum += 1
        deadline = time.monotonic() + seconds
        refused = self.create_is_refused(f"without-quorum-{self.without_quorum}")
        time.sleep(max(0, deadline - time.monotonic()))
        grown = {p: end - before[p] for p, end in self.cluster.end_offsets(TOPIC).items()}
        links.heal()
        self.run.fault("loss of the quorum", refused and all(n >= PROGRESS_DURING_FAULT_RECORDS for n in grown.values()),
                       refused=refused, grown=grown, seconds=seconds)
        self.settle()

    def create_is_refused(self, name):
        """Whether no node says that it has made this topic: refused, or no answer at all."""
        try:
            self.cluster.ask(wire.create_topic, name, 1, 3, timeout=3)
        except wire.NoAnswer:
            return True
        return False

    def strand_clients(self):
        """What clients have sent to one node on the connections that they had arrives many seconds late, when they have asked
        again on others, have been fenced, or have done with the transaction that it belonged to."""
        links, node = self.cluster.links, self.rng.choice((self.some_leader(), self.copiers_coordinator()))
        before = links.counts()
        late, held = f"client>{node.id} late bytes", f"client>{node.id} strand bytes"
        links.rule("client", node.id, "strand", kind="client")
        time.sleep(self.rng.uniform(8, 25))
        stranded = (links.counts() - before)[held]
        links.heal()
        eventually(lambda: (links.counts() - before)[late] > 0 or not stranded, 20, "late requests")
        arrived = (links.counts() - before)[late]
        self.run.fault("late requests", stranded > 0 and arrived > 0, node=node.id, stranded=stranded, arrived=arrived)
        self.settle()

    def cut_off_clients(self, seconds=6):
        """Clients and one node do not hear each other, one way: their requests do not arrive, or their answers."""
        node = self.some_leader()
        pair = self.rng.choice((("client", node.id), (node.id, "client")))
        self.cut("clients cut off", [pair], seconds, kind="client")
