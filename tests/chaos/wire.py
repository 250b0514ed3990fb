"""The few Kafka requests by which the harness looks at a cluster, over a socket of their own and with short timeouts:
a stock client would wait, retry, and answer from its cache while nodes die."""

import dataclasses
import socket
import struct

METADATA, FIND_COORDINATOR, OFFSET_FETCH, LIST_OFFSETS, CREATE_TOPICS, DESCRIBE_QUORUM = 3, 10, 9, 2, 19, 55
ALTER_PARTITION_REASSIGNMENTS = 45
NONE, TOPIC_ALREADY_EXISTS = 0, 36
ANSWER_BYTES_MAX = 64 << 20


class NoAnswer(Exception):
    """The node did not answer, or not with what was asked. Says nothing about what it did."""


class Reader:
    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, form):
        form = ">" + form
        size = struct.calcsize(form)
        if self.at + size > len(self.body):
            raise NoAnswer("the answer ends in the middle")
        value = struct.unpack_from(form, self.body, self.at)
        self.at += size
        return value[0] if len(value) == 1 else value

    def bytes(self, length):
        if length < 0:
            return None
        piece = self.body[self.at:self.at + length]
        self.at += length
        return piece

    def string(self):
        piece = self.bytes(self.take("h"))
        return None if piece is None else piece.decode()

    def array(self, read):
        return [read() for _ in range(max(self.take("i"), 0))]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def compact_string(self):
        piece = self.bytes(self.varint() - 1)
        return None if piece is None else piece.decode()

    def compact_array(self, read):
        return [read() for _ in range(max(self.varint() - 1, 0))]


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def ask(port, key, version, body, timeout=2.0, flexible=False, host="127.0.0.1"):
    """One request on a connection of its own; the answer's body without its header."""
    header = struct.pack(">hhi", key, version, 1) + string("chaos") + (b"\0" if flexible else b"")
    try:
        with socket.create_connection((host, port), timeout=timeout) as s:
            s.settimeout(timeout)
            s.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            size = struct.unpack(">i", receive(s, 4))[0]
            if not 4 <= size <= ANSWER_BYTES_MAX:
                raise NoAnswer(f"an answer of {size} bytes")
            answer = receive(s, size)
    except OSError as error:
        raise NoAnswer(str(error)) from None
    reader = Reader(answer)
    reader.take("i")
    if flexible:
        reader.varint()
    return reader


def receive(s, size):
    pieces = b""
    while len(pieces) < size:
        piece = s.recv(size - len(pieces))
        if not piece:
            raise NoAnswer("the connection was closed")
        pieces += piece
    return pieces


@dataclasses.dataclass(frozen=True)
class Partition:
    error: int
    leader: int
    leader_epoch: int
    replicas: tuple
    isr: tuple


def metadata(port, topics=None, timeout=2.0):
    """The brokers, and {topic: {partition: Partition}}, as this node sees them."""
    names = struct.pack(">i", -1) if topics is None else array([string(topic) for topic in topics])
    reader = ask(port, METADATA, 7, names + b"\0", timeout)
    reader.take("i")
    brokers = reader.array(lambda: (reader.take("i"), reader.string(), reader.take("i"), reader.string()))
    reader.string()
    reader.take("i")

    def ids():
        return tuple(reader.array(lambda: reader.take("i")))

    def partition():
        error, index, leader, epoch = reader.take("hiii")
        replicas, isr, _ = ids(), ids(), ids()
        return index, Partition(error, leader, epoch, replicas, isr)

    def topic():
        error, name, _ = reader.take("h"), reader.string(), reader.take("?")
        return name, error, dict(reader.array(partition))

    found = {name: partitions for name, error, partitions in reader.array(topic) if error == NONE}
    return {broker[0]: broker[1:3] for broker in brokers}, found


