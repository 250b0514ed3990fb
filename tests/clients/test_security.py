"""TLS and SASL as stock clients speak them: librdkafka, kafka-python, Apache Kafka's own tools, and ours. Certificates are
made for the run by openssl."""

import base64
import socket
import ssl
import struct
import subprocess
import time
import urllib.request

import confluent_kafka as ck
import confluent_kafka.admin as ck_admin
import pytest

from conftest import Moldau, eventually, free_port

PLAIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """Signs certificates; `store` is key and certificate in one file, as `ssl.keystore.location` takes it."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        folder.mkdir()
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.certificate, "-days", 2, "-subj", f"/CN={name}")

    def issue(self, name, subject, days=1, hosts="DNS:localhost,IP:127.0.0.1"):
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", subject, "-addext", f"subjectAltName={hosts}")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-days", days,
                "-copy_extensions", "copy", "-out", certificate)
        store = self.folder / f"{name}.pem"
        store.write_text(key.read_text() + certificate.read_text())
        return store


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


class Secured(Moldau):
    """A node with a listener of each kind. PLAINTEXT is there to be asked whether it serves."""

    def __init__(self, folder, authority, **settings):
        super().__init__(folder)
        self.store = folder / "server.pem"
        self.store.write_text(authority.issue(f"server-{free_port()}", "/CN=server").read_text())
        self.ports = {name: free_port() for name in ("SSL", "SASL_SSL", "SASL_PLAINTEXT")}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        self.settings["listeners"] += "," + listeners
        self.settings["advertised.listeners"] += "," + listeners
        users = 'username="admin" password="admin-pw" user_admin="admin-pw" user_alice="alice-pw"'
        self.settings.update({
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,"
                                              "SASL_PLAINTEXT:SASL_PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{PLAIN_MODULE} required {users};",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{PLAIN_MODULE} required {users};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "listener.name.ssl.ssl.client.auth": "required",
            **settings,
        })
        self.authority = authority

    def at(self, listener):
        return f"127.0.0.1:{self.ports[listener]}"

    def client(self, listener, **more):
        """librdkafka's settings for a listener."""
        settings = {"bootstrap.servers": self.at(listener), "security.protocol": listener,
                    "ssl.ca.location": str(self.authority.certificate), "socket.timeout.ms": 10_000,
                    "reconnect.backoff.max.ms": 500, **{key.replace("_", "."): value for key, value in more.items()}}
        if listener == "SASL_PLAINTEXT":
            del settings["ssl.ca.location"]
        return settings


@pytest.fixture
def start_secured(tmp_path, authority):
    started = []

    def start(prepare=lambda folder: None, **settings):
        folder = tmp_path / f"secured-{len(started)}"
        folder.mkdir()
        prepare(folder)
        node = Secured(folder, authority, **settings).start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.kill()
        log = node.log_path.read_text(errors="replace")
        assert "panicked at" not in log, log[-4000:]
        for secret in ("admin-pw", "alice-pw", "pencil"):
            assert secret not in log, f"{secret} is in the log"


def sasl(mechanism, user, password):
    return {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password}


