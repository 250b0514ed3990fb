"""OAUTHBEARER as stock clients speak it, with tokens that an identity provider of our own signs, and with tokens that it did
not sign. Keys are made for the run by openssl."""

import base64
import json
import socket
import struct
import time

import confluent_kafka as ck
import kafka
import kafka.net.sasl.oauth
import pytest

from conftest import eventually
from test_security import authority, frame, openssl, round_trip, start_secured  # noqa: F401 (fixtures)

OAUTH_MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """Signs by RS256; `jwks` is what a listener is given."""

    def __init__(self, folder, name="provider"):
        self.folder, self.key = folder, folder / f"{name}.key"
        openssl("genrsa", "-out", self.key, 2048)
        modulus = folder / f"{name}.modulus"
        openssl("rsa", "-in", self.key, "-noout", "-modulus", "-out", modulus)
        n = bytes.fromhex(modulus.read_text().strip().removeprefix("Modulus="))
        self.jwks = {"keys": [{"kty": "RSA", "kid": name, "use": "sig", "n": url64(n), "e": "AQAB"}]}
        self.name = name

    def claims(self, **changed):
        now = int(time.time())
        claims = {"sub": "alice", "iat": now, "exp": now + 300, "aud": "kafka", "iss": "idp", "scope": "read", **changed}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, header=None, **changed):
        parts = (header or {"alg": "RS256", "kid": self.name}, self.claims(**changed))
        message = ".".join(url64(json.dumps(part).encode()) for part in parts)
        (self.folder / "message").write_text(message)
        kind, bits = parts[0]["alg"][:2], parts[0]["alg"][2:]
        padding = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest") if kind == "PS" else ()
        digest = f"-sha{bits}" if bits in ("384", "512") else "-sha256"
        openssl("dgst", digest, *padding, "-sign", self.key, "-out", self.folder / "signature", self.folder / "message")
        return f"{message}.{url64((self.folder / 'signature').read_bytes())}"


@pytest.fixture
def provider(tmp_path):
    folder = tmp_path / "idp"
    folder.mkdir()
    return Provider(folder)


@pytest.fixture
def start_for_tokens(start_secured, provider):  # noqa: F811
    def start(**settings):
        jwks = provider.folder / "jwks.json"
        jwks.write_text(json.dumps(provider.jwks))
        own = "listener.name.sasl_plaintext."
        return start_secured(**{
            f"{own}sasl.enabled.mechanisms": "OAUTHBEARER,PLAIN",
            f"{own}oauthbearer.sasl.jaas.config": f"{OAUTH_MODULE} required;",
            f"{own}sasl.oauthbearer.jwks.endpoint.url": f"file://{jwks}",
            f"{own}sasl.oauthbearer.expected.audience": "kafka",
            f"{own}sasl.oauthbearer.expected.issuer": "idp",
            **settings,
        })

    return start


def by_token(token, seconds=300):
    return {"sasl.mechanisms": "OAUTHBEARER", "oauth_cb": lambda _: (token, time.time() + seconds)}


def test_librdkafka_and_kafka_python_log_in_by_tokens(start_for_tokens, provider):
    node = start_for_tokens()
    token = provider.token()
    round_trip({**node.client("SASL_PLAINTEXT"), **by_token(token)}, "librdkafka")

    class Tokens(kafka.net.sasl.oauth.AbstractTokenProvider):
        def token(self):
            return token

    producer = kafka.KafkaProducer(bootstrap_servers=node.at("SASL_PLAINTEXT"), security_protocol="SASL_PLAINTEXT",
                                   sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=Tokens())
    assert producer.send("python", b"x").get(timeout=20).topic == "python"
    producer.close()
    assert token not in node.log_path.read_text()


def test_apache_kafkas_tools_and_ours_log_in_by_a_token_out_of_a_file(start_for_tokens, provider, tools, java, tmp_path):
    node = start_for_tokens()
    token = tmp_path / "token"
    token.write_text(provider.token())
    config = tmp_path / "client.properties"
    config.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n"
                      f"sasl.jaas.config={OAUTH_MODULE} required;\n"
                      f"sasl.oauthbearer.token.endpoint.url=file://{token}\n"
                      "sasl.login.callback.handler.class="
                      "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n")
    at = ("--bootstrap-server", node.at("SASL_PLAINTEXT"), "--command-config", config)
    assert tools("kafka-topics", *at, "--create", "--topic", "ours").returncode == 0
    allowed = "-Dorg.apache.kafka.sasl.oauthbearer.allowed."
    options = (f"{allowed}urls=file://{token}", f"{allowed}files={token}")
    done = java("kafka-topics", *at, "--list", options=options)
    assert "ours" in done.stdout, done
    token.write_text(provider.token(exp=int(time.time()) - 100, iat=int(time.time()) - 200))
    done = tools("kafka-topics", *at, "--list", timeout=60)
    assert done.returncode == 1 and '{"status":"invalid_token"}' in done.stdout + done.stderr, done


