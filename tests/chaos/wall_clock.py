"""The wall clock of one node: `clock/shift.c` adds to it what is said here, while the process runs."""

import pathlib
import shutil
import struct

import disk

SOURCE = pathlib.Path(__file__).resolve().parent / "clock" / "shift.c"
CONTROL = struct.Struct("qq")  # as struct control in shift.c
OFFSET_AT = 0


def build(folder):
    return disk.compile_library(SOURCE, pathlib.Path(folder) / "shift.so")


def why_no_shift():
    return None if shutil.which("cc") else "there is no C compiler"


class WallClock:
    """`variables` go into the environment of the process whose clock it is."""

    def __init__(self, path, library):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(bytes(CONTROL.size))
        self.variables = {"CHAOS_CLOCK": str(self.path), "LD_PRELOAD": str(library)}

    def shift(self, seconds):
        """From now on the process is told a time that is so many seconds off."""
        with open(self.path, "r+b") as file:
            file.seek(OFFSET_AT)
            file.write(struct.pack("q", seconds))

    def offset(self):
        return CONTROL.unpack(self.path.read_bytes()[:CONTROL.size])[0]

    def shifted_readings(self):
        """How often the process was told a shifted time."""
        return CONTROL.unpack(self.path.read_bytes()[:CONTROL.size])[1]
