// A server: it listens at once, loads the model meanwhile, and answers until it is told to end.

import { randomUUID } from "node:crypto";
import { statSync, unlinkSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { basename } from "node:path";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { chooseFormat } from "../chat/choose-format.js";
import { loadModel } from "../engine/model.js";
import { openGguf } from "../gguf/gguf.js";
import { inspectGguf } from "../gguf/inspect.js";
import { availableMemory } from "../native/machine.js";
import { BitnetError, reasonOf, toBitnetError } from "../system/errors.js";
import { loadAdapters } from "./adapters.js";
import { register as registerAdapters } from "./api/adapters.js";
import { register as registerAdmin } from "./api/admin.js";
import { register as registerBatches } from "./api/batches.js";
import { register as registerChat } from "./api/chat.js";
import { register as registerCompletions } from "./api/completions.js";
import { register as registerEmbeddings } from "./api/embeddings.js";
import { errorBody as messagesError, register as registerMessages } from "./api/messages.js";
import { register as registerMetrics } from "./api/metrics.js";
import { register as registerModels } from "./api/models.js";
import { register as registerNative } from "./api/native.js";
import { errorBody as ollamaError, register as registerOllama } from "./api/ollama.js";
import { register as registerOpenApi } from "./api/openapi.js";
import { register as registerPage } from "./api/page.js";
import { register as registerProps } from "./api/props.js";
import { register as registerResponses } from "./api/responses.js";
import { register as registerSlots } from "./api/slots.js";
import { register as registerTokenize } from "./api/tokenize.js";
import { register as registerUnavailable } from "./api/unavailable.js";
import { register as registerAudit } from "./audit.js";
import { findExposure, register as registerAuth } from "./auth.js";
import { boundBody } from "./body-time.js";
import { register as registerCache } from "./cache.js";
import type { Register, ServerContext } from "./context.js";
import { ApiError, toApiError } from "./errors.js";
import { register as registerFilter } from "./filter.js";
import { limitConnections, register as registerHosts } from "./hosts.js";
import { Inside, type InsideReply, type InsideRequest } from "./inside.js";
import { parseBody } from "./json.js";
import { register as registerLimits } from "./limits.js";
import { type Log, type LogEntry, LogFile, logFault } from "./log.js";
import { type ServeOptions, standardOptions } from "./options.js";
import { ServedModel } from "./served-model.js";
import { TextService } from "./service.js";
import { processingMs } from "./sse.js";
import { Context, newNotes } from "./state.js";
import { register as registerTelemetry } from "./telemetry.js";
import { readTls } from "./tls.js";
import { register as registerWatch } from "./watch.js";

export type { ServeOptions } from "./options.js";

/** Everything that a server has, in the order in which requests meet it. */
const modules: readonly Register[] = [
  registerOpenApi,
  registerWatch,
  registerHosts,
  registerAuth,
  registerTelemetry,
  registerLimits,
  registerFilter,
  registerCache,
  registerAudit,
  registerMetrics,
  registerAdmin,
  registerModels,
  registerProps,
  registerChat,
  registerCompletions,
  registerResponses,
  registerMessages,
  registerEmbeddings,
  registerNative,
  registerSlots,
  registerOllama,
  registerTokenize,
  registerBatches,
  registerAdapters,
  registerUnavailable,
  registerPage,
];

export type { LogEntry } from "./log.js";

export interface ServerHooks {
  log?: Log;
}

export interface Server {
  /** Where it listens: "http://127.0.0.1:8080", or paths of sockets. */
  readonly urls: readonly string[];
  /** Resolves when the model is loaded and warmed up; rejects if it cannot be. */
  readonly ready: Promise<void>;
  /** @internal What the routes share. */
  readonly context: ServerContext;
  /** Reads keys and rules anew and reopens logs. What cannot be read stays as it was, and the log tells. */
  reload(): Promise<void>;
  /** Answers a request of this process as if it had come over a connection. */
  handle(request: InsideRequest): Promise<InsideReply>;
  /** Lets running requests end, for `drainTimeout` at most, then closes everything. May be called again. */
  close(): Promise<void>;
}

const maxBody = 8 * 2 ** 20; // bytes
const maxHeaders = 16 * 2 ** 10;
const maxConnections = 1024;
const lingerTime = 1000; // ms, for the ends of answers when the server ends
const keepAlive = 75_000; // ms; longer than what proxies and clients keep, so that it is not we who close

/** A server's options; what is left out has the default of `standardOptions`. */
export type StartOptions = Partial<ServeOptions> & Pick<ServeOptions, "modelPath">;

/** Starts a server. Throws what is wrong with the options and the address; the model is loaded afterwards. */
export async function startServer(options: StartOptions, hooks: ServerHooks = {}): Promise<Server> {
  const server = new ModelServer({ ...standardOptions, ...options }, hooks);
  try {
    await server.listen();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

class ModelServer implements Server {
  readonly #logFile: LogFile | undefined;
  readonly #app: FastifyInstance;
  readonly #inside: Inside;
  readonly #listeners: ReturnType<typeof createHttpServer>[] = [];
  readonly context: Context;
  urls: readonly string[] = [];
  ready: Promise<void> = Promise.reject(new BitnetError("INTERNAL", "the server does not listen yet"));
  #closing: Promise<void> | undefined;

  constructor(options: ServeOptions, hooks: ServerHooks) {
    this.ready.catch(() => {});
    this.#logFile = options.logFile === undefined ? undefined : new LogFile(options.logFile, options.logFormat);
    const log: Log = (entry) => {
      this.#logFile?.write(entry);
      hooks.log?.(entry);
    };
    this.#app = createApp(options, log);
    this.#inside = new Inside(this.#app, options.apiPrefix);
    this.context = new Context(options, log, (request) => this.handle(request));
    this.context.onReload(() => this.#logFile?.reopen());
    this.#app.register(
      async (scope) => {
        for (const register of modules) {
          await register(scope, this.context);
        }
      },
      { prefix: options.apiPrefix },
    );
  }

  async listen(): Promise<void> {
    const { options } = this.context;
    const exposure = findExposure(options);
    if (exposure !== undefined) {
      throw new BitnetError("USAGE", exposure);
    }
    await this.#app.ready();
    const urls: string[] = [];
    for (const host of options.hosts) {
      urls.push(await this.#listenOn(host, options));
    }
    this.urls = urls;
    this.ready = this.#load();
    this.ready.catch(() => {});
  }

  reload(): Promise<void> {
    return this.context.reload();
  }

  handle(request: InsideRequest): Promise<InsideReply> {
    return this.#inside.handle(request);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #listenOn(
    host: string,
    { port, tls, bodyTimeout, trustProxy, connectionsPerAddress }: ServeOptions,
  ): Promise<string> {
    const patience = bodyTimeout * 1000;
    const settings = {
      maxHeaderSize: maxHeaders,
      requestTimeout: 0, // see route
      headersTimeout: patience,
      connectionsCheckingInterval: Math.max(100, patience / 8),
      keepAliveTimeout: keepAlive,
    };
    let refusesExcess: ReturnType<typeof limitConnections> = () => false;
    const route = (request: IncomingMessage, response: ServerResponse) => {
      boundBody(request, response, patience);
      if (refusesExcess(request, response)) {
        return;
      }
      this.#app.routing(request, response);
    };
    const listener =
      tls === undefined
        ? createHttpServer(settings, route)
        : createHttpsServer({ ...settings, ...readTls(tls) }, route);
    listener.maxConnections = maxConnections;
    if (connectionsPerAddress > 0 && trustProxy === 0) {
      refusesExcess = limitConnections(listener, connectionsPerAddress);
    }
    this.#listeners.push(listener);
    const isSocket = host.endsWith(".sock");
    if (isSocket && process.platform === "win32") {
      throw new BitnetError("UNSUPPORTED", `cannot listen on ${host}: Node has no such sockets on Windows`, {
        hint: "listen on an address, such as 127.0.0.1",
      });
    }
    // Several addresses share the port, also one that the system has chosen.
    const chosen = port === 0 ? portOf(this.#listeners[0]) : port;
    if (isSocket) {
      await removeStaleSocket(host);
    }
    await new Promise<void>((resolve, reject) => {
      listener.once("error", (error) => reject(describeListenError(error, isSocket ? host : `${host}:${chosen}`)));
      listener.listen(isSocket ? { path: host } : { host, port: chosen }, resolve);
    });
    if (isSocket) {
      return host;
    }
    const name = host.includes(":") ? `[${host}]` : host;
    return `${tls === undefined ? "http" : "https"}://${name}:${portOf(listener)}`;
  }

  async #load(): Promise<void> {
    try {
      const service = await loadService(this.context.options, this.context.log);
      if (this.#closing !== undefined) {
        await service.close();
        throw new BitnetError("ABORTED", "the server ended before the model was loaded");
      }
      this.context.begin(service);
    } catch (error) {
      this.context.fail(error);
      throw error;
    }
  }

  async #close(): Promise<void> {
    const { context } = this;
    const { drainTimeout } = context.options;
    const service = context.drain();
    if (service !== undefined) {
      const timeout = new Promise<"late">((resolve) => setTimeout(() => resolve("late"), drainTimeout * 1000).unref());
      if ((await Promise.race([service.admission.drain(), timeout])) === "late") {
        this.#log("warn", `requests that still ran after ${drainTimeout} s were ended`);
      }
    }
    context.abort();
    await Promise.all(this.#listeners.map(closeListener));
    await this.#app.close();
    await context.close();
    await service?.close();
    await this.#logFile?.close();
  }

  #log(level: LogEntry["level"], message: string): void {
    this.context.log({ level, message });
  }
}

function portOf(listener: ReturnType<typeof createHttpServer> | undefined): number {
  const address = listener?.address();
  return typeof address === "object" && address !== null ? (address as AddressInfo).port : 0;
}

/** A server that was killed leaves its socket's file, on which nobody can listen. */
async function removeStaleSocket(path: string): Promise<void> {
  const isStale = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => resolve(false));
    probe.on("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "ECONNREFUSED"));
    probe.on("connect", () => probe.destroy());
  });
  if (isStale && statSync(path).isSocket()) {
    unlinkSync(path);
  }
}

function describeListenError(error: NodeJS.ErrnoException, where: string): BitnetError {
  if (error.code === "EADDRINUSE") {
    return new BitnetError("USAGE", `${where} is in use by another program`, {
      hint: where.endsWith(".sock") ? "choose another path" : "choose another port with --port, or 0 for any",
      cause: error,
    });
  }
  const hint = where.endsWith(".sock") ? "its folder must be there and be writable" : undefined;
  return new BitnetError("USAGE", `cannot listen on ${where}: ${reasonOf(error)}`, { hint, cause: error });
}

/** Lets answers that are on their way be read to their end, but not for ever. */
async function closeListener(listener: ReturnType<typeof createHttpServer>): Promise<void> {
  const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
  const idle = setInterval(() => listener.closeIdleConnections(), 10);
  const all = setTimeout(() => listener.closeAllConnections(), lingerTime);
  listener.closeIdleConnections();
  await closed;
  clearInterval(idle);
  clearTimeout(all);
}

/** The framework with what holds for all routes: bodies, ids, errors. */
function createApp(options: ServeOptions, log: Log): FastifyInstance {
  const setup = { log, apiPrefix: options.apiPrefix };
  const app = fastify({
    bodyLimit: maxBody,
    logger: false,
    genReqId: ({ headers }) => {
      const given = headers["x-request-id"];
      return typeof given === "string" && /^[\w-]{1,128}$/.test(given) ? given : randomUUID();
    },
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512 },
    trustProxy: (_address: string, hop: number) => hop < options.trustProxy,
    // Paths that cannot be decoded come here, before any hook.
    frameworkErrors: (error, request, reply) => answerError(toApiError(error), request, reply, setup),
  });
  app.decorateRequest("client", undefined);
  app.decorateRequest("notes", undefined);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, async (_: FastifyRequest, body: Buffer) => parseBody(body));
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
    request.notes = newNotes((name, value) => {
      if (!reply.raw.headersSent) {
        reply.header(name, value);
      }
    });
  });
  app.addHook("onSend", async ({ notes }, reply) => {
    reply.header("openai-processing-ms", processingMs(notes));
    reply.header("x-content-type-options", "nosniff");
  });
  app.setErrorHandler((error, request, reply) => answerError(toApiError(error), request, reply, setup));
  app.setNotFoundHandler((request, reply) => answerError(notFound(app, request), request, reply, setup));
  return app;
}

