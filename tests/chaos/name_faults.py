"""Faults of names and addresses: what a node is found by after it died."""

import time

# For how long librdkafka believes an address: its broker.address.ttl.
ADDRESS_TTL_SECONDS = 1


class NameFaults:
    """Wants the cluster's `names`."""

    def reborn(self, kind, nodes, places):
        """Kills these nodes, each of which comes back at its place: (address, what it advertises)."""
        self.run.begin()
        before = {node.id: (node.address, node.pid) for node in nodes}
        for node in nodes:
            node.send_kill()
        codes = [node.process.wait(timeout=30) for node in nodes]
        for node, place in zip(nodes, places, strict=True):
            node.move(*place)
        self.cluster.names.tell({node.name: node.address for node in nodes})
        # Sometimes longer than a session: it has to be taken in again. At least until clients ask for names anew: whoever still
        # connects to the old place, where another node is by then, keeps that connection and is told by it for as long as it lives
        # that it does not lead. No client of Kafka's protocol asks a broker who it is.
        time.sleep(self.rng.uniform(ADDRESS_TTL_SECONDS + 0.5, 6))
        for node in nodes:
            node.spawn().wait_until_it_answers(60)
        has_moved = all(node.is_at(node.address) and node.address != before[node.id][0] for node in nodes)
        started = time.monotonic()
        # In sync at its new address: its followers' and its leaders' connections, and those of controllers, have found it.
        self.whole()
        self.run.fault(kind, codes == [-9] * len(nodes) and has_moved, before=before, found_seconds=time.monotonic() - started,
                       after={node.id: (node.address, node.advertises, node.pid) for node in nodes})

    def some_node(self):
        return self.rng.choice([self.some_leader(), self.cluster.controller(), *self.cluster.nodes.values()])

    def new_address(self):
        """The same name, as a container that is made anew."""
        node = self.some_node()
        self.reborn("new address", [node], [(node.next_address(), node.name)])

    def new_advertised_address(self):
        """One that it tells of itself, as pods that advertise their address: clients and brokers learn it with the metadata."""
        node = self.some_node()
        address = node.next_address()
        self.reborn("new advertised address", [node], [(address, address)])

    def swapped_addresses(self):
        """Two nodes, and each is found where the other was, on the same ports. Who still goes to the old place finds the wrong node."""
        nodes = self.rng.sample(list(self.cluster.nodes.values()), 2)
        one, other = nodes
        # By number, too: who knows a number, knows one that is somebody else's now.
        by_number = self.rng.random() < 0.5
        places = [(address, address if by_number else node.name) for node, address in ((one, other.address), (other, one.address))]
        self.reborn("swapped addresses", nodes, places)
