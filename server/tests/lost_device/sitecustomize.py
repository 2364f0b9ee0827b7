"""Stands in for a graphics card that is lost: the engine's network fails as PyTorch says it then does.

Python imports this module at its start where the folder is on its path. While the file that MAHTAI_LOST_DEVICE names
holds a number above zero, the next pass through the network fails, and every later one of the same process too, as
with a real card whose context is gone; each process takes one off the number.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_file = os.environ.get("MAHTAI_LOST_DEVICE")

if _file and "mahtai.jobs.engine_process" in sys.orig_argv:
    import torch

    _left = Path(_file)
    _conv = torch.nn.functional.conv3d
    _is_lost = False

    def _fail(*arguments: Any, **more: Any) -> Any:
        global _is_lost
        number = int(_left.read_text("utf-8") or 0)
        if not _is_lost and number > 0:
            _is_lost = True
            _left.write_text(str(number - 1), "utf-8")
        if _is_lost:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return _conv(*arguments, **more)

    torch.nn.functional.conv3d = _fail
    torch.nn.modules.conv.F.conv3d = _fail
