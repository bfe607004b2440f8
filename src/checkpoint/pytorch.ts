// PyTorch's .bin, .pt and .pth files: a zip archive whose members are stored as they are, so that tensors can be mapped
// in place; data.pkl says which tensor lies where. That pickle is read by a small machine that knows the few operations
// of a state dict and builds only data: nothing in a file is ever called.

import { type FileHandle, open } from "node:fs/promises";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { CheckpointTensor } from "./safetensors.js";

const maxPickleBytes = 64 * 2 ** 20;
const maxDirectoryBytes = 64 * 2 ** 20;

const storageTypes: Record<string, [dtype: string, bytes: number]> = {
  FloatStorage: ["F32", 4],
  HalfStorage: ["F16", 2],
  BFloat16Storage: ["BF16", 2],
  ByteStorage: ["U8", 1],
  CharStorage: ["I8", 1],
  BoolStorage: ["BOOL", 1],
  ShortStorage: ["I16", 2],
  IntStorage: ["I32", 4],
  LongStorage: ["I64", 8],
  DoubleStorage: ["F64", 8],
};

/** The tensors of one file. Throws BAD_FILE or UNSUPPORTED. */
export async function readPytorchFile(path: string): Promise<CheckpointTensor[]> {
  const file = await open(path);
  try {
    const members = await readZipDirectory(file, path);
    const pickle = [...members.values()].find(({ name }) => name.endsWith("/data.pkl") || name === "data.pkl");
    if (pickle === undefined || pickle.bytes > maxPickleBytes) {
      throw new BitnetError("BAD_FILE", `${path}: no data.pkl in it: not a file of PyTorch's state dict`);
    }
    const prefix = pickle.name.slice(0, -"data.pkl".length);
    const offset = await dataOffsetOf(file, pickle, path);
    const root = unwrap(new Unpickler(await readAt(file, offset, pickle.bytes, path), path).run());
    const offsets = new Map<string, number>();
    const tensors: CheckpointTensor[] = [];
    for (const [name, value] of root) {
      if (value instanceof Tensor) {
        const member = members.get(`${prefix}data/${value.storage.key}`);
        if (member === undefined) {
          throw new BitnetError("BAD_FILE", `${path}: the data of tensor ${String(name)} is missing`);
        }
        const start = offsets.get(member.name) ?? (await dataOffsetOf(file, member, path));
        offsets.set(member.name, start);
        tensors.push(value.locate(String(name), path, start, member.bytes));
      }
    }
    return tensors;
  } finally {
    await file.close();
  }
}

/** A state dict, or the one inside a larger saved object. */
function unwrap(root: unknown): Map<unknown, unknown> {
  const map = root instanceof Map ? root : new Map<unknown, unknown>();
  const inner = ["state_dict", "model", "module"].map((key) => map.get(key)).find((value) => value instanceof Map);
  return inner instanceof Map ? inner : map;
}

class Storage {
  readonly type: string;
  readonly key: string;

  constructor(type: string, key: string) {
    this.type = type;
    this.key = key;
  }
}

class Tensor {
  readonly storage: Storage;
  readonly storageOffset: number;
  readonly shape: number[];
  readonly stride: number[];

  constructor(storage: Storage, storageOffset: number, shape: number[], stride: number[]) {
    this.storage = storage;
    this.storageOffset = storageOffset;
    this.shape = shape;
    this.stride = stride;
  }

  locate(name: string, path: string, start: number, available: number): CheckpointTensor {
    const [dtype, size] = storageTypes[this.storage.type] ?? ["", 0];
    const elements = this.shape.reduce((product, n) => product * n, 1);
    const bytes = elements * size;
    const skipped = this.storageOffset * size;
    if (dtype === "" || !this.#isContiguous()) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${path}: tensor ${name} is not a plain contiguous one (${this.storage.type})`,
      );
    }
    if (!Number.isSafeInteger(skipped + bytes) || skipped + bytes > available) {
      throw new BitnetError("BAD_FILE", `${path}: tensor ${name} ends beyond its data`);
    }
    return { name, dtype, shape: this.shape, file: path, offset: start + skipped, bytes };
  }

  #isContiguous(): boolean {
    let expected = 1;
    return this.shape
      .map((n, i) => ({ n, stride: this.stride[i] }))
      .reverse()
      .every(({ n, stride }) => {
        const right = n === 1 || stride === expected;
        expected *= n;
        return right;
      });
  }
}

// ---- the archive

interface ZipMember {
  name: string;
  bytes: number;
  headerOffset: number;
}

async function readAt(file: FileHandle, offset: number, length: number, path: string): Promise<Buffer> {
  const { size } = await file.stat();
  if (offset < 0 || !Number.isSafeInteger(offset + length) || offset + length > size) {
    throw new BitnetError("BAD_FILE", `${path}: a part of the archive lies beyond the end of the file`);
  }
  const buffer = Buffer.alloc(length);
  await file.read(buffer, 0, length, offset);
  return buffer;
}

