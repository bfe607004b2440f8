// A reader for well-formed XML without declarations: throws at anything that a browser would refuse in an SVG.

export interface XmlElement {
  name: string;
  attributes: Record<string, string>;
  children: (XmlElement | string)[];
}

const tag = /^<(\/?)([A-Za-z_][\w:.-]*)((?:\s+[\w:.-]+="[^"<]*")*)\s*(\/?)>/;

export function parseXml(text: string): XmlElement {
  const top: XmlElement = { name: "", attributes: {}, children: [] };
  const open = [top];
  let rest = text.trim();
  while (rest !== "") {
    const current = open.at(-1) ?? top;
    const match = tag.exec(rest);
    if (match === null) {
      const end = rest.indexOf("<");
      const content = end < 0 ? rest : rest.slice(0, end);
      if (content === "" || /&(?!(amp|lt|gt|quot|apos|#\d+|#x[\da-f]+);)/i.test(content) || open.length === 1) {
        throw new Error(`not XML: ${rest.slice(0, 60)}`);
      }
      current.children.push(content);
      rest = rest.slice(content.length);
      continue;
    }
    const [whole, closing, name = "", attributes = "", empty] = match;
    rest = rest.slice(whole.length);
    if (closing) {
      if (current.name !== name) {
        throw new Error(`</${name}> closes <${current.name}>`);
      }
      open.pop();
      continue;
    }
    const pairs = [...attributes.matchAll(/([\w:.-]+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [key, value]);
    const element = { name, attributes: Object.fromEntries(pairs) as Record<string, string>, children: [] };
    current.children.push(element);
    if (!empty) {
      open.push(element);
    }
  }
  const [root] = top.children;
  if (open.length !== 1 || top.children.length !== 1 || typeof root !== "object") {
    throw new Error("not one element");
  }
  return root;
}
