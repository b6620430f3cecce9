"""The tests that fail with remote environments, by reason."""

from __future__ import annotations

#: Patterns of the tests' ids, by why they fail. In a pattern, `[[]` is a bracket.
EXPECTED: dict[str, tuple[str, ...]] = {
    "a remote environment is of another class": (
        "tests/envs/registration/test_make.py::test_no_arguments",
        "tests/envs/registration/test_make_vec.py::test_make_vec_env_id",
        "tests/envs/registration/test_make_vec.py::test_make_vec_vectorization_mode",
    ),
    "a server refuses a render mode that the environment does not have": (
        "tests/envs/registration/test_make.py::test_make_with_render_mode",
    ),
    "a connection cannot be pickled; the specification of its environment can": (
        "tests/envs/test_envs.py::test_pickle_env[[]*",
    ),
}
