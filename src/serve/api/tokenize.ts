// Tokens of text and back: llama.cpp's names of fields, and vLLM's, which evaluations use.

import type { Register, ServerContext } from "../context.js";
import { invalid } from "../errors.js";
import type { Fields } from "../fields.js";
import { readPrompt } from "./chat.js";
import { bodyOf, checkModel, nameIgnored } from "./exchange.js";

const maxTokens = 2 ** 20;

export const register: Register = (app, context) => {
  app.post("/tokenize", async (request, reply) => {
    const body = bodyOf(request);
    const answer = await tokenize(context, body);
    nameIgnored(reply, body);
    return answer;
  });
  app.post("/detokenize", async (request, reply) => {
    const body = bodyOf(request);
    const answer = detokenize(context, body);
    nameIgnored(reply, body);
    return answer;
  });
  app.get("/tokenizer_info", async () => describeTokenizer(context));
};

/** llama.cpp adds no BOS unless it is asked to, vLLM does unless it is told not to. Both read control tokens in the text. */
async function tokenize(context: ServerContext, body: Fields): Promise<object> {
  checkModel(context, body.text("model"));
  const { service } = context;
  const { tokenizer } = service.model;
  const isLlama = body.has("content");
  const withPieces = body.boolean("with_pieces") ?? false;
  const withTexts = body.boolean("return_token_strs") ?? false;
  const parseSpecial = body.boolean("parse_special") ?? true;
  const asked = { llama: body.boolean("add_special"), other: body.boolean("add_special_tokens") };
  const addSpecial = (isLlama ? asked.llama : asked.other) ?? !isLlama;
  body.ignore("add_generation_prompt");
  const ids = body.has("messages")
    ? service.prompts.prepare(readPrompt(body)).ids
    : [...(await tokenizer.encodeAsync(readText(body, isLlama ? "content" : "prompt"), { addSpecial, parseSpecial }))];
  const pieceOf = (id: number) => {
    const text = tokenizer.piece(id, { special: true });
    return text.includes("\ufffd") ? [...tokenizer.bytes(id)] : text;
  };
  return {
    tokens: withPieces ? ids.map((id) => ({ id, piece: pieceOf(id) })) : ids,
    count: ids.length,
    max_model_len: service.contextSize,
    ...(withTexts ? { token_strs: ids.map((id) => tokenizer.token(id)) } : {}),
  };
}

function readText(body: Fields, name: string): string {
  const text = body.text(name);
  if (text === undefined) {
    throw invalid("content", "expected a text in content or prompt, or messages, got nothing");
  }
  return text;
}

/** The text under both names. */
function detokenize(context: ServerContext, body: Fields): object {
  checkModel(context, body.text("model"));
  const { tokenizer } = context.service.model;
  const { vocabSize } = tokenizer.info;
  const tokens = body.list("tokens", { max: maxTokens });
  if (tokens === undefined) {
    throw invalid("tokens", "expected a list of token ids, got nothing");
  }
  const ids = tokens.map((id, i) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw invalid(`tokens[${i}]`, `expected a token id from 0 to ${vocabSize - 1}`);
    }
    return id;
  });
  const text = tokenizer.decode(ids, { special: true });
  return { content: text, prompt: text };
}

/** As the tokenizer_config.json of a checkpoint has it. */
function describeTokenizer({ service }: ServerContext): object {
  const { model, contextSize } = service;
  const { tokenizer, info } = model;
  const { bos, eos, unk, pad, addBos, addEos, vocabSize } = tokenizer.info;
  const nameOf = (id: number) => (id < 0 ? null : tokenizer.token(id));
  return {
    tokenizer_class: "bitnet",
    model: tokenizer.info.model,
    bos_token: nameOf(bos),
    eos_token: nameOf(eos),
    unk_token: nameOf(unk),
    pad_token: nameOf(pad),
    add_bos_token: addBos,
    add_eos_token: addEos,
    vocab_size: vocabSize,
    model_max_length: contextSize,
    chat_template: info.chatTemplate,
  };
}
