"""The tests: specifications of gymtwist, one behaviour each."""
