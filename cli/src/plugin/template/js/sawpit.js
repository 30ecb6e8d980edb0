// What a Sawpit plugin needs beside its rules: it makes logs of the columns of a call, and columns of the answers.
// It is part of your project; change it where you need to. The contract is wit/deps/sawpit-plugin/.

class Decision {
  constructor(kind, reason) {
    this.kind = kind;
    this.reason = String(reason ?? "");
  }
}

// From a filter: take the log. Returning nothing does the same.
export const accept = new Decision("accept");
// From a filter or a transform: do not store the log.
export const drop = (reason) => new Decision("drop", reason);
// From a filter: the device is at fault and gets 422 with the reason.
export const reject = (reason) => new Decision("reject", reason);

// What the host does for a plugin, once wit/world.wit imports what it is part of and the manifest grants it.
export const host = {
  // A line for the operator's log, granted as "log". Levels are those of log.level.
  log(name, text) {
    imported("log").write(level(name), String(text));
  },

  // Microseconds since 1970, UTC; granted as "clock".
  now() {
    return imported("clock").now();
  },

  // Adds to a counter, which becomes a metric; granted as "counters". A name is of a-z, 0-9 and _.
  count(name, by = 1) {
    // What the contract does not take would end the whole call.
    const number = Number(by);
    if (!Number.isSafeInteger(number) || number < 0) throw new TypeError(`${by} is no whole number from 0 up`);
    imported("counters").add(String(name), number);
  },
};

// An import that the world does not have must not fail those who do without it.
const imports = {
  log: await import("sawpit:plugin/log@0.1.0").catch(() => undefined),
  clock: await import("sawpit:plugin/clock@0.1.0").catch(() => undefined),
  counters: await import("sawpit:plugin/counters@0.1.0").catch(() => undefined),
};

// Files are run when the plugin is built, and then there is no host yet.
let started = false;

function imported(name) {
  if (!imports[name]) {
    const line = `import sawpit:plugin/${name}@0.1.0;`;
    throw new Error(`add "${line}" to wit/world.wit, and "${name}" to grants in the manifest`);
  }
  if (!started) throw new Error("the host is there for configure and the stages, not while files are loaded");
  return imports[name];
}

// What is left of the [config] table when `configure` has taken what it knows: a key that is misspelt is refused rather than
// ignored.
export function refuseUnknown(others) {
  const keys = Object.keys(others);
  if (keys.length > 0) throw new Error(`[config] has unknown keys: ${keys.join(", ")}`);
}

// Makes what the component exports. `reads` names what of a log is looked at: "deviceId", "level", "message", "data",
// "receivedAt"; nothing else is sent. `configure` gets the [config] table and returns what the stages get as second
// argument. A stage gets one log; what it throws counts as a failure on that log only.
export function plugin(rules) {
  check(rules);
  const { name, version, help, reads = [], configure = (config) => config, filter, enrich, transform } = rules;
  const flags = Object.fromEntries(reads.map((read) => [columnOf(read), true]));
  let config;
  const made = {
    meta: {
      describe() {
        started = true;
        const forgotten = Object.keys(made).filter((member) => !taken.has(member));
        if (forgotten.length > 0) throw new Error(`plugin() got ${forgotten.join(", ")}, which rules.js does not export`);
        return { name, version, help, reads: flags };
      },
    },
    configuration: {
      configure(text) {
        started = true;
        try {
          config = configure(JSON.parse(text));
        } catch (error) {
          throw explain(error, configure);
        }
      },
    },
  };
  if (filter) made.filter = { filter: (batch) => runFilter(rows(batch, reads), filter, config) };
  if (enrich) made.enrich = { enrich: (batch) => runEnrich(rows(batch, reads), enrich, config) };
  if (transform) made.transform = { transform: (batch) => runTransform(rows(batch, reads), transform, config) };
  // A stage that is exported and not there, or the other way round, is said; else it would only never run.
  const taken = new Set();
  const take = (_, member) => {
    if (!(member in made)) throw new Error(`rules.js exports ${String(member)}, which plugin() did not get`);
    taken.add(member);
    return made[member];
  };
  return new Proxy(made, { get: take });
}

const STAGES = ["filter", "enrich", "transform"];

