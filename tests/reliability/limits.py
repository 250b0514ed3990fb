"""A limit on the memory of one process, as an operator's container would set it, by a control group of its own."""

import contextlib
import os
import pathlib
import time

V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")


class MemoryLimit:
    """A new control group; `wrap` makes a command run in it. What the page cache takes is given back before anybody is
    killed for it, so that what counts is `oom_kills`."""

    def __init__(self, name, limit_bytes):
        self.is_v1 = (V1 / "memory.limit_in_bytes").exists()
        self.folder = (V1 if self.is_v1 else V2) / f"{name}-{os.getpid()}"
        self.folder.mkdir()
        try:
            (self.folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(limit_bytes))
            if not self.is_v1 and (self.folder / "memory.swap.max").exists():
                (self.folder / "memory.swap.max").write_text("0")
        except OSError:
            self.folder.rmdir()
            raise

    def wrap(self, command):
        """The shell puts itself into the group, and becomes the command there."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def holds(self, pid):
        return str(pid) in (self.folder / "cgroup.procs").read_text().split()

    def oom_kills(self):
        events = self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")
        return next(int(line.split()[1]) for line in events.read_text().splitlines() if line.startswith("oom_kill "))

    def close(self):
        """The processes in it have ended; the kernel may yet be at counting them out."""
        for _ in range(100):
            with contextlib.suppress(OSError):
                return self.folder.rmdir()
            time.sleep(0.05)
        raise OSError(f"{self.folder} is not empty")


def why_no_limit():
    """Why this process may not limit another one's memory, or None."""
    if os.geteuid() != 0:
        return "only root may make a control group"
    try:
        probe = MemoryLimit("moldau-probe", 512 << 20)
        kills = probe.oom_kills()
        probe.close()
        return None if kills == 0 else "a new control group has kills already"
    except (OSError, StopIteration) as error:
        return f"no control group for memory: {error}"
