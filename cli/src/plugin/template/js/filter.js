// Decides which logs are taken: those that hold a word are not stored.

import { drop, plugin, refuseUnknown } from "./sawpit.js";

// What the component exports, as wit/world.wit says.
export const { meta, configuration, filter } = plugin({
  name: "{{name}}",
  version: "0.1.0",
  help: "Drops logs that hold a word",
  // What is not listed here is not sent to the plugin.
  reads: ["message"],

  // The [config] table of {{name}}.toml; what is thrown refuses the plugin.
  configure({ word = "smoke", ...others }) {
    refuseUnknown(others);
    if (typeof word !== "string" || word === "") throw new Error("word must be a text that is not empty");
    return { word };
  },

  // What is thrown here is an error of this log alone.
  filter(log, { word }) {
    if (log.message.includes(word)) return drop(`holds ${JSON.stringify(word)}`);
  },
});
