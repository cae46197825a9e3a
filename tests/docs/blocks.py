"""Read the fenced code blocks of a Markdown file and run them as the reader would.

An HTML comment on the line before a block says what the block is:

    <!-- file: cart.py -->    written to the folder under that name
    <!-- run: name -->        run there: python as a program, console as commands after `$ `;
                              other console lines are expected output in order, … is any text;
                              where no line begins with `$ `, every line is a command
    <!-- make: name -->       commands of a checkout (`make demo`): the targets must exist

A ```text block is a picture, a console block of make commands alone needs no comment. Any other
block without one is an error: then nothing of the page is silently unchecked.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import left_behind
from tests.ports import free_port

MARK = "THESPIAN_DC_README"
PORT = re.compile(r"\b1[89]\d{3}\b")
"""Pages keep to these for ports, and to nothing else for them."""
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: its language, what the comment before it says, its text, its first line."""

    language: str
    kind: str  # file | run | make | text | "" where nothing is said
    name: str
    text: str
    line: int

    @property
    def title(self) -> str:
        return f"line {self.line}: {self.kind or 'no comment'} {self.name}".strip()


def read_blocks(markdown: str) -> list[Block]:
    """All fenced blocks in order. Raises ValueError for a block that is never closed."""
    blocks, lines, at = [], markdown.splitlines(), 0
    while at < len(lines):
        opening = re.fullmatch(r"(\s*)(`{3,}|~{3,})\s*([\w+-]*).*", lines[at])
        if not opening:
            at += 1
            continue
        indent, fence, language = opening.groups()
        said = lines[at - 1].strip() if at else ""
        comment = re.fullmatch(r"<!-- (file|run|make): (\S+) -->", said)
        kind, name = (comment[1], comment[2]) if comment else ("", "")
        body, first = [], at + 1
        while (at := at + 1) < len(lines) and lines[at].strip() != fence:
            body.append(lines[at].removeprefix(indent))
        if at == len(lines):
            raise ValueError(f"the block of line {first} is never closed")
        text = "\n".join(body) + "\n"
        blocks.append(Block(language, kind or _evident(language, text), name, text, first))
        at += 1
    return blocks


def with_free_ports(markdown: str) -> str:
    """The page with other ports, each where it stood: two checkouts may be tested at once, and what
    listens at a page's own would answer for it."""
    ports = {one: str(free_port()) for one in PORT.findall(markdown)}
    return PORT.sub(lambda found: ports[found[0]], markdown)


def _evident(language: str, text: str) -> str:
    """What a block without a comment is, where that cannot be mistaken."""
    if language == "console":
        commands, _ = split_console(text)
        return "make" if all(one.startswith("make ") for one in commands) else ""
    return "text" if language == "text" else ""


def fault(block: Block) -> str:
    """What is wrong with the comment before a block; empty when nothing is."""
    allowed = {
        "file": block.language not in {"", "text"},
        "run": block.language in {"python", "console"},
        "make": block.language == "console",
        "text": block.language == "text",
    }
    if not block.kind:
        return f"line {block.line}: no comment says how this {block.language} block is checked"
    if not allowed[block.kind]:
        return f"line {block.line}: {block.kind!r} does not fit a {block.language!r} block"
    return ""


def run(block: Block, folder: Path, environment: Mapping[str, str]) -> None:
    """Do what the block says, in `folder`. AssertionError: it failed or printed something else."""
    if block.kind == "file":
        target = folder / block.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        program = folder / f"block_{re.sub(r'[^a-z0-9]', '_', block.name.lower())}.py"
        program.write_text(block.text, encoding="utf-8")
        _shell(f"python {program.name}", folder, environment)
    else:
        commands, expected = split_console(block.text)
        printed = _shell("\n".join(commands), folder, environment)
        check_output(expected, printed)


def split_console(text: str) -> tuple[list[str], list[str]]:
    """The commands after `$ ` (and `> `, for further lines of one), and the lines of output."""
    if not any(line.startswith("$ ") for line in text.splitlines()):
        return [line for line in text.splitlines() if line.strip()], []
    commands: list[str] = []
    expected: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif line.startswith("> ") and commands:
            commands[-1] += "\n" + line[2:]
        elif line.strip():
            expected.append(line)
    return commands, expected


def check_output(expected: list[str], printed: str) -> None:
    """Each expected line must be there, in order; others may stand between; … is any text."""
    rest = printed.splitlines()
    for line in expected:
        pattern = ".*".join(re.escape(part.strip()) for part in re.split(r"…|\.\.\.", line))
        found = next((n for n, one in enumerate(rest) if re.fullmatch(pattern, one.strip())), None)
        assert found is not None, f"not printed: {line!r}\n--- printed:\n{printed}"
        rest = rest[found + 1 :]


def _shell(commands: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run commands with bash, stop at the first that fails, end all they left running."""
    mark = uuid.uuid4().hex
    output = folder / f".printed-{mark}"
    with output.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            left_behind.end(left_behind.marked(MARK, mark))
    printed = output.read_text(encoding="utf-8", errors="replace")
    output.unlink()
    why = f"took more than {_TIMEOUT_S} s" if code == -1 else f"exit code {code}"
    assert code == 0, f"{why}: {commands}\n--- printed:\n{printed}"
    return printed
