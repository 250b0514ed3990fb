"""What a set of chaos runs consists of: each scenario is a fresh cluster, workloads, and faults of one family."""

import dataclasses
import typing

import disk
import faults
from cluster import OLD_BINARY
from faults import Faults


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    steps: typing.Callable       # (Faults, count) -> None
    short: int                   # how many faults
    long: int
    least: dict                  # kinds of faults that have to have been there, as (short, long)
    cluster: dict = dataclasses.field(default_factory=dict)
    load: dict = dataclasses.field(default_factory=dict)
    acked_min: int = 500

    def why_not(self):
        if self.cluster.get("disks") and disk.why_no_shadow():
            return disk.why_no_shadow()
        if self.cluster.get("from_old") and (OLD_BINARY is None or not OLD_BINARY.exists()):
            return "there is no binary of an earlier version: tests/upgrade.sh builds one"
        return faults.why_no_small_disks() if self.cluster.get("small_disks_mb") else None


def each(*names, **arguments):
    """Steps that do these faults in turn."""
    def steps(f, count):
        for n in range(count):
            getattr(f, names[n % len(names)])(**arguments)
            f.progress()

    return steps


MIXED = ("kill_leader", "kill_controller", "pause_leader", "isolate_leader", "mute_leader", "deafen_leader", "part_two_brokers",
         "isolate_controller", "reset_links", "slow_links", "kill_coordinator", "kill_all", "roll")


def mixed(f: Faults, count):
    for _ in range(count):
        getattr(f, f.rng.choice(MIXED))()
        f.progress()


SCENARIOS = [
    Scenario("kill the leader", each("kill_leader"), 6, 100, {"kill leader": (6, 100)}, load={"java": 1}, acked_min=1000),
    Scenario("kill the controller", each("kill_controller"), 4, 30, {"kill controller": (4, 30)}, load={"admin": True}),
    Scenario("kill the coordinator", each("kill_coordinator"), 3, 30, {"kill coordinator": (3, 30)}, load={"churn": True}),
    Scenario("transactions", each("kill_leader", "kill_copiers_coordinator"), 2, 40,
             {"kill leader": (1, 20), "kill transaction coordinator": (1, 20)}, load={"producers": 2, "copiers": 2}),
    Scenario("kill all nodes", each("kill_all"), 3, 30, {"kill all": (3, 30)}, load={"admin": True}),
    Scenario("rolling restart", each("roll"), 1, 10, {"roll": (3, 30)}, load={"churn": True}),
    Scenario("pause", each("pause_leader", "pause_controller"), 3, 30, {"pause leader": (2, 15), "pause controller": (1, 15)}),
    Scenario("partition two ways", each("isolate_leader", "isolate_controller", "part_two_brokers"), 3, 30,
             {"partition two ways": (1, 10), "partition controllers": (1, 10), "partition between two": (1, 10)},
             cluster={"links": True}),
    Scenario("partition one way", each("mute_leader", "deafen_leader"), 2, 20,
             {"partition one way, out": (1, 10), "partition one way, in": (1, 10)}, cluster={"links": True}),
    Scenario("bad links", each("reset_links", "slow_links"), 2, 20, {"reset links": (1, 10), "slow links": (1, 10)},
             cluster={"links": True}),
    Scenario("wiped disk", each("wipe"), 1, 10, {"wipe": (1, 10)}, cluster={"metadata_apart": True}),
    Scenario("full disk", each("fill_disk"), 1, 10, {"full disk": (1, 10)},
             cluster={"metadata_apart": True, "small_disks_mb": 96, "settings": {"log.segment.bytes": str(1 << 20)}}),
    # Whoever acknowledges from the page cache, as Apache Kafka does by default, fails the first of these.
    Scenario("power loss of all", each("power_loss_all"), 2, 100, {"power loss of all": (2, 100)}, cluster={"disks": True}),
    Scenario("power loss of the leader", each("power_loss_leader"), 2, 50, {"power loss of the leader": (2, 50)},
             cluster={"disks": True}),
    Scenario("bad disk", each("failing_sync", "slow_syncs"), 2, 40, {"failing sync": (1, 20), "slow syncs": (1, 20)},
             cluster={"disks": True}),
    # By tests/upgrade.sh alone: up, and back, and so on.
    Scenario("upgrade and back", each("change_binaries"), 0, 0, {}, cluster={"from_old": True},
             load={"producers": 3, "copiers": 1, "churn": True, "admin": True}, acked_min=200),
    Scenario("all of it", mixed, 0, 60, {}, cluster={"links": True}, load={"java": 1, "churn": True, "admin": True}),
]
