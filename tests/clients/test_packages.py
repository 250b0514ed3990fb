"""What a release consists of: images, the Debian package, the list of what is inside, the service. deploy/package.sh makes it;
here from small binaries that only look like ours, for it is the packing that is tested. tests/containers.sh tests the whole."""

import gzip
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile

import pytest

from conftest import BINARY, ROOT, Moldau

SECONDS_MAX = 300
STUB = r"""
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
  if (count > 2 && strcmp(words[1], "compat") == 0) puts("kafka-topics\nkafka-configs");
  else printf("%s\n", count > 1 ? words[1] : "");
  return 0;
}
"""

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")


def run(*command, seconds=SECONDS_MAX, **environment):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=seconds,
                          env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Two programs that print what packing asks of the binary: one that needs the C library, and one that carries it."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text(STUB)
    for name, flags in (("dynamic", []), ("static", ["-static"])):
        run("cc", *flags, folder / "stub.c", "-o", folder / name)
    return folder


def packed(stubs, folder, *what):
    run("deploy/package.sh", *what, PACKAGES=str(folder), MOLDAU_BINARY=str(stubs / "dynamic"),
        MOLDAU_STATIC_BINARY=str(stubs / "static"))
    return folder


@needs_dpkg
def test_the_same_inputs_make_the_same_bytes(stubs, tmp_path):
    first, second = (packed(stubs, tmp_path / name) for name in ("first", "second"))
    names = sorted(path.name for path in first.iterdir())
    assert [name.split("_")[0].split("-")[0] for name in names] == ["SHA256SUMS", "moldau", "moldau", "moldau"], names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    # Other inputs make others: or the comparison says nothing.
    other = run("deploy/sbom.py", SOURCE_DATE_EPOCH="1700000001")
    assert other != (first / next(name for name in names if name.endswith(".cdx.json"))).read_text()


@needs_dpkg
def test_the_debian_package_has_the_tools_by_their_names_and_a_file_to_change(stubs, tmp_path):
    package = next(packed(stubs, tmp_path, "deb").glob("*.deb"))
    listed = run("dpkg-deb", "--contents", package)
    assert all(" root/root " in line for line in listed.splitlines()), listed
    for path in ("usr/bin/kafka-topics.sh -> moldau", "usr/bin/kafka-configs -> moldau", "etc/moldau/server.properties",
                 "usr/lib/systemd/system/moldau.service", "usr/share/bash-completion/completions/moldau",
                 "usr/share/doc/moldau/sbom.cdx.json"):
        assert re.search(rf" \./{re.escape(path)}$", listed, re.MULTILINE), (path, listed)
    control = run("dpkg-deb", "--field", package)
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    assert f"Version: {version}\n" in control and re.search(r"libc6 \(>= 2\.\d+\)", control), control
    run("dpkg-deb", "--control", package, tmp_path / "control")
    assert (tmp_path / "control" / "conffiles").read_text() == "/etc/moldau/server.properties\n"
    for script in ("postinst", "prerm"):
        run("sh", "-n", tmp_path / "control" / script)


def layer_of(archive, folder):
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))
        config = json.load(image.extractfile(manifest[0]["Config"]))
        (folder / "layer.tar").write_bytes(image.extractfile(manifest[0]["Layers"][0]).read())
    return config, tarfile.open(folder / "layer.tar")


def test_the_small_image_has_the_binary_the_names_and_no_user_with_rights(stubs, tmp_path):
    archive = next(packed(stubs, tmp_path / "packages", "image").glob("*.tar.gz"))
    config, layer = layer_of(archive, tmp_path)
    assert config["config"]["User"] == "1000:1000" and config["config"]["Cmd"][0] == "moldau"
    entries = {entry.name: entry for entry in layer}
    assert entries["opt/kafka/bin/kafka-topics.sh"].linkname == "/usr/local/bin/moldau"
    programs = [name for name, entry in entries.items() if entry.isfile() and entry.mode & 0o111]
    assert programs == ["usr/local/bin/moldau"], "and no shell"
    assert entries["var/lib/kafka/data"].uid == 1000 and entries["usr/local/bin/moldau"].uid == 0
    assert b"dns" in layer.extractfile("etc/nsswitch.conf").read()
    inside = json.loads(layer.extractfile("usr/share/doc/moldau/sbom.cdx.json").read())
    assert "glibc" in {component["name"] for component in inside["components"]}, "a static binary carries it"


