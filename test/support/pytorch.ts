// Writes files as torch.save does: a zip archive of stored members, with a pickle of protocol 2.

import type { RawTensor } from "./checkpoints.js";

const storages: Record<string, string> = {
  F32: "FloatStorage",
  BF16: "BFloat16Storage",
  F16: "HalfStorage",
  U8: "ByteStorage",
};

export interface PytorchOptions {
  callee?: string; // instead of _rebuild_tensor_v2
  stride?: number[];
}

export function encodePytorch(tensors: Record<string, RawTensor>, options: PytorchOptions = {}): Buffer {
  const entries = Object.entries(tensors);
  const members = entries.map(([, { data }], i): [string, Buffer] => [`archive/data/${i}`, data]);
  return encodeZip([
    ["archive/data.pkl", encodePickle(entries, options)],
    ...members,
    ["archive/version", Buffer.from("3\n")],
  ]);
}

const raw = (text: string) => Buffer.from(text, "latin1");

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const text = (value: string) => Buffer.concat([raw("X"), u32(Buffer.byteLength(value)), Buffer.from(value)]);
const int = (value: number) => (value < 256 ? Buffer.from([0x4b, value]) : Buffer.concat([raw("J"), u32(value)]));
const tuple = (items: Buffer[]) => Buffer.concat([raw("("), ...items, raw("t")]);

function encodePickle(
  entries: [string, RawTensor][],
  { callee = "torch._utils\n_rebuild_tensor_v2\n", stride }: PytorchOptions,
): Buffer {
  const dict = Buffer.concat([raw("ccollections\nOrderedDict\n)R")]);
  const items = entries.flatMap(([name, { dtype, shape, data }], i) => {
    const contiguous = shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1));
    const storage = tuple([
      text("storage"),
      raw(`ctorch\n${storages[dtype]}\n`),
      text(String(i)),
      text("cpu"),
      int(data.length),
    ]);
    const rebuilt = tuple([
      storage,
      raw("Q"), // the persistent id: the storage
      int(0),
      tuple(shape.map(int)),
      tuple((stride ?? contiguous).map(int)),
      Buffer.from([0x89]),
      dict,
    ]);
    return [text(name), raw(`c${callee}`), rebuilt, raw("R")];
  });
  return Buffer.concat([Buffer.from([0x80, 2]), dict, raw("q\0("), ...items, raw("u.")]);
}

function encodeZip(members: [name: string, data: Buffer][]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, data] of members) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt32LE(data.length, 18);
    local.writeUInt32LE(data.length, 22);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(offset, 42);
    parts.push(local, raw(name), data);
    directory.push(central, raw(name));
    offset += local.length + name.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}
