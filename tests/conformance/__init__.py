"""Tests of the conformance distribution: its reference client, its checks of servers and its referee of clients."""
