"""A client that says whatever it likes: frames, requests and record batches, well made or not."""

import contextlib
import socket
import struct

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, JOIN_GROUP, SYNC_GROUP = 0, 1, 2, 3, 8, 11, 14
FIND_COORDINATOR = 10
API_VERSIONS, CREATE_TOPICS, INIT_PRODUCER_ID = 18, 19, 22
SECONDS_MAX = 30


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def frame(key, version, body, correlation_id=1, flexible=False):
    header = struct.pack(">hhi", key, version, correlation_id) + string("h") + (b"\0" if flexible else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


def connect(port, seconds=SECONDS_MAX):
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def exactly(s, size):
    pieces = []
    while size:
        piece = s.recv(min(size, 1 << 20))
        if not piece:
            raise ConnectionError("closed in the middle of an answer")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def answer(s):
    """One answer behind its size, from the correlation id on."""
    return exactly(s, struct.unpack(">i", exactly(s, 4))[0])


def ask(port, key, version, body, flexible=False):
    """The body of the answer, or None where the connection was closed instead."""
    with connect(port) as s:
        try:
            s.sendall(frame(key, version, body, flexible=flexible))
            return answer(s)[4:]
        except ConnectionError:
            return None


def ends(s):
    """Whether the peer closes this connection, whatever it says before."""
    try:
        while s.recv(1 << 16):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def say(port, data, is_all=False, seconds=SECONDS_MAX):
    """Sends these bytes, and whether the peer then ends the connection; `is_all` says that nothing comes behind them."""
    with connect(port, seconds) as s:
        with contextlib.suppress(OSError):  # it may be closed already
            s.sendall(data)
            if is_all:
                s.shutdown(socket.SHUT_WR)
        return ends(s)


def crc32c_table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        yield n


TABLE = list(crc32c_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(number):
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number & ~0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def record(value, delta=0):
    body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(records, count=1, **fields):
    """A batch of format 2 over these bytes of records. `fields` replace what would be right; `crc` is made last."""
    at = {"base": 0, "length": 49 + len(records), "epoch": -1, "magic": 2, "attributes": 0, "last_delta": count - 1,
          "first_time": 0, "last_time": 0, "producer": -1, "producer_epoch": -1, "sequence": -1, "count": count, **fields}
    checked = struct.pack(">hiqqqhii", at["attributes"], at["last_delta"], at["first_time"], at["last_time"], at["producer"],
                          at["producer_epoch"], at["sequence"], at["count"]) + records
    crc = at["crc"] if "crc" in at else crc32c(checked)
    return struct.pack(">qiibI", at["base"], at["length"], at["epoch"], at["magic"], crc) + checked


def produce_body(topic, records, acks=-1, timeout_ms=5000, partition=0):
    """Produce, version 3."""
    data = struct.pack(">i", partition) + struct.pack(">i", len(records)) + records
    return struct.pack(">hhi", -1, acks, timeout_ms) + array([string(topic) + array([data])])


def produced(port, topic, records, **more):
    """(error, base offset) of a produce, or None where the connection was closed."""
    found = ask(port, PRODUCE, 3, produce_body(topic, records, **more))
    if found is None:
        return None
    at = 4 + 2 + len(topic.encode()) + 4 + 4
    return struct.unpack_from(">hq", found, at)


def end_offset(port, topic):
    body = struct.pack(">ib", -1, 0) + array([string(topic) + array([struct.pack(">iq", 0, -1)])])
    found = ask(port, LIST_OFFSETS, 2, body)
    error, _, offset = struct.unpack_from(">hqq", found, 4 + 4 + 2 + len(topic.encode()) + 4 + 4)
    assert error == 0, f"ListOffsets answered {error}"
    return offset


def create_topic(port, name, configs=(), partitions=1):
    """CreateTopics, version 2; the error, or None where the connection was closed."""
    settings = array([string(key) + string(value) for key, value in configs])
    topic = string(name) + struct.pack(">ih", partitions, 1) + array([]) + settings
    found = ask(port, CREATE_TOPICS, 2, array([topic]) + struct.pack(">ib", 20_000, 0))
    return None if found is None else struct.unpack_from(">h", found, 4 + 4 + 2 + len(name.encode()))[0]


def has_coordinator(port, group):
    """FindCoordinator, version 1: it also makes the topic of offsets, where that is not there yet."""
    found = ask(port, FIND_COORDINATOR, 1, string(group) + b"\0")
    return found is not None and struct.unpack_from(">h", found, 4)[0] == 0


def committed(port, group, topic, metadata):
    """OffsetCommit, version 2, by nobody in particular; the error."""
    offsets = array([struct.pack(">iq", 0, 1) + string(metadata)])
    body = string(group) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + array([string(topic) + offsets])
    return struct.unpack(">h", ask(port, OFFSET_COMMIT, 2, body)[-2:])[0]
