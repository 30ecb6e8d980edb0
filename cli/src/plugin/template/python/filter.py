"""Decides which logs are taken: those that hold a word are not stored."""

from sawpit import drop, plugin, refuse_unknown


def configure(config):
    """The [config] table of {{name}}.toml. An exception refuses the plugin."""
    word = config.pop("word", "smoke")
    refuse_unknown(config)
    if not isinstance(word, str) or not word:
        raise ValueError("word must be a text that is not empty")
    return word


def filter(log, word):
    """An exception is an error of this log alone."""
    if word in log.message:
        return drop(f'holds "{word}"')


# What the component exports, as wit/world.wit says.
Meta, Configuration, Filter = plugin(
    name="{{name}}",
    version="0.1.0",
    help="Drops logs that hold a word",
    # What is not listed here is not sent to the plugin.
    reads=["message"],
    configure=configure,
    filter=filter,
)
