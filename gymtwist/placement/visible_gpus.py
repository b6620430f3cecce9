"""The GPUs that a process may use, according to ``CUDA_VISIBLE_DEVICES``."""

from __future__ import annotations

from pathlib import Path


def visible_gpus(process: int) -> list[str]:
    """Return the ids of the GPUs that a process was started with; empty if it may use all, or if it cannot be read.

    Args:
        process: The id of the process.
    """
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
    given = (each.partition(b"=")[2].decode() for each in variables if each.startswith(b"CUDA_VISIBLE_DEVICES="))
    return [each for each in next(given, "").replace(" ", "").split(",") if each]
