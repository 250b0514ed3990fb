"""Nodes that come back under other addresses, as containers do, and are found by their names.

Each node listens at an address of its own of 127.0.0.0/8, all of them on the same ports. A hosts file of the harness's own takes the place
of /etc/hosts, in a mount namespace that the harness and all that it starts from then on live in: nobody else sees it."""

import ctypes
import os
import pathlib
import subprocess

HOSTS = pathlib.Path("/etc/hosts")
DOMAIN = "chaos.test"
LINE_BYTES = 64
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x1000, 0x4000, 1 << 18, 2
LISTEN = "0A"  # as /proc/net/tcp has it
LIBC = ctypes.CDLL(None, use_errno=True)


def why_no_names():
    if os.geteuid() != 0:
        return "only root has hosts files of its own"
    # A container's root may not mount.
    may_mount = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return None if may_mount.returncode == 0 else "no mount namespace of our own may be made here"


def succeed(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


class Names:
    """Where each node is, as everybody here is told who asks for its name."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder).resolve() / "hosts"
        self.path.write_text(HOSTS.read_text().rstrip("\n") + "\n")
        self.offset, self.addresses = self.path.stat().st_size, {}
        succeed(LIBC.unshare(CLONE_NEWNS), "a mount namespace")
        succeed(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mounts of our own")
        succeed(LIBC.mount(os.fsencode(self.path), os.fsencode(HOSTS), None, MS_BIND, None), f"a mount over {HOSTS}")

    def tell(self, addresses):
        """Takes the place of what was told, at one stroke and in the same file: it is that file that is mounted."""
        self.addresses |= addresses
        lines = [f"{address} {name}".ljust(LINE_BYTES - 1) + "\n" for name, address in sorted(self.addresses.items())]
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(self.offset)
            file.write("".join(lines).encode())

    def close(self):
        LIBC.umount2(os.fsencode(HOSTS), MNT_DETACH)


class Named:
    """A node. `client_port` is a listener of the harness's own, which stays where it is: by it one looks at the node, and no client does."""

    def name_it(self, ports):
        self.name, self.moves, self.ports = f"node-{self.id}.{DOMAIN}", 0, ports
        self.address, self.advertises = self.next_address(), self.name
        self.bootstrap, self.broker_address, self.controller_address = (f"{self.name}:{port}" for port in ports)

    def next_address(self):
        """One that nobody has had."""
        self.moves += 1
        return f"127.1.{self.id}.{self.moves}"

    def settings(self, voters, extra):
        return {**super().settings(voters, extra), **self.of_listeners()}

    def of_listeners(self):
        client, broker, controller = self.ports
        own = f"HARNESS://127.0.0.1:{self.client_port}"
        return {
            "listeners": f"EXTERNAL://{self.address}:{client},PLAINTEXT://{self.address}:{broker},"
                         f"CONTROLLER://{self.address}:{controller},{own}",
            "advertised.listeners": f"EXTERNAL://{self.advertises}:{client},PLAINTEXT://{self.advertises}:{broker},{own}",
            "listener.security.protocol.map": "EXTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,HARNESS:PLAINTEXT",
        }

    def move(self, address, advertises):
        """From its next start on."""
        self.address, self.advertises = address, advertises
        self.overrides |= self.of_listeners()

    def is_at(self, address):
        """Whether it is this node's process that listens there."""
        wanted = {f"{bytes(map(int, reversed(address.split('.')))).hex().upper()}:{port:04X}" for port in self.ports}
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]": row[1] for row in rows if row[3] == LISTEN and row[1] in wanted}
        held = set()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                held.add(os.readlink(f"/proc/{self.pid}/fd/{name}"))
            except FileNotFoundError:  # closed meanwhile
                continue
        return {sockets[socket] for socket in held & sockets.keys()} == wanted
