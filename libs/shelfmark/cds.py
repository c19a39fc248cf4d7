"""Class data sharing: Java maps an archive of Spark's loaded classes instead of reading and verifying 20,000 of them.

A cold command is a fifth faster by it. The archive is a cache: it is made at set-up, belongs to one Java and one class
path, and Java goes on without it, silently, where it is missing or fits no longer.
https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# A mismatch is no news for the user: without the archive all works, only slower.
QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"


def folder(java_home: str, jars: Path) -> Path:
    """Where the archive for this Java, Spark and set of jars is: with the Python environment, so that it goes with it."""
    import pyspark

    release, spark = Path(java_home, "release"), Path(pyspark.__file__).parent / "jars"
    about = [java_home, release.read_text() if release.is_file() else "", str(spark), str(spark.stat().st_mtime_ns)]
    digest = hashlib.sha256("\n".join([*about, str(jars)]).encode()).hexdigest()[:12]
    return Path(sys.prefix, "share", "shelfmark", f"classes-{digest}")


def options(archive: Path) -> str:
    """Java's options to use the archive; none where there is none."""
    base, classes = archive / "base.jsa", archive / "classes.jsa"
    # Java splits the option at colons and the launcher splits options at blanks.
    if not classes.is_file() or any(sign in str(archive) for sign in ': "'):
        return ""
    return f"-XX:SharedArchiveFile={base}:{classes} {QUIET}"


def make(archive: Path, java_home: str, exercise: Callable[[str], None]) -> bool:
    """Make the archive; whether there is one now.

    `exercise(options)` starts a session with Java's `options`, does what commands do, and returns when Java has ended.
    """
    if options(archive):
        return True
    java, base, made = str(Path(java_home, "bin", "java")), archive / "base.jsa", archive / "classes.made"
    try:
        for old in archive.parent.glob("classes-*"):
            shutil.rmtree(old)
        archive.mkdir(parents=True)
        # A Java that comes as a wheel has no archive of its own classes, on which ours rests.
        subprocess.run([java, "-Xshare:dump", f"-XX:SharedArchiveFile={base}"], check=True, capture_output=True)
        exercise(f"-XX:SharedArchiveFile={base} -XX:ArchiveClassesAtExit={made} {QUIET}")
        # One of another Java or class path is ignored, but a torn one ends Java.
        subprocess.run([java, f"-XX:SharedArchiveFile={base}:{made}", "-version"], check=True, capture_output=True)
        os.replace(made, archive / "classes.jsa")
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(archive, ignore_errors=True)
    return bool(options(archive))
