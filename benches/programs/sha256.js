// SHA-256 in JavaScript: 32-bit integer arithmetic on typed arrays.
(() => {
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) if (primes.every((p) => n % p !== 0)) primes.push(n);
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
  const constants = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)));
  const initial = Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)));
  const rotate = (x, n) => (x >>> n) | (x << (32 - n));
  const schedule = new Int32Array(64);
  const digest = (bytes) => {
    const blocks = (bytes.length + 8) >>> 6;
    const padded = new Uint8Array((blocks + 1) * 64);
    padded.set(bytes);
    padded[bytes.length] = 0x80;
    const view = new DataView(padded.buffer);
    view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
    view.setUint32(padded.length - 4, bytes.length << 3);
    const state = initial.slice();
    for (let offset = 0; offset < padded.length; offset += 64) {
      for (let i = 0; i < 16; i += 1) schedule[i] = view.getInt32(offset + i * 4);
      for (let i = 16; i < 64; i += 1) {
        const early = schedule[i - 15];
        const late = schedule[i - 2];
        const s0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
        const s1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
        schedule[i] = (schedule[i - 16] + s0 + schedule[i - 7] + s1) | 0;
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i += 1) {
        const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + schedule[i]) | 0;
        const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + t1) | 0;
        d = c;
        c = b;
        b = a;
        a = (t1 + t2) | 0;
      }
      state[0] += a;
      state[1] += b;
      state[2] += c;
      state[3] += d;
      state[4] += e;
      state[5] += f;
      state[6] += g;
      state[7] += h;
    }
    return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  };
  const ascii = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  if (digest(ascii("abc")) !== "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") throw new Error("wrong digest");
  const data = new Uint8Array(1 << 20);
  for (let i = 0; i < data.length; i += 1) data[i] = (i * 167) & 255;
  let chain = "";
  for (let round = 0; round < 32; round += 1) {
    data.set(ascii(chain));
    chain = digest(data);
  }
  console.log(`sha256 ${chain}`);
})();
