"""OAUTHBEARER as stock clients speak it, with tokens that an identity provider of our own signs, and with tokens that it did
not sign. Keys are made for the run by openssl."""

import base64
import json
import socket
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import confluent_kafka as ck
import kafka
import kafka.net.sasl.oauth
import pytest

from conftest import eventually, free_port
from test_security import authority, frame, openssl, round_trip, start_secured  # noqa: F401 (fixtures)

KEYS_PATH = "/realms/x/keys?a=b"
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


def whole(node):
    return node.log_path.read_text(errors="replace")


class KeysServer:
    """An identity provider's endpoint for keys, by HTTPS. `answer` is what a request is answered with, by a function of the
    request's handler; `asked` counts connections that asked."""

    def __init__(self, store, port=None):
        self.asked, self.answer, self.port = 0, None, port or free_port()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                endpoint.asked += 1
                assert self.path == KEYS_PATH and self.headers["Host"] == f"localhost:{endpoint.port}"
                endpoint.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        # Whoever does not believe it hangs up.
        self.server.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(store)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, body, status=200, **headers):
        body = json.dumps(body).encode() if isinstance(body, dict) else body

        def answer(handler):
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def keys_server(authority):  # noqa: F811
    started = []

    def start(hosts="DNS:localhost", port=None):
        started.append(KeysServer(authority.issue(f"idp-{free_port()}", "/CN=idp", hosts=hosts), port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def start_for_fetched_keys(start_for_tokens, authority):  # noqa: F811
    def start(port, trusts=True, **settings):
        own = "listener.name.sasl_plaintext."
        options = f'ssl.truststore.type="PEM" ssl.truststore.location="{authority.certificate}"' if trusts else ""
        return start_for_tokens(**{
            f"{own}oauthbearer.sasl.jaas.config": f"{OAUTH_MODULE} required {options};",
            f"{own}sasl.oauthbearer.jwks.endpoint.url": f"https://localhost:{port}{KEYS_PATH}",
            **settings,
        })

    return start


def test_keys_are_fetched_and_fetched_again_for_one_that_is_not_known(start_for_fetched_keys, keys_server, provider):
    server = keys_server()
    server.serve(provider.jwks)
    node = start_for_fetched_keys(server.port)
    assert server.asked == 1
    assert outcome(node, provider.token()) == "in"
    renewed = Provider(provider.folder, "renewed")
    server.serve({"keys": provider.jwks["keys"] + renewed.jwks["keys"]})
    assert outcome(node, renewed.token()) != "in", "it is refused, and asked for"
    eventually(lambda: outcome(node, renewed.token()) == "in", 20, "the new key")
    assert outcome(node, provider.token()) == "in"
    assert server.asked == 2
    # Made-up names of keys: each is one that is not known, and the endpoint is not asked for each.
    begun = time.monotonic()
    for n in range(60):
        assert outcome(node, provider.token({"alg": "RS256", "kid": f"made-up-{n}"})) != "in"
    assert server.asked <= 4 + (time.monotonic() - begun) / 5
    # A key that the provider takes back is one no longer.
    server.serve(renewed.jwks)
    eventually(lambda: outcome(node, provider.token({"alg": "RS256", "kid": f"made-up-{time.time()}"})) != "in"
               and outcome(node, provider.token()) != "in", 30, "the end of the old key")
    assert outcome(node, renewed.token()) == "in"
    assert "a=b" not in whole(node)


def test_keys_stay_while_their_endpoint_is_gone_or_answers_what_is_none(start_for_fetched_keys, keys_server, provider):
    server = keys_server()
    server.serve(provider.jwks)
    refresh = {"listener.name.sasl_plaintext.sasl.oauthbearer.jwks.endpoint.refresh.ms": "300"}
    node = start_for_fetched_keys(server.port, **refresh)
    stranger = Provider(provider.folder, "stranger")

    def slowly(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(60):
                handler.wfile.write(b" ")
                time.sleep(0.5)
        except OSError:
            pass

    elsewhere = keys_server()
    elsewhere.serve(stranger.jwks)
    for what, answer, told in [
        ("garbage", lambda: server.serve(b"no keys"), "is no JSON Web Key Set"),
        ("no keys", lambda: server.serve({"keys": []}), "has no key for signatures"),
        ("too many keys", lambda: server.serve({"keys": provider.jwks["keys"] * 65}), "more than 64 keys"),
        ("an error", lambda: server.serve(stranger.jwks, status=503), "it answers 503"),
        ("a redirect", lambda: server.serve(b"", status=302, Location=f"https://localhost:{elsewhere.port}{KEYS_PATH}"),
         "it answers 302"),
        ("a long answer", lambda: server.serve(b" " * (1 << 20) + json.dumps(stranger.jwks).encode()),
         "has more than 1048576 bytes"),
        ("a slow answer", lambda: setattr(server, "answer", slowly), "no whole answer within 10 seconds"),
    ]:
        answer()
        eventually(lambda: told in whole(node), 30, what)
        assert outcome(node, provider.token()) == "in", what
        assert outcome(node, stranger.token()) != "in", what
    assert elsewhere.asked == 0
    server.stop()
    eventually(lambda: "Connection refused" in whole(node), 30, "the refusal")
    assert outcome(node, provider.token()) == "in"
    back = keys_server(port=server.port)
    back.serve(stranger.jwks)
    eventually(lambda: outcome(node, stranger.token()) == "in", 30, "the keys of an endpoint that is back")
    assert outcome(node, provider.token()) != "in"


def test_a_node_starts_without_its_endpoint_and_believes_no_other(start_for_fetched_keys, keys_server, provider):
    """A certificate of the same authority for another name is not the endpoint's; and nobody is believed whom nobody names."""
    port = free_port()
    node = start_for_fetched_keys(port)
    eventually(lambda: "cannot fetch https://localhost" in whole(node), 20, "the refusal")
    assert outcome(node, provider.token()) != "in"
    round_trip({**node.client("SASL_PLAINTEXT"), "sasl.mechanisms": "PLAIN", "sasl.username": "alice",
                "sasl.password": "alice-pw"}, "others")
    other = keys_server(hosts="DNS:elsewhere", port=port)
    other.serve(provider.jwks)
    eventually(lambda: "not valid for name" in whole(node), 30, "the refusal of another name")
    assert outcome(node, provider.token()) != "in" and other.asked == 0
    other.stop()
    server = keys_server(port=port)
    server.serve(provider.jwks)
    eventually(lambda: outcome(node, provider.token()) == "in", 30, "the keys")
    trustless = start_for_fetched_keys(port, trusts=False)
    eventually(lambda: "UnknownIssuer" in whole(trustless), 20, "the refusal of an authority that nobody named")
    assert outcome(trustless, provider.token()) != "in"
