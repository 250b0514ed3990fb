"""A name that stayed where it was, or a node that only says that it moved, would make every run pass."""

import os
import socket
import subprocess
import sys

import pytest

import names
from cluster import HERE, free_port

TOLD = """
import socket, sys
sys.path.insert(0, sys.argv[1])
import names
told = names.Names(sys.argv[2])
for address in ("127.1.2.1", "127.1.2.200"):
    told.tell({"node-2.chaos.test": address, "node-1.chaos.test": "127.1.1.1"})
    print(socket.gethostbyname("node-2.chaos.test"), socket.gethostbyname("node-1.chaos.test"), socket.gethostbyname("localhost"))
told.close()
print("node-2" in open("/etc/hosts").read())
"""


@pytest.mark.skipif(names.why_no_names() is not None, reason=str(names.why_no_names()))
def test_a_name_moves_for_those_in_the_namespace_and_for_nobody_else(tmp_path):
    done = subprocess.run([sys.executable, "-c", TOLD, str(HERE), str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["127.1.2.1 127.1.1.1 127.0.0.1", "127.1.2.200 127.1.1.1 127.0.0.1", "False"]
    assert "chaos.test" not in names.HOSTS.read_text()


def test_a_node_is_where_its_own_process_listens():
    node = names.Named()
    node.ports, node.pid = [free_port() for _ in range(3)], os.getpid()
    sockets = [socket.create_server(("127.1.7.1", port)) for port in node.ports]
    assert node.is_at("127.1.7.1") and not node.is_at("127.1.7.2")
    node.pid = os.getppid()
    assert not node.is_at("127.1.7.1"), "somebody else's"
    sockets.pop().close()
    node.pid = os.getpid()
    assert not node.is_at("127.1.7.1"), "not with all its ports"
    for each in sockets:
        each.close()
