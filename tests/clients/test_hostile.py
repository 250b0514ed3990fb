"""Hostile bytes: whatever a peer sends costs it its connection, never the broker or another client."""

import os
import random
import socket
import struct
import time

from confluent_kafka import Producer

from conftest import Moldau

GROWTH_KIB_MAX = 64 * 1024


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def connect(moldau):
    return socket.create_connection(("127.0.0.1", moldau.port), timeout=5)


def is_closed(s, seconds=5):
    s.settimeout(seconds)
    try:
        return s.recv(65536) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def frame(key, version, body, correlation_id=1, client_id=b"x"):
    header = struct.pack(">hhih", key, version, correlation_id, len(client_id)) + client_id
    return struct.pack(">i", len(header) + len(body)) + header + body


def works(moldau):
    producer = Producer({"bootstrap.servers": moldau.bootstrap, "message.timeout.ms": 10000})
    errors = []
    producer.produce("witness", b"v", on_delivery=lambda error, _: errors.append(error))
    producer.flush(15)
    return errors == [None]


def test_impossible_sizes_close_the_connection_and_cost_no_memory(moldau):
    before = resident_kib(moldau.process.pid)
    for size in (-1, -(2**31), 0, 1, 3, 2**31 - 1, 104857601):
        for _ in range(20):
            with connect(moldau) as s:
                s.sendall(struct.pack(">i", size) + b"\0" * 16)
                assert is_closed(s), f"size {size}"
    held = []
    for _ in range(200):  # the largest size that is allowed, and then nothing
        s = connect(moldau)
        s.sendall(struct.pack(">i", 104857600) + b"\0\3\0\1")
        held.append(s)
    time.sleep(0.5)
    assert resident_kib(moldau.process.pid) - before < GROWTH_KIB_MAX
    for s in held:
        s.close()
    assert works(moldau)


def test_counts_that_cannot_be_close_the_connection(moldau):
    for count in (0x7FFFFFFF, 0x10000000, -2, -(2**31)):
        body = struct.pack(">I", count & 0xFFFFFFFF)
        for key, version in ((3, 1), (3, 0), (1, 4), (0, 3), (2, 1), (8, 2), (9, 1), (19, 2), (11, 0), (37, 0)):
            with connect(moldau) as s:
                s.sendall(frame(key, version, body))
                assert is_closed(s), f"key {key} version {version} count {count}"
    assert works(moldau)


def test_unknown_keys_and_versions_close_the_connection(moldau):
    for key, version in ((-1, 0), (4, 0), (999, 0), (32767, 0), (3, 99), (3, -1), (0, 14), (1, 3), (17, 9)):
        with connect(moldau) as s:
            s.sendall(frame(key, version, b"\0" * 8))
            assert is_closed(s), f"key {key} version {version}"
    assert works(moldau)


def test_api_versions_of_an_unknown_version_is_answered_in_version_0(moldau):
    for version in (5, 9, 100, 32767):
        with connect(moldau) as s:
            s.sendall(frame(18, version, b"", correlation_id=7))
            s.settimeout(5)
            answer = s.recv(4096)
            size, correlation_id, error, count = struct.unpack(">iihi", answer[:14])
            assert (size, correlation_id, error) == (len(answer) - 4, 7, 35), version
            assert count >= 1


def test_random_bytes_and_other_protocols_do_no_harm(moldau):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    before = resident_kib(moldau.process.pid)
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\n" * 100):
        with connect(moldau) as s:
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            assert is_closed(s), text
    for _ in range(2000):
        with connect(moldau) as s:
            s.settimeout(5)
            key, version = rng.choice([*range(0, 93)]), rng.randrange(0, 19)
            body = rng.randbytes(rng.randrange(0, 200))
            try:
                s.sendall(frame(key, version, body))
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except (ConnectionError, TimeoutError):
                pass
    assert moldau.process.poll() is None, f"seed {seed}"
    assert resident_kib(moldau.process.pid) - before < GROWTH_KIB_MAX, f"seed {seed}"
    assert works(moldau)


