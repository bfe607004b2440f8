// Python's two ways to format: "%s %d" % values, and "{} {}".format(values).

import { type Budget, TemplateError, unsupported } from "./limits.js";
import { formatFloat, reprOf, scaleAndRound, textOf } from "./text.js";
import {
  countCharacters,
  Dict,
  isFlat,
  isList,
  numberOf,
  payReading,
  Range,
  requireDefined,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

/** How a value is written. */
interface Spec {
  fill: string;
  /** "" for the usual side of the type. */
  align: string;
  sign: string;
  alternate: boolean;
  width: number;
  /** "", "," or "_". */
  group: string;
  precision: number | undefined;
  type: string;
}

const maxPrecision = 1000;
const percentPattern = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.)?/gs;

/** template % values. */
export function formatPercent(template: string, values: Value, budget: Budget): string {
  payReading(template, budget);
  const items = values instanceof Tuple ? values.items : [values];
  let used = 0;
  const take = () => {
    const item = items[used++];
    if (item === undefined) {
      throw new TemplateError("not enough arguments for format string");
    }
    return item;
  };
  const text = template.replace(
    percentPattern,
    (whole, key?: string, flags = "", width = "", precision?: string, type?: string) => {
      if (width === "*" || precision === "*") {
        throw unsupported("'*' in a format");
      }
      if (whole === "%%") {
        return "%";
      }
      if (type === undefined) {
        throw new TemplateError("incomplete format");
      }
      const value = key === undefined ? take() : entryOf(values, key);
      const spec = percentSpec(flags, width, precision, type);
      return formatOne(value, spec, budget);
    },
  );
  // What has items by key is not told from a mapping.
  const isMapping = [Dict, Range, Undefined].some((type) => values instanceof type) || isList(values);
  if (used < items.length && !isMapping) {
    throw new TemplateError("not all arguments converted during string formatting");
  }
  budget.text(text.length);
  return text;
}

function entryOf(values: Value, key: string): Value {
  const value = values instanceof Dict ? values.get(key) : undefined;
  if (value === undefined) {
    throw new TemplateError(values instanceof Dict ? `no key '${key}' for a format` : "format requires a mapping");
  }
  return value;
}

function percentSpec(flags: string, width: string, precision: string | undefined, type: string): Spec {
  const isNumber = !"srac".includes(type);
  const isLeft = flags.includes("-");
  const isZero = flags.includes("0") && isNumber && !isLeft;
  return {
    fill: isZero ? "0" : " ",
    align: isLeft ? "<" : isZero ? "=" : ">",
    sign: flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-",
    alternate: flags.includes("#"),
    width: Number(width),
    group: "",
    precision: precision === undefined ? undefined : Number(precision),
    type: type === "u" || type === "i" ? "d" : type,
  };
}

function formatOne(value: Value, spec: Spec, budget: Budget): string {
  checkSpec(spec, budget);
  const { type } = spec;
  if (type === "s" || type === "r") {
    const text = type === "s" ? textOf(value, budget) : reprOf(value, budget);
    return pad("", cut(text, spec.precision), spec);
  }
  requireDefined(value);
  const number = numberOf(value);
  if (number === undefined || !"dxXoeEfFgG".includes(type)) {
    throw "ac".includes(type)
      ? unsupported(`the format %${type}`)
      : new TemplateError(`%${type} format: a number is required, not ${typeName(value)}`);
  }
  if (type === "d" && spec.precision === undefined) {
    return formatNumber(typeof number === "bigint" ? number : truncate(number), spec);
  }
  if (spec.precision !== undefined && "dxXo".includes(type)) {
    throw unsupported(`a precision in the format %${type}`);
  }
  return formatNumber(number, spec);
}

function checkSpec({ width, precision = 0 }: Spec, budget: Budget): void {
  budget.text(width);
  budget.step(precision);
  if (precision > maxPrecision) {
    throw unsupported(`a precision of more than ${maxPrecision} in a format`);
  }
}

/** int(value) of a float. */
export function truncate(value: number): bigint {
  if (!Number.isFinite(value)) {
    throw new TemplateError(`cannot convert float ${formatFloat(value)} to integer`);
  }
  return BigInt(Math.trunc(value));
}

function cut(text: string, length: number | undefined): string {
  return length === undefined ? text : Array.from(text).slice(0, length).join("");
}

