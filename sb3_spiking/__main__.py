"""The command line, as ``python -m sb3_spiking``."""

import sys

from sb3_spiking.cli import main

sys.exit(main())
