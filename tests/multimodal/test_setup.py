"""Where Horovod cannot be built, set-up says so in one line and goes on."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "python").exists(), reason="not set up by `make setup`")
def test_without_a_compiler_set_up_goes_on_with_one_clear_line(tmp_path):
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    env = {**os.environ, "PATH": str(tmp_path / "bin"), "SHELFMARK_CACHE": str(tmp_path / "cache")}
    command = ["/bin/sh", ROOT / "scripts" / "horovod.sh"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == "without Horovod: it is built with c++, which is not on PATH\n"
    assert not (tmp_path / "cache").exists()
