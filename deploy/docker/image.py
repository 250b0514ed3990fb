#!/usr/bin/env python3
"""Makes the small image: a static binary, Kafka's tools by their names, and nothing else.

    deploy/docker/image.py --binary BINARY --tag moldau:latest --output moldau.tar.gz
    docker load -i moldau.tar.gz          (or podman load)

No engine for containers is needed to make it, and no base image. The same inputs give the same bytes: its times are those of
SOURCE_DATE_EPOCH. It prints how large the file is, and fails above the 20 MB that the image may have.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMPRESSED_BYTES_MAX = 20_000_000
USER = 1000
SECOND = 1_000_000_000  # the health check's times are nanoseconds
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nappuser:x:1000:1000::/var/lib/kafka:/sbin/nologin\n"
GROUP = "root:x:0:\nappuser:x:1000:\n"
# The static C library has just these two built in: it must not look for a library that knows others.
NSSWITCH = "hosts: files dns\n"
CONFIG = {
    "User": f"{USER}:{USER}",
    "ExposedPorts": {"9092/tcp": {}, "9093/tcp": {}, "9094/tcp": {}, "9644/tcp": {}},
    "Env": ["PATH=/opt/kafka/bin:/usr/local/bin"],
    "Cmd": ["moldau", "start", "--container"],
    "Healthcheck": {"Test": ["CMD", "moldau", "health"], "Interval": 2 * SECOND, "Timeout": 3 * SECOND,
                    "StartPeriod": 5 * SECOND, "Retries": 10},
    "Volumes": {"/var/lib/kafka/data": {}},
    "WorkingDir": "/opt/kafka",
    "StopSignal": "SIGTERM",
}


class Layer:
    """A tar of entries in the order of their names, each with the same time."""

    def __init__(self, time):
        self.time, self.entries = time, {}

    def put(self, path, mode, user=0, data=None, link=None):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.mtime, info.mode, info.uid, info.gid = self.time, mode, user, user
        if link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, link
        elif data is None:
            info.type = tarfile.DIRTYPE
        else:
            info.size = len(data)
        self.entries[info.name] = (info, data)

    def directory(self, path, user=0, mode=0o755):
        for parent in reversed(pathlib.PurePosixPath(path).parents):
            if str(parent) != "/" and str(parent).lstrip("/") not in self.entries:
                self.put(str(parent), 0o755)
        self.put(path, mode, user)

    def file(self, path, data, mode=0o644):
        self.put(path, mode, data=data)

    def bytes(self):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(self.entries):
                info, data = self.entries[name]
                tar.addfile(info, None if data is None else io.BytesIO(data))
        return packed.getvalue()


def root_file_system(binary, names, sbom, time):
    layer = Layer(time)
    for path in ("/etc/kafka/secrets", "/mnt/shared/config", "/opt/kafka/bin", "/opt/kafka/config", "/usr/local/bin",
                 "/usr/share/doc/moldau"):
        layer.directory(path)
    for path in ("/var/lib/kafka", "/var/lib/kafka/data", "/bitnami/kafka"):
        layer.directory(path, user=USER)
    layer.directory("/tmp", mode=0o1777)
    layer.file("/etc/passwd", PASSWD.encode())
    layer.file("/etc/group", GROUP.encode())
    layer.file("/etc/nsswitch.conf", NSSWITCH.encode())
    layer.file("/usr/local/bin/moldau", binary.read_bytes(), 0o755)
    for name in ("base.properties", "server.properties"):
        layer.file(f"/opt/kafka/config/{name}", (HERE / name).read_bytes())
    layer.file("/usr/share/doc/moldau/LICENSE", (ROOT / "LICENSE").read_bytes())
    if sbom:
        layer.file("/usr/share/doc/moldau/sbom.cdx.json", sbom.read_bytes())
    for name in names:
        for link in (name, f"{name}.sh"):
            layer.put(f"/opt/kafka/bin/{link}", 0o777, link="/usr/local/bin/moldau")
    return layer.bytes()


def archive(layer, tag, time):
    """What `docker save` writes: the layer, its configuration, and a manifest that names both."""
    digest = hashlib.sha256(layer).hexdigest()
    created = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": created,
        "config": CONFIG,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "deploy/docker/image.py"}],
    }, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    image = Layer(time)
    image.file(config_name, config)
    image.file(f"{digest}/layer.tar", layer)
    image.file("manifest.json", json.dumps(manifest).encode())
    return gzip.compress(image.bytes(), compresslevel=9, mtime=0)


def main():
    options = argparse.ArgumentParser(description="Makes the small image.")
    options.add_argument("--binary", type=pathlib.Path, required=True, help="linked statically")
    options.add_argument("--tag", required=True)
    options.add_argument("--output", type=pathlib.Path, required=True)
    options.add_argument("--sbom", type=pathlib.Path)
    given = options.parse_args()
    time = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    printed = subprocess.run([given.binary.resolve(), "compat", "--names"], check=True, stdout=subprocess.PIPE, text=True)
    names = printed.stdout.split()
    packed = archive(root_file_system(given.binary, names, given.sbom, time), given.tag, time)
    given.output.write_bytes(packed)
    print(f"{given.output}: {given.tag}, {len(packed):,} bytes compressed")
    if len(packed) > COMPRESSED_BYTES_MAX:
        sys.exit(f"the image may have {COMPRESSED_BYTES_MAX:,} bytes")


if __name__ == "__main__":
    main()
