"""docs/stewards.md is true: every command in it runs, and says what the page says it does."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def screenshots():
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "scripts" / "screenshots.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["screenshots"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.nightly
def test_the_day_of_a_steward_goes_as_the_page_says(spark, tmp_path):
    walk = screenshots()
    taken = walk.steps(walk.PAGE.read_text())
    assert {step.kind for step in taken} == {"csv", "yaml", "diff", "sh", "text", "image"}
    said, kinds = "", []
    with walk.house(tmp_path):
        for step in taken:
            kinds.append(step.kind)
            if step.kind == "image":
                assert Path(".shelfmark", "docs", step.file).is_file()
                assert (ROOT / "docs" / step.text).is_file()
            else:
                said = walk.do(step, said, absolute=True)
    assert "g-06" in said
    assert kinds.count("sh") >= 6


def test_without_a_browser_the_pictures_end_with_a_clear_line(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "screenshots.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("no browser: pictures are taken by Chromium")
    assert len(done.stderr.splitlines()) == 1
