"""The client programs of the contenders, each built on :mod:`driver`."""