def test_a_trickled_frame_does_not_hold_up_others(moldau):
    slow = connect(moldau)
    message = frame(18, 0, b"")
    for i, byte in enumerate(message):
        slow.sendall(bytes([byte]))
        if i == len(message) // 2:
            assert works(moldau)
    slow.settimeout(5)
    assert struct.unpack(">i", slow.recv(4096)[:4])[0] > 0
    slow.close()


def test_pipelined_requests_are_answered_in_order(moldau):
    count = 2000
    with connect(moldau) as s:
        s.sendall(b"".join(frame(18, 0, b"", correlation_id=n) for n in range(count)))
        s.settimeout(10)
        buffer, seen = b"", 0
        while seen < count:
            chunk = s.recv(1 << 20)
            assert chunk
            buffer += chunk
            while len(buffer) >= 8:
                size, correlation_id = struct.unpack(">ii", buffer[:8])
                if len(buffer) < size + 4:
                    break
                assert correlation_id == seen
                buffer, seen = buffer[size + 4:], seen + 1


def test_names_do_not_leave_the_data_directory(moldau):
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    before = set(os.listdir(moldau.folder))
    for name in ("../evil", "..", ".", "a/b", "a\\b", "x" * 250, "sp ace", "é"):
        try:
            admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
            raise AssertionError(f"{name!r} was accepted")
        except KafkaException as error:
            assert error.args[0].name() in ("TOPIC_EXCEPTION", "INVALID_TOPIC_EXCEPTION", "_INVALID_ARG"), error
    assert set(os.listdir(moldau.folder)) == before


def test_a_flood_of_connections_leaves_files_for_the_logs(tmp_path):
    node = Moldau(tmp_path)
    start = node.command
    node.command = lambda: ["prlimit", "--nofile=300:300", *start()]
    node.start()
    try:
        producer = Producer({"bootstrap.servers": node.bootstrap, "message.timeout.ms": 20000})
        errors = []

        def produce(topic):
            producer.produce(topic, b"v", on_delivery=lambda error, _: errors.append(error))
            producer.flush(30)

        produce("before")
        held = []
        for _ in range(600):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", node.port))
            held.append(s)
        time.sleep(0.5)
        for n in range(5):  # each a new log with files of its own
            produce(f"during-{n}")
        for s in held:
            s.close()
        assert errors == [None] * 6, errors
        assert works(node)
        assert "too many open files" not in node.log().lower(), node.log()
    finally:
        node.kill()


def compact(text):
    return bytes([len(text) + 1]) + text


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def share_topics(count):
    """Topics that there are none of, each with one partition of which one record is accepted."""
    accepted = b"\2" + struct.pack(">qq", 0, 0) + b"\2\1" + b"\0"
    topics = (os.urandom(16) + b"\2" + struct.pack(">i", 0) + accepted + b"\0" + b"\0" for _ in range(count))
    return varint(count + 1) + b"".join(topics)


def ask_flexible(s, key, version, body):
    s.sendall(frame(key, version, b"\0" + body))
    stream = s.makefile("rb")
    answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    return answer[5:]  # behind the correlation id and no tags


def test_a_share_member_that_names_very_much_is_answered_and_holds_little(moldau):
    before = resident_kib(moldau.process.pid)
    member = compact(b"g") + compact(b"m")
    limits = struct.pack(">iiiii", 0, 0, 1 << 20, 500, 500)
    with connect(moldau) as s:
        s.settimeout(60)

        def fetch(epoch, topics):
            return ask_flexible(s, 78, 1, member + struct.pack(">i", epoch) + limits + topics + b"\1" + b"\0")

        assert struct.unpack_from(">h", fetch(0, b"\1"), 4)[0] == 0, "a session is opened"
        assert struct.unpack_from(">h", fetch(1, share_topics(50_000)), 4)[0] == 42, "INVALID_REQUEST"
        said = ask_flexible(s, 79, 1, member + struct.pack(">i", 2) + share_topics(50_000) + b"\0")
        assert struct.unpack_from(">h", said, 4)[0] == 0
        assert len(said) > 50_000 * 18, "each is answered"
        assert struct.unpack_from(">h", fetch(3, share_topics(5_000)), 4)[0] == 0
    assert resident_kib(moldau.process.pid) - before < 2 * GROWTH_KIB_MAX
    assert works(moldau)
