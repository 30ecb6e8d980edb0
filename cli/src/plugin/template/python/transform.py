"""Changes logs before they are stored: takes a word out of messages."""

from sawpit import edit, plugin, refuse_unknown


def configure(config):
    """The [config] table of {{name}}.toml. An exception refuses the plugin."""
    word = config.pop("word", "smoke")
    refuse_unknown(config)
    if not isinstance(word, str) or not word:
        raise ValueError("word must be a text that is not empty")
    return word


def transform(log, word):
    """What to change, or None; or drop(why), or a list with an edit(...) for each part of the log.

    An exception is an error of this log alone.
    """
    if word in log.message:
        return edit(message=log.message.replace(word, "***"))


# What the component exports, as wit/world.wit says.
Meta, Configuration, Transform = plugin(
    name="{{name}}",
    version="0.1.0",
    help="Takes a word out of messages",
    # What is not listed here is not sent to the plugin.
    reads=["message"],
    configure=configure,
    transform=transform,
)
