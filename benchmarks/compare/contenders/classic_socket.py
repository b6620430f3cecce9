"""The lean client of the classic protocol, the same for every server that speaks it."""

from __future__ import annotations

from compare.classic_player import connect
from compare.driving import main

if __name__ == "__main__":
    main(connect)
