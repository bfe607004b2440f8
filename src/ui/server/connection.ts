// Requests to the server that this page came from, and their failures as sentences.

export class ServerError extends Error {
  override readonly name = "ServerError";
  /** 0: there was no answer. */
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(message: string, status: number, code = "", hint?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }

  /** No answer: the server is not running, or not reachable. */
  get isAway(): boolean {
    return this.status === 0;
  }

  /** Asking again with the same key, or none, gives the same. */
  get isRefused(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

const keyName = "bitnet-api-key";

/** The server wants a key, has refused the one that there is, or the user has another one. */
export type KeyReason = "wanted" | "refused" | "changed";

export class Connection {
  /** Asks the user for a key; undefined: none was given. */
  askForKey: (reason: KeyReason) => Promise<string | undefined> = async () => undefined;
  /** False once no key was given: what the page asks by itself does not ask the user again and again. */
  mayAsk = true;
  /** Told after every request whether there was an answer. */
  onReached: (reached: boolean) => void = () => {};
  /** How often a key was given: what was refused before is asked again. */
  keysGiven = 0;

  private key = readKey();
  private asking: Promise<string | undefined> | undefined;

  get hasKey(): boolean {
    return this.key !== "";
  }

  /** For this tab alone, and gone with it. */
  setKey(key: string): void {
    this.key = key;
    this.keysGiven += 1;
    try {
      if (key === "") {
        sessionStorage.removeItem(keyName);
      } else {
        sessionStorage.setItem(keyName, key);
      }
    } catch {
      // Without storage the key lasts until the page is left.
    }
  }

  /** An answer with a status of 2xx. 401 asks for a key and tries again; other failures are a ServerError. */
  async request(path: string, options: RequestInit = {}): Promise<Response> {
    const used = this.key;
    const answer = await this.send(path, options);
    if (answer.ok) {
      return answer;
    }
    const mayAsk = this.mayAsk || options.method === "POST";
    if (
      answer.status === 401 &&
      (this.key !== used || (mayAsk && (await this.newKey(this.hasKey ? "refused" : "wanted"))))
    ) {
      return this.request(path, options);
    }
    throw await errorOf(answer);
  }

  async json(path: string, signal?: AbortSignal): Promise<unknown> {
    return (await this.request(path, { signal })).json();
  }

  private async send(path: string, options: RequestInit): Promise<Response> {
    const headers = new Headers(options.headers);
    if (this.key !== "") {
      headers.set("authorization", `Bearer ${this.key}`);
    }
    try {
      // Relative to the page, which may lie under a prefix.
      const answer = await fetch(new URL(path, document.baseURI), {
        ...options,
        headers,
        cache: "no-store",
        credentials: "same-origin",
      });
      this.onReached(true);
      return answer;
    } catch (error) {
      if (options.signal?.aborted) {
        throw error;
      }
      this.onReached(false);
      throw new ServerError("The server cannot be reached.", 0, "", "Start it again, then try again.");
    }
  }

  /** Whether a key was given. One question at a time, however many requests were refused. */
  async newKey(reason: KeyReason): Promise<boolean> {
    this.asking ??= this.askForKey(reason).finally(() => {
      this.asking = undefined;
    });
    const key = await this.asking;
    this.mayAsk = key !== undefined;
    if (key === undefined) {
      return false;
    }
    this.setKey(key);
    return true;
  }
}

function readKey(): string {
  try {
    return sessionStorage.getItem(keyName) ?? "";
  } catch {
    return "";
  }
}

const hints: Record<string, string> = {
  context_length_exceeded: "Start a new chat, or shorten what was said by editing a message.",
  loading_model: "The model is being loaded. Try again in a moment.",
  queue_full: "Too many requests are waiting. Try again in a moment.",
  draining: "The server is shutting down.",
  invalid_json_schema: "Change the schema in the settings of this chat.",
  forbidden: "Another key can be given under Server.",
};

async function errorOf(answer: Response): Promise<ServerError> {
  const text = await answer.text().catch(() => "");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  const error = readError(body, answer.status);
  const seconds = Number(answer.headers.get("retry-after"));
  const wait = seconds > 0 ? `Try again in ${seconds} s.` : undefined;
  return new ServerError(error.message, error.status, error.code, error.hint ?? wait);
}

/** The error that `{"error": {message, code}}` describes. */
export function readError(body: unknown, status: number): ServerError {
  const error = field(body, "error");
  const message = field(error, "message");
  const code = field(error, "code");
  const name = typeof code === "string" ? code : "";
  const refused =
    status === 401 ? "The server wants an API key." : status === 403 ? "This key may not do that." : undefined;
  return new ServerError(
    typeof message === "string" && message !== ""
      ? sentenceOf(message)
      : (refused ?? `The server answered with status ${status}.`),
    status,
    name,
    hints[name],
  );
}

/** What a server says, so that a hint can follow it. Names of fields keep their small letters. */
function sentenceOf(text: string): string {
  const start = /^[a-z]{2,} /.test(text) ? text.charAt(0).toUpperCase() : text.charAt(0);
  return `${start}${text.slice(1)}${/[.!?…]["')]*$/.test(text) ? "" : "."}`;
}

/** A field of something that came as JSON. */
export function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
