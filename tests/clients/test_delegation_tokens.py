"""Delegation tokens (KIP-48, KIP-373) as Apache Kafka's own clients have them: made, renewed, ended by its tool and by ours, and
logged in by."""

import json
import re
import socket
import struct
import subprocess
import time

import pytest

from conftest import BINARY, eventually
from test_security import PLAIN_MODULE, SCRAM_MODULE, authority, start_secured  # noqa: F401 (fixtures)

SECRET = "a-secret-of-the-nodes"
USERS = 'user_alice="alice-pw" user_bob="pencil-b" user_service="pencil-s"'
STANDARD = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
REFUSED = {
    "not allowed": "UnsupportedByAuthenticationException: Delegation Token requests are not allowed on PLAINTEXT/1-way SSL "
                   "channels and on delegation token authenticated channels.",
    "disabled": "DelegationTokenDisabledException: Delegation Token feature is not enabled.",
    "not authorized": "DelegationTokenAuthorizationException: Delegation Token authorization failed.",
    "kind": "InvalidPrincipalTypeException: Supplied principalType is not supported.",
    "owner": "DelegationTokenOwnerMismatchException: Specified Principal is not valid Owner/Renewer.",
    "unknown": "DelegationTokenNotFoundException: Delegation Token is not found on server.",
    "expired": "DelegationTokenExpiredException: Delegation Token is expired.",
    "login": "Authentication failed during authentication due to invalid credentials with SASL "
             "mechanism SCRAM-SHA-512",
}
NEVER = ("--max-life-time-period", -1)


class Tokens:
    """A node that has tokens, and who asks it for them by which tool."""

    def __init__(self, node, folder, run):
        self.node, self.folder, self.run = node, folder, run
        for user, password in (("alice", "alice-pw"), ("bob", "pencil-b"), ("service", "pencil-s")):
            self.properties(user, "PLAIN", f'{PLAIN_MODULE} required username="{user}" password="{password}";')

    def properties(self, name, mechanism, jaas):
        path = self.folder / f"{name}.properties"
        path.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\nsasl.jaas.config={jaas}\n")
        return path

    def holder(self, token, mechanism="SCRAM-SHA-512"):
        return self.properties("holder", mechanism, f'{SCRAM_MODULE} required username="{token[0]}" password="{token[1]}" '
                                                    'tokenauth="true";')

    def ask(self, user, *arguments):
        at = ("--bootstrap-server", self.node.at("SASL_PLAINTEXT"), "--command-config", self.folder / f"{user}.properties")
        return self.run("kafka-delegation-tokens", *at, *arguments, timeout=120)

    def create(self, user, *arguments):
        """The id and what its holder shows."""
        done = self.ask(user, "--create", *NEVER, *arguments)
        assert done.returncode == 0, done
        return tuple(done.stdout.splitlines()[-1].split()[:2])

    def refused(self, why, user, *arguments):
        done = self.ask(user, *arguments)
        assert done.returncode == 1 and REFUSED[why] in done.stdout + done.stderr, done


@pytest.fixture
def start_with_tokens(start_secured):  # noqa: F811
    def start(**settings):
        return start_secured(**{
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{PLAIN_MODULE} required {USERS};",
            "delegation.token.secret.key": SECRET, "authorizer.class.name": STANDARD,
            "super.users": "User:ANONYMOUS;User:bob", **settings})

    return start


@pytest.fixture(params=["ours", "kafka's"])
def tokens(request, start_with_tokens, tools, java, tmp_path):
    node = start_with_tokens()
    yield Tokens(node, tmp_path, tools if request.param == "ours" else java)
    log = node.log_path.read_text(errors="replace")
    assert SECRET not in log and not re.search(r"[A-Za-z0-9+/]{86}==", log)


def allow(tools, node, *arguments):
    done = tools("kafka-acls", "--bootstrap-server", node.bootstrap, "--add", *arguments)
    assert done.returncode == 0, done