def quorum_leader(port, timeout=2.0):
    """The active controller's node id and its epoch, by DescribeQuorum; (-1, epoch) while there is none."""
    body = b"\2" + bytes([len(b"__cluster_metadata") + 1]) + b"__cluster_metadata" + b"\2" + struct.pack(">i", 0) + b"\0\0\0"
    reader = ask(port, DESCRIBE_QUORUM, 0, body, timeout, flexible=True)
    if reader.take("h") != NONE or reader.varint() != 2:
        raise NoAnswer("DescribeQuorum was refused")
    reader.compact_string()
    if reader.varint() != 2:
        raise NoAnswer("DescribeQuorum names no partition")
    _, error, leader, epoch = reader.take("ihii")
    if error != NONE:
        raise NoAnswer(f"DescribeQuorum answered {error}")
    return leader, epoch


def transaction_coordinator(port, transactional_id, timeout=2.0):
    return coordinator(port, transactional_id, timeout, kind=1)


def coordinator(port, key, timeout=2.0, kind=0):
    reader = ask(port, FIND_COORDINATOR, 1, string(key) + bytes([kind]), timeout)
    _, error = reader.take("ih")
    reader.string()
    node = reader.take("i")
    if error != NONE:
        raise NoAnswer(f"FindCoordinator answered {error}")
    return node


def committed(port, group, timeout=2.0):
    """{(topic, partition): offset} of a group, asked of its coordinator."""
    reader = ask(port, OFFSET_FETCH, 5, string(group) + struct.pack(">i", -1), timeout)
    reader.take("i")
    found = {}
    for _ in range(max(reader.take("i"), 0)):
        topic = reader.string()
        for _ in range(max(reader.take("i"), 0)):
            index, offset, _ = reader.take("iqi")
            reader.string()
            if reader.take("h") != NONE:
                raise NoAnswer("OffsetFetch: a partition failed")
            found[topic, index] = offset
    error = reader.take("h")
    if error != NONE:
        raise NoAnswer(f"OffsetFetch answered {error}")
    return found


def end_offset(port, topic, partition, timeout=2.0, epoch=-1):
    """The high watermark of a partition, asked of its leader; with an epoch only of one that leads in that."""
    body = struct.pack(">ib", -1, 0) + array([string(topic) + array([struct.pack(">iiq", partition, epoch, -1)])])
    reader = ask(port, LIST_OFFSETS, 4, body, timeout)
    reader.take("i")
    if reader.take("i") != 1:
        raise NoAnswer("ListOffsets names no topic")
    reader.string()
    _, _, error, _, offset, _ = reader.take("iihqqi")
    if error != NONE:
        raise NoAnswer(f"ListOffsets answered {error}")
    return offset


def create_topic(port, name, partitions, replicas, settings=None, timeout=15.0):
    configs = array([string(key) + string(value) for key, value in (settings or {}).items()])
    topic = string(name) + struct.pack(">ih", partitions, replicas) + array([]) + configs
    reader = ask(port, CREATE_TOPICS, 4, array([topic]) + struct.pack(">ib", int(timeout * 1000), 0), timeout)
    reader.take("ii")
    reader.string()
    error = reader.take("h")
    message = reader.string()
    if error not in (NONE, TOPIC_ALREADY_EXISTS):
        raise NoAnswer(f"CreateTopics answered {error}: {message}")


def move_replicas(port, topic, index, nodes, timeout=15.0):
    """AlterPartitionReassignments of one partition: its replicas, in this order."""
    replicas = bytes([len(nodes) + 1]) + b"".join(struct.pack(">i", node) for node in nodes)
    partition = struct.pack(">i", index) + replicas + b"\0"
    body = struct.pack(">i", int(timeout * 1000)) + b"\2" + bytes([len(topic) + 1]) + topic.encode() + b"\2" + partition + b"\0\0"
    reader = ask(port, ALTER_PARTITION_REASSIGNMENTS, 0, body, timeout, flexible=True)
    _, error = reader.take("ih")
    message = reader.compact_string()

    def one():
        return reader.take("ih"), reader.compact_string(), reader.varint()

    errors = [] if error else [e for topic in reader.compact_array(lambda: (reader.compact_string(), reader.compact_array(one)))
                               for (_, e), _, _ in topic[1]]
    if error or errors != [NONE]:
        raise NoAnswer(f"AlterPartitionReassignments answered {error} {errors}: {message}")
