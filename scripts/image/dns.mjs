// A DNS server at 127.0.0.11, as Docker has one in every container: dns.mjs NAMES.json NETWORK...
// The file is read anew for each question: { network: { service: [address] } }.

import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";

const [file, ...networks] = process.argv.slice(2);
const socket = createSocket("udp4");

/** The name that is asked for, its type, and where the question ends. */
function readQuestion(message) {
  const labels = [];
  let at = 12;
  while (message[at] !== 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + message[at]));
    at += 1 + message[at];
  }
  return { name: labels.join("."), type: message.readUInt16BE(at + 1), end: at + 5 };
}

socket.on("message", (message, { port, address }) => {
  const { name, type, end } = readQuestion(message);
  const names = JSON.parse(readFileSync(file, "utf8"));
  const found = networks.flatMap((network) => names[network]?.[name] ?? []);
  const answers = type === 1 ? found : []; // A
  const head = Buffer.alloc(12);
  message.copy(head, 0, 0, 2);
  head.writeUInt16BE(found.length > 0 ? 0x8180 : 0x8183, 2); // an answer, or: there is no such name
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(answers.length, 6);
  const records = answers.map((text) =>
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ...text.split(".").map(Number)]),
  );
  socket.send(Buffer.concat([head, message.subarray(12, end), ...records]), port, address);
});
socket.bind(53, "127.0.0.11", () => console.log("listening"));
