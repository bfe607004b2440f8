"""Writes what the bundled model must compute, from its file alone: models/tiny-bitnet.golden.json.

    python3 scripts/make-model-golden.py [models/tiny-bitnet.gguf] [--prompt TEXT] [-o FILE]

Needs NumPy. It reads GGUF, the vocabulary and I2_S by itself and computes in double precision, one plain formula after the
other, but for keys and values, which are kept in half precision. Nothing of the program that is compared with the result is
used. Only for files like that one: bitnet-b1.58, I2_S matrices, an F16 embedding that is the head as well, a byte-level BPE
with LLaMA 3's rule for words.
"""

import argparse
import base64
import hashlib
import json
import re
import struct
import textwrap
from pathlib import Path

import numpy as np

PROMPT = "Tell me a story about a fox named Pip."
GREEDY_TOKENS = 48
LINE_WIDTH = 120
F32, F16, I2_S = 0, 1, 36
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Gguf:
    """Metadata and tensors of a file."""

    def __init__(self, data):
        self.data, self.at = data, 4
        version, tensors, pairs = self.take("I"), self.take("Q"), self.take("Q")
        if data[:4] != b"GGUF" or version != 3:
            raise SystemExit("expected a GGUF file, version 3")
        self.meta = {}
        for _ in range(pairs):
            key = self.string()
            self.meta[key] = self.value(self.take("I"))
        places = {}
        for _ in range(tensors):
            name = self.string()
            shape = [self.take("Q") for _ in range(self.take("I"))]
            places[name] = (shape, self.take("I"), self.take("Q"))
        align = self.meta.get("general.alignment", 32)
        start = -(-self.at // align) * align
        self.tensors = {name: self.tensor(shape, kind, start + at) for name, (shape, kind, at) in places.items()}

    def take(self, code):
        size = struct.calcsize("<" + code)
        self.at += size
        return struct.unpack("<" + code, self.data[self.at - size : self.at])[0]

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.take("I"), self.take("Q")
            return [self.value(element) for _ in range(count)]
        return self.take(SCALARS[kind])

    def tensor(self, shape, kind, at):
        """Values in double precision and the scale of the whole; rows first."""
        count, rows = int(np.prod(shape)), shape[::-1]
        if kind == I2_S:
            # 128 values are 32 bytes; the highest two bits of each byte are the first 32 of them. Codes are value + 1.
            packed = np.frombuffer(self.data, np.uint8, count // 4, at).reshape(-1, 1, 32)
            codes = (packed >> np.array([6, 4, 2, 0], np.uint8)[:, None]) & 3
            scale = np.frombuffer(self.data, "<f4", 1, at + count // 4)[0]
            return codes.reshape(rows).astype(np.float64) - 1, np.float64(scale)
        if kind not in (F32, F16):
            raise SystemExit(f"a tensor of type {kind}: expected F32, F16 or I2_S")
        values = np.frombuffer(self.data, {F32: "<f4", F16: "<f2"}[kind], count, at)
        return values.reshape(rows).astype(np.float64), np.float64(1)


class Vocabulary:
    """Byte-level BPE. The rule for words is LLaMA 3's, for ASCII."""

    WORDS = re.compile(
        r"'(?:[sdmt]|re|ve|ll)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )

    def __init__(self, meta):
        self.tokens = meta["tokenizer.ggml.tokens"]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.ranks = {tuple(pair.split(" ")): i for i, pair in enumerate(meta["tokenizer.ggml.merges"])}
        self.bos = meta["tokenizer.ggml.bos_token_id"]
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in plain]
        self.characters = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}
        self.bytes = {character: byte for byte, character in self.characters.items()}

    def encode(self, text):
        ids = [self.bos]
        for word in self.WORDS.findall(text):
            parts = [self.characters[byte] for byte in word.encode()]
            while len(parts) > 1:
                pairs = list(zip(parts, parts[1:]))
                best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
                if best not in self.ranks:
                    break
                i = pairs.index(best)
                parts[i : i + 2] = ["".join(best)]
            ids += [self.ids[part] for part in parts]
        return ids

    def decode(self, ids):
        """Control tokens have no text."""
        text = "".join(self.tokens[i] for i in ids if not re.fullmatch(r"<\|.*\|>", self.tokens[i]))
        return bytes(self.bytes[character] for character in text).decode(errors="replace")


class Model:
    def __init__(self, gguf):
        key = lambda name: gguf.meta[f"bitnet-b1.58.{name}"]  # noqa: E731
        self.tensors = gguf.tensors
        self.layers, self.heads = key("block_count"), key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv")
        self.size = key("embedding_length") // self.heads
        self.epsilon = key("attention.layer_norm_rms_epsilon")
        self.frequencies = 1 / key("rope.freq_base") ** (np.arange(0, self.size, 2) / self.size)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * self.tensors[f"{name}.weight"][0]

    def linear(self, x, name):
        """Activations are rounded to 8 bits by the largest of each token."""
        codes, scale = self.tensors[f"{name}.weight"]
        most = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        return (np.clip(np.rint(x * 127 / most), -128, 127) @ codes.T) * (most / 127 * scale)

    def split(self, x, name):
        """To [head, token, value]."""
        return self.linear(x, name).reshape(len(x), -1, self.size).transpose(1, 0, 2)

    def rotate(self, x):
        angles = np.arange(x.shape[1])[:, None] * self.frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def attend(self, x, layer):
        q, k = self.rotate(self.split(x, f"{layer}.attn_q")), self.rotate(self.split(x, f"{layer}.attn_k"))
        kept = (a.astype(np.float16).astype(np.float64) for a in (k, self.split(x, f"{layer}.attn_v")))
        k, v = (np.repeat(a, self.heads // self.kv_heads, axis=0) for a in kept)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(self.size)
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)

    def logits(self, ids):
        """After the last token."""
        embedding = self.tensors["token_embd.weight"][0]
        x = embedding[ids]
        for i in range(self.layers):
            layer = f"blk.{i}"
            mixed = self.attend(self.norm(x, f"{layer}.attn_norm"), layer)
            x = x + self.linear(self.norm(mixed, f"{layer}.attn_sub_norm"), f"{layer}.attn_output")
            h = self.norm(x, f"{layer}.ffn_norm")
            h = np.maximum(self.linear(h, f"{layer}.ffn_gate"), 0) ** 2 * self.linear(h, f"{layer}.ffn_up")
            x = x + self.linear(self.norm(h, f"{layer}.ffn_sub_norm"), f"{layer}.ffn_down")
        return self.norm(x[-1], "output_norm") @ embedding.T


def format_record(record):
    """As Biome formats it: lists of numbers fill their lines."""
    def member(key, value):
        text = json.dumps(value, indent=2).replace("\n", "\n  ") if isinstance(value, dict) else json.dumps(value)
        if isinstance(value, list) and len(f'  "{key}": {text},') > LINE_WIDTH:
            fill = textwrap.fill(text[1:-1], LINE_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
            text = f"[\n{fill}\n  ]"
        return f'  "{key}": {text}'

    return "{\n" + ",\n".join(member(key, value) for key, value in record.items()) + "\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    bundled = Path(__file__).parent.parent / "models" / "tiny-bitnet.gguf"
    parser.add_argument("model", nargs="?", type=Path, default=bundled)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("-o", "--out", type=Path, help="default: beside the model, .golden.json for .gguf")
    options = parser.parse_args()
    data = options.model.read_bytes()
    gguf = Gguf(data)
    vocabulary, model = Vocabulary(gguf.meta), Model(gguf)
    ids = vocabulary.encode(options.prompt)
    logits = model.logits(ids)
    greedy, margins, following = [], [], logits
    while len(greedy) < GREEDY_TOKENS:
        second, best = np.sort(following)[-2:]
        margins.append(best - second)
        greedy.append(int(following.argmax()))
        following = model.logits([*ids, *greedy])
    record = {
        "model": {"file": options.model.name, "sha256": hashlib.sha256(data).hexdigest()},
        "prompt": options.prompt,
        "ids": ids,
        "greedy": greedy,
        "text": vocabulary.decode(greedy),
        "logits": base64.b64encode(logits.astype("<f4").tobytes()).decode(),
    }
    out = options.out or options.model.with_suffix(".golden.json")
    out.write_text(format_record(record))
    print(f"{out}: {len(ids)} tokens, then{record['text']!r}")
    # Every kernel rounds in its own order: a tie is no proof. Choose another prompt then.
    print(f"least margin of the likeliest token over the second: {min(margins):.3f}")


main()
