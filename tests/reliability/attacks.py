"""What a peer may send that means harm: each attack says how much it sent, and fails where it was not answered as Kafka would.

An attack is given the node and how many times as much as usual it has to do; it returns what it sent, for the page. Whether the
node lives, serves others and stays within its memory is looked at by hostile.py, after each."""

import concurrent.futures
import contextlib
import gzip
import os
import random
import socket
import struct
import threading

import lz4.frame
import zstandard

import peer
from conftest import eventually
from peer import array, connect, frame, string

TOPIC = "hostile"
MESSAGE_BYTES_MAX = 1_048_588
CORRUPT_MESSAGE, INVALID_TOPIC, RECORD_LIST_TOO_LARGE, MESSAGE_TOO_LARGE, OFFSET_METADATA_TOO_LARGE = 2, 17, 18, 10, 12
INVALID_REQUIRED_ACKS, UNSUPPORTED_VERSION, UNSUPPORTED_FORMAT, UNSUPPORTED_COMPRESSION, INVALID_RECORD = 21, 35, 43, 76, 87
REFUSALS = {CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, UNSUPPORTED_FORMAT, UNSUPPORTED_COMPRESSION, INVALID_RECORD,
            42, 45, 47, 59}
THREADS = 16


def all_of(check, cases):
    """Runs `check` for each case, several at once; all have to be true."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        bad = [case for case, is_well in zip(cases, pool.map(check, cases)) if not is_well]
    assert not bad, f"{len(bad)} of {len(cases)}, for example {str(bad[0])[:200]}"
    return len(cases)


def impossible_sizes(node, times):
    sizes = [-1, -(2**31), 0, 1, 3, 2**31 - 1, 104_857_601] * 100 * times
    return all_of(lambda size: peer.say(node.port, struct.pack(">i", size) + b"\0" * 16), sizes), "frames"


def unknown_keys_and_versions(node, times):
    """Every key that is not served, and versions beside those that are."""
    served = node.served()
    cases = [(key, version) for key in [*range(-1, 120), *range(120, 32_768, max(1, 400 // times)), -32_768]
             for version in (-1, 0, 99, 32_767)
             if key != peer.API_VERSIONS and not (key in served and served[key][0] <= version <= served[key][1])]
    return all_of(lambda case: peer.say(node.port, frame(*case, b"\0" * 8)), cases), "requests"


def versions_of_api_versions(node, times):
    def check(version):
        found = peer.ask(node.port, peer.API_VERSIONS, version, b"")
        return found is not None and struct.unpack_from(">h", found)[0] == UNSUPPORTED_VERSION

    return all_of(check, [*range(5, 200), *range(200, 32_768, max(1, 500 // times))]), "requests"


def impossible_counts(node, times):
    """Each request of each version with counts and lengths that cannot be, in its first fields."""
    counts = [struct.pack(">i", n) for n in (2**31 - 1, 0x10000000, -2, -(2**31))]
    counts += [b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80" * 12]  # unsigned varints, two overlong
    heads = [b"", b"\0", b"\0" * 4, b"\0\0", struct.pack(">hhi", -1, -1, 0), b"\0\0\0\0\0\0\0\0", string("t")]
    served = node.served()
    cases = [(key, version, head + count) for key, (low, high) in served.items() for version in range(low, high + 1)
             for head in heads for count in counts]
    if times == 1:
        cases = cases[::5]

    def check(case):
        with connect(node.port) as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(frame(*case))
                s.shutdown(socket.SHUT_WR)
            return peer.ends(s)

    return all_of(check, cases), "requests"


def random_bytes(node, times):
    rng = random.Random(node.seed)
    served = list(node.served().items())

    def case():
        key, (low, high) = rng.choice(served)
        return frame(key, rng.randint(low, high), rng.randbytes(rng.randrange(300)), flexible=rng.random() < 0.5)

    cases = [case() for _ in range(3_000 * times)]
    cases += [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\n" * 5_000] * 20
    return all_of(lambda data: peer.say(node.port, data, is_all=True), cases), "frames"


def controllers_listener(node, times):
    rng = random.Random(node.seed + 1)
    cases = [struct.pack(">i", size) + b"\0" * 16 for size in (-1, 0, 2**31 - 1)] * 20
    cases += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(rng.randrange(400)) for _ in range(300 * times)]
    cases += [rng.randbytes(rng.randrange(1, 400)) for _ in range(300 * times)]

    def check(data):
        # What it does not understand it may hold for a while: that it takes no harm is what is looked at.
        peer.say(node.controller_port, data, is_all=True, seconds=1)
        return True

    return all_of(check, cases), "connections"


def broken_off_requests(node, times):
    """Requests that end in the middle, by a close or by a reset."""
    whole = frame(peer.PRODUCE, 3, peer.produce_body(TOPIC, peer.batch(peer.record(b"x"))))

    def check(case):
        length, is_reset = case
        with connect(node.port) as s:
            s.sendall(whole[:length])
            if is_reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    return all_of(check, [(n, reset) for n in range(len(whole)) for reset in (False, True)] * 5 * times), "connections"


def held_sockets(node, times):
    """Sockets that say the largest size there may be, a part of it, and nothing more; others are served meanwhile."""
    with contextlib.ExitStack() as held:
        for n in range(500 * times):
            s = held.enter_context(connect(node.port))
            s.sendall(struct.pack(">i", 104_857_600) + b"\0\0\0\3" + b"\0" * (n % 2_000))
        assert node.serves(), "others are not served"
        return 500 * times, "sockets"


def half_requests(node, times):
    """Each has sent megabytes of a request that does not end."""
    part = b"\0" * (8 << 20)
    with contextlib.ExitStack() as held:
        for _ in range(40 * times):
            s = held.enter_context(connect(node.port))
            s.settimeout(0.2)
            with contextlib.suppress(OSError):
                s.sendall(struct.pack(">i", 100 << 20) + part)
        assert node.serves(), "others are not served"
    return 40 * times, "requests of 100 MiB"


def floods_of_connections(node, times):
    def check(_):
        with contextlib.suppress(OSError):
            with connect(node.port) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    return all_of(check, range(5_000 * times)), "connections"


def pipelined_requests(node, times):
    """Ten thousand on one connection, which are answered in their order."""
    count = 10_000
    for _ in range(times):
        with connect(node.port) as s:
            writer = threading.Thread(target=lambda: s.sendall(b"".join(
                frame(peer.API_VERSIONS, 0, b"", correlation_id=n) for n in range(count))))
            writer.start()
            for n in range(count):
                assert struct.unpack_from(">i", peer.answer(s))[0] == n, "out of order"
            writer.join(peer.SECONDS_MAX)
    return count * times, "requests"


def answers_that_nobody_reads(node, times):
    """A log of 64 MiB, asked for by many who do not read."""
    large = peer.batch(peer.record(os.urandom(1_000_000)))
    for _ in range(64):
        assert peer.produced(node.port, "wide", large)[0] == 0
    partition = struct.pack(">iqi", 0, 0, 100 << 20)
    body = struct.pack(">iiiib", -1, 10, 1, 100 << 20, 0) + array([string("wide") + array([partition])])
    request = frame(peer.FETCH, 4, body)
    with contextlib.ExitStack() as held:
        for _ in range(200 * times):
            s = held.enter_context(connect(node.port))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(request * 3)
        assert node.serves(), "others are not served"
    return 200 * times, "fetches of 64 MiB, three from each"


def requests_of_a_million_parts(node, times):
    """Valid ones: topics that there are none of, and one partition again and again."""
    names = b"".join(string(f"t{n}") for n in range(300_000 * times))
    peer.ask(node.port, peer.METADATA, 4, struct.pack(">i", 300_000 * times) + names + b"\0")  # and none is to be made
    partition = struct.pack(">iqi", 0, 0, 1 << 20)
    body = struct.pack(">iiiib", -1, 0, 0, 50 << 20, 0) + array([string("wide") + struct.pack(">i", 500_000) + partition * 500_000])
    peer.ask(node.port, peer.FETCH, 4, body)
    offsets = struct.pack(">iq", 0, -1) * 500_000
    peer.ask(node.port, peer.LIST_OFFSETS, 2, struct.pack(">ib", -1, 0) + array([string(TOPIC) + struct.pack(">i", 500_000) + offsets]))
    return 300_000 * times + 1_000_000, "topics and partitions"


def batches_that_are_wrong(node, times):
    """Kafka's refusals, and nothing of them is in the log."""
    good = peer.record(b"value")
    wrong = {
        "checksum": peer.batch(good, crc=1), "format 0": peer.batch(good, magic=0), "format 1": peer.batch(good, magic=1),
        "format 9": peer.batch(good, magic=9), "length": peer.batch(good, length=9_999), "short": peer.batch(good, length=20),
        "negative length": peer.batch(good, length=-1), "deltas": peer.batch(good, last_delta=7), "count": peer.batch(good, count=7),
        "many": peer.batch(good, count=2**31 - 1, last_delta=2**31 - 2), "no records": peer.batch(b"", count=0),
        "negative count": peer.batch(good, count=-1, last_delta=-2), "control": peer.batch(good, attributes=0x20),
        "codec": peer.batch(good, attributes=6), "sequence": peer.batch(good, producer=7, producer_epoch=0, sequence=-2),
        "two batches": peer.batch(good) * 2, "record's length": peer.batch(b"\xfe\xff\xff\xff\x0f" + good),
        "trailing bytes": peer.batch(good + b"\0" * 9), "cut off": peer.batch(good)[:-3],
        "too large": peer.batch(peer.record(bytes(2 * MESSAGE_BYTES_MAX)), crc=0)}
    rng, before = random.Random(node.seed + 2), peer.end_offset(node.port, TOPIC)
    cases = list(wrong.items())
    while len(cases) < 2_000 * times:
        # One bit anywhere that the checksum covers; the checksum is the old one.
        data = bytearray(peer.batch(good))
        data[rng.randrange(21, len(data))] ^= 1 << rng.randrange(8)
        cases.append(("a bit", bytes(data)))

    def check(case):
        found = peer.produced(node.port, TOPIC, case[1])
        return found is None or found[0] in REFUSALS

    count = all_of(check, cases)
    assert peer.end_offset(node.port, TOPIC) == before, "something of them was appended"
    return count, "batches"