def test_a_token_is_made_shown_renewed_and_ended(tokens, tools):
    token = tokens.create("alice", "--renewer-principal", "User:service", "--renewer-principal", "User:carol")
    shown = tokens.ask("alice", "--describe", "--owner-principal", "User:alice")
    row = shown.stdout.splitlines()[-1].split()
    assert "Total number of tokens : 1\n" in shown.stdout and row[:4] == [*token, "User:alice", "User:alice"], shown
    assert "[User:service, User:carol]" in shown.stdout
    hmac = ("--hmac", token[1])
    renewed = tokens.ask("service", "--renew", "--renew-time-period", 60_000, *hmac)
    assert renewed.returncode == 0 and "Completed renew operation. New expiry date : " in renewed.stdout, renewed
    tokens.refused("unknown", "alice", "--renew", "--renew-time-period", -1, "--hmac", "AAAA")
    other = tokens.create("bob")
    tokens.refused("owner", "alice", "--renew", "--renew-time-period", -1, "--hmac", other[1])
    tokens.refused("owner", "alice", "--expire", "--expiry-time-period", -1, "--hmac", other[1])
    tokens.refused("kind", "alice", "--create", *NEVER, "--renewer-principal", "Group:g")

    def shown_to(user, owner):
        return tokens.ask(user, "--describe", "--owner-principal", owner).stdout.splitlines()

    assert any(line.startswith(token[0]) for line in shown_to("service", "User:service"))
    assert not any(line.startswith(other[0]) for line in shown_to("alice", "User:bob"))
    allow(tools, tokens.node, "--allow-principal", "User:alice", "--operation", "Describe", "--delegation-token", other[0])
    assert any(line.startswith(other[0]) for line in shown_to("alice", "User:bob"))
    ended = tokens.ask("alice", "--expire", "--expiry-time-period", -1, *hmac)
    assert ended.returncode == 0 and "Completed expire operation. New expiry date : " in ended.stdout, ended
    tokens.refused("unknown", "alice", "--renew", "--renew-time-period", -1, *hmac)


def test_tokens_of_others_need_a_permission(tokens, tools):
    for_alice = ("--create", *NEVER, "--owner-principal", "User:alice")
    tokens.refused("not authorized", "service", *for_alice)
    about_alice = ("--allow-principal", "User:service", "--user-principal", "User:alice")
    allow(tools, tokens.node, *about_alice, "--operation", "CreateTokens")
    done = tokens.ask("service", *for_alice)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].split()[2:4] == ["User:alice", "User:service"], done
    own = tokens.ask("service", "--describe", "--owner-principal", "User:alice")
    assert "Total number of tokens : 0\n" in own.stdout, own
    allow(tools, tokens.node, *about_alice, "--operation", "DescribeTokens")
    shown = tokens.ask("service", "--describe", "--owner-principal", "User:alice")
    assert "Total number of tokens : 1\n" in shown.stdout, shown


def test_its_holder_is_the_owner_until_it_ends(tokens, tools, java, tmp_path):
    node = tokens.node
    assert tools("kafka-topics", "--bootstrap-server", node.bootstrap, "--create", "--topic", "rivers").returncode == 0
    allow(tools, node, "--allow-principal", "User:alice", "--operation", "All", "--topic", "rivers")
    token = tokens.create("alice")
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        holder = tokens.holder(token, mechanism)
        to = ("--bootstrap-server", node.at("SASL_PLAINTEXT"), "--command-config", holder, "--topic", "rivers")
        for run in (tools, java):
            done = run("kafka-console-producer", *to, input="Vltava\n")
            assert done.returncode == 0 and not done.stderr.strip().startswith("["), done
    offsets = tools("kafka-get-offsets", "--bootstrap-server", node.bootstrap, "--topic", "rivers")
    assert offsets.stdout == "rivers:0:4\n", offsets
    tokens.refused("not allowed", "holder", "--create", *NEVER)
    tokens.refused("not allowed", "holder", "--describe")
    tokens.refused("not allowed", "holder", "--renew", "--renew-time-period", -1, "--hmac", token[1])
    tokens.refused("not allowed", "holder", "--expire", "--expiry-time-period", -1, "--hmac", token[1])
    assert tokens.ask("alice", "--expire", "--expiry-time-period", 0, "--hmac", token[1]).returncode == 0
    time.sleep(0.1)
    tokens.refused("login", "holder", "--describe")
    tokens.refused("expired", "alice", "--renew", "--renew-time-period", -1, "--hmac", token[1])
    assert tokens.ask("alice", "--expire", "--expiry-time-period", -1, "--hmac", token[1]).returncode == 0
    tokens.refused("login", "holder", "--describe")


def test_tokens_outlive_a_restart_and_go_when_they_are_over(start_with_tokens, tools, tmp_path):
    node = start_with_tokens(**{"delegation.token.expiry.check.interval.ms": "500"})
    tokens = Tokens(node, tmp_path, tools)
    token = tokens.create("alice")
    node.kill()
    node.start()
    listed = ("kafka-topics", "--bootstrap-server", node.at("SASL_PLAINTEXT"), "--command-config", tokens.holder(token),
              "--list")
    assert tools(*listed).returncode == 0
    assert tokens.ask("alice", "--expire", "--expiry-time-period", 0, "--hmac", token[1]).returncode == 0

    def is_gone():
        return "Total number of tokens : 0\n" in tokens.ask("alice", "--describe").stdout

    eventually(is_gone, 20, "the removal of the token")
    assert "removing delegation tokens that have expired" in node.log_path.read_text()