function answerError(
  error: ApiError,
  request: FastifyRequest,
  reply: FastifyReply,
  { log, apiPrefix }: { log: Log; apiPrefix: string },
): void {
  logFault(log, error, request.id, request.routeOptions.url);
  if (request.notes !== undefined) {
    request.notes.code = error.details.code ?? error.type;
  }
  const { errorBody = errorBodyAt(request.url, apiPrefix) } = request.routeOptions.config;
  reply.status(error.status).headers(error.headers).send(errorBody(error));
}

function openAiError(error: ApiError): unknown {
  return { error: error.body };
}

/** How clients of a path without a route read an error. */
function errorBodyAt(url: string, apiPrefix: string): (error: ApiError) => unknown {
  const path = url.slice(apiPrefix.length);
  return /^\/v1\/messages\b/.test(path) ? messagesError : /^\/api\//.test(path) ? ollamaError : openAiError;
}

const methods = ["GET", "POST", "PUT", "DELETE", "PATCH"] as const;

function notFound(app: FastifyInstance, { url: asked, method }: FastifyRequest): ApiError {
  const url = asked.replace(/\?.*/s, "");
  const others = methods.filter((other) => other !== method && app.findRoute({ url, method: other }) !== null);
  if (others.length > 0) {
    return new ApiError("invalid_request_error", `${method} is not what this path is for: ${others.join(", ")}`, {
      ...{ status: 405, code: "method_not_allowed", allow: others, shouldRetry: false },
    });
  }
  return new ApiError("not_found_error", "there is nothing at this path", { code: "not_found", shouldRetry: false });
}

