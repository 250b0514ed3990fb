#!/usr/bin/env python3
"""What the binary is made of, as CycloneDX 1.5 in JSON, on standard output.

    deploy/sbom.py [--libc glibc@2.36-9+deb12u10] >moldau.cdx.json

From Cargo.lock by `cargo metadata`: the crates that end up in the binary on this platform, not those that only build or test
it. --libc names the C library that a static binary carries. The same inputs give the same bytes; the time is that of
SOURCE_DATE_EPOCH.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = "moldau"
# How `cargo metadata` begins the source of a crate from a registry; our own have none.
REGISTRY = "registry+"


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def host():
    printed = subprocess.run(["rustc", "-vV"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (.*)$", printed, re.MULTILINE).group(1)


def checksums():
    """{(name, version): SHA-256} of what registries gave, as Cargo.lock has them."""
    found = {}
    for block in (ROOT / "Cargo.lock").read_text().split("[[package]]")[1:]:
        field = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', block, re.MULTILINE))
        if "checksum" in field:
            found[field["name"], field["version"]] = field["checksum"]
    return found


def linked(nodes, packages, root):
    """The crates that are linked: reached from the root by dependencies that neither build nor test alone. A macro is run
    by the compiler, with all that it depends on."""
    def is_linked(dependency):
        targets = packages[dependency["pkg"]]["targets"]
        is_macro = any("proc-macro" in target["kind"] for target in targets)
        return not is_macro and any(kind["kind"] is None for kind in dependency["dep_kinds"])

    edges = {node["id"]: sorted(d["pkg"] for d in node["deps"] if is_linked(d)) for node in nodes}
    seen, ahead = {root}, [root]
    while ahead:
        for to in edges[ahead.pop()]:
            if to not in seen:
                seen.add(to)
                ahead.append(to)
    return {id: edges[id] for id in seen}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums):
    made = {"type": "library", "bom-ref": reference(package), "name": package["name"], "version": package["version"]}
    if package.get("license"):
        # Old manifests part alternatives by a slash.
        made["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if (package.get("source") or "").startswith(REGISTRY):
        made["purl"] = reference(package)
        made["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
    return made


def document(target, libc):
    data = metadata(target)
    packages = {package["id"]: package for package in data["packages"]}
    root = next(id for id, package in packages.items() if package["name"] == BINARY and package["source"] is None)
    edges = linked(data["resolve"]["nodes"], packages, root)
    sums = checksums()
    components = [component(packages[id], sums) for id in edges if id != root]
    depends = [
        {"ref": reference(packages[id]), "dependsOn": sorted(reference(packages[to]) for to in tos)}
        for id, tos in edges.items()
    ]
    application = {**component(packages[root], sums), "type": "application"}
    if libc:
        name, version = libc.split("@", 1)
        purl = f"pkg:deb/debian/{name}@{version}"
        components.append({
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": [{"expression": "LGPL-2.1-or-later"}],
        })
        next(d for d in depends if d["ref"] == application["bom-ref"])["dependsOn"].append(purl)
        depends.append({"ref": purl, "dependsOn": []})
    components.sort(key=lambda c: c["bom-ref"])
    depends.sort(key=lambda d: d["ref"])
    time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": application},
        "components": components,
        "dependencies": depends,
    }
    # A number of its own for each content, and the same for the same.
    return {**made, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))}"}


def main():
    options = argparse.ArgumentParser(description="What the binary is made of, as CycloneDX.")
    options.add_argument("--target", help="the platform; default: this one")
    options.add_argument("--libc", help="NAME@VERSION of the C library in a static binary")
    given = options.parse_args()
    json.dump(document(given.target or host(), given.libc), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