def test_an_image_that_is_too_large_is_refused(stubs, tmp_path):
    large = tmp_path / "large"
    shutil.copy(stubs / "static", large)
    with open(large, "ab") as file:
        file.write(os.urandom(20_100_000))
    done = subprocess.run([sys.executable, ROOT / "deploy/docker/image.py", "--binary", large, "--tag", "moldau:large",
                           "--output", tmp_path / "image.tar.gz"], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 1 and "may have 20,000,000 bytes" in done.stderr, done
    with gzip.open(tmp_path / "image.tar.gz") as file:
        assert file.read(1)


def test_the_list_of_what_is_inside_has_every_crate_that_is_linked_and_no_other():
    bom = json.loads(run("deploy/sbom.py"))
    assert (bom["bomFormat"], bom["specVersion"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "1.5", "moldau")
    components = {component["name"]: component for component in bom["components"]}
    assert {"moldau-broker", "tokio", "zstd-sys", "openraft", "sled"} <= components.keys()
    assert not {"proptest", "tempfile", "prost-build", "clap_derive", "syn"} & components.keys()
    lock = (ROOT / "Cargo.lock").read_text()
    for name, component in components.items():
        assert component["licenses"], name
        if not name.startswith("moldau-") and "hashes" in component:
            assert component["hashes"][0]["content"] in lock, name
    references = {component["bom-ref"] for component in bom["components"]}
    assert len(references) == len(bom["components"])
    edges = {row["ref"]: row["dependsOn"] for row in bom["dependencies"]}
    root = bom["metadata"]["component"]["bom-ref"]
    assert edges.keys() == references | {root}
    assert {to for tos in edges.values() for to in tos} == references, "each is needed by another"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_service_is_what_systemd_understands_and_may_do_little(tmp_path):
    unit = tmp_path / "moldau.service"
    text = (ROOT / "deploy/systemd/moldau.service").read_text()
    unit.write_text(text.replace("/usr/bin/moldau ", "/bin/true "))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done
    # 10 is a service that may do all that root may; 2.0 is what is allowed here.
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_a_service_manager_is_told_when_clients_are_served_and_when_they_are_no_more(tmp_path, monkeypatch):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    folder = tmp_path / "node"
    folder.mkdir()
    node = Moldau(folder).start()
    try:
        assert manager.recv(100) == b"READY=1"
        health = subprocess.run([BINARY, "health", "--http", f"127.0.0.1:{node.http_port}"], timeout=30)
        assert health.returncode == 0
        node.stop()
        assert manager.recv(100) == b"STOPPING=1"
    finally:
        node.kill()


def test_a_container_begins_with_the_images_settings_unless_told_otherwise(tmp_path):
    """Outside of an image its files are not there: what is named says which one was wanted."""
    def wanted(**environment):
        done = subprocess.run([BINARY, "start", "--container"], capture_output=True, text=True, timeout=30, cwd=tmp_path,
                              env={"PATH": "/usr/bin", **environment})
        assert done.returncode == 1
        return re.search(r"cannot read (\S+):", done.stderr).group(1)

    if pathlib.Path("/opt/kafka/config").is_dir():
        pytest.skip("there is a /opt/kafka/config on this machine")
    assert wanted() == "/opt/kafka/config/server.properties"
    assert wanted(KAFKA_ADVERTISED_LISTENERS="PLAINTEXT://kafka:9092") == "/opt/kafka/config/base.properties"


def test_cargo_install_makes_a_binary_that_serves(tmp_path):
    if os.environ.get("MOLDAU_TEST_INSTALL") != "yes":
        pytest.skip("cargo install compiles everything anew, for minutes: MOLDAU_TEST_INSTALL=yes runs it")
    run("cargo", "install", "--quiet", "--locked", "--path", "cli", "--root", tmp_path, "--no-track", seconds=1200)
    assert run(tmp_path / "bin" / "moldau", "version").startswith("moldau ")
    done = run("git", "status", "--porcelain", "Cargo.lock")
    assert done == "", "the lock file is as it was"
