"""Which build this is: as written, or with the hot modules compiled (``ops/compiling.py``)."""

from typing import Final

from trioquorum import __version__
from trioquorum.wire import framing

BUILD: Final = __version__ if framing.__file__.endswith(".py") else f"{__version__}+compiled"
"""The version as servers and commands tell it."""
