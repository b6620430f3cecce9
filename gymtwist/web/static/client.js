// A client of the framed protocol over WebSocket, with JSON. Replies come in the order of the requests.

export class Client {
  constructor(address) {
    this.waiting = [];
    this.socket = new WebSocket(address);
    this.opened = new Promise((resolve, reject) => {
      this.socket.addEventListener("open", resolve);
      this.socket.addEventListener("close", ({ code, reason }) => {
        this.failure = new Error(reason || `the connection was closed (${code})`);
        reject(this.failure);
        for (const each of this.waiting.splice(0)) each.reject(this.failure);
      });
    });
    this.opened.catch(() => {}); // whoever asks is told
    this.socket.addEventListener("message", ({ data }) => this.received(JSON.parse(data)));
  }

  received(reply) {
    const { resolve, reject } = this.waiting.shift() ?? {};
    if (reply.op === "error") reject?.(Object.assign(new Error(reply.message), { code: reply.code }));
    else resolve?.(reply);
  }

  // Send a request; return a promise of its reply.
  async ask(op, fields = {}) {
    await this.opened;
    if (this.failure) throw this.failure;
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.socket.send(JSON.stringify({ op, ...fields }));
    });
  }

  close() {
    this.socket.close();
  }
}
