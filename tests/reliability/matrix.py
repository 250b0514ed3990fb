"""The faults that a cluster has to survive, F1 to F29, and what installs each of them here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Fault:
    number: int
    title: str
    wanted: int = 1              # how many in all
    kinds: tuple = ()            # of tests/chaos, as its scenarios name them
    per: int = 1                 # so many of these make one: a rolling restart is one of each node
    counts_bits: bool = False    # what is counted are the bits that were turned over
    simulated: tuple = ()        # of tests/simulation, as its coverage names them
    part: str = ""               # or what another part of the run counts, see page.py
    beside: str = ""             # a part that plays it in another way: not counted, and it may not fail
    without: str = ""            # what of it is not played, and for want of which tool


POWER = ("power loss of all", "power loss of some")
FAULTS = [
    Fault(1, "kill -9 of a partition's leader", 500, ("kill leader",), simulated=("BrokerKilled",)),
    Fault(2, "rolling restart by SIGTERM", 60, ("roll",), per=3, simulated=("BrokerShutDownCleanly",)),
    Fault(3, "kill -9 of the active controller", 200, ("kill controller",), simulated=("ControllerKilled",),
          without="controllers on nodes of their own: the harness makes nodes of both roles"),
    Fault(4, "loss of the controllers' quorum", 50, ("loss of the quorum",)),
    Fault(5, "kill -9 of all nodes at once", 100, ("kill all",)),
    Fault(6, "loss of power of all nodes, or of some", 400, POWER,
          simulated=("BrokerLostPower", "AllBrokersLostPower", "ControllerLostPower")),
    Fault(7, "the last replica standing loses its power", 50, ("last replica standing",), simulated=("ElectedFromElr",)),
    Fault(8, "SIGSTOP for a while: leader, follower, controller, all", 300,
          ("pause leader", "pause controller", "pause follower", "pause all"), simulated=("BrokerPaused", "ControllerPaused")),
    Fault(9, "partition two ways", 200, ("partition two ways", "partition controllers", "partition between two"),
          simulated=("TwoWayPartition",)),
    Fault(10, "partition one way, of nodes and of clients", 200, ("partition one way, out", "partition one way, in", "clients cut off"),
          simulated=("OneWayPartition",)),
    Fault(11, "power cut at every write and sync of the Raft log", part="raft", simulated=("ControllerLostPower", "UnsyncedMetadataLost")),
    Fault(12, "torn and zeroed ends of logs, small files of nonsense", 100, ("torn files",)),
    Fault(13, "bits that turn over on the disk, in a node that is down", 2_000, ("rotten bits",), counts_bits=True,
          without="in the files of a running node: nothing reads them again there but their readers, who check them"),
    Fault(14, "a full disk", 50, ("full disk",)),
    Fault(15, "a sync or a write that fails", 100, ("failing sync", "failing write")),
    Fault(16, "slow syncs, 50 to 1000 ms", 30, ("slow syncs",), simulated=("SlowDisk",)),
    Fault(17, "bad links: reset, slow, trickling, lossy", 50, ("reset links", "slow links", "trickling links", "lossy links"),
          simulated=("MessageLate", "MessageLost")),
    Fault(18, "bits that turn over on the wire, in records", 5_000, ("flipped bits",), counts_bits=True,
          without="outside of records: no checksum of the protocol covers that, TLS does"),
    Fault(19, "jumps of one node's wall clock", 60, ("clock jump",)),
    Fault(20, "moves of replicas, mostly with a node killed meanwhile", 100, ("move of replicas",), simulated=("ReassignmentBegun",)),
    Fault(21, "a wiped disk, the same broker", 50, ("wipe",), simulated=("BrokerWiped",),
          without="of a controller's metadata: such a voter comes back as somebody else (tests/clients/test_lost_metadata.py)"),
    Fault(22, "kill -9 of coordinators, of groups and of transactions", 200, ("kill coordinator", "kill transaction coordinator")),
    Fault(23, "late requests of clients that went on, and zombies in transactions", 500, ("late requests",),
          simulated=("TransactionProducerFenced", "LateBatchRefused", "MarkerSentAgain")),
    Fault(24, "hostile peers, with 512 MiB of memory", 20, part="hostile"),
    Fault(25, "more connections than files", 1, part="few files"),
    Fault(26, "all of it at random, minutes", 720, part="mixed"),
    Fault(27, "rolling upgrade and downgrade", 20, ("upgrade", "downgrade"), per=3,
          without="from a release: there is none yet, tests/upgrade.sh builds an earlier commit"),
    Fault(28, "nodes killed that come back under new addresses, as containers do", 20,
          ("new address", "new advertised address", "swapped addresses"), beside="containers",
          without="networks and names of an engine for containers: tests/containers_cluster.sh and tests/kubernetes.sh, where there is one"),
    Fault(29, "simulated clusters, seeds", 10_000, part="simulation"),
]
