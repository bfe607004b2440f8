// The formats of strings that a schema can name, as patterns for the whole text.

const date =
  "([0-9]{4}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|[0-9]{4}-(0[469]|11)-(0[1-9]|[12][0-9]|30)|[0-9]{4}-02-(0[1-9]|1[0-9]|2[0-8]))";
const time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
const octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const ipv4 = `${octet}(\\.${octet}){3}`;
const label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const hostname = `${label}(\\.${label}){0,4}`;
const atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
const group = "[0-9a-fA-F]{1,4}";
const uriCharacter = "([a-zA-Z0-9._~:@!$&'()*+,;=-]|%[0-9a-fA-F]{2})";

/** A subset where the full form is hardly written: IPv6 in full, URIs with a scheme and an authority, no 29 February. */
export const formatPatterns: Readonly<Record<string, string>> = {
  date: `^${date}$`,
  time: `^${time}$`,
  "date-time": `^${date}[Tt]${time}$`,
  duration:
    "^P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))$",
  email: `^${atom}(\\.${atom})*@${hostname}$`,
  hostname: `^${hostname}$`,
  ipv4: `^${ipv4}$`,
  ipv6: `^${group}(:${group}){7}$`,
  uri: `^[a-zA-Z][a-zA-Z0-9+.-]*://${hostname}(:[0-9]{1,5})?(/${uriCharacter}*)*(\\?(${uriCharacter}|[/?])*)?(#(${uriCharacter}|[/?])*)?$`,
  uuid: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
};
