"""What a set of chaos runs consists of: each scenario is a fresh cluster, workloads, and faults of one family."""

import dataclasses
import typing

import disk
import disk_faults
import names
import wall_clock
from cluster import OLD_BINARY
from faults import Faults

SIZES = ("short", "nightly", "soak")


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    steps: typing.Callable       # (Faults, count) -> how many it did: fewer where the run's time was over
    counts: tuple                # how many faults, by size
    least: dict                  # kinds of faults that have to have been there, as how many of them for each that is counted
    cluster: dict = dataclasses.field(default_factory=dict)
    load: dict = dataclasses.field(default_factory=dict)
    acked_min: int = 500

    def why_not(self):
        if "failing write" in self.least and disk_faults.why_no_failing_writes():
            return disk_faults.why_no_failing_writes()
        if self.cluster.get("disks") and disk.why_no_shadow():
            return disk.why_no_shadow()
        if self.cluster.get("from_old") and (OLD_BINARY is None or not OLD_BINARY.exists()):
            return "there is no binary of an earlier version: tests/upgrade.sh builds one"
        if self.cluster.get("names") and names.why_no_names():
            return names.why_no_names()
        if self.cluster.get("wall_clocks") and wall_clock.why_no_shift():
            return wall_clock.why_no_shift()
        return disk_faults.why_no_small_disks() if self.cluster.get("small_disks_mb") else None

    def count(self, size):
        return self.counts[SIZES.index(size)]

    def faults_min(self, count):
        """{kind: so many of them} of a run with `count` faults."""
        return {kind: int(count * share + 1e-9) for kind, share in self.least.items()}


def each(*names, **arguments):
    """Steps that do these faults in turn."""
    def steps(f, count):
        return do(f, (names[n % len(names)] for n in range(count)), **arguments)

    return steps


def do(f: Faults, names, **arguments):
    done = 0
    for name in names:
        if f.is_over():
            break
        f.run.begin()
        getattr(f, name)(**arguments)
        f.progress()
        done += 1
    return done


MIXED = ("kill_leader", "kill_controller", "pause_leader", "isolate_leader", "mute_leader", "deafen_leader", "part_two_brokers",
         "isolate_controller", "reset_links", "slow_links", "trickle_links", "lossy_links", "lose_quorum", "pause_all",
         "kill_coordinator", "kill_all", "roll", "failing_sync", "slow_syncs", "power_loss_some", "jump_clock")


def mixed(f: Faults, count):
    return do(f, (f.rng.choice(MIXED) for _ in range(count)))