async function readZipDirectory(file: FileHandle, path: string): Promise<Map<string, ZipMember>> {
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - 65557), Math.min(size, 65557), path);
  const end = tail.lastIndexOf("PK\x05\x06", undefined, "latin1");
  if (end < 0 || end + 22 > tail.length) {
    throw new BitnetError("BAD_FILE", `${path}: not a PyTorch file of the zip format, or cut off`, {
      hint: "convert it to safetensors first",
    });
  }
  let [length, offset] = [tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)];
  if (offset === 0xffffffff || length === 0xffffffff) {
    const locator = tail.subarray(Math.max(0, end - 20), end);
    const at = locator.length === 20 ? Number(locator.readBigUInt64LE(8)) : -1;
    const record = await readAt(file, at, 56, path);
    [length, offset] = [Number(record.readBigUInt64LE(40)), Number(record.readBigUInt64LE(48))];
  }
  if (length > maxDirectoryBytes) {
    throw new BitnetError("BAD_FILE", `${path}: the archive's directory claims ${length} bytes`);
  }
  return parseZipDirectory(await readAt(file, offset, length, path), path);
}

function parseZipDirectory(bytes: Buffer, path: string): Map<string, ZipMember> {
  const members = new Map<string, ZipMember>();
  for (let pos = 0; pos + 46 <= bytes.length; ) {
    const [method, nameLength, extraLength] = [10, 28, 30].map((at) => bytes.readUInt16LE(pos + at)) as [
      number,
      number,
      number,
    ];
    const next = pos + 46 + nameLength + extraLength + bytes.readUInt16LE(pos + 32);
    if (bytes.readUInt32LE(pos) !== 0x02014b50 || next > bytes.length) {
      throw new BitnetError("BAD_FILE", `${path}: the archive's directory is damaged`);
    }
    const name = bytes.toString("utf8", pos + 46, pos + 46 + nameLength);
    const extra = bytes.subarray(pos + 46 + nameLength, pos + 46 + nameLength + extraLength);
    const sizes = [bytes.readUInt32LE(pos + 24), bytes.readUInt32LE(pos + 20), bytes.readUInt32LE(pos + 42)];
    const wide = zip64Sizes(sizes, extra);
    const [size, headerOffset] = [at(wide, 0), at(wide, 2)];
    if (method !== 0) {
      throw new BitnetError("UNSUPPORTED", `${path}: ${name} is compressed in the archive`);
    }
    members.set(name, { name, bytes: size, headerOffset });
    pos = next;
  }
  return members;
}

/** Values that do not fit 32 bits stand in extra field 1, in this order. */
function zip64Sizes(values: number[], extra: Buffer): number[] {
  for (let pos = 0; pos + 4 <= extra.length; pos += 4 + extra.readUInt16LE(pos + 2)) {
    if (extra.readUInt16LE(pos) === 1) {
      let at = pos + 4;
      return values.map((value) => {
        if (value !== 0xffffffff || at + 8 > extra.length) {
          return value;
        }
        at += 8;
        return Number(extra.readBigUInt64LE(at - 8));
      });
    }
  }
  return values;
}

async function dataOffsetOf(file: FileHandle, { name, bytes, headerOffset }: ZipMember, path: string): Promise<number> {
  const header = await readAt(file, headerOffset, 30, path);
  const offset = headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  const { size } = await file.stat();
  if (header.readUInt32LE(0) !== 0x04034b50 || offset + bytes > size) {
    throw new BitnetError("BAD_FILE", `${path}: ${name} lies beyond the end of the file`);
  }
  return offset;
}

// ---- the pickle

class Global {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

const mark = Symbol("mark");

class Unpickler {
  readonly #bytes: Buffer;
  readonly #path: string;
  #pos = 0;
  #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(bytes: Buffer, path: string) {
    this.#bytes = bytes;
    this.#path = path;
  }

  run(): unknown {
    for (;;) {
      const op = this.#take(1).readUInt8();
      if (op === 0x2e) {
        return this.#stack.pop(); // STOP
      }
      this.#step(op);
    }
  }