/** Fills up to the width; `sign` stays in front where the align is "=". */
function pad(sign: string, body: string, { fill, align, width }: Spec): string {
  const room = Math.max(0, width - countCharacters(sign + body));
  switch (align) {
    case "<":
      return sign + body + fill.repeat(room);
    case "=":
      return sign + fill.repeat(room) + body;
    case "^":
      return fill.repeat(room >> 1) + sign + body + fill.repeat(room - (room >> 1));
    default:
      return fill.repeat(room) + sign + body;
  }
}

function formatNumber(value: bigint | number, spec: Spec): string {
  const isNegative = value < 0 || Object.is(value, -0);
  const sign = isNegative ? "-" : spec.sign === "-" ? "" : spec.sign;
  const digits =
    typeof value === "bigint" && "dxXob".includes(spec.type)
      ? integerDigits(isNegative ? -value : value, spec)
      : floatDigits(Math.abs(toFloat(value, spec)), spec);
  return pad(sign, digits, spec);
}

function toFloat(value: bigint | number, { type }: Spec): number {
  if (typeof value === "number" && "dxXob".includes(type)) {
    throw new TemplateError(`the format ${type} needs an integer, not a float`);
  }
  return Number(value);
}

function integerDigits(value: bigint, { type, alternate, group }: Spec): string {
  const base = { x: 16, X: 16, o: 8, b: 2 }[type] ?? 10;
  const text = value.toString(base);
  if (group !== "" && base !== 10) {
    throw unsupported(`'${group}' in the format ${type}`);
  }
  const digits = groupDigits(type === "X" ? text.toUpperCase() : text, group);
  return alternate && base !== 10 ? `0${type}${digits}` : digits;
}

function groupDigits(digits: string, group: string): string {
  if (group === "") {
    return digits;
  }
  const first = digits.length % 3 || 3;
  return [digits.slice(0, first), ...(digits.slice(first).match(/.{3}/g) ?? [])].join(group);
}

function floatDigits(value: number, spec: Spec): string {
  const { type, precision = 6, group, alternate } = spec;
  if (!Number.isFinite(value)) {
    const text = Number.isNaN(value) ? "nan" : "inf";
    return /[A-Z]/.test(type) ? text.toUpperCase() : text;
  }
  if (alternate) {
    throw unsupported("'#' in the format of a float");
  }
  const write = { e: formatExponent, f: formatFixed, g: formatGeneral }[type.toLowerCase()] ?? formatGeneral;
  const [whole = "", ...rest] = write(value, precision).split(/(?=[.e])/);
  const text = [groupDigits(whole, group), ...rest].join("");
  return /[A-Z]/.test(type) ? text.toUpperCase() : text;
}

/** With exactly this many digits behind the point. */
export function formatFixed(value: number, precision: number): string {
  const digits = String(scaleAndRound(value, precision)).padStart(precision + 1, "0");
  return precision === 0 ? digits : `${digits.slice(0, -precision)}.${digits.slice(-precision)}`;
}

function formatExponent(value: number, precision: number): string {
  let exponent = value === 0 ? 0 : Number(value.toExponential().split("e")[1]);
  let digits = String(scaleAndRound(value, precision - exponent)).padEnd(precision + 1, "0");
  if (digits.length > precision + 1) {
    exponent++; // rounded up to the next power of ten
    digits = digits.slice(0, -1);
  }
  const power = String(Math.abs(exponent)).padStart(2, "0");
  const fraction = precision === 0 ? "" : `.${digits.slice(1)}`;
  return `${digits.charAt(0)}${fraction}e${exponent < 0 ? "-" : "+"}${power}`;
}

function formatGeneral(value: number, precision: number): string {
  const significant = Math.max(precision, 1);
  const [mantissa = "", power = "0"] = formatExponent(value, significant - 1).split("e");
  const exponent = Number(power);
  const dropZeros = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent < -4 || exponent >= significant) {
    return `${dropZeros(mantissa)}e${power}`;
  }
  return dropZeros(formatFixed(value, significant - 1 - exponent));
}

/** What a replacement field names, as attributes and items. */
export type FieldReader = (first: string, path: readonly { name: string; isItem: boolean }[]) => Value;

