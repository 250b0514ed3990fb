"""The machine's limits beside a line, by the probes of `load limit...`: no broker, and the least that any has to do."""

from systems import load


def probe(line, folder, options):
    """What bounds the line; where it has no probe of its own, the machine's limits for as many requests of its size."""
    if line.probe:
        return line.probe(folder, options)
    if line.batch:
        record_bytes, records, codec = line.batch
        found = load("limit", folder, record_bytes, records, line.megabytes(options), f"codec={codec}", f"files={line.files}",
                     f"kind={line.kind}")
        frame = record_bytes * records * line.files
    else:
        frame = max(line.frame_bytes, 64)
        megabytes = max(300, 50 * frame // 1_000_000) if frame > 8192 else 10
        found = load("limit", folder, frame, megabytes, f"files={line.files}")
    found["durable_frames_s"] = found["durable_mb_s"] * 1e6 / frame
    # A request for a thousand partitions is durable when as many files are.
    found["files_mb_s"] = frame / 1e6 / (found["files_1000_ms"] / 1e3)
    return found


def latency(rate, record_bytes):
    def probe(folder, options):
        return load("limit-latency", folder, rate, options.latency_seconds, record_bytes)
    return probe


def catch_up(rate, record_bytes):
    def probe(folder, options):
        return load("limit-catch-up", folder, options.megabytes, rate, options.latency_seconds, record_bytes)
    return probe


def replicated(record_bytes, records, megabytes):
    def probe(folder, options):
        return load("limit-replicated", folder, record_bytes, records, megabytes(options))
    return probe
