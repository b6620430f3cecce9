"""The command: ``python -m gymtwist.conformance``."""

import sys

from gymtwist.conformance.command import main

sys.exit(main(sys.argv[1:]))
