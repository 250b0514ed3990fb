"""A TCP proxy for every link between nodes, in a process of its own: holds back, delays, resets, trickles or damages what one
node sends to another, one way or both.

It listens once for each address of a node, and tells who dialled by the process that owns the other end of the socket:
so it needs no address per pair, and what a cluster writes into its metadata stays the same for all. Commands come as
lines of JSON on standard input, each is answered by one line.

What a hold looks like to the nodes: their connections stay open and nothing arrives; a new connection is accepted by
the kernel here, but nobody answers it (a lost SYN would look the same to whoever waits for an answer). When the hold
ends, what was held arrives, as TCP would deliver it. A node that does not listen is a reset here, not a refusal."""

import asyncio
import collections
import json
import os
import random
import socket
import struct
import sys

PIECE_BYTES = 64 << 10
# How many pieces one direction of one connection may hold back here; beyond it the sender's own buffers fill.
PIECES_HELD_MAX = 64
NODE_VARIABLE = b"CHAOS_NODE="
# How often a trickling direction gives something.
TRICKLE_SECONDS = 0.05
# In records that the workload's producers do not compress: their batch's checksum covers it.
FILLING = b"x" * 24


SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_HEADER, LOOPBACK = 20, 1, 16, socket.inet_aton("127.0.0.1")
INODE_AT = NLMSG_HEADER + 4 + 48 + 16  # in an answer: behind struct inet_diag_msg's state, socket and queues


