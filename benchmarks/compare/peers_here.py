"""The contenders that need no peer's server: Gymnasium here, vectors here, gymtwist, and the floor under all."""

from __future__ import annotations

from compare.contender import Contender

_EVERY_VECTOR = ("cartpole-1", "cartpole-8", "cartpole-64", "cartpole-1024")
#: Everything is also played by 2, 4, 8 and 16 clients where it makes sense.
_MANY = (1, 2, 4, 8, 16)
_GYMNASIUM = ("gymnasium>=1.1", "ale-py>=0.10", "opencv-python-headless")
_MUJOCO = ("gymnasium[mujoco]",)
_GYMTWIST = (".[atari]",)
_GYMTWIST_MUJOCO = (".[mujoco]",)
_TWISTD = (
    "{python}",
    "{bin}/twistd",
    "-n",
    "--pidfile=",
    "gymsock",
    "--port",
    "{port}",
    "--setup",
    "{here}/servers/environments.py",
)
_FLOOR = ("{python}", "{here}/servers/floor_server.py", "{port}")
_LISTENING = r"starting on \d+"

CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "inprocess",
        "Gymnasium in-process",
        _GYMNASIUM,
        "contenders/inprocess_player.py",
        ("cartpole", "pong", "nested", "halfcheetah", *_EVERY_VECTOR),
        optional=_MUJOCO,
        clients=_MANY,
        address="-",
        kind="limit",
        note="`gymnasium.make` without the environment checker, or the vector environment that an environment brings "
        "(`vector_entry_point`). With several clients: as many processes, each with its own environment.",
    ),
    Contender(
        "ale-vector",
        "ale-py's vector environment",
        _GYMNASIUM,
        "contenders/ale_vector_player.py",
        ("pong-84x84-8",),
        optional=_MUJOCO,
        address="-",
        kind="limit",
        note="`AtariVectorEnv`: threads of C++ in the learner's process. It is what gymtwist serves here.",
    ),
    Contender(
        "sync-vector",
        "SyncVectorEnv",
        _GYMNASIUM,
        "contenders/gymnasium_vectors.py",
        ("pong-84x84-8", *_EVERY_VECTOR),
        optional=_MUJOCO,
        address="sync",
        kind="local",
        note="One environment after the other in one process. Pong is preprocessed by `AtariPreprocessing` and "
        "`FrameStackObservation`.",
    ),
    Contender(
        "async-vector",
        "AsyncVectorEnv",
        _GYMNASIUM,
        "contenders/gymnasium_vectors.py",
        ("cartpole", "pong-84x84-8", "cartpole-1", "cartpole-8", "cartpole-64"),
        optional=_MUJOCO,
        address="async",
        kind="local",
        note="A process for each environment, pipes, and observations in shared memory. `cartpole` is a vector of one. "
        "A thousand processes are left out.",
    ),
    Contender(
        "envpool",
        "EnvPool",
        ("envpool", "gymnasium"),
        "contenders/envpool_player.py",
        ("cartpole", "pong-84x84-8", *_EVERY_VECTOR),
        address="0",
        kind="local",
        note="Environments rewritten in C++, stepped by threads in the learner's process; "
        "`make_gymnasium` with its defaults, all environments in each step.",
    ),
    Contender(
        "envpool-1",
        "EnvPool, one thread",
        ("envpool", "gymnasium"),
        "contenders/envpool_player.py",
        ("pong-84x84-8", *_EVERY_VECTOR),
        address="1",
        kind="local",
        note="The same with `num_threads=1`, which can be faster where a step is short.",
    ),
    Contender(
        "gymtwist",
        "gymtwist",
        _GYMTWIST,
        "contenders/gymtwist_player.py",
        ("cartpole", "pong", "nested", "halfcheetah", "pong-84x84-8", *_EVERY_VECTOR),
        server=_TWISTD,
        ready=_LISTENING,
        optional=_GYMTWIST_MUJOCO,
        clients=_MANY,
        kind="gymtwist",
        note="`connect` and `connect_vec` with their defaults: MessagePack, through memory that is shared with the "
        "server, as both are on one host; vectors by `vector_entry_point`, over one connection.",
    ),
    Contender(
        "gymtwist-socket",
        "gymtwist, through its socket",
        _GYMTWIST,
        "contenders/gymtwist_player.py",
        ("cartpole", "pong", "pong-84x84-8", "cartpole-64"),
        server=_TWISTD,
        ready=_LISTENING,
        variables=(("GYMTWIST_SHARED_MEMORY", "0"),),
        optional=_GYMTWIST_MUJOCO,
        clients=_MANY,
        kind="gymtwist",
        note="The same with `shared_memory=False`: what there is for clients on other hosts, and in other languages "
        "unless they share memory, too.",
    ),
    Contender(
        "gymtwist-json",
        "gymtwist, JSON",
        _GYMTWIST,
        "contenders/gymtwist_player.py",
        ("cartpole", "pong", "nested", "cartpole-64"),
        server=_TWISTD,
        ready=_LISTENING,
        variables=(("GYMTWIST_PROTOCOL", "netstring"),),
        optional=_GYMTWIST_MUJOCO,
        kind="gymtwist",
        note='The same with `protocol="netstring"`: what a client in any language writes in ten minutes.',
    ),
    Contender(
        "gymtwist-classic",
        "gymtwist, classic protocol",
        _GYMTWIST,
        "contenders/classic_socket.py",
        ("cartpole", "pong"),
        server=_TWISTD,
        ready=_LISTENING,
        optional=_GYMTWIST_MUJOCO,
        clients=_MANY,
        kind="gymtwist",
        note="The protocol of gym-socket-api, with a lean client in Python; gym-socket-api gets the very same client.",
    ),
    Contender(
        "floor",
        "bare TCP",
        (),
        "contenders/floor_player.py",
        ("cartpole", "pong", "nested", "pong-84x84-8", *_EVERY_VECTOR),
        server=_FLOOR,
        clients=_MANY,
        kind="floor",
        note="As many bytes as gymtwist's, there and back between two Python processes that sleep until they come; "
        "no environment, and nothing is decoded.",
    ),
    Contender(
        "floor-polling",
        "bare TCP, polling",
        (),
        "contenders/floor_player.py",
        ("cartpole", "pong"),
        server=_FLOOR,
        variables=(("FLOOR_POLLS", "1"),),
        kind="floor",
        note="The same, and neither side ever sleeps: each takes a whole core.",
    ),
)
