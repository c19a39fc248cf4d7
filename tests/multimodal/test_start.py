"""torch stays out of what does not need it: it takes seconds to start and gigabytes to install."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_command_line_and_the_text_line_start_without_torch():
    code = (
        "import sys, shelfmark.cli, shelfmark.text.train, shelfmark.text.predict, shelfmark.multimodal.data\n"
        "sys.exit(' '.join(sorted({'torch', 'timm', 'torchvision', 'transformers', 'horovod'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
