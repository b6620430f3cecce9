"""Files of identities."""

from __future__ import annotations

from pathlib import Path

from gymtwist.server.identities import new_token


def write_identities(directory: Path, text: str = "", **lines: str) -> tuple[str, dict[str, str]]:
    """Write a file of identities that have tokens.

    Args:
        directory: Where to write it.
        text: Further tables.
        lines: The names of the identities, each with further lines of its table.

    Returns:
        The path of the file, and the token of each.
    """
    tokens = {}
    for name, more in lines.items():
        tokens[name], stored = new_token(name)
        text = f'[{name}]\ntoken = "{stored}"\n{more}\n{text}'
    path = directory / "identities.toml"
    path.write_text(text)
    return str(path), tokens