def inode(peer_port, local_port):
    """The inode of the other end's socket. The kernel is asked for this one: its whole table has thousands of lines once
    connections were reset for a while, and reading that for each new connection kept every link waiting for minutes."""
    wanted = struct.pack(">HH", peer_port, local_port) + LOOPBACK.ljust(16, b"\0") * 2 + struct.pack("=III", 0, ~0 & 0xffffffff, ~0 & 0xffffffff)
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, ~0 & 0xffffffff) + wanted
    header = struct.pack("=IHHII", NLMSG_HEADER + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:  # NETLINK_SOCK_DIAG
            diag.send(header + request)
            answer = diag.recv(4096)
    except OSError:  # not every sandbox lets anybody ask
        return inode_in_table(peer_port, local_port)
    if struct.unpack_from("=H", answer, 4)[0] != SOCK_DIAG_BY_FAMILY:
        return None
    return struct.unpack_from("=I", answer, INODE_AT)[0] or None


def inode_in_table(peer_port, local_port):
    wanted = f" 0100007F:{peer_port:04X} 0100007F:{local_port:04X} "
    with open("/proc/net/tcp") as table:
        found = next((line.split()[9] for line in table if wanted in line), None)
    return None if found is None else int(found)


def owner(peer_port, local_port, known):
    """The node id of the process at the other end of a loopback connection, or None for anybody else."""
    found = inode(peer_port, local_port)
    wanted = found and f"socket:[{found}]"
    if wanted is None:
        return None
    others = (pid for pid in os.listdir("/proc") if pid.isdigit() and pid not in known)
    for pid in [*list(known), *others]:
        try:
            if any(target(pid, fd) == wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                if pid not in known:
                    variables = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
                    known[pid] = next((v[len(NODE_VARIABLE):].decode() for v in variables
                                       if v.startswith(NODE_VARIABLE)), None)
                return known[pid]
        except OSError:
            known.pop(pid, None)  # it has ended
    return None


def target(pid, fd):
    """What a file descriptor is, or None where it was closed since it was listed: its process goes on."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:
        return None


# What a rule does, and what else it says: `ms` of delay, the `share` of pieces that it touches, `bytes_per_second`.
# "strand" holds what comes on the connections that there are when it begins, and lets new ones pass: their owners go on, and
# what they have asked before arrives late.
MODES = {"hold": (), "strand": (), "reset": (), "delay": ("ms",), "lossy": ("share", "ms"), "trickle": ("bytes_per_second",), "flip": ("share",)}


def checked(rule):
    """The rule, if it says what its mode needs: one that did nothing would be taken for a fault."""
    missing = [name for name in MODES[rule["mode"]] if name not in rule]
    if missing:
        raise ValueError(f"{rule} lacks {missing}")
    return rule


def late_seconds(rule):
    """How much later than now a piece arrives that this rule meets."""
    if rule["mode"] == "delay" or (rule["mode"] == "lossy" and random.random() < rule["share"]):
        return rule["ms"] / 1000
    return 0


def flipped(piece, bit):
    """The piece with one bit of a record's content turned over, or None where it holds no such content."""
    at = piece.find(FILLING)
    if at < 0:
        return None
    at += bit // 8 % len(FILLING)
    return piece[:at] + bytes([piece[at] ^ 1 << bit % 8]) + piece[at + 1:]


class Links:
    def __init__(self):
        self.rules = {}  # (from, to) -> {"mode": see MODES, "kind": broker | controller | client | None, ...}
        self.changed = asyncio.Event()
        self.counts = collections.Counter()
        self.connections, self.made = set(), 0
        self.known = {}

    def rule(self, connection, source, target):
        rule = self.rules.get((source, target))
        if not rule or rule.get("kind") not in (None, connection.kind):
            return None
        return None if rule["mode"] == "strand" and connection.number > rule["last"] else rule

    def is_held(self, connection, source, target):
        rule = self.rule(connection, source, target)
        return bool(rule) and rule["mode"] in ("hold", "strand")

    async def pass_again(self, connection, source, target):
        """Whether it had to wait for that."""
        waited = False
        while self.is_held(connection, source, target):
            waited = True
            await self.changed.wait()
        return waited

    def change(self, rules):
        before, self.rules = self.rules, {(rule["from"], rule["to"]): checked(rule) for rule in rules}
        for pair, rule in self.rules.items():
            # One that goes on strands those that it did before, and no more.
            same = pair in before and before[pair]["mode"] == "strand"
            rule["last"] = before[pair]["last"] if same else self.made
        self.changed.set()
        self.changed = asyncio.Event()
        for connection in list(self.connections):
            connection.reset_if_ruled()


class Connection:
    def __init__(self, links, source, target, kind, writer):
        self.links, self.source, self.target, self.kind = links, source, target, kind
        self.writers = [writer]
        links.made += 1
        self.number = links.made

    def reset_if_ruled(self):
        for pair in ((self.source, self.target), (self.target, self.source)):
            rule = self.links.rule(self, *pair)
            if rule and rule["mode"] == "reset":
                self.links.counts[f"{pair[0]}>{pair[1]} resets"] += 1
                self.reset()
                return

    def reset(self):
        for writer in self.writers:
            s = writer.get_extra_info("socket")
            if s is not None and s.fileno() >= 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


async def read(links, connection, pieces, reader, source, target):
    """One direction's near end. The bounded queue keeps the order under delays, and what a rule touches is counted."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            piece = await reader.read(PIECE_BYTES)
        except ConnectionError:
            # Who is held up gives up, perhaps; what it has sent arrives all the same.
            if not links.is_held(connection, source, target):
                raise
            piece = b""
        rule = links.rule(connection, source, target)
        late = late_seconds(rule) if rule else 0
        due = loop.time() + late
        # Of a link that loses some, what was lost, and comes again, is what the rule touched.
        if rule and piece and (late > 0 or rule["mode"] != "lossy"):
            links.counts[f"{source}>{target} {rule['mode']} bytes"] += len(piece)
            if rule["mode"] == "flip" and random.random() < rule["share"]:
                damaged = flipped(piece, random.randrange(1 << 16))
                links.counts[f"{source}>{target} flips"] += damaged is not None
                piece = damaged or piece
        await pieces.put((due, piece))
        if not piece:
            return


async def write(links, connection, pieces, writer, source, target):
    loop = asyncio.get_running_loop()
    while True:
        due, piece = await pieces.get()
        await asyncio.sleep(max(0, due - loop.time()))
        if await links.pass_again(connection, source, target):
            links.counts[f"{source}>{target} late bytes"] += len(piece)
        if not piece:
            if writer.can_write_eof():
                writer.write_eof()
            return
        while piece:
            rule = links.rule(connection, source, target)
            size = len(piece)
            if rule and rule["mode"] == "trickle":
                size = max(1, int(rule["bytes_per_second"] * TRICKLE_SECONDS))
                await asyncio.sleep(TRICKLE_SECONDS)
            writer.write(piece[:size])
            await writer.drain()
            piece = piece[size:]


async def serve(links, target, kind, port, reader, writer):
    peer, local = writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1]
    source = owner(peer, local, links.known) or "client"
    connection = Connection(links, source, target, kind, writer)
    links.connections.add(connection)
    try:
        links.counts[f"{source}>{target} connections"] += 1
        for pair in ((source, target), (target, source)):
            if links.is_held(connection, *pair):
                links.counts[f"{pair[0]}>{pair[1]} hold connections"] += 1
                await links.pass_again(connection, *pair)
        connection.reset_if_ruled()
        if not writer.transport.is_closing():
            await splice(links, connection, reader, writer, port)
    except* OSError:
        connection.reset()
    finally:
        links.connections.discard(connection)


async def splice(links, connection, reader, writer, port):
    source, target = connection.source, connection.target
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    connection.writers.append(far_writer)
    async with asyncio.TaskGroup() as tasks:
        for here, there, pair in ((reader, far_writer, (source, target)), (far_reader, writer, (target, source))):
            pieces = asyncio.Queue(PIECES_HELD_MAX)
            tasks.create_task(read(links, connection, pieces, here, *pair))
            tasks.create_task(write(links, connection, pieces, there, *pair))
    for each in connection.writers:
        each.close()


async def main():
    links, servers = Links(), []
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        answer = {}
        if command["do"] == "listen":
            target, kind, port = command["node"], command["kind"], command["port"]
            server = await asyncio.start_server(
                lambda r, w, t=target, k=kind, p=port: serve(links, t, k, p, r, w), "127.0.0.1", command["at"])
            servers.append(server)
        elif command["do"] == "rules":
            links.change(command["rules"])
        elif command["do"] == "counts":
            answer = dict(links.counts)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