// What is misspelt or of another type must not be found out by what the plugin does not do.
function check(rules) {
  refuseOthers(rules, "plugin()", ["name", "version", "help", "reads", "configure", ...STAGES]);
  for (const member of ["name", "version", "help"]) {
    const value = rules[member];
    if (typeof value !== "string") throw new TypeError(`${member} must be a text, not ${JSON.stringify(value)}`);
  }
  const { reads = [] } = rules;
  if (!Array.isArray(reads)) throw new TypeError(`reads must be an array, not ${JSON.stringify(reads)}`);
  for (const member of ["configure", ...STAGES]) {
    const rule = rules[member];
    if (rule !== undefined && typeof rule !== "function") throw new TypeError(`${member} must be a function`);
  }
}

function refuseOthers(object, what, known) {
  const other = Object.keys(object).find((member) => !known.includes(member));
  if (other !== undefined) throw new TypeError(`${what} has an unknown member ${other}: known are ${known.join(", ")}`);
}

function runFilter(logs, filter, config) {
  const [verdicts, reasons, errors] = [[], new Column(), []];
  each(logs, errors, filter, (log, row) => {
    verdicts[row] = "accept";
    const decision = filter(log, config) ?? accept;
    if (!(decision instanceof Decision)) throw new TypeError("a filter returns accept, drop(why) or reject(why)");
    reasons.set(row, decision.reason);
    verdicts[row] = decision.kind;
  });
  return { verdicts, reasons: reasons.finish(logs.length), errors };
}

function runEnrich(logs, enrich, config) {
  const [set, errors] = [new Column(), []];
  each(logs, errors, enrich, (log, row) => {
    const members = enrich(log, config);
    if (members !== undefined && members !== null) set.set(row, object(members));
  });
  return { set: set.finish(logs.length), errors };
}

// A transform returns nothing (the log goes on), drop(why), an object with any of `message`, `level`, `data` (the whole of
// log_data) and `set` (members of it), or an array of such objects: one log for each.
const EDITS = ["message", "level", "data", "set"];

function runTransform(logs, transform, config) {
  const [origins, dropped, levels, errors] = [[], [], [], []];
  const [messages, data, set] = [new Edits(), new Edits(), new Edits()];
  let changed = false;
  each(logs, errors, transform, (log, row) => {
    const answer = transform(log, config);
    if (answer instanceof Decision) {
      if (answer.kind !== "drop") throw new TypeError("a transform can drop(why) a log, no more");
      dropped.push({ input: row, reason: answer.reason });
      return;
    }
    // All is checked before any of it counts: a log that fails has no outputs.
    const parts = [answer ?? {}].flat().map(checkedEdit);
    changed ||= answer !== undefined && answer !== null;
    if (parts.length === 0) throw new TypeError("an empty array forgets the log: return drop(why)");
    for (const part of parts) {
      const output = origins.push(row) - 1;
      if (part.level !== undefined) levels.push({ output, level: part.level });
      messages.add(output, part.message);
      data.add(output, part.data);
      set.add(output, part.set);
    }
  });
  if (!changed && dropped.length === 0 && errors.length === 0) return { tag: "unchanged" };
  const edits = { messages: messages.finish(), logData: data.finish(), set: set.finish() };
  return { tag: "changed", val: { origins, merged: [], dropped, levels, ...edits, errors } };
}

function checkedEdit(part) {
  if (!isObject(part)) throw new TypeError("a transform returns nothing, drop(why), an object or an array of objects");
  refuseOthers(part, "what transform returned", EDITS);
  return {
    message: part.message === undefined ? undefined : String(part.message),
    level: part.level === undefined ? undefined : level(part.level),
    data: part.data === undefined ? undefined : object(part.data),
    set: part.set === undefined ? undefined : object(part.set),
  };
}

function each(logs, errors, rule, run) {
  logs.forEach((log, row) => {
    try {
      run(log, row);
    } catch (error) {
      errors.push({ row, message: explain(error, rule) });
    }
  });
}

// One log of a call. Only what `reads` names is there; the rest throws.
class Log {
  #row;
  #texts;
  #batch;
  #data;