/** template.format(...): `read` finds the values. */
export function formatBraces(template: string, read: FieldReader, budget: Budget): string {
  payReading(template, budget);
  let next = 0;
  const field = /\{\{|\}\}|\{([^{}]*)\}|[{}]/g;
  const text = template.replace(field, (whole, inside?: string) => {
    if (whole === "{{" || whole === "}}") {
      return whole.charAt(0);
    }
    if (inside === undefined) {
      throw unsupported("a nested or single brace in format()");
    }
    const parts = /^([^!:[.]*)((?:\.[^!:[.]+|\[[^\]]+\])*)(?:!([rsa]))?(?::(.*))?$/s.exec(inside);
    if (parts === null) {
      throw new TemplateError(`a replacement field that cannot be read: {${inside}}`);
    }
    const [, name = "", path = "", conversion = "", spec = ""] = parts;
    if (conversion === "a") {
      throw unsupported("the conversion !a");
    }
    const steps = Array.from(path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g), ([, attribute, item]) => ({
      name: attribute ?? item ?? "",
      isItem: item !== undefined,
    }));
    const value = read(name === "" ? String(next++) : name, steps);
    return formatSpec(convert(value, conversion, budget), spec, budget);
  });
  budget.text(text.length);
  return text;
}

function convert(value: Value, conversion: string, budget: Budget): Value {
  return conversion === "r" ? reprOf(value, budget) : conversion === "s" ? textOf(value, budget) : value;
}

const specPattern = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/su;

function formatSpec(value: Value, text: string, budget: Budget): string {
  if (text === "") {
    return textOf(value, budget);
  }
  requireDefined(value);
  const parts = specPattern.exec(text);
  if (parts === null) {
    throw unsupported(`the format specification '${text}'`);
  }
  const [, fill, align, sign = "-", alternate, zero, width = "0", group = "", precision, type = ""] = parts;
  const number = numberOf(value);
  const isZero = zero !== undefined && align === undefined;
  const spec: Spec = {
    fill: fill ?? (zero === undefined ? " " : "0"),
    align: align ?? (isZero ? "=" : ""),
    sign,
    alternate: alternate !== undefined,
    width: Number(width),
    group,
    precision: precision === undefined ? undefined : Number(precision),
    type,
  };
  checkSpec(spec, budget);
  if (typeof value === "string" && (type === "" || type === "s")) {
    return formatText(value, spec, parts[3]);
  }
  if (number === undefined || typeof value === "boolean") {
    throw unsupported(`the format specification '${text}' for a value of type '${typeName(value)}'`);
  }
  return formatPlainNumber(number, spec);
}

function formatText(value: string, spec: Spec, sign: string | undefined): string {
  if (sign !== undefined || spec.alternate || spec.group !== "" || spec.align === "=") {
    throw unsupported("a format specification of numbers for a text");
  }
  return pad("", cut(value, spec.precision), { ...spec, align: spec.align || "<" });
}

function formatPlainNumber(value: bigint | number, spec: Spec): string {
  if (spec.group !== "" && spec.fill === "0" && spec.width > 0) {
    throw unsupported("grouped digits that are filled up with zeros");
  }
  if (spec.type === "%") {
    const { text, sign } = percentOf(Number(value), spec);
    return pad(sign, text, spec);
  }
  if ("cns".includes(spec.type) && spec.type !== "") {
    throw unsupported(`the format ${spec.type} of a number`);
  }
  if (typeof value === "bigint") {
    if (spec.precision !== undefined && (spec.type === "" || "dxXob".includes(spec.type))) {
      throw new TemplateError("precision not allowed in an integer format");
    }
    return formatNumber(value, { ...spec, type: spec.type || "d" });
  }
  if (spec.type !== "") {
    return formatNumber(value, spec);
  }
  if (spec.precision !== undefined || spec.group !== "") {
    throw unsupported("a float with a precision or groups, but without a type, in format()");
  }
  const text = formatFloat(Math.abs(value));
  const isNegative = value < 0 || Object.is(value, -0);
  return pad(isNegative ? "-" : spec.sign === "-" ? "" : spec.sign, text, spec);
}

function percentOf(value: number, { precision = 6, sign }: Spec): { text: string; sign: string } {
  const scaled = value * 100;
  const text = `${Number.isFinite(scaled) ? formatFixed(Math.abs(scaled), precision) : formatFloat(Math.abs(scaled))}%`;
  return { text, sign: scaled < 0 ? "-" : sign === "-" ? "" : sign };
}

/** A text filled up on its sides, as ljust(), rjust() and center() do. */
export function justify(
  text: string,
  width: number,
  fill: string,
  side: "left" | "right" | "center",
  budget: Budget,
): string {
  if (!isFlat(fill) ? Array.from(fill).length !== 1 : fill.length !== 1) {
    throw new TemplateError("the fill character must be exactly one character long");
  }
  budget.text(text.length + Math.max(0, width) * fill.length);
  const room = Math.max(0, width - countCharacters(text));
  const before = side === "right" ? room : side === "left" ? 0 : (room >> 1) + (room & width & 1);
  return fill.repeat(before) + text + fill.repeat(room - before);
}
