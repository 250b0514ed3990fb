"""Nodes of Moldau and of Apache Kafka 4.3.0 to be measured: starting, killing, what they take of processor and memory."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "chaos")]
import conftest  # noqa: E402

ROOT = conftest.ROOT
TICKS = os.sysconf("SC_CLK_TCK")
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
LOAD = TARGET / "examples" / "load"
HEAP = "1G"
KINDS = ("kafka", "moldau")
SECONDS_MAX = 900


def build(is_wanted):
    command = ["cargo", "build", "--release", "--locked", "-q", "-p", "moldau", "--bin", "moldau", "-p", "moldau-tests",
               "--example", "load"]
    if is_wanted:
        subprocess.run(command, cwd=ROOT, check=True)
    if "MOLDAU_BINARY" not in os.environ:
        conftest.BINARY = TARGET / "moldau"


def load(*arguments):
    """The figures that a load prints: a dictionary where they have names, otherwise the first one."""
    done = subprocess.run([str(LOAD), *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS_MAX)
    if done.returncode:
        raise RuntimeError(f"load {' '.join(map(str, arguments))}: {done.stderr.strip()[:500]}")
    words = done.stdout.split()
    if re.match(r"-?[\d.]+$", words[0]):
        return float(words[0])
    return {name: float(figure) for name, figure in zip(words[::2], words[1::2]) if re.match(r"-?[\d.]+$", figure)}


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid, field="VmRSS"):
    return int(re.search(rf"{field}:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


def touch_memory(megabytes, folder=None):
    """In a virtual machine, memory that was not touched for a while is the host's, and the first write to it costs several
    times what copying does: whoever comes first would pay for the page cache of both. The kernel gives first what was given
    back last, so as many pages of a file are made and given back. (Anonymous memory comes in larger pieces, and is not what a file
    gets next: with that a gigabyte cost 1.2 to 3.9 seconds of the processor, with this 1.2.)"""
    available = int(re.search(r"MemAvailable:\s+(\d+)", open("/proc/meminfo").read()).group(1)) // 1024
    piece = b"\1" * (1 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(min(megabytes, available // 2)):
            file.write(piece)


class Node:
    """One node of either kind. `settings` are Kafka's names; those of Moldau alone go to Moldau alone."""

    def __init__(self, kind, folder, settings=None, moldau_only=None):
        self.kind, self.folder = kind, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = settings or {}
        if kind == "kafka":
            self.node = conftest.Kafka(self.folder, heap=HEAP, **settings)
        else:
            self.node = conftest.Moldau(self.folder)
            self.node.settings.update({**settings, **(moldau_only or {})})
            self.node.start()
        self.bootstrap = self.node.bootstrap
        load("first", self.bootstrap, 120)

    @property
    def pid(self):
        return self.node.process.pid

    def spawn(self):
        """Again, after a stop or a kill; returns at once."""
        log = open(self.folder / "again.log", "ab")
        command = self.node.process.args if self.kind == "kafka" else self.node.command()
        self.node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def first_answer_ms(self, *topic):
        """From exec until Metadata is answered."""
        started = time.monotonic()
        self.spawn()
        load("first", self.bootstrap, SECONDS_MAX - 1, *topic)
        return (time.monotonic() - started) * 1e3

    def terminate(self):
        self.node.process.terminate()
        self.node.process.wait(timeout=120)

    def kill(self):
        self.node.process.kill()
        self.node.process.wait(timeout=120)

    def stop(self):
        if self.node.process.poll() is None:
            self.kill()

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def memory_mb(self, field="VmRSS"):
        return memory_mb(self.pid, field)

    def admin(self):
        from confluent_kafka.admin import AdminClient
        return AdminClient({"bootstrap.servers": self.bootstrap, "socket.timeout.ms": 120_000, "log_level": 3})

    def make_topic(self, name, partitions=1):
        from confluent_kafka.admin import NewTopic
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1)], request_timeout=120)[name].result(120)
        load("first", self.bootstrap, 120, name)
        time.sleep(0.3)

    def delete_topic(self, name):
        """The next loads need the room."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(120)

    def make_cold(self, topic):
        """Takes a topic's segments out of the page cache."""
        for path in sorted((self.folder / "data").glob(f"{topic}-*/*.log")):
            descriptor = os.open(path, os.O_RDONLY)
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
