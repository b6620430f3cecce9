// The client of the web page, by Node.js, plays for some seconds; see driver.py for the arguments.
import net from "node:net";
import { bytes, integer } from "../../../examples/random_agent.js";
import { Client } from "../../../gymtwist/web/static/client.js";
import { encode } from "../../../gymtwist/web/static/messagepack.js";

// A TCP socket in place of the client's WebSocket, for one reply at a time: a netstring, or an Int32 frame.
class TcpClient extends Client {
  static connect(address, isBinary) {
    const client = Object.create(TcpClient.prototype);
    const [host, port] = address.split(/:(?=\d+$)/);
    const stream = net.createConnection({ host, port, noDelay: true }).on("data", (data) => client.read(data));
    const send = isBinary ? (data) => stream.write(int32(data)) : (data) => stream.write(netstring(data));
    const socket = { send, close: () => stream.end() };
    const state = { isBinary, socket, encode: isBinary ? encode : JSON.stringify, isOpen: true };
    return Object.assign(client, state, { waiting: [], chunks: [], missing: 0 });
  }

  read(data) {
    this.chunks.push(data);
    this.missing -= data.length;
    if (this.missing > 0) return; // join the chunks of a large frame once, when all are there
    const buffer = this.chunks.length > 1 ? Buffer.concat(this.chunks) : data;
    [this.chunks, this.missing] = [[buffer], 0];
    const start = this.isBinary ? 4 : buffer.indexOf(":") + 1;
    if (!start || buffer.length < start) return;
    const end = start + (this.isBinary ? buffer.readUInt32BE(0) : Number(buffer.toString("latin1", 0, start - 1)));
    this.missing = end + (this.isBinary ? 0 : 1) - buffer.length;
    if (this.missing > 0) return;
    [this.chunks, this.missing] = [[], 0];
    this.received(this.isBinary ? buffer.subarray(start, end) : buffer.toString("utf8", start, end));
  }
}

const netstring = (text) => `${Buffer.byteLength(text)}:${text},`;
const int32 = (data) => {
  const frame = Buffer.allocUnsafe(4 + data.length);
  frame.writeUInt32BE(data.length);
  frame.set(data, 4);
  return frame;
};

async function main(address, environment, actions, balance, seconds, warm) {
  const { GYMTWIST_PROTOCOL: protocol = "netstring", GYMTWIST_VALUES: values = "nested" } = process.env;
  const client = protocol.startsWith("websocket")
    ? new Client(`ws://${address}/ws`, { binary: protocol === "websocket-binary" })
    : TcpClient.connect(address, protocol === "int32");
  await client.ask("make", { id: environment, ...(values === "base64" && { values }) });
  const drawn = Array.from({ length: 1024 }, () => Math.floor(Math.random() * actions));
  const sent = values === "base64" ? drawn.map(integer) : drawn;
  let [steps, reply] = [0, await client.ask("reset")];
  const play = async (seconds) => {
    const [start, cpu] = [performance.now(), process.cpuUsage()];
    for (;;) {
      const observation = bytes(reply.observation); // lists are left as they are
      const action = balance ? Number(observation[2] + observation[3] > 0) : sent[steps % sent.length];
      reply = await client.ask("step", { action });
      steps++;
      if (reply.terminated || reply.truncated) reply = await client.ask("reset");
      const elapsed = (performance.now() - start) / 1000;
      if (elapsed < seconds) continue;
      const { user, system } = process.cpuUsage(cpu);
      return { seconds: elapsed, cpu: (user + system) / 1e6 };
    }
  };
  await play(warm);
  steps = 0;
  console.log(JSON.stringify({ ...(await play(seconds)), steps, clients: 1 }));
  await client.ask("close");
  client.close();
}

const [address, environment, ...numbers] = process.argv.slice(2);
main(address, environment, ...numbers.map(Number));
