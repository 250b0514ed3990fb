"""An Apache Kafka whose listener without authentication is asked what ours is asked: tests/tests/authorization."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import conftest  # noqa: E402

ADMINISTRATOR, PASSWORD = "administrator", "its-secret"
# Who may do everything from there, as the node beside it has it.
EVERYBODY, ALLOWED_FROM = "User:ANONYMOUS", "127.0.0.2"


def start(folder):
    """The node lets in nobody but its administrator and itself, both by a password, and whoever comes from that address."""
    secured = conftest.free_port()
    login = (f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{ADMINISTRATOR}" password="{PASSWORD}" '
             f'user_{ADMINISTRATOR}="{PASSWORD}";')
    settings = {
        "listeners": f"PLAINTEXT://127.0.0.1:{{port}},SECURED://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{{controller_port}}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},SECURED://127.0.0.1:{secured}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "inter.broker.listener.name": "SECURED", "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN", "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.secured.plain.sasl.jaas.config": login, "listener.name.controller.plain.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMINISTRATOR}", "auto.create.topics.enable": "false", "offsets.topic.num.partitions": "1",
        "transaction.state.log.num.partitions": "1", "share.coordinator.state.topic.num.partitions": "1",
    }
    node = conftest.Kafka(folder, **settings)
    try:
        let_the_asker_in(f"127.0.0.1:{secured}")
    except BaseException:
        node.stop()
        raise
    return node


def let_the_asker_in(bootstrap):
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType
    admin = AdminClient({"bootstrap.servers": bootstrap, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
                         "sasl.username": ADMINISTRATOR, "sasl.password": PASSWORD})
    everything = [(ResourceType.TOPIC, "*"), (ResourceType.GROUP, "*"), (ResourceType.TRANSACTIONAL_ID, "*"),
                  (ResourceType.BROKER, "kafka-cluster")]
    entries = [AclBinding(kind, name, ResourcePatternType.LITERAL, EVERYBODY, ALLOWED_FROM, AclOperation.ALL, AclPermissionType.ALLOW)
               for kind, name in everything]
    for created in admin.create_acls(entries, request_timeout=60).values():
        created.result(60)
