"""`moldau dev`: a whole cluster in one terminal. It is used as a person uses it: by what it prints, and by what is typed."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BINARY

SECONDS_MAX = 90


def environment():
    return {k: v for k, v in os.environ.items() if k not in ("MOLDAU_BINARY", "MOLDAU_TEST_SETUP")}


class Dev:
    """One `moldau dev`, with what it printed so far."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([str(BINARY), "dev", "--port", "0", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        self.lines = []
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()

    def wait_for(self, pattern, after=0):
        """The first match in the lines from `after` on."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if match := re.search(pattern, "".join(self.lines[after:])):
                return match
            assert self.process.poll() is None, "".join(self.lines)
            time.sleep(0.02)
        raise AssertionError(f"no {pattern} in:\n{''.join(self.lines)}")

    def type(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(timeout=SECONDS_MAX)


@pytest.fixture
def dev():
    started = []

    def start(*arguments):
        started.append(Dev(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(timeout=30)


def moldau(*arguments):
    return subprocess.run([str(BINARY), *arguments], capture_output=True, text=True, timeout=SECONDS_MAX,
                          env=environment())


def accepts(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", int(port))) == 0


def test_a_cluster_of_three_outlives_a_killed_node_and_leaves_nothing_behind(dev):
    cluster = dev("--nodes", "3")
    bootstrap = cluster.wait_for(r"bootstrap +(\S+)\n")[1]
    data = pathlib.Path(cluster.wait_for(r"\n  data +(\S+) ")[1])
    cluster.wait_for(r"end +Ctrl-C")
    ports = re.findall(r":(\d+)", bootstrap)
    assert len(ports) == 3 and data.is_dir()
    assert moldau("topic", "create", "orders", "-b", bootstrap).returncode == 0
    described = moldau("topic", "describe", "orders", "-b", bootstrap).stdout
    assert re.search(r"\d,\d,\d +\d,\d,\d", described), described
    before = len(cluster.lines)
    cluster.type("kill 2")
    cluster.wait_for(r"node 2 was killed", before)
    written = subprocess.run([str(BINARY), "produce", "orders", "-b", bootstrap], input="a\nb\n", text=True,
                             capture_output=True, timeout=SECONDS_MAX, env=environment())
    assert written.returncode == 0, written.stderr
    cluster.type("start 2")
    cluster.wait_for(r"node 2 is back", before)
    assert cluster.end() == 0
    assert not data.exists()
    assert not any(accepts(port) for port in ports)


def test_a_given_directory_is_gone_on_with(dev, tmp_path):
    first = dev("--data-dir", str(tmp_path / "data"))
    bootstrap = first.wait_for(r"bootstrap +(\S+)\n")[1]
    assert moldau("topic", "create", "kept", "-b", bootstrap).returncode == 0
    assert first.end(signal.SIGTERM) == 0
    second = dev("--data-dir", str(tmp_path / "data"))
    assert second.wait_for(r"bootstrap +(\S+)\n")[1] == bootstrap
    assert moldau("topic", "list", "-b", bootstrap).stdout == "kept\n"
    other = moldau("dev", "--nodes", "3", "--data-dir", str(tmp_path / "data"))
    assert (other.returncode, "holds a cluster of 1, not of 3" in other.stderr) == (1, True)


def test_no_node_outlives_what_started_it(dev):
    cluster = dev("--nodes", "2")
    ports = re.findall(r":(\d+)", cluster.wait_for(r"bootstrap +(\S+)\n")[1])
    data = cluster.wait_for(r"\n  data +(\S+) ")[1]
    cluster.process.kill()
    deadline = time.monotonic() + SECONDS_MAX
    while any(accepts(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(accepts(port) for port in ports)
    subprocess.run(["rm", "-rf", data], check=True)
