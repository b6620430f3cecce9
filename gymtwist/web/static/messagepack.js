// MessagePack as the framed protocol uses it: no extension types. Bytes are a Uint8Array, large integers a BigInt.
const [reads, writes] = [new TextDecoder(), new TextEncoder()];

export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let place = 0;
  const number = (kind, size) => {
    place += size;
    return view[`get${kind}`](place - size);
  };
  const long = (kind) => {
    const value = number(kind, 8);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  };
  const part = (length) => {
    place += length;
    if (place > bytes.length) throw new Error("the message is cut off");
    return bytes.subarray(place - length, place);
  };
  const list = (length) => Array.from({ length }, item);
  const map = (length) => Object.fromEntries(Array.from({ length }, () => [item(), item()]));
  const size = (code, first) => [() => number("Uint8", 1), () => number("Uint16", 2), () => number("Uint32", 4)][code - first]();
  function item() {
    const code = number("Uint8", 1);
    if (code < 0x80) return code;
    if (code < 0x90) return map(code & 15);
    if (code < 0xa0) return list(code & 15);
    if (code < 0xc0) return reads.decode(part(code & 31));
    if (code >= 0xe0) return code - 256;
    if (code >= 0xc4 && code <= 0xc6) return part(size(code, 0xc4));
    if (code >= 0xd9 && code <= 0xdb) return reads.decode(part(size(code, 0xd9)));
    switch (code) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xca: return number("Float32", 4);
      case 0xcb: return number("Float64", 8);
      case 0xcc: return number("Uint8", 1);
      case 0xcd: return number("Uint16", 2);
      case 0xce: return number("Uint32", 4);
      case 0xcf: return long("BigUint64");
      case 0xd0: return number("Int8", 1);
      case 0xd1: return number("Int16", 2);
      case 0xd2: return number("Int32", 4);
      case 0xd3: return long("BigInt64");
      case 0xdc: case 0xdd: return list(size(code, 0xdb));
      case 0xde: case 0xdf: return map(size(code, 0xdd));
      default: throw new Error(`the byte ${code} begins no value`);
    }
  }
  return item();
}

export function encode(value) {
  let [bytes, length] = [new Uint8Array(256), 0];
  const room = (count) => {
    if (length + count > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, length + count));
      larger.set(bytes);
      bytes = larger;
    }
    length += count;
    return new DataView(bytes.buffer, length - count);
  };
  const head = (code, kind, size, count) => {
    const view = room(1 + size);
    view.setUint8(0, code);
    view[`set${kind}`](1, count);
  };
  const sized = (count, small, most, codes) => {
    if (count < most) room(1).setUint8(0, small | count);
    else if (count < 256 && codes[0]) head(codes[0], "Uint8", 1, count);
    else if (count < 65536) head(codes[1], "Uint16", 2, count);
    else head(codes[2], "Uint32", 4, count);
  };
  const put = (data) => {
    room(data.length);
    bytes.set(data, length - data.length);
  };
  const write = (each) => {
    if (each === null || each === undefined) room(1).setUint8(0, 0xc0);
    else if (typeof each === "boolean") room(1).setUint8(0, each ? 0xc3 : 0xc2);
    else if (typeof each === "bigint") head(each < 0n ? 0xd3 : 0xcf, each < 0n ? "BigInt64" : "BigUint64", 8, each);
    else if (Number.isInteger(each) && !Object.is(each, -0) && each >= -32 && each < 128) room(1).setInt8(0, each);
    else if (Number.isSafeInteger(each) && !Object.is(each, -0)) head(0xd3, "BigInt64", 8, BigInt(each));
    else if (typeof each === "number") head(0xcb, "Float64", 8, each);
    else if (typeof each === "string") {
      const text = writes.encode(each);
      sized(text.length, 0xa0, 32, [0xd9, 0xda, 0xdb]);
      put(text);
    } else if (ArrayBuffer.isView(each)) {
      const data = new Uint8Array(each.buffer, each.byteOffset, each.byteLength);
      sized(data.length, 0, 0, [0xc4, 0xc5, 0xc6]);
      put(data);
    } else if (Array.isArray(each)) {
      sized(each.length, 0x90, 16, [0, 0xdc, 0xdd]);
      each.forEach(write);
    } else {
      const entries = Object.entries(each);
      sized(entries.length, 0x80, 16, [0, 0xde, 0xdf]);
      for (const [key, content] of entries) write(key), write(content);
    }
  };
  write(value);
  return bytes.slice(0, length);
}
