"""What runs an environment: Gymnasium and Gym behind one interface, which is ``gymnasium.Env``.

An id becomes an environment in :mod:`~gymtwist.envs.catalog`; Gym's are adapted by :mod:`~gymtwist.envs.legacy`;
:mod:`~gymtwist.envs.spaces` and :mod:`~gymtwist.envs.elements` turn spaces and their elements into what a message can
carry. Only the pool's children import this room: environment libraries may be slow, broken or hostile.
"""
