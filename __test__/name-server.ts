/** A DNS server for tests. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";

export interface Records {
  A?: string[] | (() => string[]);
  AAAA?: string[];
  MX?: [number, string][];
  TXT?: string[][];
}

export interface NameServer {
  port: number;
  /** Names that were asked for. */
  asked: string[];
  close(): void;
}

const TYPES: Readonly<Record<number, keyof Records>> = { 1: "A", 15: "MX", 16: "TXT", 28: "AAAA" };
const NO_SUCH_NAME = 3;
const TTL = 60;

const uint16 = (number: number): Buffer => Buffer.from([number >> 8, number & 255]);

function encodeName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

function encodeAddress(ip: string): Buffer {
  if (!isIPv6(ip)) return Buffer.from(ip.split(".").map(Number));
  const [head = "", tail = ""] = ip.split("::");
  const groups = (part: string): number[] => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0);
  return Buffer.concat([...before, ...zeros, ...after].map(uint16));
}

function encode(type: keyof Records, records: Records): Buffer[] {
  switch (type) {
    case "A":
      return (typeof records.A === "function" ? records.A() : (records.A ?? [])).map(encodeAddress);
    case "AAAA":
      return (records.AAAA ?? []).map(encodeAddress);
    case "MX":
      return (records.MX ?? []).map(([priority, host]) => Buffer.concat([uint16(priority), encodeName(host)]));
    case "TXT":
      return (records.TXT ?? []).map((texts) =>
        Buffer.concat(texts.map((text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]))),
      );
  }
}

function answer(question: Buffer, zone: Readonly<Record<string, Records>>, asked: string[]): Buffer {
  let offset = 12;
  const labels: string[] = [];
  for (let length = question[offset] ?? 0; length > 0; length = question[offset] ?? 0) {
    labels.push(question.toString("latin1", offset + 1, offset + 1 + length));
    offset += 1 + length;
  }
  const name = labels.join(".").toLowerCase();
  asked.push(name);
  const number = question.readUInt16BE(offset + 1);
  const records = zone[name];
  const type = TYPES[number];
  const data = records === undefined || type === undefined ? [] : encode(type, records);
  const asks = question.subarray(12, offset + 5);
  const flags = 0x8180 | (records === undefined ? NO_SUCH_NAME : 0);
  const head = Buffer.concat([question.subarray(0, 2), ...[flags, 1, data.length, 0, 0].map(uint16)]);
  const answers = data.map((bytes) =>
    Buffer.concat([uint16(0xc00c), uint16(number), uint16(1), uint16(0), uint16(TTL), uint16(bytes.length), bytes]),
  );
  return Buffer.concat([head, asks, ...answers]);
}

/** Serves a zone on the host's loopback. */
export async function startNameServer(zone: Readonly<Record<string, Records>>): Promise<NameServer> {
  const socket = createSocket("udp4");
  const asked: string[] = [];
  socket.on("message", (message, from) => socket.send(answer(message, zone, asked), from.port, from.address));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return { port: socket.address().port, asked, close: () => socket.close() };
}
