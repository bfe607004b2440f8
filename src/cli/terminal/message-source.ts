// How a message is written down: a line, lines that are joined by \, or a block between """ and """.

export const blockMark = '"""';

const command = /^\/[A-Za-z?]+\s/;
const continued = /(?:^|[^\\])(?:\\\\)*\\$/;

/** Does the message go on in the next line? */
export function isUnfinished(source: string): boolean {
  const text = source.trimStart();
  if (text.startsWith(blockMark)) {
    return !text.slice(blockMark.length).trimEnd().endsWith(blockMark);
  }
  if (command.test(text) && text.includes(blockMark)) {
    return text.split(blockMark).length % 2 === 0;
  }
  return continued.test(source.slice(source.lastIndexOf("\n") + 1));
}

/** The same for lines that come one by one: `last` is another one than the first, and all before it were unfinished. */
export function goesOnAfter(first: string, last: string): boolean {
  const begin = first.trimStart();
  if (begin.startsWith(blockMark)) {
    return !last.trimEnd().endsWith(blockMark);
  }
  const isOpen = command.test(begin) && begin.split(blockMark).length % 2 === 0;
  return isOpen ? last.split(blockMark).length % 2 === 1 : continued.test(last);
}

export interface Message {
  text: string;
  /** It was between marks, so that it is no command, whatever it begins with. */
  isBlock: boolean;
}

/** The message of these lines; one that ended too early is taken as it is. */
export function readMessage(source: string): Message {
  const text = source.trimStart();
  if (text.startsWith(blockMark)) {
    const rest = text.slice(blockMark.length);
    const inner = isUnfinished(source) ? rest : rest.trimEnd().slice(0, -blockMark.length);
    return { text: inner.replace(/^\n|\n$/g, ""), isBlock: true };
  }
  const lines = source.split("\n");
  const joined = lines.map((line, i) => (i < lines.length - 1 && continued.test(line) ? line.slice(0, -1) : line));
  return { text: joined.join("\n"), isBlock: false };
}