  constructor(batch, texts, row) {
    [this.#batch, this.#texts, this.#row] = [batch, texts, row];
  }

  get deviceId() {
    return this.#text("deviceId");
  }

  // "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL".
  get level() {
    return this.#value("level", this.#batch.logLevel).toUpperCase();
  }

  get message() {
    return this.#text("message");
  }

  // log_data as it came.
  get dataText() {
    return this.#text("data");
  }

  // log_data parsed. Changing it changes nothing: return what is to be set.
  get data() {
    return (this.#data ??= JSON.parse(this.dataText));
  }

  // Microseconds since 1970, UTC.
  get receivedAt() {
    return this.#value("receivedAt", this.#batch.receivedAt);
  }

  #text(read) {
    const column = this.#texts[read] ?? unread(read);
    return utf8(column.bytes.slice(column.ends[this.#row - 1] ?? 0, column.ends[this.#row]));
  }

  #value(read, list) {
    return list.length > this.#row ? list[this.#row] : unread(read);
  }
}

function rows(batch, reads) {
  const texts = {};
  for (const read of ["deviceId", "message", "data"].filter((read) => reads.includes(read))) {
    const { bytes, ends } = batch[columnOf(read)];
    texts[read] = { bytes: latin1(bytes), ends };
  }
  return Array.from({ length: batch.len }, (_, row) => new Log(batch, texts, row));
}

function columnOf(read) {
  const columns = { deviceId: "deviceId", level: "logLevel", message: "message", data: "logData", receivedAt: "receivedAt" };
  const known = Object.keys(columns);
  if (!known.includes(read)) throw new TypeError(`reads holds ${JSON.stringify(read)}: known are ${known.join(", ")}`);
  return columns[read];
}

function unread(read) {
  throw new Error(`the log's ${read} was not sent: add "${read}" to reads`);
}

// Texts by row: a column that is being filled. Rows are added in order; one that is skipped is empty.
class Column {
  #rows = [];

  set(row, text) {
    this.#rows[row] = unescape(encodeURIComponent(text.toWellFormed()));
  }

  // With `rows` ends.
  finish(rows) {
    const all = this.#rows.join("");
    const bytes = new Uint8Array(all.length);
    for (let at = 0; at < bytes.length; at++) bytes[at] = all.charCodeAt(at);
    let end = 0;
    const ends = Array.from({ length: rows }, (_, row) => (end += this.#rows[row]?.length ?? 0));
    return { bytes, ends };
  }
}

// Texts for some of the outputs.
class Edits {
  #outputs = [];
  #texts = new Column();

  add(output, text) {
    if (text === undefined) return;
    this.#texts.set(this.#outputs.length, text);
    this.#outputs.push(output);
  }

  finish() {
    return { outputs: this.#outputs, texts: this.#texts.finish(this.#outputs.length) };
  }
}

function object(value) {
  if (!isObject(value)) throw new TypeError("an object with the members to set is wanted");
  return JSON.stringify(value);
}

// A promise, which an async function returns, would be an object without members.
function isObject(value) {
  if (typeof value !== "object" || value === null) return false;
  return ![Array, Decision, Promise].some((other) => value instanceof other);
}

function level(name) {
  const levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
  if (!levels.includes(name)) throw new TypeError(`no level ${JSON.stringify(name)}: known are ${levels.join(", ")}`);
  return name.toLowerCase();
}

// QuickJS has no TextDecoder. What is used here instead runs in its own C code, which is much faster than a loop.
function latin1(bytes) {
  return atob(bytes.toBase64());
}

function utf8(text) {
  return /[\x80-\xff]/.test(text) ? decodeURIComponent(escape(text)) : text;
}

// What failed, and where in the author's files: where they were left already, as for a wrong answer, it is where the rule
// begins (fileName and lineNumber are QuickJS's own).
function explain(error, rule) {
  if (!(error instanceof Error)) return String(error);
  const frames = String(error.stack ?? "").split("\n").map((line) => line.trim());
  const found = frames.find((frame) => frame.includes("/") && !frame.includes("/sawpit.js:"));
  const where = found ?? (rule.fileName ? `at ${rule.name} (${rule.fileName}:${rule.lineNumber})` : frames[0]);
  return where ? `${error.name}: ${error.message} (${where})` : `${error.name}: ${error.message}`;
}
