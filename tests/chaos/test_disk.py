"""The disk that forgets forgets what was not synced, and nothing else."""

import errno
import os
import random
import subprocess
import sys
import textwrap

import pytest

import disk

pytestmark = pytest.mark.skipif(disk.why_no_shadow() is not None, reason=str(disk.why_no_shadow()))
PRELUDE = """
import os
def write(name, data, at=0, sync=False):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT)
    os.pwrite(fd, data, at)
    if sync: os.fdatasync(fd)
    os.close(fd)
def sync(name="."):
    fd = os.open(name, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


@pytest.fixture
def library(tmp_path_factory):
    return disk.build(tmp_path_factory.mktemp("shadow"))


@pytest.fixture
def forgets(tmp_path, library):
    """Runs lines of Python in the directory, takes the power away, and gives {name: content} of what is left."""
    it = disk.Disk(tmp_path / "data", tmp_path / "shadow", library)

    def run(lines, rng=None):
        subprocess.run([sys.executable, "-c", PRELUDE + textwrap.dedent(lines)], cwd=it.root, check=True,
                       env={**os.environ, **it.variables})
        it.changed = it.lose_power(rng)
        return {str(path.relative_to(it.root)): path.read_bytes() for path in it.root.rglob("*") if path.is_file()}

    run.disk = it
    return run


@pytest.mark.parametrize("lines,left", [
    ("write('a', b'one', sync=True); sync()", {"a": b"one"}),
    ("write('a', b'one'); sync()", {"a": b""}),                                     # a name, and no content
    ("write('a', b'one', sync=True)", {}),                                          # content, and no name
    ("write('a', b'one', sync=True); sync(); write('a', b'two', 3)", {"a": b"one"}),
    ("write('a', b'one', sync=True); sync(); write('a', b'two', 3, sync=True)", {"a": b"onetwo"}),
    ("write('a', b'one', sync=True); sync(); write('a', b'X', 1)", {"a": b"one"}),  # in the middle
    ("write('a', b'one', sync=True); sync(); write('a', b'X', 1, sync=True)", {"a": b"oXe"}),
    ("write('a', b'one', sync=True); sync(); os.truncate('a', 1)", {"a": b"one"}),
    ("write('a', b'one', sync=True); sync(); os.truncate('a', 1); sync('a')", {"a": b"o"}),
    ("write('a', b'one', sync=True); sync(); os.unlink('a')", {"a": b"one"}),
    ("write('a', b'one', sync=True); sync(); os.unlink('a'); sync()", {}),
    ("write('a', b'one', sync=True); sync(); os.rename('a', 'b')", {"a": b"one"}),
    ("write('a', b'one', sync=True); sync(); os.rename('a', 'b'); sync()", {"b": b"one"}),
    ("write('a', b'one', sync=True); sync(); os.unlink('a'); write('a', b'two', sync=True)", {"a": b"one"}),
    ("os.mkdir('d'); write('d/a', b'one', sync=True); sync('d'); sync()", {"d/a": b"one"}),
    ("os.mkdir('d'); write('d/a', b'one', sync=True); sync('d')", {}),
    ("write('a', b'x' * 200_000, sync=True); sync(); write('a', b'y', 150_000)", {"a": b"x" * 200_000}),
])
def test_what_was_synced_is_left_and_nothing_else(forgets, lines, left):
    assert forgets(lines) == left


def test_what_was_left_is_on_the_disk(forgets):
    forgets("write('a', b'one', sync=True); sync()")
    assert forgets("write('a', b'two', 3)") == {"a": b"one"}


def test_what_was_lost_is_counted(forgets):
    forgets("write('a', b'one', sync=True); sync(); write('a', b'two', 3); write('b', b'x')")
    assert forgets.disk.changed == {"files": 1, "bytes": 3, "names": 1}


def test_an_unsynced_tail_may_be_there_in_part_and_the_synced_rest_always_is(forgets):
    tails = set()
    for seed in range(20):
        left = forgets("write('a', b'one'); os.truncate('a', 3); sync('a'); sync(); write('a', b'two', 3)",
                       random.Random(seed))["a"]
        assert left[:3] == b"one"
        assert all(left[n] in (b"onetwo"[n], 0) for n in range(3, len(left)))
        tails.add(left[3:])
    assert len(tails) > 3


def test_syncs_fail_as_often_as_told(forgets):
    forgets("sync()")
    it = forgets.disk
    lines = "import errno\nfor wanted in (errno.EIO, errno.EIO, 0):\n" \
            "    try: sync(); got = 0\n    except OSError as error: got = error.errno\n    assert got == wanted, (got, wanted)"
    subprocess.run([sys.executable, "-c", PRELUDE + "sync()"], cwd=it.root, check=True, env={**os.environ, **it.variables})
    it.fail_syncs(errno.EIO, 2)
    subprocess.run([sys.executable, "-c", PRELUDE + lines], cwd=it.root, check=True, env={**os.environ, **it.variables})
    assert it.counts()[2] == 2


def test_a_directory_beside_it_is_left_alone(forgets, tmp_path):
    beside = tmp_path / "data-2"
    beside.mkdir()
    subprocess.run([sys.executable, "-c", PRELUDE + "sync()"], cwd=beside, check=True,
                   env={**os.environ, **forgets.disk.variables})
    assert forgets.disk.counts()[0] == 0
