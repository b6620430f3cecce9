"""The tests that fail with remote environments, by reason."""

from __future__ import annotations

_MUJOCO = "tests/envs/mujoco/test_mujoco_v5.py::"
_MUJOCO_DRAWING = "tests/envs/mujoco/test_mujoco_rendering.py::"
_CLASSIC = "tests/envs/test_env_implementation.py::"

#: Patterns of the tests' ids, by why they fail. In a pattern, `[[]` is a bracket.
EXPECTED: dict[str, tuple[str, ...]] = {
    "it needs objects of the environment": (
        f"{_MUJOCO}test_ant_com[[]*",
        f"{_MUJOCO}test_distance_from_origin_info[[]*",
        f"{_MUJOCO}test_dt",
        f"{_MUJOCO}test_inverted_double_pendulum_max_height*",
        f"{_MUJOCO}test_model_object_count[[]*",
        f"{_MUJOCO}test_model_sensors[[]*",
        f"{_MUJOCO}test_observation_structure[[]*",
        f"{_MUJOCO}test_reset_noise_scale[[]*",
        f"{_MUJOCO}test_reset_state[[]*",
        f"{_MUJOCO}test_set_state[[]*",
        f"{_MUJOCO}test_verify_info_*",
        f"{_MUJOCO}test_z_distance_from_origin_info[[]*",
        f"{_MUJOCO_DRAWING}test_camera_id[[]*",
        f"{_CLASSIC}test_bipedal_walker_hardcore_creation[[]*",
        f"{_CLASSIC}test_cartpole_vector_equiv",
    ),
    # They assert isinstance(env.unwrapped, CartPoleEnv), MujocoEnv, CartPoleVectorEnv or SyncVectorEnv.
    "a remote environment is of another class": (
        "tests/envs/registration/test_env_spec.py::test_full_integration",
        "tests/envs/registration/test_make.py::test_no_arguments",
        "tests/envs/registration/test_make_vec.py::test_make_vec_env_id",
        "tests/envs/registration/test_make_vec.py::test_make_vec_vectorization_mode",
        f"{_MUJOCO}test_verify_reward_survive[[]*",
    ),
    # CartPole takes "no-render-mode", of which Gymnasium only warns; clients would notice a typo at the first frame.
    "a server refuses a render mode that the environment does not have": (
        "tests/envs/registration/test_make.py::test_make_with_render_mode",
    ),
    # They assert that the metadata has "human", and that pygame is initialised in the process of the test.
    "a server opens no window, and draws in a process of its own": (
        f"{_MUJOCO_DRAWING}test_mujoco_metadata_render_modes[[]*",
        "tests/envs/test_rendering.py::test_pygame_selective_init",
    ),
    # It asserts that the message is MuJoCo's "Action dimension mismatch"; messages carry only actions of the shape.
    "the client refuses an action of another shape in words of its own": (
        "tests/envs/test_action_dim_check.py::test_mujoco_action_dimensions[[]*",
    ),
}
