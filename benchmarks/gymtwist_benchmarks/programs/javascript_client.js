// The JavaScript client of the examples plays for some seconds; see driver.py for the arguments.
"use strict";
const { Client, bytes, integer } = require("../../../examples/random_agent.js");

async function main(address, environment, actions, seconds, warm) {
  const client = new Client(address);
  const isBase64 = process.env.GYMTWIST_VALUES === "base64";
  await client.ask("make", { id: environment, values: isBase64 ? "base64" : "nested" });
  const drawn = Array.from({ length: 1024 }, () => Math.floor(Math.random() * actions));
  const sent = isBase64 ? drawn.map(integer) : drawn;
  let [steps, reply] = [0, await client.ask("reset")];
  const play = async (seconds) => {
    const start = performance.now();
    for (;;) {
      reply = await client.ask("step", { action: sent[steps++ % sent.length] });
      bytes(reply.observation); // lists are left as they are
      if (reply.terminated || reply.truncated) reply = await client.ask("reset");
      const elapsed = (performance.now() - start) / 1000;
      if (elapsed >= seconds) return elapsed;
    }
  };
  await play(warm);
  steps = 0;
  const elapsed = await play(seconds);
  console.log(JSON.stringify({ steps, seconds: elapsed, clients: 1 }));
  await client.ask("close");
}

const [address, environment, ...numbers] = process.argv.slice(2);
main(address, environment, ...numbers.map(Number));
