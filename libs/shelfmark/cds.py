"""Class data sharing: Java maps an archive of Spark's loaded classes instead of reading and verifying 20,000 of them.

A cold session with a few small tables takes a quarter less time by it. The archive is a cache: it is made at set-up,
belongs to one Java and one class path, and Java goes on without it, silently, where it is missing or fits no longer.
https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

# A mismatch is no news for the user: without the archive all works, only slower.
QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"


def folder(java_home: str, *jars: Path) -> Path:
    """Where the archive for this Java and these folders of jars is: with the Python environment, so that it goes with it.

    Java refuses an archive whose jars are others by now, so their folders' times are part of its name.
    """
    release = Path(java_home, "release")
    about = [java_home, release.read_text() if release.is_file() else ""]
    about += [f"{place} {place.stat().st_mtime_ns if place.is_dir() else 0}" for place in jars]
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
    return Path(sys.prefix, "share", "shelfmark", f"classes-{digest}")


def options(archive: Path) -> str:
    """Java's options to use the archive; none where there is none."""
    base, classes = archive / "base.jsa", archive / "classes.jsa"
    if not classes.is_file() or _splits(archive):
        return ""
    return f"-XX:SharedArchiveFile={base}:{classes} {QUIET}"


def _splits(archive: Path) -> bool:
    """Whether the path would not reach Java whole: it splits the option at colons, and Spark splits options at blanks."""
    return any(sign in str(archive) for sign in ': "')


def make(archive: Path, java_home: str, exercise: Callable[[str], None]) -> bool:
    """Make the archive; whether there is one now.

    `exercise(options)` starts a session with Java's `options`, does what commands do, and returns when Java has ended.
    """
    if not options(archive) and not _splits(archive):
        try:
            archive.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(archive.parent / "classes.lock"):
                if not options(archive):  # another process may have made it by now
                    _make(archive, str(Path(java_home, "bin", "java")), exercise)
        except Exception as error:  # whatever it is: set-up and commands do without
            shutil.rmtree(archive, ignore_errors=True)
            logging.getLogger(__name__).warning("Java made no archive of its classes, commands start slower: %s", error)
    return bool(options(archive))


def _make(archive: Path, java: str, exercise: Callable[[str], None]) -> None:
    for old in archive.parent.glob("classes-*"):
        shutil.rmtree(old)
    archive.mkdir()
    base, made = archive / "base.jsa", archive / "classes.made"
    # A Java that comes as a wheel has no archive of its own classes, on which ours rests.
    subprocess.run([java, "-Xshare:dump", f"-XX:SharedArchiveFile={base}"], check=True, capture_output=True)
    exercise(f"-XX:SharedArchiveFile={base} -XX:ArchiveClassesAtExit={made} {QUIET}")
    # One of another Java or class path is ignored, but a torn one ends Java.
    subprocess.run([java, f"-XX:SharedArchiveFile={base}:{made}", "-version"], check=True, capture_output=True)
    os.replace(made, archive / "classes.jsa")
