"""Runs Gymnasium's own tests with remote environments in the place of its registered ones.

The tests are not on PyPI; they are taken from a checkout of Gymnasium's repository. They run twice: as they are, and
with :mod:`tools.gymnasium_suite.remote_plugin`. What passes the first time must pass the second time, but for
:mod:`tools.gymnasium_suite.expected_failures`.
"""