def round_trip(settings, topic, count=20, size=10):
    """Writes records and reads them again, over the listener that the settings name."""
    producer = ck.Producer({**settings, "message.timeout.ms": 20_000})
    failures = []
    for n in range(count):
        producer.produce(topic, b"x" * size + str(n).encode(),
                         on_delivery=lambda error, _: error and failures.append(error))
    assert producer.flush(30) == 0 and not failures, failures
    consumer = ck.Consumer({**settings, "group.id": f"{topic}-group", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    values, deadline = [], time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and not message.error():
            values.append(message.value())
    consumer.close()
    assert sorted(values) == sorted(b"x" * size + str(n).encode() for n in range(count))


def refused(settings):
    """The first error that librdkafka tells of a listener that does not let it in."""
    errors = []
    client = ck.Producer({**settings, "error_cb": errors.append})
    def told():
        client.poll(0.1)
        return [error for error in errors if error.code() != ck.KafkaError._ALL_BROKERS_DOWN]
    return eventually(told, 20, "a refusal")[0]


def set_password(tools, node, user, mechanism="SCRAM-SHA-256", password="pencil"):
    done = tools("kafka-configs", "--bootstrap-server", node.bootstrap, "--alter", "--entity-type", "users", "--entity-name",
                 user, "--add-config", f"{mechanism}=[iterations=8192,password={password}]")
    assert done.returncode == 0, done


def test_librdkafka_and_kafka_python_speak_every_protocol(start_secured, tools, tmp_path):
    node = start_secured()
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        set_password(tools, node, "bob-" + mechanism[-3:], mechanism)
    client = node.authority.issue("client", "/C=CZ/O=Test/CN=client")
    mutual = {"ssl_certificate_location": str(client), "ssl_key_location": str(client)}
    for topic, settings in {
        "mtls": node.client("SSL", **mutual),
        "plain": node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw")),
        "plain-tls": node.client("SASL_SSL", **sasl("PLAIN", "alice", "alice-pw")),
        "scram-256": node.client("SASL_SSL", **sasl("SCRAM-SHA-256", "bob-256", "pencil")),
        "scram-512": node.client("SASL_PLAINTEXT", **sasl("SCRAM-SHA-512", "bob-512", "pencil")),
    }.items():
        round_trip(settings, topic)
    # Records larger than TLS's own, and than what waits for a socket.
    round_trip(node.client("SASL_SSL", **sasl("PLAIN", "alice", "alice-pw"), max_partition_fetch_bytes=3_000_000), "large", 40,
               200_000)

    from kafka import KafkaConsumer, KafkaProducer
    common = {"bootstrap_servers": node.at("SASL_SSL"), "security_protocol": "SASL_SSL",
              "ssl_cafile": str(node.authority.certificate), "sasl_mechanism": "SCRAM-SHA-256",
              "sasl_plain_username": "bob-256", "sasl_plain_password": "pencil"}
    producer = KafkaProducer(**common)
    producer.send("python", b"v").get(30)
    producer.close()
    consumer = KafkaConsumer("python", auto_offset_reset="earliest", consumer_timeout_ms=20_000, **common)
    assert next(consumer).value == b"v"
    consumer.close()


def test_apache_kafkas_tools_and_ours_speak_sasl_over_tls(start_secured, tools, java, tmp_path):
    node = start_secured()
    set_password(tools, node, "carol")
    config = tmp_path / "client.properties"
    trust = f"ssl.truststore.type=PEM\nssl.truststore.location={node.authority.certificate}\n"
    config.write_text("security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n" + trust +
                      f'sasl.jaas.config={SCRAM_MODULE} required username="carol" password="pencil";\n')
    at = ("--bootstrap-server", node.at("SASL_SSL"), "--command-config", config)
    for run, topic in [(tools, "ours"), (java, "theirs")]:
        done = run("kafka-topics", *at, "--create", "--topic", topic)
        assert done.returncode == 0, done
    described = ("kafka-configs", *at, "--describe", "--entity-type", "users", "--entity-name", "carol")
    line = "SCRAM credential configs for user-principal 'carol' are SCRAM-SHA-256=iterations=8192\n"
    assert tools(*described).stdout == java(*described).stdout == line
    to = ("--bootstrap-server", node.at("SASL_SSL"), "--topic", "ours")
    assert tools("kafka-console-producer", *to, "--command-config", config, input="a\n").returncode == 0
    consumed = tools("kafka-console-consumer", *to, "--command-config", config, "--from-beginning", "--max-messages", 1)
    assert (consumed.returncode, consumed.stdout) == (0, "a\n"), consumed
    wrong = tmp_path / "wrong.properties"
    wrong.write_text(config.read_text().replace('"pencil"', '"pen"'))
    done = tools("kafka-topics", "--bootstrap-server", node.at("SASL_SSL"), "--command-config", wrong, "--list", timeout=50)
    assert done.returncode == 1 and "invalid credentials with SASL mechanism SCRAM-SHA-256" in done.stdout + done.stderr
    # A client that authenticates again while it works is not interrupted; that takes a Java client.
    assert java("kafka-configs", *at, "--alter", "--entity-type", "users", "--entity-name", "carol", "--delete-config",
                "SCRAM-SHA-256").returncode == 0
    assert tools(*("kafka-configs", "--bootstrap-server", node.bootstrap, "--describe", "--entity-type", "users")).stdout == ""
    assert refused(node.client("SASL_SSL", **sasl("SCRAM-SHA-256", "carol", "pencil"))).code() == ck.KafkaError._AUTHENTICATION


def frame(stream, api_key, version, body=b""):
    """A request's answer; nothing where the connection ends."""
    request = struct.pack(">hhih", api_key, version, 7, -1) + body
    try:
        stream.sendall(struct.pack(">i", len(request)) + request)
        size = stream.recv(4, socket.MSG_WAITALL)
        return stream.recv(struct.unpack(">i", size)[0], socket.MSG_WAITALL) if len(size) == 4 else b""
    except (ConnectionError, TimeoutError):
        return b""


def test_strangers_stay_outside(start_secured, tmp_path):
    node = start_secured(**{"connections.authentication.timeout.ms": "2000", "sasl.server.max.receive.size": "1000"})
    for settings, code in [
        (node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "wrong")), ck.KafkaError._AUTHENTICATION),
        (node.client("SASL_SSL", **sasl("SCRAM-SHA-512", "nobody", "x")), ck.KafkaError._AUTHENTICATION),
        # Not a certificate at all, one of another authority, and one whose time is over.
        (node.client("SSL"), ck.KafkaError._SSL),
    ]:
        assert refused(settings).code() in (code, ck.KafkaError._TRANSPORT), settings
    other = Authority(tmp_path / "other", "Other CA")
    expired = node.authority.issue("expired", "/CN=expired", days=-1)
    for store in (other.issue("stranger", "/CN=stranger"), expired):
        context = ssl.create_default_context(cafile=str(node.authority.certificate))
        context.load_cert_chain(store)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            with context.wrap_socket(socket.create_connection(("127.0.0.1", node.ports["SSL"]), 10),
                                     server_hostname="localhost") as stream:
                # With TLS 1.3 a client hears of it when it reads.
                stream.settimeout(10)
                assert stream.recv(1) == b""
                raise ConnectionError("closed")

    def dial(listener):
        stream = socket.create_connection(("127.0.0.1", node.ports[listener]), 10)
        stream.settimeout(20)
        return stream

    # Kafka's frames to a port of TLS, and TLS to a port of frames.
    with dial("SASL_SSL") as stream:
        assert not frame(stream, 18, 0).startswith(struct.pack(">i", 7))
    with dial("SASL_PLAINTEXT") as stream, pytest.raises((ssl.SSLError, ConnectionError, TimeoutError)):
        ssl.create_default_context().wrap_socket(stream, server_hostname="localhost")
    # Before authentication nothing is served but ApiVersions and a handshake.
    for api_key, version in [(3, 1), (0, 3), (1, 4), (36, 1), (22, 0)]:
        with dial("SASL_PLAINTEXT") as stream:
            assert frame(stream, api_key, version) == b"", api_key
    with dial("SASL_PLAINTEXT") as stream:
        assert frame(stream, 18, 0)
        assert frame(stream, 17, 1, struct.pack(">h", 6) + b"GSSAPI")[4:6] == struct.pack(">h", 33)
        assert stream.recv(1) == b""
    with dial("SASL_PLAINTEXT") as stream:
        # A frame that is larger than anybody's authentication.
        stream.sendall(struct.pack(">i", 1001))
        assert stream.recv(1) == b""
    # Who says nothing, in TLS's handshake or before SASL's, is not waited for.
    for listener in ("SASL_SSL", "SASL_PLAINTEXT"):
        with dial(listener) as stream:
            assert stream.recv(1) == b""


