// A trained vocabulary as the files that Hugging Face's libraries and the converter here read.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { convertingAsync } from "../../system/errors.js";
import { replaceFile } from "../../system/files.js";
import type { Merges } from "./bpe.js";

/** Control tokens of a new vocabulary, after all other entries. */
export const controlTokens = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"] as const;
const [bosToken, eosToken] = controlTokens;

/** LLaMA 3's, which the pre-tokenizer "llama-bpe" of GGUF files is. */
const pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The chat template of BitNet b1.58 2B4T. */
const chatTemplate =
  "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | capitalize + ': '" +
  "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}" +
  "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/** Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json. */
export async function writeTokenizerFiles(folder: string, merges: Merges, contextLength: number): Promise<void> {
  await convertingAsync(async () => {
    await mkdir(folder, { recursive: true });
    await replaceFile(join(folder, "tokenizer.json"), writeTokenizerJson(merges));
    const config = describeConfig(merges.entries.length, contextLength);
    await replaceFile(join(folder, "tokenizer_config.json"), JSON.stringify(config, null, 2));
    const special = { bos_token: bosToken, eos_token: eosToken };
    await replaceFile(join(folder, "special_tokens_map.json"), JSON.stringify(special, null, 2));
  });
}

/** Objects order keys that look like numbers before all others; a vocabulary has the order of its ids. */
function writeTokenizerJson(merges: Merges): string {
  const lines = merges.entries.map((entry, id) => `\n   ${JSON.stringify(entry)}: ${id}`);
  return JSON.stringify(describeTokenizer(merges), null, 1).replace('"vocab": null', () => `"vocab": {${lines}\n  }`);
}

const tokenOptions = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** tokenizer.json. The order of the keys is that of the tokenizers library. */
function describeTokenizer({ entries, merges }: Merges): object {
  const token = (type: number) => ({ SpecialToken: { id: bosToken, type_id: type } });
  const sequence = (type: number, id: string) => ({ Sequence: { id, type_id: type } });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: controlTokens.map((content, i) => ({ id: entries.length + i, content, ...tokenOptions })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: "Sequence",
      processors: [
        { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
        {
          type: "TemplateProcessing",
          single: [token(0), sequence(0, "A")],
          pair: [token(0), sequence(0, "A"), token(1), sequence(1, "B")],
          special_tokens: { [bosToken]: { id: bosToken, ids: [entries.length], tokens: [bosToken] } },
        },
      ],
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: null, // written apart
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
}

function describeConfig(firstControl: number, contextLength: number): object {
  const added = controlTokens.map((content, i): [string, object] => [
    String(firstControl + i),
    { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
  ]);
  return {
    added_tokens_decoder: Object.fromEntries(added),
    bos_token: bosToken,
    chat_template: chatTemplate,
    clean_up_tokenization_spaces: true,
    eos_token: eosToken,
    extra_special_tokens: {},
    model_input_names: ["input_ids", "attention_mask"],
    model_max_length: contextLength,
    tokenizer_class: "PreTrainedTokenizerFast",
  };
}
