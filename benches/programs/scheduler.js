// A small operating system's task loop: polymorphic calls, linked queues, short-lived packets.
(() => {
  class Packet {
    constructor(kind, value) {
      this.kind = kind;
      this.value = value;
      this.next = null;
    }
  }
  class Task {
    constructor(system, id, priority) {
      this.system = system;
      this.id = id;
      this.priority = priority;
      this.head = null;
      this.tail = null;
      this.work = 0;
    }
    post(packet) {
      if (this.tail === null) this.head = packet;
      else this.tail.next = packet;
      this.tail = packet;
    }
    take() {
      const packet = this.head;
      if (packet !== null) {
        this.head = packet.next;
        if (this.head === null) this.tail = null;
        packet.next = null;
      }
      return packet;
    }
    get ready() {
      return this.head !== null;
    }
  }
  class Idle extends Task {
    constructor(system, id, rounds) {
      super(system, id, 0);
      this.left = rounds;
      this.control = 1;
    }
    get ready() {
      return this.left > 0;
    }
    step() {
      this.left -= 1;
      const odd = this.control & 1;
      this.control >>>= 1;
      if (odd === 1) this.control ^= 0xd008;
      this.system.send(odd === 1 ? "disk" : "net", new Packet("request", this.control));
    }
  }
  class Device extends Task {
    step() {
      const packet = this.take();
      this.work += 1;
      this.system.send("handler", new Packet("answer", packet.value ^ this.work));
    }
  }
  class Handler extends Task {
    constructor(system, id, priority) {
      super(system, id, priority);
      this.sum = 0;
      this.buffer = new Array(4).fill(0);
    }
    step() {
      const packet = this.take();
      this.buffer[this.work & 3] = packet.value;
      this.work += 1;
      if ((this.work & 3) === 0) {
        this.sum = (Math.imul(this.sum, 31) + this.buffer.reduce((a, b) => a + b, 0)) | 0;
        this.system.send("worker", new Packet("batch", this.sum & 0xffff));
      }
    }
  }
  class Worker extends Task {
    step() {
      let value = this.take().value;
      for (let i = 0; i < 8; i += 1) value = (value * 7 + i) % 26;
      this.work += value;
    }
  }
  class System {
    constructor(rounds) {
      const make = [
        new Idle(this, "idle", rounds),
        new Device(this, "disk", 30),
        new Device(this, "net", 20),
        new Handler(this, "handler", 50),
        new Worker(this, "worker", 10),
      ];
      this.tasks = make.sort((a, b) => b.priority - a.priority);
      this.byId = new Map(make.map((task) => [task.id, task]));
      this.switches = 0;
    }
    send(id, packet) {
      this.byId.get(id).post(packet);
    }
    run() {
      for (;;) {
        const task = this.tasks.find((candidate) => candidate.ready);
        if (task === undefined) return;
        this.switches += 1;
        task.step();
      }
    }
  }
  let checksum = 0;
  for (let round = 0; round < 80; round += 1) {
    const system = new System(60_000 + round);
    system.run();
    checksum = (checksum + system.switches + system.byId.get("handler").sum + system.byId.get("worker").work) | 0;
  }
  console.log(`scheduler ${checksum}`);
})();
