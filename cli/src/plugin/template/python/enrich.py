"""Adds to logs: marks those that hold a word."""

from sawpit import plugin, refuse_unknown


def configure(config):
    """The [config] table of {{name}}.toml. An exception refuses the plugin."""
    word = config.pop("word", "smoke")
    refuse_unknown(config)
    if not isinstance(word, str) or not word:
        raise ValueError("word must be a text that is not empty")
    return word


def enrich(log, word):
    """The members to set in log_data, or None. An exception is an error of this log alone."""
    if word in log.message:
        return {"attention": True}


# What the component exports, as wit/world.wit says.
Meta, Configuration, Enrich = plugin(
    name="{{name}}",
    version="0.1.0",
    help="Marks logs that hold a word",
    # What is not listed here is not sent to the plugin.
    reads=["message"],
    configure=configure,
    enrich=enrich,
)
