// A random agent in the netstring protocol, for Node.js without packages.
// Usage: node random_agent.js [HOST:PORT [ENVIRONMENT [EPISODES]]]
"use strict";
const net = require("node:net");

class Client {
  constructor(host, port) {
    this.buffer = Buffer.alloc(0);
    this.waiting = []; // the requests that have no reply yet, in the order in which they were sent
    // noDelay: send each request immediately, instead of waiting for more data.
    this.socket = net.createConnection({ host, port, noDelay: true });
    this.socket.on("data", (data) => this.received(data));
    this.socket.on("error", (error) => this.ended(error));
    this.socket.on("end", () => this.ended(new Error("the server closed the connection")));
  }

  // Send a request; return a promise of its reply.
  ask(op, fields = {}) {
    const payload = Buffer.from(JSON.stringify({ op, ...fields }));
    this.socket.write(Buffer.concat([Buffer.from(`${payload.length}:`), payload, Buffer.from(",")]));
    return new Promise((resolve, reject) => {
      if (this.failure) reject(this.failure);
      else this.waiting.push({ resolve, reject });
    });
  }

  // A chunk may contain part of a frame or several frames: extract the complete ones.
  received(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (;;) {
      const colon = this.buffer.indexOf(":");
      if (colon < 0) return;
      const end = colon + 1 + Number(this.buffer.toString("latin1", 0, colon)); // bytes, not characters
      if (this.buffer.length <= end) return;
      if (this.buffer[end] !== ",".charCodeAt(0)) return this.ended(new Error("the reply does not end with a comma"));
      const reply = JSON.parse(this.buffer.toString("utf8", colon + 1, end));
      this.buffer = this.buffer.subarray(end + 1);
      // The server sends nothing unasked, except an error before it closes the connection.
      const { resolve, reject } = this.waiting.shift() ?? { reject: (error) => this.ended(error) };
      if (reply.op === "error") reject(new Error(`${reply.code}: ${reply.message}`));
      else resolve?.(reply);
    }
  }

  ended(error) {
    this.failure ??= error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
    this.socket.destroy();
  }
}

async function main(address = "127.0.0.1:5001", environment = "CartPole-v1", episodes = "3") {
  const colon = address.lastIndexOf(":");
  const client = new Client(address.slice(0, colon), Number(address.slice(colon + 1)));
  const { action_space: space } = await client.ask("make", { id: environment });
  const choose = async () => {
    if (space.kind === "Discrete") return space.start + Math.floor(Math.random() * space.n);
    return (await client.ask("sample")).action;
  };
  for (let episode = 1; episode <= Number(episodes); episode++) {
    let [length, total, ended] = [0, 0, false];
    await client.ask("reset");
    while (!ended) {
      const reply = await client.ask("step", { action: await choose() });
      length += 1;
      total += Number(reply.reward); // "NaN" and "Infinity" are strings in JSON
      ended = reply.terminated || reply.truncated;
    }
    console.log(`episode ${episode}: ${length} steps, return ${total}`);
  }
  await client.ask("close");
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
