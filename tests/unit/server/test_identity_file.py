"""Who may connect: the file, the tokens, and what each identity may do."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist.errors import TokenRefused
from gymtwist.server.config_file import CannotRead
from gymtwist.server.identities import (
    EVERYBODY,
    Identities,
    Identity,
    Peer,
    load,
    new_token,
)
from tests.support.identity_files import write_identities

HERE = Peer(host="127.0.0.1")
HASH = f"sha256:{'0' * 32}:{'0' * 64}"


def test_without_identities_everybody_may_connect() -> None:
    """Whatever token they send."""
    for token in (None, "alice.secret"):
        assert Identities().find(token, HERE) is EVERYBODY
    assert EVERYBODY.overrides == {}


def test_a_token_is_that_of_one_identity(tmp_path: Path) -> None:
    """The file has a hash of it alone."""
    path, tokens = write_identities(tmp_path, alice="max-sessions = 3", bob="")
    identities = load(path)
    assert identities.find(tokens["alice"], HERE).max_sessions == 3
    assert identities.find(tokens["bob"], HERE).name == "bob"
    secret = tokens["alice"].partition(".")[2]
    assert len(secret) >= 43, "256 bits"
    assert secret not in Path(path).read_text()


def test_no_other_token_is_valid(tmp_path: Path) -> None:
    """Neither another's secret, nor a part of one, nor the hash itself; the error repeats nothing of it."""
    path, tokens = write_identities(tmp_path, '[carol]\nnetworks = ["10.0.0.0/8"]', alice="", bob="")
    identities = load(path)
    secret = tokens["bob"].partition(".")[2]
    stored = re.findall('sha256:.*(?=")', Path(path).read_text())[0]
    wrong = [
        "",
        ".",
        "alice",
        "alice.",
        f"alice.{secret}",
        tokens["alice"][:-1],
        f"{tokens['alice']}x",
        f"carol.{secret}",
    ]
    for token in [*wrong, f"dave.{secret}", f"alice.{stored}", stored, secret, "alice.\udc80"]:
        with pytest.raises(TokenRefused, match="token is not valid") as caught:
            identities.find(token, HERE)
        assert caught.value.is_wrong
        assert secret not in str(caught.value)
    with pytest.raises(TokenRefused, match=r"needs a token; .* `token` of `make`") as missing:
        identities.find(None, HERE)
    assert not missing.value.is_wrong


def test_clients_of_a_network_need_no_token() -> None:
    """The smallest network that has the address decides; a token goes before it."""
    token, stored = new_token("alice")
    identities = Identities(
        [
            Identity(name="alice", token=stored),
            Identity(name="campus", networks=("10.0.0.0/8", "fd00::/8")),
            Identity(name="lab", networks=("10.1.0.0/16",)),
        ]
    )
    for host, name in {
        "10.2.3.4": "campus",
        "10.1.3.4": "lab",
        "::ffff:10.1.3.4": "lab",
        "fd00::1": "campus",
        "fd00::1%eth0": "campus",
    }.items():
        assert identities.find(None, Peer(host=host)).name == name
    assert identities.find(token, Peer(host="10.1.3.4")).name == "alice"
    for peer in (Peer(host="11.0.0.1"), Peer(user=0), Peer()):
        with pytest.raises(TokenRefused):
            identities.find(None, peer)


def test_users_of_a_unix_socket_need_no_token() -> None:
    """By number or by name."""
    identities = Identities([Identity(name="root", users=("root",)), Identity(name="other", users=(4321,))])
    assert identities.find(None, Peer(user=0)).name == "root"
    assert identities.find(None, Peer(user=4321)).name == "other"
    with pytest.raises(TokenRefused):
        identities.find(None, Peer(user=1234))


def test_a_certificate_needs_no_token() -> None:
    """It goes before a network."""
    identities = Identities(
        [Identity(name="lab", networks=("10.0.0.0/8",)), Identity(name="carol", certificates=("Carol of Vision",))]
    )
    for certificate, name in {"Carol of Vision": "carol", "carol": "lab", None: "lab"}.items():
        assert identities.find(None, Peer(host="10.1.2.3", certificate=certificate)).name == name


def test_an_identity_expires_after_its_last_day() -> None:
    """The error names it, and the day."""
    today = datetime.datetime.now().date()
    yesterday, tomorrow = today - datetime.timedelta(1), today + datetime.timedelta(1)
    for expires in (today, tomorrow):
        assert Identities([Identity(name="a", users=(0,), expires=expires)]).find(None, Peer(user=0)).name == "a"
    with pytest.raises(TokenRefused, match=f'"a" expired after {yesterday}'):
        Identities([Identity(name="a", users=(0,), expires=yesterday)]).find(None, Peer(user=0))


def test_an_identity_that_was_found_is_looked_up_again() -> None:
    """It may have other limits, other tokens, or none."""
    alice = Identity(name="alice", token=HASH)
    limited = Identity(name="alice", token=HASH, max_sessions=1)
    assert Identities([limited]).renewed(alice) is limited
    others = Identity(name="bob", token=HASH), Identity(name="alice", users=(0,))
    for other in (*others, Identity(name="alice", token=HASH, expires=datetime.date(2001, 1, 31))):
        with pytest.raises(TokenRefused, match=r"connect again|expired"):
            Identities([other]).renewed(alice)
    with pytest.raises(TokenRefused):
        Identities([alice]).renewed(EVERYBODY)
    assert Identities().renewed(alice) is EVERYBODY