/** The model, ready to answer. */
async function loadService(given: ServeOptions, log: Log): Promise<TextService> {
  const options = { ...given, parallel: given.parallel ?? chooseParallel(given) };
  const load = () => loadServed(options, log);
  return new TextService(await load(), { options, load, log });
}

async function loadServed(options: ServeOptions & { parallel: number }, log: Log): Promise<ServedModel> {
  const { parallel, modelPath, promptCacheBytes = choosePromptCache(), kvBytes, stepRows, stepMs } = options;
  const engine = { parallel, promptCacheBytes, kvBytes, stepRows, stepMs };
  const model = await loadModel(modelPath, { ...options.load, ...engine });
  try {
    const format = await chooseFormat(model, options.chatTemplate);
    const adapters = await loadAdapters(model, options, log);
    const served = new ServedModel(model, format, adapters, { ...options, promptCacheBytes });
    if (served.embeddings === undefined) {
      checkTextOptions(options);
    }
    await served.warmUp();
    return served;
  } catch (error) {
    model.close();
    throw toBitnetError(error);
  }
}

/** Throws UNSUPPORTED for what only a server of embeddings does. */
function checkTextOptions({ embeddings, pooling, modelPath }: ServeOptions): void {
  if (embeddings || pooling !== undefined) {
    const option = embeddings ? "--embeddings" : "--pooling";
    throw new BitnetError(
      "UNSUPPORTED",
      `${basename(modelPath)} computes no embeddings, only texts: ${option} is not for it`,
    );
  }
}

const mostCacheBytes = 8 * 2 ** 30;
const mostParallel = 8;

function choosePromptCache(): number {
  return Math.floor(Math.min(availableMemory() / 4, mostCacheBytes));
}

/** As many as have room in half of the memory that is free once the weights are there. */
function chooseParallel({ modelPath, contextSize, cacheType }: ServeOptions): number {
  const gguf = openGguf(modelPath);
  const trained = Number(gguf.metadata()[`${String(gguf.metadata()["general.architecture"])}.context_length`]);
  const size = contextSize === 0 || contextSize > trained ? trained : contextSize;
  const { memory } = inspectGguf(gguf, { contextSize: Number.isInteger(size) ? size : undefined, cacheType });
  if (memory === undefined) {
    return 1; // loading says what is wrong with the file
  }
  const free = Math.max(0, availableMemory() - memory.weights);
  return Math.max(1, Math.min(mostParallel, Math.floor(free / 2 / memory.kvCache)));
}
