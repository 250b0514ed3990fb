"""How long a partition acknowledged nothing around each fault, as the producers of a history saw it."""

import bisect
import collections

# A fault is looked at until the next one, and at most so long.
WINDOW_NS_MAX = 60 * 10**9


def gaps(rows):
    """{kind of fault: [seconds]}: for each fault whose beginning is known the longest time without an acknowledgement, of the
    partition where that is longest."""
    acked, faults = collections.defaultdict(list), []
    for row in rows:
        # Rows of clients that do not tell when they knew have an end of 0.
        if row["op"] == "send" and row["result"] == "ok" and row["end"]:
            acked[row["topic"], row["partition"]].append(row["end"])
        elif row["op"] == "fault" and row["installed"] and row["proof"].get("began"):
            faults.append((row["proof"]["began"], row["kind"]))
    for times in acked.values():
        times.sort()
    faults.sort()
    found = collections.defaultdict(list)
    for n, (began, kind) in enumerate(faults):
        until = began + WINDOW_NS_MAX
        if n + 1 < len(faults):
            until = min(until, faults[n + 1][0])
        longest = max((longest_gap(times, began, until) for times in acked.values()), default=None)
        if longest is not None:
            found[kind].append(round(longest / 1e9, 3))
    return dict(found)


def longest_gap(times, began, until):
    """From the fault's beginning on; without any acknowledgement all of the window."""
    inside = times[bisect.bisect_right(times, began):bisect.bisect_left(times, until)]
    if not inside:
        return until - began
    return max(later - earlier for earlier, later in zip([began, *inside], inside))