def test_an_identity_overrides_what_it_names(tmp_path: Path) -> None:
    """The rest is as the options say."""
    lines = 'allow = ["ALE/*"]\nkwargs = "none"\nattributes = "all"\nwrappers = "none"\nmax-envs = 4\n'
    path, tokens = write_identities(tmp_path, alice=lines + "session-seconds = 2.5\nexpires = 2999-01-31", bob="")
    identities = load(path)
    alice = identities.find(tokens["alice"], HERE)
    assert alice.overrides == {
        "allow": ("ALE/*",),
        "kwargs": "none",
        "attributes": "all",
        "wrappers": "none",
        "max_envs": 4,
        "identity": "alice",
    }
    assert (alice.session_seconds, alice.expires) == (2.5, datetime.date(2999, 1, 31))
    assert identities.find(tokens["bob"], HERE).overrides == {"identity": "bob"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"names nobody.*\[alice\]"),
        ("[alice", "not TOML"),
        ("\udcff", "not TOML"),
        ("a = " + 100_000 * "[", "not TOML: maximum recursion"),
        ("alice = 3", r"`alice` is not a table; .*\[alice\]"),
        ('["a b"]\nusers = [0]', r"\[a b\]: a name has 1 to 64 letters"),
        ("[a]\nmax_sesions = 3", r"\[a\]: there is no `max_sesions`; did you mean `max-sessions`"),
        ("[a]\nzzz = 3", r"\[a\]: there is no `zzz`; there are allow, attributes, "),
        ("[a]\nname = 'b'", r"\[a\]: there is no `name`"),
        ("[a]\nmax-envs = 3", r"\[a\]: nobody can use it; give it `token`, `certificates`, `users` or `networks`"),
        ("[a]\ntoken = 'a.secret'", r"\[a\]: `token` is not a hash"),
        (f"[a]\ntoken = '{HASH.upper()}'", r"\[a\]: `token` is not a hash"),
        ("[a]\nusers = ['nobody-of-that-name']", r"\[a\]: `users`: this machine has no user .nobody-of-that-name"),
        ("[a]\nnetworks = ['10.0.0/8']", r"\[a\]: `networks`: .*10\.0\.0/8"),
        ("[a]\nusers = [0]\nmax-sessions = 0", r"\[a\]: Expected `int` >= 1 - at `\$.max-sessions`"),
        ("[a]\nusers = [0]\nmax-sessions = '3'", r"\[a\]: Expected `int.*max-sessions"),
        ("[a]\nusers = [0]\nsession-seconds = 0", r"\[a\]: .*session-seconds"),
        ("[a]\nusers = [0]\nsession-seconds = inf", r"\[a\]: .*session-seconds"),
        ("[a]\nusers = [0]\nmax-envs = 10001", r"\[a\]: .*max-envs"),
        ("[a]\nusers = [0]\nallow = []", r"\[a\]: `allow` is empty; give it .* \[.\*.\] for all"),
        (f"[a]\nusers = [0]\nallow = ['{40_000 * 'x'}']", r"\[a\]: what it may use takes more than 30000 bytes"),
        ("[a]\nusers = [0]\nexpires = 'soon'", r"\[a\]: .*expires"),
        ("[a]\nusers = [0]\nkwargs = 'a b'", r"\[a\]: `kwargs` must be plain, all, none"),
        ("[a]\nusers = [0]\nattributes = 'none,x'", r"\[a\]: `attributes` none excludes"),
        ("[a]\nusers = [0]\nwrappers = 'x.y'", r"\[a\]: `wrappers` must be gymnasium"),
        ("[a]\nusers = [0]\n[b]\nusers = ['root']", r'\[b\]: \[a\] has "root" among its `users` already'),
        (
            "[a]\nnetworks = ['10.0.0.1/8']\n[b]\nnetworks = ['10.0.0.0/8']",
            r'\[b\]: \[a\] has "10.0.0.0/8" among its `networks` already',
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """The error names the identity, the key and the remedy."""
    path = tmp_path / "identities.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CannotRead, match=problem):
        load(str(path))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """With the reason of the operating system."""
    with pytest.raises(CannotRead, match="No such file"):
        load(str(tmp_path / "missing"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command that makes tokens."""
    command = [sys.executable, "-m", "gymtwist.server.identities", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_the_command_makes_a_token(tmp_path: Path) -> None:
    """Its output can be appended to the file; the token is on the standard error alone."""
    done = run("alice")
    token = done.stderr.split()[-1]
    assert token not in done.stdout
    path = tmp_path / "identities.toml"
    path.write_text(done.stdout)
    assert load(str(path)).find(token, HERE).name == "alice"
    refused = run("a b")
    assert refused.returncode == 2
    assert "a name has 1 to 64 letters" in refused.stderr


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    """With all that it names."""
    page = (Path(__file__).parents[3] / "docs/reference/identities.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "identities.toml"
    path.write_text(example)
    assert load(str(path)).find(None, Peer(host="10.1.2.3")).name == "laptops"
