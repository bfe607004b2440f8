// Event files that TensorBoard reads: records of u64 length, masked CRC-32C of the length, data, masked CRC-32C of the data;
// the data is a message Event of TensorFlow's event.proto.

import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1; // Castagnoli's polynomial, reflected
  }
  return value >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function encodeRecord(data: Buffer): Buffer {
  const record = Buffer.alloc(8 + 4 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8);
  data.copy(record, 12);
  record.writeUInt32LE(maskedCrc(data), 12 + data.length);
  return record;
}

const wire = { varint: 0, eight: 1, bytes: 2, four: 5 } as const; // protobuf's types of fields

function tag(field: number, type: number): number[] {
  return [(field << 3) | type];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) + 128);
  }
  return [...bytes, rest];
}

function bytesField(field: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([...tag(field, wire.bytes), ...varint(content.length)]), content]);
}

/** Event: 1 wall_time, 2 step, then what it is about. */
function encodeEvent(seconds: number, step: number, ...about: readonly Buffer[]): Buffer {
  const time = Buffer.alloc(9);
  time.set(tag(1, wire.eight));
  time.writeDoubleLE(seconds, 1);
  return Buffer.concat([time, Buffer.from([...tag(2, wire.varint), ...varint(step)]), ...about]);
}

/** Summary.Value: 1 tag, 2 simple_value. */
function encodeValue(name: string, value: number): Buffer {
  const number = Buffer.alloc(5);
  number.set(tag(2, wire.four));
  number.writeFloatLE(value, 1);
  return bytesField(1, Buffer.concat([bytesField(1, Buffer.from(name)), number]));
}

/** A new file of events in `folder`. */
export class EventFile {
  readonly #file: number;

  /** `step`: where the run begins or goes on; TensorBoard forgets what earlier files say of later steps. */
  constructor(folder: string, step: number) {
    mkdirSync(folder, { recursive: true });
    const seconds = Date.now() / 1000;
    const name = `events.out.tfevents.${Math.floor(seconds)}.${hostname()}.${process.pid}.0`;
    this.#file = openSync(join(folder, name), "w");
    this.#write(encodeEvent(seconds, 0, bytesField(3, Buffer.from("brain.Event:2")))); // file_version
    const start = Buffer.from([...tag(1, wire.varint), 1]); // SessionLog: status START
    this.#write(encodeEvent(seconds, step, bytesField(7, start)));
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const summary = Object.entries(values).map(([name, value]) => encodeValue(name, value));
    this.#write(encodeEvent(Date.now() / 1000, step, bytesField(5, Buffer.concat(summary))));
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(event: Buffer): void {
    writeSync(this.#file, encodeRecord(event));
  }
}
