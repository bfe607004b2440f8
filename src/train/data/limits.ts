// What training data may cost. Files come from anywhere: nothing of them is read into memory without a limit.

/** Of one line of JSON, or one item of a list. */
export const maxExampleBytes = 16 * 2 ** 20;
/** Of one plain text: the tokenizer takes some 16 times its bytes of memory. */
export const maxTextBytes = 32 * 2 ** 20;
/** Of one file, unpacked. */
export const maxFileBytes = 256 * 2 ** 30;
/** Lists and objects in each other. */
export const maxNesting = 64;
/** Of one chat: templates render a chat once for every answer. */
export const maxMessages = 1000;
/** Of all documents that are kept in memory, 4 bytes each. */
export const maxKeptTokens = 2 ** 31;
/** Of one document. */
export const maxDocumentTokens = 2 ** 20;
