// Scripts that complete command lines in bash, zsh and fish, made of the tables of commands and options. The words are in
// the scripts; names of models are asked for with `bitnet completion models`, those that are there alone with `... installed`.

import type { CommandReference, OptionReference, ValueKind } from "./reference.js";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

export function completionScript(shell: Shell, commands: readonly CommandReference[]): string {
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](commands);
}

const askForModels = "bitnet completion models 2>/dev/null";
const askForInstalled = "bitnet completion installed 2>/dev/null";

function topLevel(commands: readonly CommandReference[]): CommandReference[] {
  return commands.filter(({ name }) => !name.includes(" "));
}

function namesOf({ name, aliases }: CommandReference): string[] {
  return [name, ...aliases];
}

function allSpellings({ options }: CommandReference): string[] {
  return options.flatMap(({ spellings }) => spellings);
}

/** A line of `case` for each option with a value: what stands after it. */
function valueCases(
  commands: readonly CommandReference[],
  write: (kind: ValueKind, choices: string[]) => string,
): string[] {
  return commands.flatMap((command) =>
    command.options
      .filter(({ kind, value }) => kind !== "none" && !(value.startsWith("[") && kind !== "choice"))
      .map(({ spellings, kind, choices }) => {
        const patterns = spellings.map((spelling) => `"${command.name}:${spelling}"`).join("|");
        return `    ${patterns}) ${write(kind, choices)}; return ;;`;
      }),
  );
}

/** A line of `case` that reads the name of a command, also by an alias, and that of a subcommand. */
function commandCases(commands: readonly CommandReference[]): string[] {
  return commands.map(({ name, aliases }) => {
    const [first = "", second] = name.split(" ");
    const typed = second === undefined ? [name, ...aliases].map((word) => `":${word}"`) : [`"${first}:${second}"`];
    return `      ${typed.join("|")}) command="${name}" ;;`;
  });
}

function bashScript(commands: readonly CommandReference[]): string {
  const write = (kind: ValueKind, choices: string[]) =>
    ({
      none: ":",
      text: ":",
      file: "_bitnet_files",
      folder: "_bitnet_folders",
      model: `_bitnet_words "$(${askForModels})"; _bitnet_files`,
      installed: `_bitnet_words "$(${askForInstalled})"; _bitnet_files`,
      choice: `_bitnet_words "${choices.join(" ")}"`,
    })[kind];
  const own = commands.map(
    (command) =>
      `    "${command.name}") options="${allSpellings(command).join(" ")}"; ${write(command.operands[0]?.kind ?? "none", command.operands[0]?.choices ?? [])}; _bitnet_words "${command.subcommands.join(" ")}" ;;`,
  );
  return `# bash completion of bitnet: source <(bitnet completion bash)
_bitnet_words() {
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$1" -- "$cur")
}
_bitnet_files() {
  local word
  compopt -o filenames 2>/dev/null
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
}
_bitnet_folders() {
  local word
  compopt -o filenames 2>/dev/null
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "$cur")
}
_bitnet() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" command="" options="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command:\${COMP_WORDS[i]}" in
${commandCases(commands).join("\n")}
    esac
  done
  if [[ -z $command || "\${COMP_WORDS[1]}" == help ]]; then
    _bitnet_words "${[...topLevel(commands).flatMap(namesOf), "help", "--help", "--version"].join(" ")}"
    return
  fi
  case "$command:$prev" in
${valueCases(commands, write).join("\n")}
  esac
  case "$command" in
${own.join("\n")}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=()
    _bitnet_words "$options"
  fi
}
complete -F _bitnet bitnet
`;
}

