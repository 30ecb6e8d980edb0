"""What a Sawpit plugin needs beside its rules: it makes logs of the columns of a call, and columns of the answers.

It is part of your project; change it where you need to. The contract is wit/deps/sawpit-plugin/.
"""

import importlib
import json
import traceback
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.imports.types import Column, Description, Fields, Level, RowError

# What can be read of a log, and what it is called in the contract.
READS = {
    "device_id": Fields.DEVICE_ID,
    "level": Fields.LOG_LEVEL,
    "message": Fields.MESSAGE,
    "data": Fields.LOG_DATA,
    "received_at": Fields.RECEIVED_AT,
}


# Of the author's files, for the place of an error.
PROJECT = __file__.rsplit("/", 1)[0] + "/"


def module_of(world):
    """What the world has is a module; there is none for what it has not."""
    try:
        return importlib.import_module(f"wit_world.{world}")
    except ImportError:
        return None


IMPORTS = {name: module_of(f"imports.{name}") for name in ["log", "clock", "counters"]}


class host:
    """What the host does for a plugin, once wit/world.wit imports what it is part of and the manifest grants it."""

    @staticmethod
    def log(level, text):
        """A line for the operator's log, granted as "log". Levels are those of log.level."""
        host._imported("log").write(level_of(level), str(text))

    @staticmethod
    def now():
        """Microseconds since 1970, UTC; granted as "clock"."""
        return host._imported("clock").now()

    @staticmethod
    def count(name, by=1):
        """Adds to a counter, which becomes a metric; granted as "counters". A name is of a-z, 0-9 and _."""
        # What the contract does not take would end the whole call.
        if not isinstance(by, int) or not 0 <= by < 1 << 64:
            raise TypeError(f"{by!r} is no whole number from 0 up")
        host._imported("counters").add(str(name), by)

    # Files are run when the plugin is built, and then there is no host yet.
    _started = False

    @staticmethod
    def _imported(name):
        if IMPORTS[name] is None:
            line = f"import sawpit:plugin/{name}@0.1.0;"
            raise RuntimeError(f'add "{line}" to wit/world.wit, and "{name}" to grants in the manifest')
        if not host._started:
            raise RuntimeError("the host is there for configure and the stages, not while files are loaded")
        return IMPORTS[name]


@dataclass
class Decision:
    kind: str
    reason: str = ""


# With slots, so that a member that is misspelt is refused.
@dataclass(slots=True)
class Edit:
    message: str | None = None
    level: str | None = None
    data: dict | None = None
    set: dict | None = None


# From a filter: take the log. Returning None does the same.
accept = Decision("accept")


def drop(reason):
    """From a filter or a transform: do not store the log."""
    return Decision("drop", str(reason))


def reject(reason):
    """From a filter: the device is at fault and gets 422 with the reason."""
    return Decision("reject", str(reason))


def edit(message=None, level=None, data=None, set=None):
    """From a transform: a new message or level ("INFO"), the whole of log_data, members to set in it."""
    return Edit(message, level, data, set)


def refuse_unknown(others):
    """What is left of the [config] table when `configure` has taken what it knows: a key that is misspelt is refused."""
    if others:
        raise ValueError(f"[config] has unknown keys: {', '.join(others)}")


def plugin(
    *, name, version, help, reads=(), configure=lambda config: config, filter=None, enrich=None, transform=None
):
    """Makes the classes that the component exports: Meta, Configuration and one for each stage that is given.

    `reads` names what of a log is looked at; nothing else is sent. `configure` gets the [config] table and returns
    what the stages get as second argument. A stage gets one log; an exception counts as a failure on that log only.
    """
    for field, value in [("name", name), ("version", version), ("help", help)]:
        if not isinstance(value, str):
            raise TypeError(f"{field} must be a text, not {value!r}")
    if isinstance(reads, str):
        raise TypeError(f"reads must be a list, not {reads!r}")
    flags = Fields(0)
    for read in reads:
        if read not in READS:
            raise TypeError(f"reads holds {read!r}: known are {', '.join(READS)}")
        flags |= READS[read]
    config = None

    class Meta:
        def describe(self):
            host._started = True
            return Description(name, version, help, flags)

    class Configuration:
        def configure(self, text):
            nonlocal config
            host._started = True
            try:
                config = configure(json.loads(text))
            except BaseException as error:  # sys.exit() as well
                raise Err(explain(error, configure)) from error

    exports = [Meta, Configuration]
    for stage, rule, make in [("filter", filter, filters), ("enrich", enrich, enriches), ("transform", transform, transforms)]:
        if rule is not None:
            if not callable(rule):
                raise TypeError(f"{stage} must be a function, not {rule!r}")
            if module_of(f"exports.{stage}") is None:
                raise TypeError(f'add "export sawpit:plugin/{stage}@0.1.0;" to wit/world.wit')
            run = make(rule, lambda log, rule=rule: rule(log, config))
            exports.append(type(stage.capitalize(), (), {stage: lambda self, batch, run=run: run(batch)}))
    return exports


