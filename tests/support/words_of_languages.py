"""The rule for the words of errors: clients in every language read them, so they have the words of JSON."""

from __future__ import annotations

import re

#: What a client sent, or is to send: in quotes, as JSON has it.
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
#: Values and types of Python; and "list", "float" and their like as names of types, not as words of English.
_OF_PYTHON = re.compile(
    r"\b(?:None|True|False|NoneType|dict|tuple|str|int|bool|bytearray|memoryview|ndarray|nan|inf)\b"
    r"|`(?:list|float|bytes|object|array)`"
    # What `repr` writes: a tuple of one, text, bytes, a class, an object without a repr of its own, a call.
    r"|\(\d+,\)|(?<!\w)b?'[^']*'|<class |<[\w.]+ object|\bdtype\(|\barray\("
)


def words_of_python(text: str) -> list[str]:
    """Return the words of an error that only programmers of Python know."""
    return _OF_PYTHON.findall(_QUOTED.sub('""', text))
