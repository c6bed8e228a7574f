// One-way constraints over a graph of variables, planned and executed again and again: pointers and virtual calls.
(() => {
  const STRENGTHS = ["required", "strong", "medium", "weak"];
  class Variable {
    constructor(value) {
      this.value = value;
      this.readers = [];
      this.setBy = null;
      this.mark = 0;
    }
  }
  class Constraint {
    constructor(strength, inputs, output) {
      this.strength = STRENGTHS.indexOf(strength);
      this.inputs = inputs;
      this.output = output;
      for (const input of inputs) input.readers.push(this);
      if (output.setBy === null || this.strength < output.setBy.strength) output.setBy = this;
    }
  }
  class Equal extends Constraint {
    execute() {
      this.output.value = this.inputs[0].value;
    }
  }
  class Scale extends Constraint {
    execute() {
      const [source, factor, offset] = this.inputs;
      this.output.value = (source.value * factor.value + offset.value) % 1_000_003;
    }
  }
  class Sum extends Constraint {
    execute() {
      let total = 0;
      for (const input of this.inputs) total += input.value;
      this.output.value = total % 1_000_003;
    }
  }
  let marks = 0;
  const plan = (from) => {
    marks += 1;
    const steps = [];
    const queue = [from];
    from.mark = marks;
    for (let i = 0; i < queue.length; i += 1) {
      for (const reader of queue[i].readers) {
        const { output } = reader;
        if (output.setBy !== reader || output.mark === marks) continue;
        output.mark = marks;
        steps.push(reader);
        queue.push(output);
      }
    }
    return steps;
  };
  const build = (length) => {
    const source = new Variable(1);
    const factor = new Variable(7);
    const offset = new Variable(11);
    let current = source;
    const ends = [];
    for (let i = 0; i < length; i += 1) {
      const next = new Variable(0);
      if (i % 3 === 0) new Scale("strong", [current, factor, offset], next);
      else if (i % 3 === 1) new Equal("medium", [current], next);
      else new Sum("required", [current, ends[ends.length - 1] ?? source, factor], next);
      if (i % 5 === 0) new Equal("weak", [source], next);
      ends.push(next);
      current = next;
    }
    return { source, factor, last: current };
  };
  let checksum = 0;
  for (let round = 0; round < 12; round += 1) {
    const graph = build(4000);
    for (let i = 0; i < 220; i += 1) {
      const target = i % 2 === 0 ? graph.source : graph.factor;
      target.value = i + round;
      for (const step of plan(target)) step.execute();
      checksum = (checksum + graph.last.value) % 1_000_003;
    }
  }
  console.log(`constraints ${checksum}`);
})();