def outcome(node, token):
    """What a client is told of a token, with a hand of our own: the error of the last SaslAuthenticate, and its message."""
    message = b"n,,\x01auth=Bearer " + token.encode() + b"\x01\x01"
    with socket.create_connection(("127.0.0.1", node.ports["SASL_PLAINTEXT"]), 10) as stream:
        stream.settimeout(20)
        assert frame(stream, 17, 1, struct.pack(">h", 11) + b"OAUTHBEARER")[4:6] == b"\x00\x00"
        answer = frame(stream, 36, 1, struct.pack(">i", len(message)) + message)
        if not answer:
            return "closed"
        error, length = struct.unpack_from(">hh", answer, 4)
        if error == 0 and length == -1:
            size = struct.unpack_from(">i", answer, 8)[0]
            if size == 0:
                return "in"
            assert answer[12:12 + size] == b'{"status":"invalid_token"}'
            answer = frame(stream, 36, 1, struct.pack(">i", 1) + b"\x01")
            error, length = struct.unpack_from(">hh", answer, 4)
        assert error == 58
        told = answer[8:8 + length].decode()
        assert stream.recv(1) == b""
        return told


def test_every_algorithm_of_rsa_lets_in_and_none_passes_for_another(start_for_tokens, provider):
    node = start_for_tokens()
    algorithms = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    for algorithm in algorithms:
        token = provider.token({"alg": algorithm, "kid": provider.name})
        assert outcome(node, token) == "in", algorithm
        _, claims, signature = token.split(".")
        for other in set(algorithms) - {algorithm}:
            header = url64(json.dumps({"alg": other, "kid": provider.name}).encode())
            assert outcome(node, f"{header}.{claims}.{signature}") != "in", (algorithm, other)


def test_tokens_that_nobody_signed_let_nobody_in(start_for_tokens, provider):
    node = start_for_tokens()
    now = int(time.time())
    good = provider.token()
    header, claims, signature = good.split(".")
    unsigned, by_secret = url64(b'{"alg":"none"}'), url64(b'{"alg":"HS256"}')
    by_another = url64(b'{"alg":"RS512","kid":"provider"}')
    stranger = Provider(provider.folder, "stranger")
    assert outcome(node, good) == "in"
    invalid = '{"status":"invalid_token"}'
    for token in [
        f"{unsigned}.{claims}.", f"{unsigned}.{claims}.{signature}",
        # The public key as a shared secret (CVE-2015-9235).
        f"{by_secret}.{claims}.{signature}",
        stranger.token(), stranger.token({"alg": "RS256", "kid": "provider"}), stranger.token({"alg": "RS256"}),
        f"{by_another}.{claims}.{signature}",
        f"{header}.{url64(json.dumps(provider.claims(sub='admin')).encode())}.{signature}",
        provider.token(exp=now - 31, iat=now - 100), provider.token(nbf=now + 100), provider.token(exp=None),
        provider.token(aud="elsewhere"), provider.token(aud=None), provider.token(iss="elsewhere"),
        provider.token(sub=None), provider.token(sub=""), provider.token(more="x" * 40_000), "a", "a.b.c",
    ]:
        assert outcome(node, token) == invalid, token[:60]
    assert "Invalid OAUTHBEARER client first message" in outcome(node, "")
    assert outcome(node, "x" * 100_000) == "closed", "no frame before authentication is so long"
    log = node.log_path.read_text()
    assert signature not in log and claims not in log
    assert outcome(node, good) == "in"


def test_keys_change_and_sessions_end_with_their_token(start_for_tokens, provider):
    node = start_for_tokens(**{"listener.name.sasl_plaintext.sasl.oauthbearer.clock.skew.seconds": "0"})
    renewed = Provider(provider.folder, "renewed")
    assert outcome(node, renewed.token()) != "in"
    jwks = provider.folder / "jwks.json"
    jwks.write_text("no keys")
    eventually(lambda: "cannot be used" in node.log(), 20, "the refusal of keys that are none")
    assert outcome(node, provider.token()) == "in"
    jwks.write_text(json.dumps({"keys": provider.jwks["keys"] + renewed.jwks["keys"]}))
    eventually(lambda: outcome(node, renewed.token()) == "in", 20, "the new key")
    assert outcome(node, provider.token()) == "in"
    # A client that shows a fresh token in time works on; librdkafka does so at four fifths.
    settings = {**node.client("SASL_PLAINTEXT"), "sasl.mechanisms": "OAUTHBEARER",
                "oauth_cb": lambda _: (provider.token(exp=int(time.time()) + 4), time.time() + 4)}
    producer = ck.Producer(settings)
    failures, end = [], time.monotonic() + 10
    while time.monotonic() < end:
        producer.produce("t", b"x", on_delivery=lambda error, _: error and failures.append(error))
        producer.poll(0.2)
    assert producer.flush(20) == 0 and not failures
