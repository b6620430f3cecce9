"""Explore a hard Atari game as Go-Explore does: return to a promising state first, and only then explore.

An archive has a snapshot of each small part of the game ("cell") that was reached: the room, where in the room, and
what the player carries, as the console's memory tells it. Again and again, explorers branch off snapshots and take
random actions, each in a session of its own; what they find goes into the archive.

A random agent does not leave the first room of Montezuma's Revenge. Of the archive, what was explored most often is
released, so that it keeps within ``--max-snapshots`` of the server.

After Ecoffet et al., "First return, then explore", Nature 590, 2021. The places in memory are those of the Atari
Annotated RAM Interface, Anand et al., "Unsupervised State Representation Learning in Atari", NeurIPS 2019.

Usage: python go_explore.py [HOST:PORT] [--steps N] [--seed N] [--random]
"""

import argparse
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import gymtwist.client as gymtwist

GAME = "ALE/MontezumaRevenge-v5"
EXPLORERS, STEPS = 2, 100
MOST_CELLS = 95
#: Pixels of a cell's side.
SIDE = 8
#: Places in the console's memory.
ROOM, X, Y, ITEMS, FALLING = 3, 42, 43, 65, 55


def cell_of(observation):
    """Return the room, the place in it, and the items, for 128 bytes of memory."""
    return int(observation[ROOM]), int(observation[X]) // SIDE, int(observation[Y]) // SIDE, int(observation[ITEMS])


class Cell:
    """A part of the game that was reached: a snapshot there, and how often it was explored from."""

    def __init__(self, here, total):
        self.here, self.total, self.visits = here, total, 0


def explore(env, here, lives, seed):
    """Branch off, and take random actions, each for a while; return the actions and what came of each."""
    rng = random.Random(seed)
    found, action = [], rng.randrange(18)
    with env.branch(here) as branch:
        for _ in range(STEPS):
            if rng.random() < 0.1:
                action = rng.randrange(18)
            observation, reward, terminated, truncated, info = branch.step(action)
            if terminated or truncated or info["lives"] < lives:
                break
            found.append((action, None if observation[FALLING] else cell_of(observation), reward))
    return found


class Archive:
    """The cells, all in one session."""

    def __init__(self, env, lives, observation):
        self.env, self.lives = env, lives
        self.cells = {cell_of(observation): Cell(env.snapshot(), 0.0)}
        self.known = set(self.cells)
        self.best = 0.0

    @property
    def rooms(self):
        """The rooms that were reached."""
        return sorted({cell[0] for cell in self.known})

    def choose(self, rng):
        """Choose cells to explore from, those that seldom were with more probability."""
        cells = list(self.cells.values())
        chosen = rng.choices(cells, [1 / (each.visits + 1) ** 0.5 for each in cells], k=EXPLORERS)
        for each in chosen:
            each.visits += 1
        return chosen

    def add(self, start, found, needed):
        """Go where an explorer was, and keep what is new there; cells that are needed still are not released."""
        new = [number for number, (_, cell, _) in enumerate(found) if cell is not None and cell not in self.known]
        if not new:
            return
        self.env.restore(start.here)
        total = start.total
        for action, cell, reward in found[: new[-1] + 1]:
            self.env.step(action)
            total += reward
            if cell is not None and cell not in self.known:
                self.known.add(cell)
                self.shrink(needed)
                self.cells[cell] = Cell(self.env.snapshot(), total)
                self.best = max(self.best, total)

    def shrink(self, needed):
        """Make room for one more cell: release what was explored most."""
        if len(self.cells) >= MOST_CELLS:
            spare = [name for name, cell in self.cells.items() if cell not in needed]
            self.cells.pop(max(spare, key=lambda name: self.cells[name].visits)).here.release()


def play_at_random(env, steps, seed):
    """Return the rooms that random actions reach."""
    rng = random.Random(seed)
    observation, _ = env.reset(seed=seed)
    rooms = {int(observation[ROOM])}
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(rng.randrange(18))
        if terminated or truncated:
            observation, _ = env.reset()
        rooms.add(int(observation[ROOM]))
    return sorted(rooms)


def main():
    """Explore, and tell of each room."""
    parser = argparse.ArgumentParser(description="Explore Montezuma's Revenge.")
    parser.add_argument("address", nargs="?", default="localhost:5001")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", action="store_true", help="only take random actions, to compare")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    game = gymtwist.connect(options.address, GAME, obs_type="ram", repeat_action_probability=0.0)
    with game as env, ThreadPoolExecutor(EXPLORERS) as threads:
        if options.random:
            print(f"rooms at random: {play_at_random(env, options.steps, options.seed)}")
            return
        observation, info = env.reset(seed=options.seed)
        archive = Archive(env, info["lives"], observation)
        steps, rooms = 0, archive.rooms
        for seeds in itertools.count():
            chosen = archive.choose(rng)
            work = [
                threads.submit(explore, env, each.here, archive.lives, f"{options.seed} {seeds} {number}")
                for number, each in enumerate(chosen)
            ]
            for start, each in zip(chosen, work, strict=True):
                found = each.result()
                steps += len(found)
                archive.add(start, found, chosen)
            if archive.rooms != rooms:
                rooms = archive.rooms
                print(f"after {steps} steps: rooms {rooms}, at most {archive.best:g} points", flush=True)
            if steps >= options.steps:
                break
        print(f"{len(archive.known)} cells, rooms {rooms}, at most {archive.best:g} points")


main()