def decompression_bombs(node, times):
    """All codecs, from many connections at once: batches that fit, of records that do not."""
    # A batch may be a hundred times as large as it comes: with the default bound that is 100 MiB.
    huge, large = (peer.record(bytes(size << 20)) for size in (400, 200))
    claims = [("snappy claim", 2, b"\xff\xff\xff\xff\x0f\0\0"), ("zstd window", 4, b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"),
              ("zstd size", 4, b"\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00"),
              ("xerial claim", 2, b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\x7f\xff\xff\xff\xff\xff\xff\xff\x0f"),
              ("gzip", 1, gzip.compress(huge)), ("zstd", 4, zstandard.compress(huge)),
              ("lz4", 3, lz4.frame.compress(large)),
              ("nested", 1, gzip.compress(gzip.compress(huge)))]
    bombs = [(name, peer.batch(data, attributes=codec)) for name, codec, data in claims if len(data) < MESSAGE_BYTES_MAX - 61]
    before = peer.end_offset(node.port, TOPIC)

    def check(case):
        found = peer.produced(node.port, TOPIC, case[1])
        return found is None or found[0] in REFUSALS

    count = all_of(check, bombs * 8 * times)
    assert peer.end_offset(node.port, TOPIC) == before, "one of them was appended"
    return count, f"batches of {len(bombs)} kinds"


def wrong_produces(node, times):
    batch = peer.batch(peer.record(b"x"))
    for acks in (2, 7, -2, 32_767):
        assert peer.produced(node.port, TOPIC, batch, acks=acks)[0] == INVALID_REQUIRED_ACKS, acks
    for topic in ("__consumer_offsets", "__transaction_state"):
        found = peer.produced(node.port, topic, batch)
        assert found is None or found[0] in (INVALID_TOPIC, 3), f"{topic}: {found}"
    for partition in (-1, 1, 2**31 - 1, -(2**31)):
        assert peer.produced(node.port, TOPIC, batch, partition=partition)[0] == 3, partition
    return 10, "requests"


def names_of_topics(node, times):
    """None of them leaves the directory of the logs."""
    rng, before = random.Random(node.seed + 3), set(os.listdir(node.folder))
    names = ["", ".", "..", "../../etc", "a/b", "a\\b", "x" * 250, "sp ace", "é", "a\0b", "../evil", "\n", "-\u202e"]
    names += ["".join(rng.choice("/.\\\0 \t:*?\u00e9") for _ in range(rng.randrange(1, 40))) for _ in range(500 * times)]
    names = [name for name in names if name.strip(".") or len(name) < 3]  # three dots and more are a name

    def check(name):
        return peer.create_topic(node.port, name) in (INVALID_TOPIC, None)

    count = all_of(check, names)
    assert set(os.listdir(node.folder)) == before, "there is something new beside the logs"
    return count, "names"


def fetches_of_what_is_not_there(node, times):
    end = peer.end_offset(node.port, TOPIC)

    def fetch(offset, epoch=-1, replica=-1, session=0, session_epoch=-1):
        partition = struct.pack(">iiqqi", 0, epoch, offset, -1, 1 << 20)
        body = struct.pack(">iiiibii", replica, 10, 0, 1 << 20, 0, session, session_epoch)
        found = peer.ask(node.port, peer.FETCH, 9, body + array([string(TOPIC) + array([partition])]) + array([]))
        top, = struct.unpack_from(">h", found, 4)
        return top or struct.unpack_from(">h", found, 10 + 4 + 2 + len(TOPIC) + 4 + 4)[0]

    assert fetch(end) == 0
    for offset in (end + 1, 2**62, -1, -(2**62)):
        assert fetch(offset) == 1, offset
    assert fetch(0, epoch=1_000_000) == 75
    assert fetch(0, session=77, session_epoch=5) == 70
    # A client that says it is a replica moves nothing.
    for replica in (1, 2, 99):
        fetch(end + 10_000, replica=replica)
    assert peer.end_offset(node.port, TOPIC) == end
    return 10, "requests"


def many_names(node, times):
    """Groups, producers, transactional ids and sessions that come and never come back."""
    count = 0
    eventually(lambda: peer.has_coordinator(node.port, "g0"), message="a coordinator")
    with connect(node.port) as s:
        def pipeline(requests):
            nonlocal count
            for at in range(0, len(requests), 100):
                s.sendall(b"".join(requests[at:at + 100]))
                for _ in requests[at:at + 100]:
                    peer.answer(s)
            count += len(requests)

        ids = [frame(peer.INIT_PRODUCER_ID, 0, struct.pack(">hi", -1, 60_000))] * 20_000 * times
        pipeline(ids)
        protocols = array([string("range") + struct.pack(">i", 2_000) + os.urandom(2_000)])
        pipeline([frame(peer.JOIN_GROUP, 5, string(f"g{n}") + struct.pack(">ii", 6_000, 6_000) + string("") + b"\xff\xff"
                        + string("consumer") + protocols) for n in range(5_000 * times)])
        partition = struct.pack(">iiqqi", 0, -1, 0, -1, 1 << 20)
        body = struct.pack(">iiiibii", -1, 0, 0, 1 << 20, 0, 0, 0) + array([string(TOPIC) + array([partition])]) + array([])
        pipeline([frame(peer.FETCH, 9, body)] * 5_000 * times)
    produced = [peer.batch(peer.record(b"x"), producer=10**6 + n, producer_epoch=0, sequence=0) for n in range(500 * times)]
    count += all_of(lambda data: peer.produced(node.port, "producers", data) is not None, produced)
    return count, "ids, groups and sessions"


def large_group_metadata(node, times):
    """Tens of megabytes of a member's protocol, and of an offset's metadata."""
    eventually(lambda: peer.has_coordinator(node.port, "simple"), message="a coordinator")
    large = os.urandom(16 << 20)
    for n in range(4 * times):
        body = string(f"large{n}") + struct.pack(">ii", 6_000, 6_000) + string("") + b"\xff\xff" + string("consumer")
        peer.ask(node.port, peer.JOIN_GROUP, 5, body + array([string("range") + struct.pack(">i", len(large)) + large]))
        assignment = array([string("nobody") + struct.pack(">i", len(large)) + large])
        peer.ask(node.port, peer.SYNC_GROUP, 3, string(f"large{n}") + struct.pack(">i", 1) + string("nobody") + b"\xff\xff" + assignment)
    eventually(lambda: peer.committed(node.port, "simple", TOPIC, "m") == 0, message="a commit that is none of an attack")
    assert peer.committed(node.port, "simple", TOPIC, "m" * 30_000) == OFFSET_METADATA_TOO_LARGE
    return 8 * times, "requests of 16 MiB"


ATTACKS = [impossible_sizes, unknown_keys_and_versions, versions_of_api_versions, impossible_counts, random_bytes,
           controllers_listener, broken_off_requests, held_sockets, half_requests, floods_of_connections, pipelined_requests,
           answers_that_nobody_reads, requests_of_a_million_parts, batches_that_are_wrong, decompression_bombs, wrong_produces,
           names_of_topics, fetches_of_what_is_not_there, many_names, large_group_metadata]
