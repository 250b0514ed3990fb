"""Compares the replicas of a partition as files: the same batches, byte for byte, below the high watermark.

Where one segment ends and the next begins is each broker's own affair, so that batches are compared, not files."""

import hashlib
import pathlib
import struct

HEADER_BYTES = 61
LENGTH_AT = 8
LAST_OFFSET_DELTA_AT = 23
# From here on a batch's checksum covers it.
CHECKED_AT = 21


def batches(folder):
    """(base offset, next offset, bytes) of every whole batch in a partition's folder, in the order of the files."""
    for path in sorted(pathlib.Path(folder).glob("*.log")):
        data, at = path.read_bytes(), 0
        while at + HEADER_BYTES <= len(data):
            base, length = struct.unpack_from(">qi", data, at)
            if length < HEADER_BYTES - LENGTH_AT - 4 or at + LENGTH_AT + 4 + length > len(data):
                break
            size = LENGTH_AT + 4 + length
            delta, = struct.unpack_from(">i", data, at + LAST_OFFSET_DELTA_AT)
            yield base, base + delta + 1, data[at:at + size]
            at += size


def below(folder, end):
    """{base offset: digest} of the batches below `end`, and where they end."""
    found, reached = {}, None
    for base, following, data in batches(folder):
        if base >= end:
            break
        found[base] = hashlib.sha256(data).hexdigest()
        reached = following
    return found, reached


def compare(folders, end):
    """(equal, detail) of the folders of one partition, {node: folder}; equal is None where nothing could be compared."""
    missing = [node for node, folder in folders.items() if not pathlib.Path(folder).is_dir()]
    if missing:
        return None, f"no folder on {missing}"
    if end == 0:
        return None, "nothing was written"
    replicas = {node: below(folder, end) for node, folder in folders.items()}
    for node, (_, reached) in replicas.items():
        if reached is None or reached < end:
            return False, f"node {node} ends at {reached}, the high watermark is {end}"
    # What retention took from one and not yet from another is no difference.
    start = max(min(found) for found, _ in replicas.values())
    (first, (wanted, _)), *others = replicas.items()
    for node, (found, _) in others:
        for base in sorted(set(wanted) | set(found)):
            if base >= start and wanted.get(base) != found.get(base):
                return False, f"nodes {first} and {node} differ in the batch at {base}"
    return True, f"{len(wanted)} batches below {end} on {len(folders)} nodes"
