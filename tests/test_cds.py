"""Java's archive of classes: used where it fits, and never in the way."""

import os
import subprocess
from pathlib import Path

from shelfmark import cds, session


def test_the_session_runs_on_the_archive_that_set_up_made(spark):
    archive = session.archive(os.environ["JAVA_HOME"])
    assert cds.options(archive), "no archive: run `make setup`"
    mapped = Path(f"/proc/{spark.sparkContext._gateway.proc.pid}/maps").read_text()
    assert str(archive / "classes.jsa") in mapped


def test_java_goes_on_without_a_word_where_the_archive_does_not_fit(spark, tmp_path):
    java = os.environ["JAVA_HOME"]
    options = cds.options(session.archive(java)).split()
    assert options
    command = [f"{java}/bin/java", *options, "-cp", str(tmp_path), "-version"]
    strict = subprocess.run([*command[:-1], "-Xshare:on", "-version"], capture_output=True, text=True, check=False)
    assert strict.returncode == 1
    assert "class paths mismatch" in strict.stdout + strict.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "warning" not in done.stderr.lower()


def test_no_options_without_an_archive_or_where_java_would_split_its_path(tmp_path):
    assert cds.options(tmp_path / "none") == ""
    for name in ("a b", "a:b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "classes.jsa").touch()
        assert cds.options(tmp_path / name) == ""


def test_an_archive_whose_making_fails_leaves_none_and_one_that_is_there_is_kept(tmp_path):
    java, archive = session.java_home(), tmp_path / "share" / "classes-1"

    def fails(options):
        assert f"-XX:SharedArchiveFile={archive / 'base.jsa'}" in options
        assert (archive / "base.jsa").is_file()
        raise subprocess.CalledProcessError(1, "java")

    assert not cds.make(archive, java, fails)
    assert not archive.exists()
    assert not cds.make(archive, java, lambda options: None)
    assert not archive.exists()
    assert not cds.make(archive, java, lambda options: (archive / "classes.made").write_bytes(b"torn"))
    assert not archive.exists()

    def works(options):
        subprocess.run([f"{java}/bin/java", *options.split(), "-version"], check=True, capture_output=True)

    def times_out(options):
        raise subprocess.TimeoutExpired("java", 120)

    assert not cds.make(archive, java, times_out)
    assert not archive.exists()
    assert not cds.make(tmp_path / "a b" / "classes-1", java, works)
    assert not (tmp_path / "a b").exists()
    assert cds.make(archive, java, works)
    assert cds.make(archive, java, fails)
