// The format of EasyTCPSocket in JavaScript, for Node: `node messages.mjs HOST PORT` connects, sends
// the lines "COMMAND TEXT" of its standard input, and writes what comes as such lines, to the end.
import { connect } from "node:net";
import { createInterface } from "node:readline";

const MARK = 0x584d0100; // "XM", version 1, reserved 0
const HEADER = 12;
const LARGEST = 2 ** 24;

export function encode(command, data) {
  const header = Buffer.alloc(HEADER);
  header.writeUInt32BE(MARK, 0);
  header.writeInt32BE(command, 4);
  header.writeUInt32BE(data.length, 8);
  return Buffer.concat([header, data]);
}

export class Decoder {
  #pieces = [];
  #size = 0;
  #needed = HEADER;

  // The messages that are whole now; throws if the bytes are none.
  *feed(chunk) {
    this.#pieces.push(chunk);
    this.#size += chunk.length;
    while (this.#size >= this.#needed) {
      const bytes = Buffer.concat(this.#pieces);
      if (this.#needed === HEADER && this.#check(bytes) > HEADER) {
        this.#needed = this.#check(bytes);
        this.#pieces = [bytes];
        continue;
      }
      yield { command: bytes.readInt32BE(4), data: bytes.subarray(HEADER, this.#needed) };
      this.#pieces = [bytes.subarray(this.#needed)];
      this.#size -= this.#needed;
      this.#needed = HEADER;
    }
  }

  #check(header) {
    const size = header.readUInt32BE(8);
    if (header.readUInt32BE(0) !== MARK || header.readInt32BE(4) < 0) throw new Error("no message");
    if (size > LARGEST) throw new Error(`a message of ${size} bytes is too large`);
    return HEADER + size;
  }
}

const [host, port] = process.argv.slice(2);
const socket = connect(Number(port), host);
const decoder = new Decoder();
socket.on("data", (chunk) => {
  for (const { command, data } of decoder.feed(chunk)) console.log(`${command} ${data}`);
});
socket.on("end", () => process.exit());
createInterface(process.stdin).on("line", (line) => {
  const [, command, text] = line.match(/^(\d+) (.*)$/);
  socket.write(encode(Number(command), Buffer.from(text)));
});
