// A random agent in the netstring protocol, for Node.js without packages.
// Usage: node random_agent.js [HOST:PORT [ENVIRONMENT [EPISODES]]]
"use strict";
const net = require("node:net");

class Client {
  constructor(address) {
    const [host, port] = address.split(/:(?=\d+$)/);
    [this.chunks, this.missing] = [[], 0]; // what is not read yet, and how many bytes a frame lacks
    this.waiting = []; // the requests that have no reply yet, in the order in which they were sent
    this.socket = net.createConnection({ host, port, noDelay: true }); // send each request immediately
    this.socket.on("data", (data) => this.received(data));
    this.socket.on("error", (error) => this.ended(error));
    this.socket.on("end", () => this.ended(new Error("the server closed the connection")));
  }

  // Send a request; return a promise of its reply.
  ask(op, fields = {}) {
    const payload = JSON.stringify({ op, ...fields });
    this.socket.write(`${Buffer.byteLength(payload)}:${payload},`); // bytes, not characters
    return new Promise((resolve, reject) => {
      if (this.failure) reject(this.failure);
      else this.waiting.push({ resolve, reject });
    });
  }

  // A chunk may contain part of a frame or several frames: extract the complete ones.
  received(data) {
    this.chunks.push(data);
    this.missing -= data.length;
    if (this.missing > 0) return; // join the chunks of a large frame once, when all are there
    let buffer = Buffer.concat(this.chunks);
    for (let colon; (colon = buffer.indexOf(":")) >= 0; ) {
      const end = colon + 1 + Number(buffer.toString("latin1", 0, colon)); // bytes, not characters
      this.missing = end + 1 - buffer.length;
      if (this.missing > 0) break;
      if (buffer[end] !== ",".charCodeAt(0)) return this.ended(new Error("the reply does not end with a comma"));
      const reply = JSON.parse(buffer.toString("utf8", colon + 1, end));
      buffer = buffer.subarray(end + 1);
      // The server sends nothing unasked, except an error before it closes the connection.
      const { resolve, reject } = this.waiting.shift() ?? { reject: (error) => this.ended(error) };
      if (reply.op === "error") reject(new Error(`${reply.code}: ${reply.message}`));
      else resolve?.(reply);
    }
    this.chunks = [buffer];
  }

  ended(error) {
    this.failure ??= error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
    this.socket.destroy();
  }
}

// With base64, a value with a layout is a string of its bytes: an action of Discrete those of an int64.
const bytes = (value) => (typeof value === "string" ? Buffer.from(value, "base64") : value);
const integer = (number) => Buffer.from(BigInt64Array.of(BigInt(number)).buffer).toString("base64");

async function main(address = "127.0.0.1:5001", environment = "CartPole-v1", episodes = "3") {
  const client = new Client(address);
  // Lists of numbers, the default, take much longer to write and to read than base64.
  const { action_space: space } = await client.ask("make", { id: environment, values: "base64" });
  const choose = async (observation) => {
    if (space.kind !== "Discrete" || space.dtype !== "int64") return (await client.ask("sample")).action;
    return integer(space.start + Math.floor(Math.random() * space.n));
  };
  for (let episode = 1; episode <= Number(episodes); episode++) {
    let [length, total, reply] = [0, 0, await client.ask("reset")];
    while (!reply.terminated && !reply.truncated) {
      reply = await client.ask("step", { action: await choose(bytes(reply.observation)) });
      [length, total] = [length + 1, total + Number(reply.reward)]; // "NaN" and "Infinity" are strings in JSON
    }
    console.log(`episode ${episode}: ${length} steps, return ${total}`);
  }
  await client.ask("close");
}
module.exports = { Client, bytes, integer };
const failed = (error) => process.exit(console.error(`error: ${error.message}`) ?? 1);
if (require.main === module) main(...process.argv.slice(2)).catch(failed);
