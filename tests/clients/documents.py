"""The commands in Markdown pages, and a shell that runs them as a reader would.

A block fenced with ```console holds commands, each after `$ `, and what they print. Words behind `console` say more:

    terminal=NAME   in a terminal of its own, where the command goes on; a block without a command waits for more of its output;
                    `^C` interrupts it, and it has to end with 0
    exit=CODE       what the last command ends with, if not 0
    within=SECONDS  the command is repeated until it prints this, for something that takes its time
    containers      needs an engine for containers
    skipped: WHY    is not run

Any other fence with file=NAME is that file. In what is expected, `…` stands for any text in a line, and alone for any lines;
blanks stand for one blank or more.
"""

import dataclasses
import os
import pathlib
import re
import select
import signal
import subprocess
import time

COMMAND_SECONDS_MAX = 90
# Reads commands that end with a zero byte, runs each in this very shell, and says its exit code between zero bytes.
DRIVER = r"""
while IFS= read -r -d '' command <&3; do
  eval "$command" </dev/null 2>&1
  printf '\0%s\0' "$?"
done
"""


@dataclasses.dataclass
class Command:
    line: int
    text: str  # empty where a terminal's further output is waited for
    expected: list


@dataclasses.dataclass
class Block:
    line: int
    commands: list
    terminal: str = ""
    exit: int = 0
    within: int = 0
    needs_containers: bool = False
    skipped: str = ""
    file: str = ""
    content: str = ""


def blocks(page):
    """The blocks of a page that say something to run, in their order."""
    found, fence, inside = [], None, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence is None:
            match = re.match(r"```(\S+)?(?: (.*))?$", line)
            if match:
                fence, inside = (number, match.group(1) or "", match.group(2) or ""), []
        elif line == "```":
            if block := parsed(*fence, inside):
                found.append(block)
            fence = None
        else:
            inside.append(line)
    assert fence is None, f"{page}:{fence[0]}: this fence has no end"
    return found


def parsed(line, language, words, inside):
    words, _, why = words.partition("skipped:")
    values = dict(word.split("=", 1) for word in words.split() if "=" in word)
    flags = {word for word in words.split() if "=" not in word}
    if language != "console":
        return Block(line, [], file=values["file"], content="\n".join(inside) + "\n") if "file" in values else None
    assert flags <= {"containers"} and values.keys() <= {"terminal", "exit", "within"}, (line, words)
    commands = []
    for offset, text in enumerate(inside, 1):
        if text.startswith("$ "):
            commands.append(Command(line + offset, text[2:], []))
        elif commands and not commands[-1].expected and commands[-1].text.endswith("\\"):
            commands[-1].text += "\n" + text
        else:
            if not commands:
                commands.append(Command(line + offset, "", []))
            commands[-1].expected.append(text)
    return Block(line, commands, terminal=values.get("terminal", ""), exit=int(values.get("exit", 0)),
                 within=int(values.get("within", 0)), needs_containers="containers" in flags, skipped=why.strip())