def is_closed(stream):
    """Nothing is ever said to who says nothing."""
    stream.settimeout(0.2)
    try:
        return stream.recv(1) == b""
    except TimeoutError:
        return False


def test_a_crowd_that_does_not_authenticate_keeps_nobody_waiting(start_secured):
    node = start_secured(**{"max.unauthenticated.connections": "5"})
    settings = node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw"))
    producer = ck.Producer(settings)
    producer.produce("t", b"before")
    assert producer.flush(20) == 0
    crowd = [socket.create_connection(("127.0.0.1", node.ports["SASL_PLAINTEXT"]), 10) for _ in range(8)]
    try:
        eventually(lambda: sum(map(is_closed, crowd)) >= 3, 20, "the end of those that are too many")
        producer.produce("t", b"meanwhile")
        assert producer.flush(20) == 0
    finally:
        for stream in crowd:
            stream.close()
    round_trip(settings, "afterwards")


def test_a_crowd_from_one_address_leaves_places_to_others(start_secured):
    node = start_secured(**{"max.unauthenticated.connections": "9", "max.unauthenticated.connections.per.ip": "3"})
    port = node.ports["SASL_PLAINTEXT"]
    crowd = [socket.create_connection(("127.0.0.1", port), 10, source_address=("127.0.0.2", 0)) for _ in range(12)]
    try:
        eventually(lambda: sum(map(is_closed, crowd)) >= 9, 20, "the end of those that are too many")
        assert sum(map(is_closed, crowd)) == 9
        round_trip(node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw")), "meanwhile")
    finally:
        for stream in crowd:
            stream.close()


def test_authentications_are_counted(start_secured):
    node = start_secured()
    round_trip(node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw")), "counted")
    refused(node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "wrong")))
    with urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/metrics", timeout=20) as metrics:
        lines = metrics.read().decode().splitlines()
    def value(outcome):
        name = f"kafka_server_socket_server_metrics_{outcome}_total{{"
        found = [line for line in lines if line.startswith(name) and 'listener="SASL_PLAINTEXT"' in line]
        return float(found[0].rsplit(" ", 1)[1])
    assert value("successful_authentication") >= 2 and value("failed_authentication") >= 1
    assert value("successful_reauthentication") == value("failed_reauthentication") == 0


