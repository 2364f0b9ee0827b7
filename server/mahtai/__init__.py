"""MahtAI's inference server."""

from mahtai.sqlite import use_new_enough

__version__ = "0.1.0"

use_new_enough()
