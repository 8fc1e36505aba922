"""The command line, as ``python -m sb3_spiking``."""

import sys

from sb3_spiking_cli import command

sys.exit(command())