def pattern(expected):
    """A regular expression for whole lines."""
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
            continue
        words = [".*".join(re.escape(piece) for piece in word.split("…")) for word in line.split()]
        parts.append(r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n")
    return re.compile("".join(parts))


class Terminal:
    """One program that goes on while other commands run."""

    def __init__(self, command, into, environment, folder, log):
        self.log, self.read_to = log, 0
        self.process = subprocess.Popen([*into, "bash", "-c", f"exec {command}"], cwd=folder, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=open(log, "wb"), stderr=subprocess.STDOUT)

    def wait_for(self, expected):
        wanted, deadline = pattern(expected), time.monotonic() + COMMAND_SECONDS_MAX
        while True:
            ended = self.process.poll() is not None
            # Old output is passed over up to the first line that fits: a log may say other things in between.
            text = self.log.read_text(errors="replace")[self.read_to:]
            starts = [0] + [match.end() for match in re.finditer("\n", text)]
            match = next((m for start in starts if (m := wanted.match(text, start))), None)
            if match:
                self.read_to += match.end()
                return
            assert not ended and time.monotonic() < deadline, f"expected:\n{chr(10).join(expected)}\ngot:\n{text}"
            time.sleep(0.05)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=COMMAND_SECONDS_MAX)
        assert code == 0, f"^C ended it with {code}:\n{self.log.read_text(errors='replace')[-2000:]}"

    def end(self, seconds=30):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Reader:
    """Somebody who types what a page says, in a folder of their own. `into` is the command that leads into a network of their
    own, where every port is free; empty for the machine's."""

    def __init__(self, folder, environment, alone):
        self.folder, self.environment, self.terminals = pathlib.Path(folder), environment, {}
        commands, self.commands = os.pipe()
        start = ["unshare", "--net"] if alone else []
        self.shell = subprocess.Popen(
            [*start, "bash", "-c", f"exec 3<&{commands}\n" + ("ip link set lo up\n" if alone else "") + DRIVER],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[commands])
        os.close(commands)
        self.into = ["nsenter", "--net", f"--target={self.shell.pid}"] if alone else []
        self.said = b""
        # Before this is answered the shell may not be in its network yet.
        assert self.run("true") == (0, "")

    def run(self, command):
        os.write(self.commands, command.encode() + b"\0")
        deadline = time.monotonic() + COMMAND_SECONDS_MAX
        while self.said.count(b"\0") < 2:
            ready, _, _ = select.select([self.shell.stdout], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{command} did not end within {COMMAND_SECONDS_MAX} s, and printed:\n{self.said.decode()}"
            more = os.read(self.shell.stdout.fileno(), 65536)
            assert more, f"{command} ended the shell, and printed:\n{self.said.decode()}"
            self.said += more
        output, code, self.said = self.said.split(b"\0", 2)
        return int(code), output.decode(errors="replace")

    def follow(self, block):
        """Does what a block says. Returns how many commands that were."""
        if block.file:
            (self.folder / block.file).write_text(block.content)
            return 0
        for command in block.commands:
            if block.terminal:
                self.follow_in_terminal(block.terminal, command)
            else:
                last = command is block.commands[-1]
                self.compare(command, block.exit if last else 0, block.within)
        return sum(bool(command.text) for command in block.commands)

    def follow_in_terminal(self, name, command):
        if command.text:
            if name in self.terminals:
                self.terminals[name].end()
            log = self.folder / f".terminal-{name}-{command.line}"
            self.terminals[name] = Terminal(command.text, self.into, self.environment, self.folder, log)
        interrupts = command.expected[-1:] == ["^C"]
        self.terminals[name].wait_for(command.expected[:-1] if interrupts else command.expected)
        if interrupts:
            self.terminals[name].interrupt()

    def compare(self, command, code, within):
        deadline = time.monotonic() + within
        while True:
            got, output = self.run(command.text)
            text = output if output.endswith("\n") or not output else output + "\n"
            if got == code and pattern(command.expected).fullmatch(text):
                return
            if time.monotonic() >= deadline:
                expected = "\n".join(command.expected)
                raise AssertionError(f"line {command.line}: $ {command.text}\nexpected, with exit code {code}:\n{expected}\n"
                                     f"got, with exit code {got}:\n{output}\n{self.logs()}")
            time.sleep(0.2)

    def logs(self):
        return "\n".join(f"--- {name}:\n{terminal.log.read_text(errors='replace')[-3000:]}"
                         for name, terminal in self.terminals.items())

    def close(self):
        # What a page leaves running has been looked at already: nodes that wait for one another need not end in order.
        for terminal in self.terminals.values():
            terminal.end(seconds=1)
        os.close(self.commands)
        self.shell.wait(timeout=30)
        self.shell.stdout.close()
