// Changes logs before they are stored: takes a word out of messages.

import { plugin, refuseUnknown } from "./sawpit.js";

// What the component exports, as wit/world.wit says.
export const { meta, configuration, transform } = plugin({
  name: "{{name}}",
  version: "0.1.0",
  help: "Takes a word out of messages",
  // What is not listed here is not sent to the plugin.
  reads: ["message"],

  // The [config] table of {{name}}.toml; what is thrown refuses the plugin.
  configure({ word = "smoke", ...others }) {
    refuseUnknown(others);
    if (typeof word !== "string" || word === "") throw new Error("word must be a text that is not empty");
    return { word };
  },

  // What to change, or nothing; or drop(why), or an array with an object for each part of the log. What is thrown here is an
  // error of this log alone.
  transform(log, { word }) {
    if (log.message.includes(word)) return { message: log.message.replaceAll(word, "***") };
  },
});
