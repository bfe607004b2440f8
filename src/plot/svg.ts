// The little of SVG that pictures here are made of.

type Attributes = Readonly<Record<string, string | number>>;

/** One element; `content` is markup. */
export function element(name: string, attributes: Attributes, content = ""): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(formatValue(value))}"`);
  return content === "" ? `<${name}${written.join("")}/>` : `<${name}${written.join("")}>${content}</${name}>`;
}

/** A line of text, which may be anything. */
export function textElement(attributes: Attributes, text: string): string {
  return element("text", attributes, escapeXml(text));
}

/** Coordinates to a hundredth of a pixel. */
function formatValue(value: string | number): string {
  return typeof value === "number" ? String(Math.round(value * 100) / 100) : value;
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML does not allow them
  const allowed = text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");
  return allowed.replace(/[&<>"]/g, (character) => entities[character] ?? "");
}

/** Round numbers from 0 to at least `most`, about `count` of them: steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(most: number, count: number): number[] {
  const rough = (most > 0 ? most : 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  return Array.from({ length: Math.ceil((most > 0 ? most : 1) / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** "12,000", "2.5", "0.05": what a tick of such steps needs. */
export function formatTick(value: number, step: number): string {
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toFixed(digits).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * Heights for labels of lines that end at `wanted`, at least `gap` apart and between `top` and `bottom` as far as they
 * have room there, each as near as possible to its own.
 */
export function spreadLabels(wanted: readonly number[], gap: number, top: number, bottom: number): number[] {
  const order = wanted.map((y, i) => ({ y, i })).sort((a, b) => a.y - b.y);
  const placed: number[] = [];
  for (const { y } of order) {
    placed.push(Math.max(y, (placed.at(-1) ?? top - gap) + gap));
  }
  let limit = bottom;
  for (let n = placed.length - 1; n >= 0; n--) {
    placed[n] = Math.min(placed[n] ?? 0, limit);
    limit = (placed[n] ?? 0) - gap;
  }
  const result: number[] = [];
  for (const [n, { i }] of order.entries()) {
    result[i] = placed[n] ?? 0;
  }
  return result;
}
