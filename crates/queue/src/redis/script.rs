//! What runs inside Redis. A script names only keys of one partition, so it may run in a cluster.

use redis::{Cmd, Script};
use sawpit_model::Entry;

use super::part::{BASE, STRIDE};

/// Appends to a stream under the ids of its partition. Time in microseconds makes the sequence rise by itself; only
/// when two appends share one, or a batch ran ahead of the clock, or the clock was set back, the last id is asked
/// for, which costs more because Redis answers with whole entries.
const ADD: &str = r"
local function add(key, part, ...)
    if part < 0 then return redis.call('XADD', key, '*', ...) end
    local time = redis.call('TIME')
    local ms = time[1] * 1000 + math.floor(time[2] / 1000)
    local seq = BASE + (time[2] % 1000) * STRIDE + part
    local id = redis.pcall('XADD', key, string.format('%.0f-%.0f', ms, seq), ...)
    if type(id) == 'string' then return id end
    if not string.find(id.err, 'equal or smaller', 1, true) then
        return redis.call('XADD', key, string.format('%.0f-%.0f', ms, seq), ...)
    end
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then
            local last_ms, last_seq = string.match(info[i + 1], '(%d+)-(%d+)')
            ms, seq = last_ms, BASE + part
            if tonumber(last_seq) >= seq then
                seq = seq + (math.floor((last_seq - seq) / STRIDE) + 1) * STRIDE
            end
        end
    end
    return redis.call('XADD', key, string.format('%s-%.0f', ms, seq), ...)
end
";

/// Appends messages. Arguments: the partition, then for each message how many texts follow, and these. Nothing can
/// fail behind the first message: Redis looks at its memory and its disk before the first write.
const APPEND: &str = r"
local ids, at = {}, 2
while at <= #ARGV do
    local last = at + tonumber(ARGV[at])
    ids[#ids + 1] = add(KEYS[1], tonumber(ARGV[1]), unpack(ARGV, at + 1, last))
    at = last + 1
end
return ids
";

/// Back into the stream and out of the dead letters in one step, so that two replays append one message.
const REPLAY: &str = r"
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return false end
local fields = found[1][2]
local kept = {}
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 5) ~= 'dead:' then
        kept[#kept + 1] = fields[i]
        kept[#kept + 1] = fields[i + 1]
    end
end
local id = add(KEYS[2], tonumber(ARGV[2]), unpack(kept))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
";

/// Out of the stream and into the dead letters in one step; only what is still its owner's. A worker that
/// stalled must not bury what another has stored meanwhile, or is about to. Arguments: the group, the most letters, how many come, the
/// partition, then for each message its id, its owner, how many texts follow, and these. Answers -1 when there is no room:
/// nothing is trimmed.
const BURY: &str = r"
local buried = 0
local at = 5
if redis.call('XLEN', KEYS[2]) + tonumber(ARGV[3]) > tonumber(ARGV[2]) then return -1 end
while at <= #ARGV do
    local id, owner, last = ARGV[at], ARGV[at + 1], at + 2 + tonumber(ARGV[at + 2])
    if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, owner) == 1 then
        add(KEYS[2], tonumber(ARGV[4]), unpack(ARGV, at + 3, last))
        redis.call('XACK', KEYS[1], ARGV[1], id)
        redis.call('XDEL', KEYS[1], id)
        buried = buried + 1
    end
    at = last + 1
end
return buried
";

/// Deletes consumers that have nothing in hand and were given nothing for long. In one step with the look at what they have:
/// with a consumer Redis deletes what it has in hand.
const FORGET: &str = r"
local gone = 0
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for i = 1, #facts, 2 do consumer[facts[i]] = facts[i + 1] end
    if consumer['pending'] == 0 and consumer['idle'] >= tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        gone = gone + 1
    end
end
return gone
";

/// Makes what is still its owner's look as if it had been delivered just now, and nothing else: JUSTID counts no delivery.
/// Arguments: the group, the owner, the messages.
const KEEP: &str = r"
for i = 3, #ARGV do
    if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    end
end
return #ARGV - 2
";

/// Raises a number, never lowers it; says what it is.
const RAISE: &str = r"
local found = tonumber(redis.call('GET', KEYS[1]) or '0')
if found >= tonumber(ARGV[1]) then return found end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])
";

