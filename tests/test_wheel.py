"""The wheel holds all a job needs: installed into an empty environment, it runs from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


def call(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_libraries_jobs_settings_suites_and_the_lakefs_build(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    jobs = {f"shelfmark/jobs/{path.name}" for path in (ROOT / "jobs").glob("*.py")}
    conf = {
        f"shelfmark/{p.relative_to(ROOT)}"
        for d in ("conf", "expectations", "tools")
        for p in (ROOT / d).rglob("*")
        if p.is_file()
    }
    libs = {str(path.relative_to(ROOT / "libs")) for path in (ROOT / "libs").rglob("*.py")}
    assert jobs | conf | libs <= names


@pytest.mark.slow
@pytest.mark.nightly
def test_a_job_runs_from_the_installed_wheel_in_another_folder(wheel, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    call(UV, "venv", "-q", "--python", sys.executable, tmp_path / "env")
    call(UV, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", ROOT / "requirements.lock")
    call(UV, "pip", "install", "-q", "--python", python, "--no-deps", wheel)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "feeds").mkdir(parents=True)
    (elsewhere / "feeds" / "shop.csv").write_text("id,name,price\n1,Blue cotton shirt,9.99\n2,Red wool scarf,19.50\n")
    (elsewhere / "feeds" / "shop.yml").write_text(
        "description: a shop\nlicence: ours\nfiles: [shop.csv]\nformat: {kind: csv}\nkey: id\n"
        "region: US\nlanguage: en\nfields: {title: name}\nprice: {field: price, currency: USD}\n"
    )
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SPARK_HOME", "VIRTUAL_ENV")}
    out = call(
        *(python.with_name("shelfmark"), "run", "ingest", "--sources", "shop", "--data", "feeds"),
        *("--set", "source_dirs=[feeds]", "--home", "home"),
        cwd=elsewhere,
        env=env,
    )
    assert "ingest done" in out
    assert (elsewhere / "home" / "lake" / "refs" / "main").exists()