def test_the_first_users_come_with_the_storage(start_secured, tools, tmp_path):
    def prepare(folder):
        config = folder / "format.properties"
        config.write_text(f"node.id=1\nlog.dirs={folder / 'data'}\n")
        users = ["SCRAM-SHA-256=[name=dora,password=pencil]", "SCRAM-SHA-512=[name=emil,iterations=8192,password=pencil]"]
        added = [word for user in users for word in ("--add-scram", user)]
        done = tools("kafka-storage", "format", "--config", config, "--cluster-id", "7ja9YcYrQLCm7A8M4_lZgw", *added)
        assert done.returncode == 0, done
        assert "pencil" not in (folder / "data" / "initial.records").read_text(errors="replace")
    node = start_secured(prepare=prepare)
    for mechanism, user in (("SCRAM-SHA-256", "dora"), ("SCRAM-SHA-512", "emil")):
        round_trip(node.client("SASL_PLAINTEXT", **sasl(mechanism, user, "pencil")), user)
    assert refused(node.client("SASL_PLAINTEXT", **sasl("SCRAM-SHA-512", "dora", "pencil"))).code() == \
        ck.KafkaError._AUTHENTICATION


def test_secrets_are_told_to_nobody(start_secured, tools):
    node = start_secured()
    told = tools("kafka-configs", "--bootstrap-server", node.bootstrap, "--describe", "--all", "--entity-type", "brokers",
                 "--entity-name", 1).stdout
    assert "listener.name.sasl_ssl.plain.sasl.jaas.config" in told
    with urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/metrics", timeout=20) as metrics:
        told += metrics.read().decode()
    for secret in ("admin-pw", "alice-pw", "PRIVATE KEY"):
        assert secret not in told


def test_a_renewed_certificate_is_shown_without_a_restart(start_secured, authority):
    node = start_secured()

    def shown():
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with context.wrap_socket(socket.create_connection(("127.0.0.1", node.ports["SASL_SSL"]), 10),
                                 server_hostname="localhost") as stream:
            return dict(part[0] for part in stream.getpeercert()["subject"])["commonName"]

    assert shown() == "server"
    settings = node.client("SASL_SSL", **sasl("PLAIN", "alice", "alice-pw"))
    before = ck_admin.AdminClient(settings)
    assert before.list_topics(timeout=10).brokers
    # One that cannot be used changes nothing.
    node.store.write_text("no certificate")
    eventually(lambda: "cannot be used" in node.log(), 20, "the refusal of a store that is none")
    assert shown() == "server"
    node.store.write_text(authority.issue("renewed", "/CN=renewed").read_text())
    eventually(lambda: shown() == "renewed", 20, "the renewed certificate")
    assert before.list_topics(timeout=10).brokers


def test_a_session_is_renewed_while_a_client_works(start_secured):
    node = start_secured(**{"connections.max.reauth.ms": "3000"})
    settings = node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw"))
    producer = ck.Producer(settings)
    failures = []
    end = time.monotonic() + 8
    while time.monotonic() < end:
        producer.produce("t", b"v", on_delivery=lambda error, _: error and failures.append(error))
        assert producer.flush(20) == 0
        time.sleep(0.2)
    assert not failures


