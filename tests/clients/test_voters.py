"""A quorum that grows from one controller to three and shrinks again, by the tools that Apache Kafka has for it."""

import shutil
import subprocess

import pytest

from conftest import SETUP, Moldau, eventually

CLUSTER = "5L6g3nShT-eMCtK--X86sw"


class Nodes:
    """Three nodes, each broker and controller, that know only each other's addresses."""

    def __init__(self, folder, tools, **settings):
        self.folder, self.tools, self.all = folder, tools, {}
        for node_id in (1, 2, 3):
            place = folder / f"node-{node_id}"
            place.mkdir()
            self.all[node_id] = Moldau(place, **settings)
        servers = ",".join(f"127.0.0.1:{node.controller_port}" for node in self.all.values())
        for node_id, node in self.all.items():
            del node.settings["controller.quorum.voters"]
            node.settings.update({"node.id": str(node_id), "process.roles": "broker,controller",
                                  "controller.quorum.bootstrap.servers": servers})
            self.file(node_id).write_text("".join(f"{key}={value}\n" for key, value in node.settings.items()))

    def __getitem__(self, node_id):
        return self.all[node_id]

    def file(self, node_id):
        return self.folder / f"node-{node_id}" / "server.properties"

    def format(self, node_id, *flags):
        done = self.tools("kafka-storage", "format", "-t", CLUSTER, "-c", self.file(node_id), *flags)
        assert done.returncode == 0, done.stderr

    def directory_id(self, node_id):
        lines = (self.folder / f"node-{node_id}" / "data" / "meta.properties").read_text().splitlines()
        return next(line.split("=", 1)[1] for line in lines if line.startswith("directory.id="))

    def quorum(self, *arguments, node_id=1, command_config=None, java=False, controller=False):
        node = self[node_id]
        port = node.controller_port if controller else node.port
        bootstrap = ["--bootstrap-controller" if controller else "--bootstrap-server", f"127.0.0.1:{port}"]
        config = ["--command-config", command_config] if command_config else []
        if not java:
            return self.tools("kafka-metadata-quorum", *config, *bootstrap, *arguments, timeout=90)
        return subprocess.run([*JAVA, *map(str, config), *bootstrap, *arguments], capture_output=True, text=True, timeout=90)

    def members(self, node_id):
        """Ids of voters and observers, as `describe --replication` shows them; both empty while nobody leads."""
        done = self.quorum("describe", "--replication", node_id=node_id)
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        voters = sorted(int(row[0]) for row in rows if row[-1] != "Observer")
        return voters, sorted(int(row[0]) for row in rows if row[-1] == "Observer")

    def are(self, voters, observers, node_id=1):
        eventually(lambda: self.members(node_id) == (voters, observers), 60, f"voters {voters}, observers {observers}")

    def close(self):
        for node in self.all.values():
            node.kill()
            if node.log_path.exists():
                assert "panicked at" not in node.log(), node.log()


JAVA = ["java", "-cp", f"{SETUP}/jars/*", "org.apache.kafka.tools.MetadataQuorumCommand"]


@pytest.mark.parametrize("java", [False, True], ids=["moldau's tool", "kafka's tool"])
def test_a_quorum_grows_by_hand_loses_a_disk_and_shrinks(tmp_path, tools, java):
    nodes = Nodes(tmp_path, tools)
    try:
        nodes.format(1, "--standalone")
        for node_id in (2, 3):
            nodes.format(node_id, "--no-initial-controllers")
        for node_id in (1, 2, 3):
            nodes[node_id].start()
        nodes.are([1], [2, 3])
        # One by a broker, one by the controllers, and by one that does not lead.
        for node_id, by_controller in ((2, False), (3, True)):
            done = nodes.quorum("add-controller", node_id=2, command_config=nodes.file(node_id), controller=by_controller,
                                java=java)
            expected = (f"Added controller {node_id} with directory id {nodes.directory_id(node_id)} and endpoints: "
                        f"CONTROLLER://127.0.0.1:{nodes[node_id].controller_port}\n")
            assert (done.returncode, done.stdout) == (0, expected), done.stderr
        nodes.are([1, 2, 3], [])
        done = nodes.quorum("add-controller", command_config=nodes.file(3), java=java)
        assert done.returncode == 1
        assert "org.apache.kafka.common.errors.DuplicateVoterException: The voter id for ReplicaKey(id=3, " in done.stderr

        # Another disk: the old one goes, the new one comes.
        old = nodes.directory_id(3)
        nodes[3].kill()
        shutil.rmtree(nodes[3].folder / "data")
        nodes.format(3, "--no-initial-controllers")
        done = nodes.quorum("remove-controller", "--controller-id", "3", "--controller-directory-id", old, java=java)
        expected = f"Removed  KRaft controller 3 with directory id {old}\n"
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
        nodes[3].start()
        nodes.are([1, 2], [3])
        done = nodes.quorum("add-controller", command_config=nodes.file(3), java=java)
        assert done.returncode == 0, done.stderr
        nodes.are([1, 2, 3], [])

        # The founder may end, and may be the one that goes.
        nodes[1].kill()
        nodes.are([1, 2, 3], [], node_id=2)
        done = nodes.quorum("remove-controller", "-i", "1", "-d", nodes.directory_id(1), node_id=2, java=java)
        assert done.returncode == 0, done.stderr
        nodes.are([2, 3], [1], node_id=2)
    finally:
        nodes.close()


def test_controllers_that_may_join_by_themselves_need_no_tool(tmp_path, tools):
    nodes = Nodes(tmp_path, tools, controller_quorum_auto_join_enable="true")
    try:
        nodes.format(1, "--standalone")
        # The others are not even formatted: they ask which cluster this is.
        for node_id in (1, 2, 3):
            nodes[node_id].start()
        nodes.are([1, 2, 3], [])
        nodes[1].kill()
        eventually(lambda: nodes.members(2)[0] == [1, 2, 3], 60, "the others go on")
        created = tools("kafka-topics", "--bootstrap-server", nodes[3].bootstrap, "--create", "--topic", "t")
        assert created.returncode == 0, created.stderr
    finally:
        nodes.close()
