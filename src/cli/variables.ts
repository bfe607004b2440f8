// The environment variables that are read, beside those of options: for the manual page and docs/command-line.md.

export interface VariableReference {
  names: readonly string[];
  help: string;
}

export const variables: readonly VariableReference[] = [
  { names: ["BITNET_CONFIG"], help: "file of options; default: config.json or config.yaml in $XDG_CONFIG_HOME/bitnet" },
  {
    names: ["BITNET_KERNEL", "BITNET_LAYOUT"],
    help: "kernel, and how weights lie in memory, where no option says it; the library reads them, too",
  },
  { names: ["BITNET_TUNING"], help: "file of what bitnet tune found; none: use no tuning" },
  { names: ["BITNET_MODELS"], help: "folder of models; default: $XDG_DATA_HOME/bitnet/models" },
  { names: ["BITNET_DEBUG"], help: "anything: print the stacks of errors" },
  {
    names: ["HOME"],
    help: "the user's folder, below which the others are by default; a user without one sets those that are needed",
  },
  { names: ["XDG_CONFIG_HOME"], help: "folder of the file of options; default: ~/.config" },
  { names: ["XDG_DATA_HOME"], help: "folder of models; default: ~/.local/share" },
  {
    names: ["XDG_CACHE_HOME"],
    help: "folder of the hub's cache, and of what build-native builds; default: ~/.cache",
  },
  {
    names: ["XDG_STATE_HOME"],
    help: "folder of lines typed in chats and of what tune found, in bitnet/ there; default: ~/.bitnet instead",
  },
  {
    names: ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"],
    help: "token for private and gated repositories; the second name is the older one",
  },
  { names: ["HF_TOKEN_PATH"], help: "file with the token, where no variable has it; default: $HF_HOME/token" },
  { names: ["HF_HUB_DISABLE_IMPLICIT_TOKEN"], help: "1: send no token" },
  { names: ["HF_HOME"], help: "folder of the token and the cache; default: ~/.cache/huggingface" },
  { names: ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"], help: "the cache of downloads; default: $HF_HOME/hub" },
  { names: ["HF_ENDPOINT"], help: "another server than https://huggingface.co" },
  { names: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"], help: "1: use the cache only" },
  {
    names: ["HF_HUB_DOWNLOAD_TIMEOUT"],
    help: "seconds without a byte after which a connection counts as cut; default: 60",
  },
  { names: ["HF_HUB_ETAG_TIMEOUT"], help: "the same for questions about a repository" },
  {
    names: ["https_proxy", "http_proxy", "all_proxy", "no_proxy"],
    help: "HTTP proxies of downloads, http://USER:PASSWORD@host:port, and hosts without one; in capitals, too",
  },
  { names: ["NODE_EXTRA_CA_CERTS"], help: "file with the certificate of a company's proxy that reads along" },
  { names: ["NO_COLOR", "FORCE_COLOR"], help: "never, or always, colours; NO_COLOR wins, --color wins over both" },
  { names: ["TERM"], help: "dumb: no colours and nothing drawn anew; linux: no characters that its console lacks" },
  { names: ["COLUMNS"], help: "width of help where there is no terminal; default: 80" },
  {
    names: ["BITNET_ARG_*", "LLAMA_ARG_*", "LLAMA_API_KEY"],
    help: "options of bitnet serve by llama-server's names: LLAMA_ARG_CTX_SIZE, LLAMA_ARG_N_PARALLEL, LLAMA_ARG_HF_REPO",
  },
  {
    names: ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    help: "where bitnet serve sends traces and metrics of OpenTelemetry, if its packages are installed",
  },
  { names: ["PATH"], help: "where bitnet doctor --strategies looks for other programs" },
  { names: ["TMPDIR"], help: "folder of temporary files" },
];
