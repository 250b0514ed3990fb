"""Loss of power for one node: `disk/shadow.c` keeps what was really synced, and here it takes the directory's place.

What was not synced is gone, or, with a `rng`, partly there, as a disk would have it: some of a file's unsynced tail, or
as many zeros. Names that no sync of their directory saw are gone, and names that were removed without one are back."""

import ctypes
import os
import pathlib
import shutil
import struct
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parent / "disk" / "shadow.c"
CONTROL = struct.Struct("iiiiqq")  # as struct control in shadow.c


def build(folder):
    return compile_library(SOURCE, pathlib.Path(folder) / "shadow.so")


def compile_library(source, library):
    """What LD_PRELOAD takes, compiled here; the compiler's own words where it cannot be."""
    if set(" :") & set(str(library)):
        raise ValueError(f"LD_PRELOAD takes no path with a space or a colon: {library}")
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def why_no_shadow():
    return None if shutil.which("cc") else "there is no C compiler"


LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BASIC_AND_BIRTH = -100, 0x100, 0xFFF
INODE_AT, BIRTH_AT = 32, 80  # in struct statx


def key_of(path):
    """An inode's number and birth, as shadow.c writes them; Python's stat has no birth."""
    found = ctypes.create_string_buffer(256)
    if LIBC.statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, STATX_BASIC_AND_BIRTH, found) != 0:
        raise OSError(ctypes.get_errno(), f"statx {path}")
    inode, = struct.unpack_from("Q", found, INODE_AT)
    seconds, nanoseconds = struct.unpack_from("qI", found, BIRTH_AT)
    return f"{inode}-{seconds}.{nanoseconds:09}"


class Disk:
    """A directory and its shadow. `variables` go into the environment of the process that uses it."""

    def __init__(self, root, shadow, library):
        self.root, self.shadow = pathlib.Path(root), pathlib.Path(shadow)
        self.root.mkdir(parents=True, exist_ok=True)
        self.variables = {"CHAOS_DISK": str(self.root), "CHAOS_SHADOW": str(self.shadow), "LD_PRELOAD": str(library)}
        self.take_as_durable()

    def take_as_durable(self):
        """Everything that is there now is on the disk."""
        shutil.rmtree(self.shadow, ignore_errors=True)
        (self.shadow / "files").mkdir(parents=True)
        (self.shadow / "directories").mkdir()
        for folder, folders, files in os.walk(self.root):
            folder = pathlib.Path(folder)
            lines = [f"d {key_of(folder / name)} {name}\n" for name in folders]
            for name in files:
                key = key_of(folder / name)
                lines.append(f"f {key} {name}\n")
                shutil.copyfile(folder / name, self.shadow / "files" / key)
            (self.shadow / "directories" / key_of(folder)).write_text("".join(lines))

    def counts(self):
        """(syncs, bytes that they made durable, syncs that failed) since the shadow began."""
        path = self.shadow / "control"
        if not path.exists():
            return 0, 0, 0
        _, _, _, failed, syncs, size = CONTROL.unpack(path.read_bytes()[:CONTROL.size])
        return syncs, size, failed

    def control(self, at, value):
        with open(self.shadow / "control", "r+b") as file:
            file.seek(at)
            file.write(struct.pack("i", value))

    def delay_syncs(self, milliseconds):
        self.control(0, milliseconds)

    def fail_syncs(self, error, count=1):
        self.control(4, error)
        self.control(8, count)

    def lose_power(self, rng=None):
        """The process has been killed: puts the durable image in the directory's place. Returns what that changed."""
        lost = self.root.with_name(self.root.name + ".lost")
        shutil.rmtree(lost, ignore_errors=True)
        there = {key_of(path): path for path in self.root.rglob("*") if path.is_file()}
        changed = {"files": 0, "bytes": 0, "names": 0}
        image = self.root.with_name(self.root.name + ".image")
        shutil.rmtree(image, ignore_errors=True)
        self.rebuild(image, key_of(self.root), there, rng, changed)
        before = {path.relative_to(self.root) for path in self.root.rglob("*")}
        after = {path.relative_to(image) for path in image.rglob("*")}
        changed["names"] = len(before ^ after)
        self.root.rename(lost)
        image.rename(self.root)
        self.take_as_durable()
        return changed

    def rebuild(self, target, key, there, rng, changed):
        target.mkdir()
        entries = self.shadow / "directories" / key
        for line in entries.read_text().splitlines() if entries.exists() else []:
            kind, child, name = line.split(" ", 2)
            if kind == "d":
                self.rebuild(target / name, child, there, rng, changed)
                continue
            kept = self.shadow / "files" / child
            data = kept.read_bytes() if kept.exists() else b""
            now = there[child].read_bytes() if child in there else data
            if data != now:
                changed["files"] += 1
                changed["bytes"] += max(0, len(now) - len(data))
                if rng and now.startswith(data):
                    data += torn(now[len(data):], rng)
            (target / name).write_bytes(data)


def torn(tail, rng):
    """What of an unsynced tail a disk may have: nothing, some of it, or room without content."""
    size = rng.randrange(len(tail) + 1)
    return rng.choice((b"", tail[:size], bytes(size), tail))