/// Appends once. The record is written first, empty, which counts as none: who may not write it, or finds the memory
/// full, is told so before anything is appended, and after a script's first write Redis refuses no later one for its
/// memory. Keys: the stream, the record. Arguments: how long the record lives in ms, the digest, the note, the partition,
/// then for each entry how many texts follow, and these. Answers 1 and the record that it wrote, or 0 and the one that
/// was there.
const APPEND_ONCE: &str = r"
local known = redis.call('GET', KEYS[2])
if known and known ~= '' then
    touch(KEYS[2])
    return {0, known}
end
redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
local runs, first, ms, seq, count = {}, nil, nil, nil, 0
local at = 5
while at <= #ARGV do
    local last = at + tonumber(ARGV[at])
    local id = add(KEYS[1], tonumber(ARGV[4]), unpack(ARGV, at + 1, last))
    local new_ms, new_seq = string.match(id, '^(%d+)-(%d+)$')
    new_seq = tonumber(new_seq)
    if first and new_ms == ms and new_seq == seq + 1 then
        count = count + 1
    else
        if first then runs[#runs + 1] = first .. '+' .. count end
        first, count = id, 1
    end
    ms, seq = new_ms, new_seq
    at = last + 1
end
if first then runs[#runs + 1] = first .. '+' .. count end
local record = ARGV[2] .. '\n' .. table.concat(runs, ',') .. '\n' .. ARGV[3]
redis.call('SET', KEYS[2], record, 'PX', ARGV[1])
return {1, record}
";

/// Reads the record, and writes: WAIT, sent behind it, is about what its own connection wrote.
const RECALL: &str = r"
local known = redis.call('GET', KEYS[1])
if known then touch(KEYS[1]) end
return known
";

/// A write that changes nothing: a record's end is set to what it is. Replicas that have it have all that was written
/// before. Redis without memory takes it, too.
const TOUCH: &str = r"
local function touch(key)
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, left) end
end
";

/// The scripts, hashed once.
pub(super) struct Scripts {
    pub(super) append: Called,
    pub(super) once: Called,
    pub(super) recall: Called,
    pub(super) replay: Script,
    pub(super) bury: Script,
    pub(super) raise: Script,
    pub(super) forget: Script,
    pub(super) keep: Script,
}

/// A script that is called by its hash, beside other commands: who does not know it answers NOSCRIPT, and is told.
pub(super) struct Called {
    hash: String,
    text: String,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let add = ADD.replace("BASE", &BASE.to_string()).replace("STRIDE", &STRIDE.to_string());
        let with_add = |body: &str| format!("{add}{body}");
        Self {
            append: Called::new(with_add(APPEND)),
            once: Called::new(format!("{TOUCH}{}", with_add(APPEND_ONCE))),
            recall: Called::new(format!("{TOUCH}{RECALL}")),
            replay: Script::new(&with_add(REPLAY)),
            bury: Script::new(&with_add(BURY)),
            raise: Script::new(RAISE),
            forget: Script::new(FORGET),
            keep: Script::new(KEEP),
        }
    }
}

impl Called {
    fn new(text: String) -> Self {
        Self { hash: Script::new(&text).get_hash().to_owned(), text }
    }

    /// The call of it; its keys and arguments follow.
    pub(super) fn call(&self, keys: usize) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys);
        command
    }

    /// Makes it known.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

/// For each entry how many texts follow, and these.
pub(super) fn add_entries(command: &mut Cmd, entries: &[Entry]) {
    for entry in entries {
        // Name and value of each field.
        command.arg(entry.to_fields().count() * 2);
        for (name, value) in entry.to_fields() {
            command.arg(name).arg(value.as_bytes());
        }
    }
}
