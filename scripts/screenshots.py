"""Walk through docs/stewards.md in a folder of its own, and take its pictures: `make screenshots`.

The page is the script. Its fences say what is done, in order:

- ```csv FILE and ```yaml FILE write a file; ```diff FILE replaces the lines with - by those with +, which must be there once;
- ```sh runs commands of ours; ```text is what they say: every line of it, spaces aside, is part of a line they printed;
- an image with a title such as "index.html 1100x900" is a picture of that page of the data docs, in that size.

A test walks the same way without a browser, so that the page stays true.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stewards.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FENCE = re.compile(r'^```(\w+) ?(.*?)\n(.*?)^```$|^!\[.*?\]\((\S+) "(\S+) (\d+x\d+)"\)$', re.M | re.S)


@dataclass(frozen=True)
class Step:
    """`kind`: csv, yaml, diff, sh, text or image; `file`: what it writes or shows; `size` of an image."""

    kind: str
    file: str
    text: str
    size: str = ""


def steps(page: str) -> list[Step]:
    """The steps of a page in order."""
    return [
        Step("image", m[5], m[4], m[6]) if m[4] else Step(m[1], m[2].strip(), m[3])
        for m in FENCE.finditer(page)
    ]  # fmt: skip


@contextlib.contextmanager
def house(folder: Path) -> Iterator[None]:
    """Settings, mappings and suites in a folder of their own, where they may be changed, and commands run there."""
    from shelfmark import config
    from shelfmark.ingest import mapping

    for name in ("conf", "expectations"):
        shutil.copytree(ROOT / name, folder / name)
    before, where = config.resource, Path.cwd()
    config.resource = mapping.resource = lambda *parts: folder.joinpath(*parts)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(where)
        config.resource = mapping.resource = before


def do(step: Step, said: str, absolute: bool = False) -> str:
    """Take a step in the current folder; returns what the last commands printed. Raises `AssertionError` when untrue."""
    if step.kind in ("csv", "yaml"):
        Path(step.file).parent.mkdir(parents=True, exist_ok=True)
        Path(step.file).write_text(step.text)
    elif step.kind == "diff":
        lines = step.text.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] == sign) for sign in "-+")
        text = Path(step.file).read_text()
        # The last line may be followed by a comma in the file.
        assert text.count(old.rstrip("\n")) == 1, f"{step.file} does not hold once: {old}"
        Path(step.file).write_text(text.replace(old.rstrip("\n"), new.rstrip("\n")))
    elif step.kind == "sh":
        return "".join(shell(line, absolute) for line in step.text.splitlines() if line.strip())
    elif step.kind == "text":
        printed = [" ".join(line.split()) for line in said.splitlines()]
        for line in filter(str.strip, step.text.splitlines()):
            wanted = " ".join(line.split())
            assert any(wanted in one for one in printed), f"not printed: {line!r}, but:\n{said}"
    return said


def shell(line: str, absolute: bool = False) -> str:
    """Run `shelfmark ...` in this process; returns what it printed.

    `absolute`: the Spark session was started in another folder, where its workers stand, so feeds are named in full.
    """
    from shelfmark.cli.app import app, console

    program, *arguments = shlex.split(line)
    assert program == "shelfmark", f"the page runs commands of ours alone, not {line}"
    if absolute:
        arguments = [
            str(Path(a).resolve()) if option == "--data" else a for option, a in zip(["", *arguments], arguments)
        ]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        # Wide enough that no cell is folded, whatever the terminal.
        width, console.width = console.width, 200
        try:
            app(arguments, standalone_mode=False)
        finally:
            console.width = width
    return out.getvalue()


def browser() -> str:
    """The browser's program; ends with a clear line where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        sys.exit(
            f"no browser: pictures are taken by Chromium, none of {', '.join(BROWSERS)} is on the PATH; install it"
        )
    return found


def picture(program: str, page: Path, size: str, out: Path) -> None:
    """A picture of a page, in few colours: it is text on paper."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile, "shot.png")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += [
            f"--user-data-dir={profile}/user",
            f"--screenshot={shot}",
            f"--window-size={size.replace('x', ',')}",
        ]
        done = subprocess.run(
            [program, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
        )
        if not shot.exists():
            sys.exit(f"{program} made no picture of {page}: {done.stderr.strip()[-500:]}")
        Image.open(shot).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)


def main() -> None:
    """Walk, and take the pictures."""
    program = browser()
    with tempfile.TemporaryDirectory() as folder, house(Path(folder)):
        said = ""
        for step in steps(PAGE.read_text()):
            if step.kind == "image":
                target = PAGE.parent / step.text
                picture(program, Path(folder, ".shelfmark", "docs", step.file).resolve(), step.size, target)
                sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes\n")
            else:
                said = do(step, said)


if __name__ == "__main__":
    main()
