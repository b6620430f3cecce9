// Which keys stand for which actions. A key is named as KeyboardEvent.key names it, letters in lower case.

const [LEFT, RIGHT, UP, DOWN] = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
const SHOWN = { [LEFT]: "←", [RIGHT]: "→", [UP]: "↑", [DOWN]: "↓", " ": "Space" };

// The keys of well-known environments, by the beginning of their ids, and the action without a key. Where there is none
// such action, the last one is repeated.
const KNOWN = [
  ["CartPole", { [LEFT]: 0, [RIGHT]: 1 }],
  ["MountainCar-", { [LEFT]: 0, [RIGHT]: 2 }, 1],
  ["Acrobot", { [LEFT]: 0, [RIGHT]: 2 }, 1],
  ["LunarLander-", { [LEFT]: 1, [UP]: 2, [RIGHT]: 3 }, 0],
  ["FrozenLake", { [LEFT]: 0, [DOWN]: 1, [RIGHT]: 2, [UP]: 3 }],
  ["CliffWalking", { [UP]: 0, [RIGHT]: 1, [DOWN]: 2, [LEFT]: 3 }],
  ["Taxi", { [DOWN]: 0, [UP]: 1, [RIGHT]: 2, [LEFT]: 3, p: 4, o: 5 }],
  ["MiniGrid", { [LEFT]: 0, [RIGHT]: 1, [UP]: 2, p: 3, o: 4, " ": 5 }],
];
// Environments whose world stands still until somebody moves.
const TURNS = /^(FrozenLake|CliffWalking|Taxi|Blackjack|MiniGrid|BabyAI)/;
const LETTERS = { [UP]: "w", [LEFT]: "a", [DOWN]: "s", [RIGHT]: "d" }; // what most environments have in place of arrows

export const takesTurns = (id) => TURNS.test(id.replace(/^gym:/, ""));

// Numbers are code points, but for the arrows of pygame, in its first version and in the second.
const CODES = { 273: UP, 274: DOWN, 275: RIGHT, 276: LEFT };
Object.assign(CODES, { 1073741903: RIGHT, 1073741904: LEFT, 1073741905: DOWN, 1073741906: UP });

function named(one, other, code) {
  if (code === undefined) return (one ?? other).toLowerCase();
  return CODES[code] ?? (code < 0x110000 ? String.fromCodePoint(code).toLowerCase() : "");
}

// Python's tuples of keys: "('d', ' ')" or "(100, 32)", sorted and joined.
function combination(text) {
  const keys = [...text.matchAll(/'(.)'|"(.)"|(\d+)/g)].map(([, ...found]) => named(...found));
  return keys.sort().join("\n");
}

// Return a function from the keys that are held to an action, and a list of what to tell the player.
export function steering(id, space, told, meanings) {
  const low = (value, index) => (Array.isArray(value) ? value.flat(Infinity)[index] : value);
  if (space.kind === "Box") return box(space, low);
  if (space.kind !== "Discrete") return undefined;
  const start = space.start ?? 0;
  const name = (action) => meanings?.[action - start] ?? `action ${action}`;
  const buttons = Array.from({ length: Math.min(space.n, 30) }, (_, index) => [name(start + index), start + index]);
  if (told) {
    const actions = new Map(Object.entries(told).map(([keys, action]) => [combination(keys), action]));
    const listed = new Set([...actions.keys()].flatMap((each) => each.split("\n")).filter(Boolean));
    const rest = actions.get("") ?? meanings?.indexOf("NOOP") ?? 0;
    const choose = (held) => {
      const keys = [...held].map((key) => (listed.has(key) ? key : LETTERS[key] ?? key));
      for (let size = keys.length; size > 0; size--) {
        const action = actions.get(keys.slice(-size).sort().join("\n"));
        if (action !== undefined) return action;
      }
      return Math.max(0, rest);
    };
    const used = new Set([...listed, ...Object.keys(LETTERS).filter((arrow) => listed.has(LETTERS[arrow]))]);
    const legend = [...actions].filter(([keys]) => keys).map(([keys, action]) => [keys.split("\n").map(shown).join(" + "), name(action)]);
    return { choose, buttons, legend, used };
  }
  const bare = id.replace(/^.*[:/]/, "");
  const [, keys, rest] = KNOWN.find(([begin]) => bare.startsWith(begin)) ?? ["", {}];
  const all = { ...Object.fromEntries(buttons.slice(0, 10).map(([, action]) => [String(action), action])), ...keys };
  let last = rest ?? start;
  const choose = (held) => {
    const key = [...held].reverse().find((each) => each in all);
    if (key !== undefined) return (last = all[key]);
    return rest ?? last;
  };
  const legend = Object.entries(all).map(([key, action]) => [shown(key), name(action)]);
  return { choose, buttons, legend, used: new Set(Object.keys(all)) };
}

// The first number by left and right, the second by down and up, the third by s and w; others stay in the middle.
function box(space, bound) {
  const size = space.shape.reduce((product, each) => product * each, 1);
  if (space.shape.length > 1 || size > 30) return undefined;
  const pairs = [[LEFT, RIGHT], [DOWN, UP], ["s", "w"]].slice(0, size);
  const finite = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);
  const choose = (held) =>
    Array.from({ length: size }, (_, index) => {
      const [least, most] = [finite(bound(space.low, index), -1), finite(bound(space.high, index), 1)];
      const middle = least <= 0 && most >= 0 ? 0 : (least + most) / 2;
      const [less, more] = pairs[index] ?? [];
      return held.has(less) ? least : held.has(more) ? most : middle;
    });
  const legend = pairs.map(([less, more], index) => [`${shown(less)} ${shown(more)}`, `number ${index + 1} of the action`]);
  return { choose, buttons: [], legend, used: new Set(pairs.flat()) };
}

export const shown = (key) => SHOWN[key] ?? key;
