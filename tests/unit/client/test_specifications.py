"""Specifications can be stored: as JSON without secrets, in copies with them."""

from __future__ import annotations

import json
import pickle
import ssl
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from gymtwist.client.address import parse
from gymtwist.client.connect_options import ConnectOptions, make_request
from gymtwist.client.entry_points import OPTIONS, completed, restored, saved, spec_of
from gymtwist.protocol import make_messages
from gymtwist.protocol.framing import ProtocolName
from gymtwist.spaces import descriptions

SPACE = descriptions.Discrete(2)


def options(tls: Any = None, **arguments: Any) -> ConnectOptions:
    """Return the options of a connection."""
    make = make_request("Pendulum-v1", {"g": 3.0}, {}, token="a secret", **arguments)
    return ConnectOptions(parse("localhost:5001"), ProtocolName.INT32, 600.0, 10.0, tls, True, make)


def made() -> make_messages.Made:
    """Return what a server says of the environment."""
    spec = make_messages.Spec("Pendulum-v1", 200, kwargs={"g": 3.0, "game": "pong"})
    return make_messages.Made(SPACE, SPACE, "a server", spec=spec)


def test_what_is_stored_is_not_secret_and_not_the_default() -> None:
    """The address, the id, and what differs from the defaults."""
    stored = json.loads(json.dumps(saved(options(max_episode_steps=7), {"game": "pong"})))
    assert stored == {
        "address": "localhost:5001",
        "env_id": "Pendulum-v1",
        "max_episode_steps": 7,
        "registered_kwargs": {"game": "pong"},
    }


def test_a_context_is_kept_by_copies_and_stands_for_tls_in_json() -> None:
    """What is restored from JSON must not fall back to a connection without TLS."""
    context = ssl.create_default_context()
    stored = saved(options(context), {})
    assert json.loads(json.dumps(stored))["tls"] is True
    arguments, _ = restored(deepcopy(stored), {})
    assert (arguments["tls"], arguments["token"]) == (context, "a secret")


@pytest.mark.parametrize("copied", [deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
def test_copies_of_a_specification_keep_the_token(copied: Any) -> None:
    """Its text and its fields do not show it."""
    spec = spec_of(made(), options())
    assert spec is not None
    for shown in (repr(spec), spec.to_json(), repr(asdict(spec))):
        assert "a secret" not in shown
    assert copied(spec) == spec
    assert restored(copied(spec).kwargs[OPTIONS], {})[0]["token"] == "a secret"


def test_keyword_arguments_of_the_registration_are_not_sent_back() -> None:
    """The server need not accept them; changed ones are sent."""
    spec = spec_of(made(), options())
    assert spec is not None
    kwargs = dict(EnvSpec.from_json(spec.to_json()).kwargs)
    stored = kwargs.pop(OPTIONS)
    assert kwargs == {"g": 3.0, "game": "pong"}
    assert restored(stored, kwargs)[1] == {"g": 3.0}
    assert restored(stored, {**kwargs, "game": np.zeros(2)})[1].keys() == {"g", "game"}


def test_a_specification_of_others_is_kept_as_it_is() -> None:
    """Whoever sets the attribute reads what was set."""
    own = spec_of(made(), options())
    other = EnvSpec("Other-v0", entry_point="elsewhere:Env")
    assert completed(other, own) is other
    assert completed(None, own) is None
