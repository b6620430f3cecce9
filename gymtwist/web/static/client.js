// A client of the framed protocol over WebSocket, for browsers and Node.js, without packages. Replies come in the order
// of the requests. Messages are JSON, or MessagePack with { binary: true }.
import { decode, encode } from "./messagepack.js";

const inNode = globalThis.process?.versions?.node !== undefined;
const Socket = inNode ? (await import("./node_websocket.js")).NodeWebSocket : WebSocket;

export class Client {
  // The options of a connection are those of node:tls, for Node.js alone: { ca } is the certificate to trust.
  constructor(address, { binary = false, ...options } = {}) {
    this.waiting = [];
    this.encode = binary ? encode : JSON.stringify;
    this.socket = inNode ? new Socket(address, options) : new Socket(address);
    this.socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      this.socket.addEventListener("open", () => resolve((this.isOpen = true)));
      this.socket.addEventListener("close", ({ code, reason }) => {
        this.failure = new Error(reason || `the connection was closed (${code})`);
        reject(this.failure);
        for (const each of this.waiting.splice(0)) each.reject(this.failure);
      });
    });
    this.opened.catch(() => {}); // whoever asks is told
    this.socket.addEventListener("message", ({ data }) => this.received(data));
  }

  received(data) {
    const reply = typeof data === "string" ? JSON.parse(data) : decode(new Uint8Array(data));
    if (reply.op === "queued") return;
    const { resolve, reject } = this.waiting.shift() ?? {};
    if (reply.op === "error") reject?.(Object.assign(new Error(reply.message), { code: reply.code }));
    else resolve?.(reply);
  }

  // Send a request; return a promise of its reply.
  ask(op, fields = {}) {
    if (!this.isOpen) return this.opened.then(() => this.ask(op, fields));
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      const message = this.encode({ op, ...fields }); // or nothing is sent, so no reply is due
      this.waiting.push({ resolve, reject });
      this.socket.send(message);
    });
  }

  close() {
    this.socket.close();
  }
}
