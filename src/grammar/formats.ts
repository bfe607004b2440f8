// The formats of strings that a schema can name, as patterns for the whole text.

const leapYear = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
const date = `([0-9]{4}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|[0-9]{4}-(0[469]|11)-(0[1-9]|[12][0-9]|30)|[0-9]{4}-02-(0[1-9]|1[0-9]|2[0-8])|${leapYear}-02-29)`;
const time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
const octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const ipv4 = `${octet}(\\.${octet}){3}`;
// Up to 253 characters: three labels of 63, or seven of 31.
const label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const shortLabel = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,29}[a-zA-Z0-9])?";
const hostname = `(${label}(\\.${label}){0,2}|${shortLabel}(\\.${shortLabel}){0,6})`;
const domain = `(${label}(\\.${label}){1,2}|${shortLabel}(\\.${shortLabel}){1,6})`;
const atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
const group = "[0-9a-fA-F]{1,4}";
const lastGroups = `(${group}:${group}|${ipv4})`;
// RFC 3986: all groups, or :: in place of some.
const ipv6 = [
  `(${group}:){6}${lastGroups}`,
  `::(${group}:){5}${lastGroups}`,
  `(${group})?::(${group}:){4}${lastGroups}`,
  `((${group}:){0,1}${group})?::(${group}:){3}${lastGroups}`,
  `((${group}:){0,2}${group})?::(${group}:){2}${lastGroups}`,
  `((${group}:){0,3}${group})?::${group}:${lastGroups}`,
  `((${group}:){0,4}${group})?::${lastGroups}`,
  `((${group}:){0,5}${group})?::${group}`,
  `((${group}:){0,6}${group})?::`,
].join("|");
const escaped = "%[0-9a-fA-F]{2}";
const pathCharacter = `([a-zA-Z0-9._~:@!$&'()*+,;=-]|${escaped})`;
const path = `(/${pathCharacter}*)*`;
const authority = `(([a-zA-Z0-9._~:!$&'()*+,;=-]|${escaped})*@)?([a-zA-Z0-9._~!$&'()*+,;=-]|${escaped})*(:[0-9]{0,5})?`;
const uriEnd = `(\\?(${pathCharacter}|[/?])*)?(#(${pathCharacter}|[/?])*)?`;

const uri = `[a-zA-Z][a-zA-Z0-9+.-]*:(//${authority}${path}|/?${pathCharacter}+${path})${uriEnd}`;
const firstSegment = pathCharacter.replace(":", ""); // of a relative path, which would begin as a scheme does
const relative = `(//${authority}${path}|/(${pathCharacter}+${path})?|${firstSegment}+${path})?${uriEnd}`;
const pointer = "(/([^/~]|~[01])*)*";
const variable = `([a-zA-Z0-9_]|${escaped})+(:[1-9][0-9]{0,3}|\\*)?`;

/** Letters of RFC 3987 beside those of RFC 3986. */
function international(pattern: string): string {
  const letters = "\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef";
  return pattern.replaceAll("[a-zA-Z0-9._~", `[${letters}a-zA-Z0-9._~`);
}

/** Subsets where the full form is hardly written: URIs without addresses in brackets, host names of up to seven labels. */
export const formatPatterns: Readonly<Record<string, string>> = {
  date: `^${date}$`,
  time: `^${time}$`,
  "date-time": `^${date}[Tt]${time}$`,
  duration:
    "^P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))$",
  email: `^${atom}(\\.${atom})*@${domain}$`,
  hostname: `^${hostname}$`,
  ipv4: `^${ipv4}$`,
  ipv6: `^(${ipv6})$`,
  uri: `^${uri}$`,
  "uri-reference": `^(${uri}|${relative})$`,
  iri: `^${international(uri)}$`,
  "iri-reference": `^(${international(uri)}|${international(relative)})$`,
  "uri-template": `^([^\\x00-\\x20"'<>%\\\\^\`{|}]|${escaped}|\\{[+#./;?&=,!@|]?${variable}(,${variable})*\\})*$`,
  byte: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
  "json-pointer": `^${pointer}$`,
  "relative-json-pointer": `^(0|[1-9][0-9]*)(#|${pointer})$`,
  uuid: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
};

/** Those whose pattern has every text of the format, so that it tells also which texts have not. */
export const wholeFormats: ReadonlySet<string> = new Set([
  ...["date", "duration", "ipv4", "ipv6", "byte", "json-pointer", "relative-json-pointer", "uuid"],
]);

/** Formats of numbers, as OpenAPI has them: whole numbers in these bounds. The last one is the double below 2^63. */
export const formatRanges: Readonly<Record<string, readonly [least: number, most: number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [-(2 ** 63), 2 ** 63 - 1024],
};

/** Formats that every value has. */
export const freeFormats: ReadonlySet<string> = new Set(["float", "double", "password", "binary"]);

export const formatNames: readonly string[] = [
  ...Object.keys(formatPatterns),
  ...Object.keys(formatRanges),
  ...freeFormats,
];