def filters(source, rule):
    from wit_world.exports.filter import Verdict, Verdicts

    def run(batch):
        verdicts, reasons, errors = [Verdict.ACCEPT] * batch.len, [""] * batch.len, []

        def one(log, row):
            decision = rule(log)
            if decision is None:
                return
            if not isinstance(decision, Decision):
                raise TypeError("a filter returns accept, drop(why) or reject(why)")
            verdicts[row], reasons[row] = Verdict[decision.kind.upper()], decision.reason

        each(batch, errors, source, one)
        return Verdicts(verdicts, column(reasons), errors)

    return run


def enriches(source, rule):
    from wit_world.exports.enrich import Patches

    def run(batch):
        patches, errors = [""] * batch.len, []

        def one(log, row):
            members = rule(log)
            if members is not None:
                patches[row] = json_object(members)

        each(batch, errors, source, one)
        return Patches(column(patches), errors)

    return run


def transforms(source, rule):
    """A transform returns None (the log goes on), drop(why), edit(...), or a list of edits: one log for each."""
    from wit_world.exports.transform import Changes, Drop, Edits, LevelEdit, Outcome_Changed, Outcome_Unchanged

    def run(batch):
        origins, dropped, levels, errors = [], [], [], []
        texts = {"message": [], "data": [], "set": []}
        changed = False

        def one(log, row):
            nonlocal changed
            answer = rule(log)
            if isinstance(answer, Decision):
                if answer.kind != "drop":
                    raise TypeError("a transform can drop(why) a log, no more")
                dropped.append(Drop(row, answer.reason))
                return
            parts = answer if isinstance(answer, list) else [Edit() if answer is None else answer]
            if not parts or not all(isinstance(part, Edit) for part in parts):
                raise TypeError("a transform returns None, drop(why), edit(...) or a list of edits that is not empty")
            # All is checked before any of it counts: a log that fails has no outputs.
            checked = [checked_edit(part) for part in parts]
            changed = changed or answer is not None
            for level, new in checked:
                if level is not None:
                    levels.append(LevelEdit(len(origins), level))
                for part, text in new.items():
                    texts[part].append((len(origins), text))
                origins.append(row)

        each(batch, errors, source, one)
        if not changed and not dropped and not errors:
            return Outcome_Unchanged()
        message, data, set = (
            Edits([output for output, _ in part], column([text for _, text in part])) for part in texts.values()
        )
        return Outcome_Changed(Changes(origins, [], dropped, levels, message, data, set, errors))

    return run


def checked_edit(part):
    """The level, and the texts that are given."""
    level = None if part.level is None else level_of(part.level)
    new = {}
    if part.message is not None:
        new["message"] = str(part.message)
    if part.data is not None:
        new["data"] = json_object(part.data)
    if part.set is not None:
        new["set"] = json_object(part.set)
    return level, new


def level_of(name):
    if name not in Level.__members__:
        raise TypeError(f"no level {name!r}: known are {', '.join(Level.__members__)}")
    return Level[name]


def each(batch, errors, rule, run):
    texts = {
        "device_id": cut(batch.device_id),
        "message": cut(batch.message),
        "data": cut(batch.log_data),
    }
    for row in range(batch.len):
        try:
            run(Log(batch, texts, row), row)
        except BaseException as error:  # sys.exit() as well
            errors.append(RowError(row, explain(error, rule)))


class Log:
    """One log of a call. Only what `reads` names is there; the rest raises an exception."""

    def __init__(self, batch, texts, row):
        self._batch, self._texts, self._row, self._data = batch, texts, row, None

    @property
    def device_id(self):
        return self._at("device_id", self._texts["device_id"])

    @property
    def level(self):
        """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
        return self._at("level", self._batch.log_level).name

    @property
    def message(self):
        return self._at("message", self._texts["message"])

    @property
    def data_text(self):
        """log_data as it came."""
        return self._at("data", self._texts["data"])

    @property
    def data(self):
        """log_data as a dict. Changing it changes nothing: return what is to be set."""
        if self._data is None:
            self._data = json.loads(self.data_text)
        return self._data

    @property
    def received_at(self):
        """Microseconds since 1970, UTC."""
        return self._at("received_at", self._batch.received_at)

    def _at(self, read, values):
        if self._row >= len(values):
            raise RuntimeError(f'the log\'s {read} was not sent: add "{read}" to reads')
        return values[self._row]


def cut(column):
    """The texts of a column, in order."""
    starts = [0, *column.ends[:-1]]
    return [column.bytes[start:end].decode() for start, end in zip(starts, column.ends)]


def column(texts):
    rows = [text.encode("utf-8", "replace") for text in texts]
    ends, end = [], 0
    for row in rows:
        end += len(row)
        ends.append(end)
    return Column(b"".join(rows), ends)


def json_object(members):
    if not isinstance(members, dict):
        raise TypeError("a dict with the members to set is wanted")
    return json.dumps(members, ensure_ascii=False, allow_nan=False)


def explain(error, rule):
    """What failed, and where in the author's files: where they were left already, it is where the rule begins."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    places = [place for place in frames if place[0].startswith(PROJECT) and place[0] != __file__]
    if not places and (code := getattr(rule, "__code__", None)):
        places = [(code.co_filename, code.co_firstlineno)]
    file, line = (places or frames)[-1]
    text = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{text} (line {line} of {file.rsplit('/', 1)[-1]})"
