// A WebSocket for Node.js without packages, as far as client.js uses it. Browsers have their own.
import crypto from "node:crypto";
import net from "node:net";
import tls from "node:tls";

const [TEXT, BINARY, CLOSE, PING, PONG] = [1, 2, 8, 9, 10];
const MOST = 2 ** 28; // bytes of a message
let [masks, place] = [Buffer.alloc(0), 0];

export class NodeWebSocket {
  constructor(address, options = {}) {
    const { protocol, hostname, host, port, pathname, search } = new URL(address);
    const secure = protocol === "wss:";
    const name = hostname.replace(/^\[|\]$/g, "");
    this.listeners = { open: [], close: [], message: [] };
    [this.chunks, this.missing, this.fragments] = [[], 0, []];
    this.key = crypto.randomBytes(16).toString("base64");
    const place = { host: name, port: port || (secure ? 443 : 80), ...options };
    this.socket = secure ? tls.connect({ servername: net.isIP(name) ? "" : name, ...place }) : net.connect(place);
    this.socket.setNoDelay(true); // send each request immediately
    const lines = [
      ...[`GET ${pathname}${search} HTTP/1.1`, `Host: ${host}`, "Upgrade: websocket", "Connection: Upgrade"],
      ...["Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${this.key}`, "", ""],
    ];
    this.socket.once(secure ? "secureConnect" : "connect", () => this.socket.write(lines.join("\r\n")));
    this.socket.on("data", (data) => this.received(data));
    this.socket.on("error", (error) => this.ended(1006, error.message));
    this.socket.on("end", () => this.ended(1006, "the server closed the connection"));
  }

  addEventListener(type, listener) {
    this.listeners[type]?.push(listener);
  }

  tell(type, event = {}) {
    for (const each of this.listeners[type]) each(event);
  }

  // Send a string as text, or bytes.
  send(data) {
    this.write(typeof data === "string" ? TEXT : BINARY, Buffer.from(data));
  }

  close(code = 1000) {
    this.write(CLOSE, Buffer.from([code >> 8, code & 255]));
    this.socket.end();
  }

  write(opcode, payload) {
    const length = payload.length;
    const size = length < 126 ? 2 : length < 65536 ? 4 : 10;
    const frame = Buffer.allocUnsafe(size + 4 + length);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | (size === 2 ? length : size === 4 ? 126 : 127);
    if (size === 4) frame.writeUInt16BE(length, 2);
    if (size === 10) frame.writeBigUInt64BE(BigInt(length), 2);
    if (place + 4 > masks.length) [masks, place] = [crypto.randomBytes(4096), 0]; // many at once are cheaper
    for (let index = 0; index < 4; index++) frame[size + index] = masks[place + index];
    for (let index = 0; index < length; index++) frame[size + 4 + index] = payload[index] ^ frame[size + (index & 3)];
    place += 4;
    this.socket.write(frame);
  }

  // A chunk may contain part of a frame or several frames: extract the complete ones.
  received(data) {
    this.chunks.push(data);
    this.missing -= data.length;
    if (this.missing > 0) return; // join the chunks of a large frame once, when all are there
    let buffer = this.chunks.length > 1 ? Buffer.concat(this.chunks) : data;
    if (this.key) buffer = this.upgraded(buffer);
    while (!this.key && !this.socket.destroyed && buffer.length >= 2) {
      const second = buffer[1];
      let [length, start] = [second, 2];
      if (second === 126) [length, start] = [buffer.length < 4 ? 0 : buffer.readUInt16BE(2), 4];
      if (second === 127) [length, start] = [buffer.length < 10 ? 0 : Number(buffer.readBigUInt64BE(2)), 10];
      if (second > 127 || length > MOST) return this.ended(1002, "the frame is masked or too long");
      this.missing = start + length - buffer.length;
      if (this.missing > 0) break;
      this.frame(buffer[0], buffer.subarray(start, start + length));
      buffer = buffer.subarray(start + length);
    }
    this.chunks = [buffer];
  }

  upgraded(buffer) {
    const end = buffer.indexOf("\r\n\r\n");
    if (end < 0) return buffer;
    const head = buffer.toString("latin1", 0, end);
    const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const accept = crypto.createHash("sha1").update(this.key + guid).digest("base64");
    const rest = buffer.subarray(end + 4);
    if (!/^HTTP\/1\.1 101 /.test(head) || !head.includes(accept)) {
      this.ended(1006, `${head.split("\r\n")[0]} ${rest.toString("utf8", 0, 300)}`);
    } else {
      this.key = "";
      this.tell("open");
    }
    return rest;
  }

  frame(first, payload) {
    const opcode = first & 15;
    if (opcode === CLOSE) {
      this.write(CLOSE, payload.subarray(0, 2));
      const code = payload.length > 1 ? payload.readUInt16BE(0) : 1005;
      this.ended(code, payload.toString("utf8", 2));
    } else if (opcode === PING) {
      this.write(PONG, payload);
    } else if (opcode !== PONG) {
      if (opcode) this.opcode = opcode;
      this.fragments.push(payload);
      if (!(first & 0x80)) return;
      const whole = this.fragments.length > 1 ? Buffer.concat(this.fragments) : payload;
      this.fragments = [];
      this.tell("message", { data: this.opcode === TEXT ? whole.toString("utf8") : whole });
    }
  }

  ended(code, reason) {
    if (!this.isEnded) this.tell("close", { code, reason });
    this.isEnded = true;
    this.socket.end();
    if (code === 1006) this.socket.destroy();
  }
}
