// Gravity between five bodies, leapfrog steps: double arithmetic on object fields.
(() => {
  class Body {
    constructor(x, y, z, vx, vy, vz, mass) {
      this.x = x;
      this.y = y;
      this.z = z;
      this.vx = vx;
      this.vy = vy;
      this.vz = vz;
      this.mass = mass;
    }
  }
  let seed = 12345;
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return seed / 0x7fffffff - 0.5;
  };
  const bodies = [new Body(0, 0, 0, 0, 0, 0, 40)];
  for (let i = 1; i < 5; i += 1) {
    bodies.push(new Body(i * 6 + random(), random() * 5, random(), random(), 2 / Math.sqrt(i), random() / 10, 0.01 / i));
  }
  const energy = () => {
    let sum = 0;
    bodies.forEach((a, i) => {
      sum += 0.5 * a.mass * (a.vx ** 2 + a.vy ** 2 + a.vz ** 2);
      for (const b of bodies.slice(i + 1)) sum -= (a.mass * b.mass) / Math.hypot(a.x - b.x, a.y - b.y, a.z - b.z);
    });
    return sum;
  };
  const step = (dt) => {
    for (let i = 0; i < bodies.length; i += 1) {
      const a = bodies[i];
      for (let j = i + 1; j < bodies.length; j += 1) {
        const b = bodies[j];
        const dx = a.x - b.x;
        const dy = a.y - b.y;
        const dz = a.z - b.z;
        const square = dx * dx + dy * dy + dz * dz;
        const pull = dt / (square * Math.sqrt(square));
        a.vx -= dx * b.mass * pull;
        a.vy -= dy * b.mass * pull;
        a.vz -= dz * b.mass * pull;
        b.vx += dx * a.mass * pull;
        b.vy += dy * a.mass * pull;
        b.vz += dz * a.mass * pull;
      }
    }
    for (const body of bodies) {
      body.x += dt * body.vx;
      body.y += dt * body.vy;
      body.z += dt * body.vz;
    }
  };
  const before = energy();
  for (let i = 0; i < 6_000_000; i += 1) step(0.001);
  console.log(`nbody ${before.toFixed(6)} ${energy().toFixed(6)}`);
})();
