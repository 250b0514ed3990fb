"""The tools are tested: a proxy that held nothing, or a comparison that compared nothing, would make every run pass."""

import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading

import pytest

import disk_faults
import proxy
import replicas
from cluster import Links, eventually, free_port

ECHO = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while line := sys.stdin.readline():
    try:
        s.sendall(line.encode())
        print(s.recv(100).decode().strip() or "end", flush=True)
    except OSError:
        print("reset", flush=True)
"""


class Dialler:
    """A process that the proxy takes for node 1: sends a line, and says what came back."""

    def __init__(self, address):
        self.process = subprocess.Popen([sys.executable, "-c", ECHO, address.rsplit(":", 1)[1]], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CHAOS_NODE": "1"})
        self.answers = []
        threading.Thread(target=lambda: [self.answers.append(line.strip()) for line in self.process.stdout], daemon=True).start()

    def say(self, text):
        self.process.stdin.write(text + "\n")

    def hears(self, *texts):
        eventually(lambda: self.answers == list(texts), 20, f"{list(texts)}, not {self.answers}")


@pytest.fixture
def link():
    """Links to an echo server that is node 2, and what makes diallers that are node 1."""
    server = socket.create_server(("127.0.0.1", free_port()))

    def echo(connection):
        try:
            while data := connection.recv(1000):
                connection.sendall(data)
        except OSError:
            pass
        connection.close()

    def accept():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    links = Links()
    address, diallers = links.listen(2, "broker", server.getsockname()[1]), []

    def dial():
        diallers.append(Dialler(address))
        return diallers[-1]

    yield links, dial
    for dialler in diallers:
        dialler.process.kill()
    links.close()
    server.close()


def test_without_a_rule_everything_passes(link):
    _, dial = link
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")


@pytest.mark.parametrize("source,target", [(1, 2), (2, 1)])
def test_a_hold_lets_nothing_pass_until_it_ends(link, source, target):
    links, dial = link
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")
    links.rule(source, target, "hold")
    dialler.say("two")
    eventually(lambda: links.counts()[f"{source}>{target} hold bytes"] > 0, 20, "held bytes")
    assert dialler.answers == ["one"]
    links.heal()
    dialler.hears("one", "two")


def test_a_hold_one_way_lets_the_other_way_pass(link):
    links, dial = link
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")
    links.rule(2, 1, "hold")
    dialler.say("two")
    # What the echo server answered is held: so the request arrived there.
    eventually(lambda: links.counts()["2>1 hold bytes"] > 0, 20, "a held answer")
    assert links.counts()["1>2 hold bytes"] == 0


@pytest.mark.parametrize("source,target", [(1, 2), (2, 1)])
def test_a_new_connection_is_held_too(link, source, target):
    links, dial = link
    links.rule(source, target, "hold")
    dialler = dial()
    dialler.say("one")
    eventually(lambda: links.counts()[f"{source}>{target} hold connections"] > 0, 20, "a held connection")
    assert dialler.answers == []
    links.heal()
    dialler.hears("one")


def test_a_rule_for_one_listener_leaves_the_other(link):
    links, dial = link
    links.rule(1, 2, "hold", kind="controller")
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")


def test_a_rule_for_another_node_leaves_this_one(link):
    links, dial = link
    links.rule(3, 2, "hold")
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")


def test_a_reset_ends_a_connection(link):
    links, dial = link
    dialler = dial()
    dialler.say("one")
    dialler.hears("one")
    links.rule(1, 2, "reset")
    assert links.counts()["1>2 resets"] == 1
    eventually(lambda: dialler.say("two") or set(dialler.answers[1:]) & {"reset", "end"}, 20, "the end of the connection")


def test_a_delay_keeps_the_order(link):
    links, dial = link
    dialler = dial()
    links.rule(1, 2, "delay", ms=100)
    for text in ("one", "two", "three"):
        dialler.say(text)
    dialler.hears("one", "two", "three")
    assert links.counts()["1>2 delay bytes"] > 0


def test_a_node_that_does_not_listen_is_a_reset():
    links = Links()
    dialler = Dialler(links.listen(2, "broker", free_port()))
    dialler.say("one")
    eventually(lambda: dialler.answers and dialler.answers[0] in ("reset", "end"), 20, "a reset")
    dialler.process.kill()
    links.close()


def batch(base, records, payload=b"", epoch=0):
    header = struct.pack(">qiib", base, 49 + len(payload), epoch, 2) + struct.pack(">Ihi", 0, 0, records - 1)
    return header + bytes(replicas.HEADER_BYTES - len(header)) + payload


def folder(path, *segments):
    path.mkdir()
    for data in segments:
        base, = struct.unpack_from(">q", data)
        (path / f"{base:020}.log").write_bytes(data)
    return path


def compared(tmp_path, one, two, end):
    return replicas.compare({1: folder(tmp_path / "one", *one), 2: folder(tmp_path / "two", *two)}, end)[0]


def test_replicas_with_the_same_batches_are_equal(tmp_path):
    assert compared(tmp_path, [batch(0, 2) + batch(2, 1)], [batch(0, 2), batch(2, 1)], 3) is True


@pytest.mark.parametrize("other", [
    [batch(0, 2)],                              # ends early
    [batch(0, 2) + batch(2, 1)[:-1]],           # ends in the middle of a batch
    [batch(0, 2) + batch(2, 1, b"x")],          # other bytes
    [batch(0, 2) + batch(2, 1, epoch=1)],       # another epoch
    [batch(0, 1) + batch(1, 1) + batch(2, 1)],  # other batches with the same records
    [batch(0, 2)[:-1] + b"x" + batch(2, 1)],    # a byte of the first batch
])
def test_a_difference_below_the_high_watermark_is_found(tmp_path, other):
    assert compared(tmp_path, [batch(0, 2) + batch(2, 1)], other, 3) is False


def test_a_difference_beyond_the_high_watermark_is_none(tmp_path):
    assert compared(tmp_path, [batch(0, 2) + batch(2, 1, b"x")], [batch(0, 2)], 2) is True


def test_a_replica_that_is_not_there_was_not_compared(tmp_path):
    assert replicas.compare({1: folder(tmp_path / "one", batch(0, 1)), 2: tmp_path / "none"}, 1)[0] is None


def test_a_full_disk_is_full(tmp_path):
    why_not = disk_faults.why_no_small_disks()
    if why_not:
        pytest.skip(why_not)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "probe", str(small)], check=True)
    try:
        assert disk_faults.fill(small / "ballast")
        with pytest.raises(OSError):
            (small / "more").write_bytes(b"x" * 4096)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_connection_is_told_by_its_process_however_its_other_files_come_and_go():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ports = client.getsockname()[1], server.getsockname()[1]
        assert f"socket:[{proxy.inode(*ports)}]" == os.readlink(f"/proc/self/fd/{client.fileno()}")
        assert proxy.inode_in_table(*ports) == proxy.inode(*ports)
        known = {str(os.getpid()): "7"}
        assert proxy.owner(*ports, known) == "7"
    assert proxy.target("self", 999_999) is None
    assert proxy.inode(1, 2) is None and proxy.owner(1, 2, known) is None


@pytest.fixture
def listener():
    """Links to a server that is node 2, a dialler that is node 1, and the pieces that the server has received; it answers
    each with a line."""
    links, received = Links(), []
    server = socket.create_server(("127.0.0.1", free_port()))

    def accept():
        connection, _ = server.accept()
        while data := connection.recv(100):
            received.append(data)
            connection.sendall(b"well\n")
        received.append(b"end")

    threading.Thread(target=accept, daemon=True).start()
    dialler = Dialler(links.listen(2, "broker", server.getsockname()[1]))
    yield links, dialler, received
    dialler.process.kill()
    links.close()
    server.close()


def test_a_trickle_gives_everything_bit_by_bit(listener):
    links, dialler, received = listener
    links.rule(1, 2, "trickle", bytes_per_second=100)
    dialler.say("a line that is longer")
    eventually(lambda: b"".join(received) == b"a line that is longer\n", 20, "all of the line")
    assert len(received) > 2
    assert links.counts()["1>2 trickle bytes"] == len("a line that is longer\n")


def test_what_is_late_keeps_its_order(link):
    links, dial = link
    dialler = dial()
    links.rule(1, 2, "lossy", share=0, ms=50)
    dialler.say("none is lost")
    dialler.hears("none is lost")
    assert links.counts().get("1>2 lossy bytes", 0) == 0
    links.rule(1, 2, "lossy", share=0.5, ms=50)
    texts = ["none is lost", *(f"line {n}" for n in range(20))]
    for n, text in enumerate(texts[1:], 1):
        dialler.say(text)
        dialler.hears(*texts[:n + 1])
    assert links.counts()["1>2 lossy bytes"] > 0


def test_a_flip_turns_over_one_bit_of_a_records_content_and_nothing_else(link):
    links, dial = link
    dialler = dial()
    links.rule(1, 2, "flip", share=1)
    dialler.say("no content")
    dialler.hears("no content")
    assert links.counts()["1>2 flips"] == 0
    content = b"head " + proxy.FILLING + b" tail"
    for bit in range(len(proxy.FILLING) * 8):
        damaged = proxy.flipped(content, bit)
        assert sum((a ^ b).bit_count() for a, b in zip(content, damaged, strict=True)) == 1
        assert damaged.startswith(b"head ") and damaged.endswith(b" tail")
    dialler.say(content.decode())
    eventually(lambda: links.counts()["1>2 flips"] == 1, 20, "a flip")


def test_a_rule_that_lacks_what_its_mode_needs_is_refused():
    with pytest.raises(ValueError, match="bytes_per_second"):
        proxy.checked({"mode": "trickle"})
    with pytest.raises(KeyError):
        proxy.checked({"mode": "other"})


def test_what_is_stranded_arrives_late_and_new_connections_pass(link):
    links, dial = link
    first = dial()
    first.say("one")
    first.hears("one")
    links.rule(1, 2, "strand")
    first.say("two")
    eventually(lambda: links.counts()["1>2 strand bytes"] > 0, 20, "stranded bytes")
    second = dial()
    second.say("three")
    second.hears("three")
    links.rule(2, 1, "delay", ms=1)  # another rule does not strand the second
    second.say("four")
    second.hears("three", "four")
    assert first.answers == ["one"] and links.counts()["1>2 late bytes"] == 0
    links.heal()
    first.hears("one", "two")
    assert links.counts()["1>2 late bytes"] == len("two\n")


def test_what_is_stranded_arrives_though_its_sender_is_gone(listener):
    links, dialler, received = listener
    dialler.say("one")
    dialler.hears("well")
    links.rule(1, 2, "strand")
    dialler.say("two")
    eventually(lambda: links.counts()["1>2 strand bytes"] > 0, 20, "stranded bytes")
    dialler.process.kill()
    dialler.process.wait(timeout=20)
    assert received == [b"one\n"]
    links.heal()
    eventually(lambda: received[:2] == [b"one\n", b"two\n"], 20, "the late line")


def test_writes_are_made_to_fail(tmp_path):
    why_not = disk_faults.why_no_failing_writes()
    if why_not:
        pytest.skip(why_not)
    target = tmp_path / "log"
    lines = f"import os\nfd = os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)\nos.pwrite(fd, b'x', 0)"
    done = subprocess.run(["strace", "-qq", "-o", str(tmp_path / "out"), "-P", str(target), "-e", "trace=pwrite64", "-e",
                           "inject=pwrite64:error=EIO", sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 5]" in done.stderr and "(INJECTED)" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("work, code, times", [("time.sleep(60) if first else os._exit(0)", 0, 2), ("1 / 0", 7, 1), ("time.sleep(60)", 1, 4),
                                               ("os._exit(4)", 4, 1)])
def test_a_copier_that_hangs_is_started_again_and_one_that_breaks_is_not(tmp_path, work, code, times):
    program = (f"import os, pathlib, time, worker\nworker.HANG_SECONDS = 0.2\nworker.outlive_hangs()\nbegun = pathlib.Path({str(tmp_path)!r})\n"
               f"first = not any(begun.iterdir())\n(begun / str(os.getpid())).touch()\nworker.still_here()\n{work}\n")
    ended = subprocess.run([sys.executable, "-c", program], cwd=pathlib.Path(__file__).parent, capture_output=True, timeout=30)
    assert (ended.returncode, len(list(tmp_path.iterdir()))) == (code, times), ended.stderr
