// A random agent by WebSocket, for Node.js without packages; in a browser the same client works.
// Usage: node websocket_agent.mjs [HOST:PORT [ENVIRONMENT [EPISODES]]]
import { Client } from "../gymtwist/web/static/client.js";

async function main(address = "127.0.0.1:5001", environment = "CartPole-v1", episodes = "3") {
  const client = new Client(/^wss?:/.test(address) ? address : `ws://${address}/ws`);
  const { action_space: space } = await client.ask("make", { id: environment });
  const choose = async () => {
    if (space.kind !== "Discrete") return (await client.ask("sample")).action;
    return space.start + Math.floor(Math.random() * space.n);
  };
  for (let episode = 1; episode <= Number(episodes); episode++) {
    let [length, total, reply] = [0, 0, await client.ask("reset")];
    while (!reply.terminated && !reply.truncated) {
      reply = await client.ask("step", { action: await choose() });
      [length, total] = [length + 1, total + Number(reply.reward)]; // "NaN" and "Infinity" are strings in JSON
    }
    console.log(`episode ${episode}: ${length} steps, return ${total}`);
  }
  await client.ask("close");
  client.close();
}
const failed = (error) => process.exit(console.error(`error: ${error.code}: ${error.message}`) ?? 1);
main(...process.argv.slice(2)).catch(failed);
