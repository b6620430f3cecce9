"""The command ``python -m gymtwist_conformance``."""

import sys

from gymtwist_conformance.command import main

sys.exit(main())