def test_a_cluster_speaks_sasl_over_tls_to_itself(start_cluster, authority):
    """Three nodes whose brokers replicate, and whose controllers elect, by SASL_SSL alone; one is killed and comes back."""
    store = authority.issue("node", "/CN=node")
    users = 'username="node" password="node-pw" user_node="node-pw" user_alice="alice-pw"'
    cluster = start_cluster(settings={
        "listener.security.protocol.map": "EXTERNAL:PLAINTEXT,PLAINTEXT:SASL_SSL,CONTROLLER:SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        # Followers have to say again and again who they are.
        "connections.max.reauth.ms": "2000",
        "listener.name.plaintext.plain.sasl.jaas.config": f"{PLAIN_MODULE} required {users};",
        "listener.name.controller.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.controller.ssl.client.auth": "required",
        "sasl.mechanism.controller.protocol": "SCRAM-SHA-512",
        "listener.name.controller.scram-sha-512.sasl.jaas.config":
            f'{SCRAM_MODULE} required username="node" password="node-pw";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
    })
    nodes = list(cluster.nodes.values())
    client = {"bootstrap.servers": ",".join(node.broker_address for node in nodes), "security.protocol": "SASL_SSL",
              "ssl.ca.location": str(authority.certificate), "sasl.mechanism": "PLAIN", "sasl.username": "alice",
              "sasl.password": "alice-pw"}
    admin = ck_admin.AdminClient(client)
    admin.create_topics([ck_admin.NewTopic("t", 3, 3)])["t"].result(30)
    producer = ck.Producer({**client, "acks": "all", "message.timeout.ms": 60_000})
    failures = []
    for n in range(300):
        if n == 100:
            nodes[0].kill()
        producer.produce("t", str(n).encode(), on_delivery=lambda error, _: error and failures.append(error))
        producer.poll(0.01)
    assert producer.flush(60) == 0 and not failures, failures
    nodes[0].spawn()

    def in_sync():
        partitions = admin.list_topics("t", timeout=10).topics["t"].partitions.values()
        return all(len(partition.isrs) == 3 for partition in partitions)

    eventually(in_sync, 60, "all replicas in sync")
    for node in nodes:
        assert "the session has expired" not in node.log_path.read_text(errors="replace")
    # Who has the certificate of a client and no password is no controller.
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(authority.issue("stranger", "/CN=stranger"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", nodes[1].controller_port), 10),
                             server_hostname="localhost") as stream:
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        stream.settimeout(20)
        assert stream.recv(1) == b""


AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


def test_entries_count_for_who_has_authenticated_and_a_denied_user_changes_nothing(start_secured, tools, tmp_path):
    """Users come by PLAIN and by certificate; PLAINTEXT is the nodes' own and nobody else's."""
    node = start_secured(**{"authorizer.class.name": AUTHORIZER, "super.users": "User:admin"})
    admin = tmp_path / "admin.properties"
    admin.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
                     f'sasl.jaas.config={PLAIN_MODULE} required username="admin" password="admin-pw";\n')
    at = ("--bootstrap-server", node.at("SASL_PLAINTEXT"), "--command-config", str(admin))
    assert tools("kafka-topics", *at, "--create", "--topic", "rivers", "--partitions", "1").returncode == 0
    assert tools("kafka-topics", *at, "--create", "--topic", "secret", "--partitions", "1").returncode == 0
    alice = node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw"))
    bob = node.client("SSL")
    store = node.authority.issue("bob", "/CN=bob")
    bob.update({"ssl.certificate.location": str(store), "ssl.key.location": str(store)})

    def outcome(settings, topic):
        outcomes = []
        producer = ck.Producer({**settings, "message.timeout.ms": 10_000})
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcomes.append(error and error.code()))
        assert producer.flush(30) == 0
        return outcomes[0]

    denied = ck.KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert outcome(alice, "rivers") == denied and outcome(bob, "rivers") == denied
    allowed = tools("kafka-acls", *at, "--add", "--allow-principal", "User:alice", "--topic", "rivers", "--producer", "--consumer",
                    "--group", "*")
    assert allowed.returncode == 0, allowed.stderr
    eventually(lambda: outcome(alice, "rivers") is None, message="alice's entry counts")
    assert outcome(alice, "secret") == denied and outcome(bob, "rivers") == denied
    # What she may not see is not there for her, and she may make nothing and let nobody in.
    hers = ck_admin.AdminClient(alice)
    seen = hers.list_topics(timeout=10).topics
    assert "rivers" in seen and "secret" not in seen
    created = hers.create_topics([ck_admin.NewTopic("hers", 1, 1)])["hers"]
    with pytest.raises(ck.KafkaException) as error:
        created.result(20)
    assert error.value.args[0].code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED
    entry = ck_admin.AclBinding(ck_admin.ResourceType.TOPIC, "secret", ck_admin.ResourcePatternType.LITERAL, "User:alice", "*",
                                ck_admin.AclOperation.ALL, ck_admin.AclPermissionType.ALLOW)
    with pytest.raises(ck.KafkaException) as error:
        hers.create_acls([entry])[entry].result(20)
    assert error.value.args[0].code() == ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED
    # Nobody at all may do nothing, also where the nodes listen.
    assert "rivers" not in ck_admin.AdminClient({"bootstrap.servers": node.bootstrap}).list_topics(timeout=10).topics
    # An expression finds what she may see; who did what, and who was not let, is in the audit log.
    by_regex = ck.Consumer({**alice, "group.id": "by-regex", "group.protocol": "consumer"})
    by_regex.subscribe(["^.*"])
    eventually(lambda: by_regex.poll(0.2) or by_regex.assignment(), 30, "an assignment")
    assert {partition.topic for partition in by_regex.assignment()} == {"rivers"}
    by_regex.close()
    log = node.log_path.read_text()
    # librdkafka asks of a topic before it writes there.
    denied = "Principal = User:alice is Denied operation = DESCRIBE from host = 127.0.0.1 on resource = Topic:LITERAL:secret for request"
    assert denied in log
    assert "is Denied operation = CREATE from host = 127.0.0.1 on resource = Topic:LITERAL:hers for request = CreateTopics" in log
    changes = [line for line in log.splitlines() if "a change was answered" in line]
    assert any("User:admin" in line and "CreateTopics" in line and "topic rivers" in line for line in changes), changes
    assert any("User:alice" in line and "topic hers (TOPIC_AUTHORIZATION_FAILED)" in line for line in changes), changes
    end = ck.Consumer({**node.client("SASL_PLAINTEXT", **sasl("PLAIN", "admin", "admin-pw")), "group.id": "g"})
    assert end.get_watermark_offsets(ck.TopicPartition("secret", 0), timeout=20) == (0, 0)
    end.close()


