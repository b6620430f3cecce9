// Plays by the client for JavaScript and checks what comes. Arguments: the address, and the certificate to trust.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { Client } from "../../gymtwist/web/static/client.js";
import { decode, encode } from "../../gymtwist/web/static/messagepack.js";

const [address, certificate] = process.argv.slice(2);
const options = certificate ? { ca: readFileSync(certificate) } : {};

const values = { a: [null, true, false, 0, 127, -32, -33, 2 ** 40, -(2 ** 40), 1.5, "ä".repeat(40)], "": { b: {} } };
assert.deepStrictEqual(decode(encode(values)), values);
assert.ok(Object.is(decode(encode(-0)), -0));
assert.strictEqual(decode(encode(2n ** 60n)), 2n ** 60n);
for (const size of [0, 255, 256, 65535, 65536]) {
  assert.strictEqual(decode(encode(new Uint8Array(size))).length, size);
  assert.strictEqual(decode(encode("x".repeat(size))).length, size);
  assert.strictEqual(decode(encode(Array(size).fill(1))).length, size);
}

for (const binary of [false, true]) {
  const client = new Client(address, { binary, ...options });
  const { observation_layout: layout } = await client.ask("make", { id: "CartPole-v1" });
  assert.strictEqual(layout.size, 16);
  const { observation } = await client.ask("reset", { seed: 1 });
  assert.strictEqual(observation.length, binary ? 16 : 4);
  const action = binary ? new Uint8Array(new BigInt64Array([1n]).buffer) : 1;
  const replies = await Promise.all(Array.from({ length: 5 }, () => client.ask("step", { action })));
  assert.deepStrictEqual(replies.map(({ reward }) => reward), [1, 1, 1, 1, 1]);
  await assert.rejects(client.ask("step", { action: binary ? new Uint8Array(3) : 7 }), { code: "invalid-action" });
  const circle = {};
  circle.circle = circle;
  await assert.rejects(client.ask("step", { action: circle })); // nothing is sent, so later replies are not its own
  const padded = await client.ask("step", { action, unknown: "x".repeat(70000) });
  assert.strictEqual(padded.op, "step");
  await client.ask("close");
}

const nowhere = new Client(`${address}/nowhere`, options);
await assert.rejects(nowhere.ask("make", { id: "CartPole-v1" }), /426 Upgrade Required/);
console.log("ok");