function zshScript(commands: readonly CommandReference[]): string {
  const write = (kind: ValueKind, choices: string[]) =>
    ({
      none: ":",
      text: ":",
      file: "_files",
      folder: "_files -/",
      model: `compadd -- \${(f)"$(${askForModels})"}; _files`,
      installed: `compadd -- \${(f)"$(${askForInstalled})"}; _files`,
      choice: `compadd -- ${choices.join(" ")}`,
    })[kind];
  const own = commands.map(({ name, options, operands, subcommands }) => {
    const words = options.flatMap(({ spellings, help }) => spellings.map((one) => described(one, help)));
    const others = subcommands.length === 0 ? "" : `; compadd -- ${subcommands.join(" ")}`;
    return `    "${name}")
      if [[ $cur == -* ]]; then
        options=(${words.join(" ")})
        _describe option options
      else
        ${write(operands[0]?.kind ?? "none", operands[0]?.choices ?? [])}${others}
      fi ;;`;
  });
  const names = topLevel(commands).flatMap((command) =>
    namesOf(command).map((name) => described(name, command.description)),
  );
  return `#compdef bitnet
# zsh completion of bitnet: source <(bitnet completion zsh), or save it as _bitnet in a folder of $fpath
_bitnet() {
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}" command="" i
  local -a options
  for ((i = 2; i < CURRENT; i++)); do
    case "$command:\${words[i]}" in
${commandCases(commands).join("\n")}
    esac
  done
  if [[ -z $command || "\${words[2]}" == help ]]; then
    options=(${names.join(" ")} 'help:show the help of a command')
    _describe command options
    return
  fi
  case "$command:$prev" in
${valueCases(commands, write).join("\n")}
  esac
  case "$command" in
${own.join("\n")}
  esac
}
if [[ $funcstack[1] == _bitnet ]]; then
  _bitnet "$@"
else
  compdef _bitnet bitnet
fi
`;
}

function fishScript(commands: readonly CommandReference[]): string {
  const lines = topLevel(commands).flatMap((command) =>
    namesOf(command).map(
      (name) => `complete -c bitnet -n __bitnet_needs_command -a ${name} -d ${quote(plain(command.description))}`,
    ),
  );
  for (const { name, options, operands, subcommands } of commands) {
    const condition = `-n ${quote(`__bitnet_is ${name}`)}`;
    lines.push(...options.map((option) => `complete -c bitnet ${condition} ${fishOption(option)}`));
    const values = fishValues(operands[0]?.kind ?? "none", operands[0]?.choices ?? []);
    lines.push(...(values === "" ? [] : [`complete -c bitnet ${condition} ${values}`]));
    lines.push(...subcommands.map((word) => `complete -c bitnet ${condition} -a ${word}`));
  }
  return `# fish completion of bitnet: bitnet completion fish | source
function __bitnet_command
  set -l command ""
  for word in (commandline -opc)[2..-1]
    switch "$command:$word"
${commandCases(commands)
  .map((line) =>
    line.replace(/^ +(.*)\) command="(.*)" ;;$/, (_, words: string, name: string) => fishCase(words, name)),
  )
  .join("\n")}
    end
  end
  echo $command
end
function __bitnet_needs_command
  test -z (__bitnet_command); or test (commandline -opc)[2] = help
end
function __bitnet_is
  test (__bitnet_command) = "$argv"
end
complete -c bitnet -f
complete -c bitnet -n __bitnet_needs_command -a help -d 'show the help of a command'
${lines.join("\n")}
`;
}

function fishCase(words: string, name: string): string {
  return `      case ${words.replaceAll("|", " ")}\n        set command "${name}"`;
}

function fishOption({ spellings, kind, value, choices, help }: OptionReference): string {
  const flags = spellings.map((spelling) => {
    const bare = spelling.replace(/^-+/, "");
    return spelling.startsWith("--") ? `-l ${bare}` : `${bare.length === 1 ? "-s" : "-o"} ${bare}`;
  });
  const isOptional = value.startsWith("[") && kind !== "choice";
  const values = kind === "none" || isOptional ? [] : ["file", "model", "installed"].includes(kind) ? ["-r"] : ["-x"];
  return [...flags, ...values, fishValues(kind, choices), `-d ${quote(plain(help))}`]
    .filter((part) => part !== "")
    .join(" ");
}

function fishValues(kind: ValueKind, choices: readonly string[]): string {
  return {
    none: "",
    text: "",
    file: "-F",
    folder: "-a '(__fish_complete_directories)'",
    model: `-F -a '(${askForModels})'`,
    installed: `-F -a '(${askForInstalled})'`,
    choice: `-a ${quote(choices.join(" "))}`,
  }[kind];
}

/** As _describe of zsh takes it. */
function described(word: string, help: string): string {
  return quote(`${word}:${plain(help).replaceAll(":", "\\:")}`);
}

/** One line without what shells read in descriptions. */
function plain(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[`$\\]/g, "");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