  #fail(what: string): never {
    throw new BitnetError("UNSUPPORTED", `${this.#path}: data.pkl ${what}`, {
      hint: "convert it to safetensors first",
    });
  }

  #take(n: number): Buffer {
    if (n > this.#bytes.length - this.#pos) {
      throw new BitnetError("BAD_FILE", `${this.#path}: data.pkl is cut off`);
    }
    this.#pos += n;
    return this.#bytes.subarray(this.#pos - n, this.#pos);
  }

  #line(): string {
    const end = this.#bytes.indexOf(10, this.#pos);
    const line = this.#take((end < 0 ? this.#bytes.length : end) + 1 - this.#pos);
    return line.toString("utf8", 0, line.length - 1);
  }

  #pop(): unknown {
    return this.#stack.pop();
  }

  #popToMark(): unknown[] {
    const at = this.#stack.lastIndexOf(mark);
    const items = this.#stack.splice(Math.max(at, 0));
    return items.slice(1);
  }

  #step(op: number): void {
    const push = (value: unknown) => this.#stack.push(value);
    switch (op) {
      case 0x80: // PROTO
        this.#take(1);
        break;
      case 0x95: // FRAME
        this.#take(8);
        break;
      case 0x28: // MARK
        push(mark);
        break;
      case 0x7d: // EMPTY_DICT
        push(new Map());
        break;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        push([]);
        break;
      case 0x4e: // NONE
        push(null);
        break;
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        push(op === 0x88);
        break;
      case 0x4b: // BININT1
        push(this.#take(1).readUInt8());
        break;
      case 0x4d: // BININT2
        push(this.#take(2).readUInt16LE());
        break;
      case 0x4a: // BININT
        push(this.#take(4).readInt32LE());
        break;
      case 0x8a: // LONG1
        push(this.#long(this.#take(1).readUInt8()));
        break;
      case 0x47: // BINFLOAT
        push(this.#take(8).readDoubleBE());
        break;
      case 0x58: // BINUNICODE
        push(this.#take(this.#take(4).readUInt32LE()).toString("utf8"));
        break;
      case 0x8c: // SHORT_BINUNICODE
        push(this.#take(this.#take(1).readUInt8()).toString("utf8"));
        break;
      case 0x85: // TUPLE1, TUPLE2, TUPLE3
      case 0x86:
      case 0x87:
        push(this.#stack.splice(-(op - 0x84)));
        break;
      case 0x74: // TUPLE
        push(this.#popToMark());
        break;
      case 0x71: // BINPUT
        this.#memo.set(this.#take(1).readUInt8(), this.#stack.at(-1));
        break;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#take(4).readUInt32LE(), this.#stack.at(-1));
        break;
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#stack.at(-1));
        break;
      case 0x68: // BINGET
        push(this.#memo.get(this.#take(1).readUInt8()));
        break;
      case 0x6a: // LONG_BINGET
        push(this.#memo.get(this.#take(4).readUInt32LE()));
        break;
      case 0x63: // GLOBAL
        push(new Global(`${this.#line()}.${this.#line()}`));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = this.#pop();
        push(new Global(`${String(this.#pop())}.${String(name)}`));
        break;
      }
      case 0x51: // BINPERSID
        push(this.#storage(this.#pop()));
        break;
      case 0x52: {
        // REDUCE
        const args = this.#pop();
        push(this.#build(this.#pop(), Array.isArray(args) ? args : []));
        break;
      }
      case 0x62: // BUILD: attributes such as _metadata, which are not needed
        this.#pop();
        break;
      case 0x73: // SETITEM
        this.#setItems(this.#stack.splice(-2));
        break;
      case 0x75: // SETITEMS
        this.#setItems(this.#popToMark());
        break;
      case 0x61: // APPEND
        this.#append([this.#pop()]);
        break;
      case 0x65: // APPENDS
        this.#append(this.#popToMark());
        break;
      default:
        this.#fail(`uses operation ${op}, which a state dict does not need`);
    }
  }

  #long(length: number): number {
    let value = 0;
    for (const [i, byte] of this.#take(length).entries()) {
      value += byte * 2 ** (8 * i);
    }
    return value;
  }

  #setItems(items: unknown[]): void {
    const target = this.#stack.at(-1);
    for (let i = 0; target instanceof Map && i + 1 < items.length; i += 2) {
      target.set(items[i], items[i + 1]);
    }
  }

  #append(items: unknown[]): void {
    const target = this.#stack.at(-1);
    if (Array.isArray(target)) {
      target.push(...items);
    }
  }

  /** ("storage", type, key, device, elements) */
  #storage(id: unknown): Storage {
    const [kind, type, key] = Array.isArray(id) ? (id as unknown[]) : [];
    if (kind !== "storage" || !(type instanceof Global) || typeof key !== "string") {
      return this.#fail("refers to something that is no tensor data");
    }
    return new Storage(type.name.replace(/^torch\./, ""), key);
  }

  #build(callee: unknown, args: unknown[]): unknown {
    const name = callee instanceof Global ? callee.name : "";
    if (name === "collections.OrderedDict") {
      return new Map();
    }
    if (name === "torch._utils._rebuild_parameter") {
      return args[0];
    }
    if (name === "torch._utils._rebuild_tensor_v2") {
      const [storage, offset, shape, stride] = args;
      if (storage instanceof Storage && isNatural(offset) && areNaturals(shape) && areNaturals(stride)) {
        return new Tensor(storage, offset, shape, stride);
      }
    }
    return this.#fail(`calls ${name || "something"}, which a state dict does not need`);
  }
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function areNaturals(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isNatural);
}