def watched(port, cluster_id):
    """A connection of gRPC that watches the metadata as a node does, with HTTP/2 by hand; and whether it is let in."""
    def frame_of(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload

    def header(name, value):
        return b"\x00" + b"".join(bytes((len(text),)) + text.encode() for text in (name, value))

    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(10)
    headers = {":method": "POST", ":scheme": "http", ":path": "/moldau.controller.Controller/WatchMetadata", ":authority": "x",
               "content-type": "application/grpc", "te": "trailers",
               "moldau-cluster-id-bin": base64.b64encode(cluster_id.encode()).decode().rstrip("=")}
    message = b"\x0a" + bytes((len(cluster_id),)) + cluster_id.encode()
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame_of(4, 0, 0)
                       + frame_of(1, 4, 1, b"".join(header(*pair) for pair in headers.items()))
                       + frame_of(0, 1, 1, struct.pack(">BI", 0, len(message)) + message))
    stream = connection.makefile("rb")
    while True:
        head = stream.read(9)
        stream.read(int.from_bytes(head[:3], "big"))
        if head[3] == 1:
            # Headers that end the stream are all of the answer: a refusal.
            return connection, head[4] & 1 == 0


def test_the_clusters_id_alone_takes_no_more_places_of_nodes_than_an_address_has(start_secured):
    node = start_secured(**{"max.unauthenticated.connections.per.ip": "3"})
    meta = (node.folder / "data" / "meta.properties").read_text()
    cluster_id = next(line.split("=", 1)[1] for line in meta.splitlines() if line.startswith("cluster.id="))
    calls = [watched(node.controller_port, cluster_id) for _ in range(5)]
    assert [is_in for _, is_in in calls] == [True, True, True, False, False]
    for connection, _ in calls:
        connection.close()

    def is_let_in():
        connection, is_in = watched(node.controller_port, cluster_id)
        connection.close()
        return is_in

    eventually(is_let_in, 10, "the place of one that has gone")
    round_trip(node.client("SASL_PLAINTEXT", **sasl("PLAIN", "alice", "alice-pw")), "served")
