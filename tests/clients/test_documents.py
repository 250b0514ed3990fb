"""Every command in the pages for readers is run, and prints what the page says. documents.py tells how they are written.

By itself this runs what needs nothing but the binary, each page in a network of its own, so that ports are what the page says;
with MOLDAU_DOCUMENTS=containers (tests/containers.sh) it runs what needs an engine for containers."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import documents
from conftest import BINARY, ROOT, SETUP

WITH_CONTAINERS = os.environ.get("MOLDAU_DOCUMENTS") == "containers"
PAGES = ["README.md", *(f"docs/{name}.md" for name in
                        ("QUICKSTART", "TUTORIAL", "INSTALL", "OPERATIONS", "DURABILITY", "MIGRATION"))]


def own_network():
    """Whether commands can be run in a network of their own here."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None or shutil.which("ip") is None:
        return False
    return subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0


@pytest.fixture
def reader(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    names = subprocess.run([BINARY, "compat", "--names"], check=True, capture_output=True, text=True).stdout.split()
    for name in ["moldau", *names, *(f"{name}.sh" for name in names)]:
        (programs / name).symlink_to(BINARY)
    environment = {k: v for k, v in os.environ.items() if not re.match("MOLDAU_|KAFKA_|OTEL_|NOTIFY_SOCKET", k)}
    environment |= {"PATH": f"{programs}:{SETUP}/venv/bin:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1",
                    "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "dumb"}
    if WITH_CONTAINERS:
        # The images that tests/containers.sh made; a page's relative paths are those of a checkout.
        environment["MOLDAU_IMAGE"] = os.environ["MOLDAU_IMAGE"]
        environment["SMALL_IMAGE"] = os.environ["MOLDAU_IMAGE"].removesuffix("-shell")
        environment["HOME"] = os.environ.get("HOME", str(tmp_path))
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("deploy", "cli", "Cargo.toml"):
        (folder / name).symlink_to(ROOT / name)
    made = documents.Reader(folder, environment, alone=not WITH_CONTAINERS)
    yield made
    made.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_commands_print_what_it_says(page, request, capsys):
    found = documents.blocks(ROOT / page)
    commands = {"here": 0, "by containers": 0, "not run": 0}
    for block in found:
        where = "not run" if block.skipped else "by containers" if block.needs_containers else "here"
        commands[where] += sum(bool(command.text) for command in block.commands)
    with capsys.disabled():
        print(f"\n  {page}: commands " + ", ".join(f"{count} {where}" for where, count in commands.items()))
        for block in (block for block in found if block.skipped):
            print(f"    line {block.line}: skipped: {block.skipped}")
    mine = [b for b in found if not b.skipped and (b.file or b.needs_containers == WITH_CONTAINERS)]
    if not any(block.commands for block in mine):
        return
    if not WITH_CONTAINERS and not own_network():
        pytest.skip("no network of one's own here (unshare --net), and pages name ports that others may have")
    reader = request.getfixturevalue("reader")
    followed = sum(reader.follow(block) for block in mine)
    assert followed == commands["by containers" if WITH_CONTAINERS else "here"]


def test_no_page_hides_commands_from_this():
    for page in PAGES:
        for line in (ROOT / page).read_text().splitlines():
            assert not re.match(r"```(sh|bash|shell|$)", line) or line == "```", f"{page}: {line}: write ```console"
        text = (ROOT / page).read_text()
        opened = re.findall(r"^```(\S*)", text, re.MULTILINE)[::2]
        assert "" not in opened, f"{page}: a fence without a language"


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, "docs/ARCHITECTURE.md", "docs/TESTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


PAGE = """
```console
$ echo one; echo two   three
one
two three
$ echo a; echo b; echo c
a
…
```
```console exit=3
$ cd /tmp && (exit 3)
```
```text file=word
written
```
```console
$ pwd; cat {folder}/word
/tm…
written
```
```console terminal=x
$ sh -c 'echo begun; sleep 0.2; echo more; trap "exit 0" INT; while :; do sleep 0.1; done'
begun
```
```console terminal=x
more
^C
```
"""


@pytest.fixture
def page(tmp_path):
    def write(text):
        path = pathlib.Path(tmp_path) / "page.md"
        path.write_text(text.replace("{folder}", str(tmp_path / "work")))
        return documents.blocks(path)
    return write


def test_commands_are_followed_in_one_shell_with_files_codes_and_terminals(page, tmp_path):
    (tmp_path / "work").mkdir()
    reader = documents.Reader(tmp_path / "work", dict(os.environ), alone=False)
    try:
        assert sum(reader.follow(block) for block in page(PAGE)) == 5
    finally:
        reader.close()


@pytest.mark.parametrize("text", [
    "```console\n$ echo one\ntwo\n```", "```console\n$ false\n```", "```console\n$ echo one; echo two\none\n```",
    "```console\n$ true\none\n```", "```console exit=1\n$ true\n```"])
def test_what_differs_from_the_page_is_noticed(page, tmp_path, text):
    (tmp_path / "work").mkdir()
    reader = documents.Reader(tmp_path / "work", dict(os.environ), alone=False)
    try:
        with pytest.raises(AssertionError, match="exit code"):
            for block in page(text):
                reader.follow(block)
    finally:
        reader.close()