def test_without_a_secret_or_a_login_there_are_no_tokens(start_with_tokens, tools, java, tmp_path):
    node = start_with_tokens(**{"delegation.token.secret.key": ""})
    tokens = Tokens(node, tmp_path, java)
    for arguments in (("--create", *NEVER), ("--renew", "--renew-time-period", -1, "--hmac", "AAAA"),
                      ("--expire", "--expiry-time-period", -1, "--hmac", "AAAA"), ("--describe",)):
        tokens.refused("disabled", "alice", *arguments)
    (tmp_path / "nobody.properties").write_text("security.protocol=PLAINTEXT\n")
    for run in (tools, java):
        done = run("kafka-delegation-tokens", "--bootstrap-server", node.bootstrap, "--command-config",
                   tmp_path / "nobody.properties", "--create", *NEVER)
        assert done.returncode == 1 and REFUSED["not allowed"] in done.stdout + done.stderr, done
    shown = tools("kafka-configs", "--bootstrap-server", node.bootstrap, "--entity-type", "brokers", "--entity-name", "1",
                  "--describe", "--all")
    assert SECRET not in shown.stdout, shown


def test_controllers_take_tokens_for_their_owners_and_not_for_nodes(start_with_tokens, tools, java, tmp_path):
    jaas = f'{SCRAM_MODULE} required username="node" password="pencil-n";'
    node = start_with_tokens(**{
        "listener.security.protocol.map": "CONTROLLER:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,"
                                          "SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.mechanism.controller.protocol": "SCRAM-SHA-512",
        "listener.name.controller.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.controller.scram-sha-512.sasl.jaas.config": jaas,
        "super.users": "User:ANONYMOUS;User:bob;User:node"})
    tokens = Tokens(node, tmp_path, tools)
    controller = node.settings["controller.quorum.voters"].split("@")[1]
    token = tokens.create("bob")
    asked = ("--bootstrap-controller", controller, "--command-config", tokens.holder(token))
    for run in (tools, java):
        done = run("kafka-metadata-quorum", *asked, "describe", "--status")
        assert done.returncode == 0 and "LeaderId:" in done.stdout, done
    assert tokens.ask("bob", "--expire", "--expiry-time-period", -1, "--hmac", token[1]).returncode == 0
    done = tools("kafka-metadata-quorum", *asked, "describe", "--status")
    assert done.returncode == 1 and REFUSED["login"] in done.stdout + done.stderr, done


def test_a_controller_without_authentication_has_no_tokens(start_moldau):
    node = start_moldau(**{"delegation_token_secret_key": SECRET})
    host, port = node.settings["controller.quorum.voters"].split("@")[1].split(":")
    # Creating one for nobody in particular; renewing and ending what nobody has.
    bodies = {38: struct.pack(">iq", 0, -1), 39: struct.pack(">i4sq", 4, b"hmac", -1), 40: struct.pack(">i4sq", 4, b"hmac", -1)}
    for key, body in bodies.items():
        with socket.create_connection((host, int(port)), 10) as stream:
            request = struct.pack(">hhih", key, 1, 7, -1) + body
            stream.sendall(struct.pack(">i", len(request)) + request)
            answer = stream.recv(4096)
        assert struct.unpack(">ih", answer[4:10]) == (7, 64), (key, answer)


def test_our_own_command_has_tokens_too(start_with_tokens, tools, tmp_path):
    node = start_with_tokens()
    tokens = Tokens(node, tmp_path, tools)

    def moldau(*arguments):
        at = ("-b", node.at("SASL_PLAINTEXT"), "--command-config", str(tmp_path / "alice.properties"))
        done = subprocess.run([str(BINARY), "token", *arguments, *at], text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout

    made = json.loads(moldau("create", "--renewer", "User:bob", "--max-lifetime-ms", "60000", "--format", "json"))
    assert made["owner"] == made["requester"] == "User:alice" and made["renewers"] == ["User:bob"], made
    assert made["max_timestamp_ms"] - made["issued_at_ms"] == 60_000
    shown = moldau("list")
    assert made["token_id"] in shown and made["hmac"] not in shown, shown
    assert moldau("list", "--owner", "User:carol").count("\n") == 1
    tokens.holder((made["token_id"], made["hmac"]))
    tokens.refused("not allowed", "holder", "--describe")
    assert moldau("renew", made["hmac"], "--period-ms", "1000").startswith("renewed until ")
    assert moldau("expire", made["hmac"]).startswith("ends at ")
    assert json.loads(moldau("list", "--format", "json")) == []