HALF, THIRD, QUARTER = 1 / 2, 1 / 3, 1 / 4
SCENARIOS = [
    # Those of which the most is wanted come first: a night may end before its set.
    Scenario("kill the leader", each("kill_leader"), (25, 500, 500), {"kill leader": 1}, load={"java": 1}, acked_min=1000),
    Scenario("rolling restart", each("roll"), (3, 60, 60), {"roll": 3}, load={"churn": True}),
    # Whoever acknowledges from the page cache, as Apache Kafka does by default, fails the first of these.
    Scenario("power loss of all", each("power_loss_all"), (2, 100, 100), {"power loss of all": 1}, cluster={"disks": True}),
    Scenario("power loss of some", each("power_loss_some"), (2, 300, 300), {"power loss of some": 1}, cluster={"disks": True}),
    Scenario("kill the controller", each("kill_controller"), (4, 60, 200), {"kill controller": 1}, load={"admin": True}),
    Scenario("kill the coordinator", each("kill_coordinator"), (3, 30, 200), {"kill coordinator": 1}, load={"churn": True}),
    Scenario("transactions", each("kill_leader", "kill_copiers_coordinator"), (2, 40, 200),
             {"kill leader": HALF, "kill transaction coordinator": HALF}, load={"producers": 2, "copiers": 2}),
    Scenario("kill all nodes", each("kill_all"), (3, 30, 100), {"kill all": 1}, load={"admin": True}),
    Scenario("pause", each("pause_leader", "pause_controller", "pause_follower", "pause_all"), (4, 40, 300),
             {"pause leader": QUARTER, "pause controller": QUARTER, "pause follower": QUARTER, "pause all": QUARTER}),
    Scenario("partition two ways", each("isolate_leader", "isolate_controller", "part_two_brokers"), (3, 30, 200),
             {"partition two ways": THIRD, "partition controllers": THIRD, "partition between two": THIRD},
             cluster={"links": True}),
    Scenario("partition one way", each("mute_leader", "deafen_leader"), (2, 20, 200),
             {"partition one way, out": HALF, "partition one way, in": HALF}, cluster={"links": True}),
    Scenario("loss of the quorum", each("lose_quorum"), (1, 10, 50), {"loss of the quorum": 1}, cluster={"links": True}),
    Scenario("bad links", each("reset_links", "slow_links", "trickle_links", "lossy_links", "flip_bits"), (5, 30, 250),
             {kind: 1 / 5 for kind in ("reset links", "slow links", "trickling links", "lossy links", "flipped bits")},
             cluster={"links": True}),
    Scenario("wiped disk", each("wipe"), (1, 10, 50), {"wipe": 1}, cluster={"metadata_apart": True}),
    Scenario("full disk", each("fill_disk"), (1, 10, 50), {"full disk": 1},
             cluster={"metadata_apart": True, "small_disks_mb": 96, "settings": {"log.segment.bytes": str(1 << 20)}}),
    Scenario("damaged files", each("tear_files", "rot_bits"), (2, 20, 200), {"torn files": HALF, "rotten bits": HALF}),
    Scenario("last replica standing", each("last_replica_standing"), (1, 10, 50), {"last replica standing": 1},
             cluster={"disks": True, "links": True}),
    Scenario("bad disk", each("failing_sync", "slow_syncs"), (2, 40, 200), {"failing sync": HALF, "slow syncs": HALF},
             cluster={"disks": True}),
    Scenario("failing writes", each("failing_write"), (1, 10, 50), {"failing write": 1}, cluster={"disks": True}),
    Scenario("links of clients", each("strand_clients", "cut_off_clients"), (2, 20, 200),
             {"late requests": HALF, "clients cut off": HALF}, cluster={"client_links": True},
             load={"producers": 2, "copiers": 2, "impatient": True}),
    # Records from what such a node takes for a future beyond an hour are refused by default, as by Apache Kafka.
    Scenario("clock jumps", each("jump_clock"), (2, 20, 60), {"clock jump": 1},
             cluster={"wall_clocks": True, "settings": {"log.message.timestamp.after.max.ms": str((1 << 63) - 1)}},
             load={"churn": True, "copiers": 1}),
    Scenario("moves of replicas", each("move_replicas"), (2, 20, 100), {"move of replicas": 1}, cluster={"nodes": 4},
             load={"admin": True}),
    Scenario("new addresses", each("new_address", "new_advertised_address", "swapped_addresses"), (3, 30, 150),
             {"new address": THIRD, "new advertised address": THIRD, "swapped addresses": THIRD}, cluster={"names": True},
             load={"churn": True, "copiers": 1}),
    # By tests/upgrade.sh alone: up, and back, and so on.
    Scenario("upgrade and back", each("change_binaries"), (0, 0, 0), {"upgrade": 1, "downgrade": 1}, cluster={"from_old": True},
             load={"producers": 3, "copiers": 1, "churn": True, "admin": True}, acked_min=200),
    Scenario("all of it", mixed, (0, 60, 4_000), {}, cluster={"links": True, "disks": True, "wall_clocks": True,
                                                           "settings": {"log.message.timestamp.after.max.ms": str((1 << 63) - 1)}},
             load={"java": 1, "churn": True, "admin": True, "copiers": 1}),
]
