// Adds to logs: marks those that hold a word.

import { plugin, refuseUnknown } from "./sawpit.js";

// What the component exports, as wit/world.wit says.
export const { meta, configuration, enrich } = plugin({
  name: "{{name}}",
  version: "0.1.0",
  help: "Marks logs that hold a word",
  // What is not listed here is not sent to the plugin.
  reads: ["message"],

  // The [config] table of {{name}}.toml; what is thrown refuses the plugin.
  configure({ word = "smoke", ...others }) {
    refuseUnknown(others);
    if (typeof word !== "string" || word === "") throw new Error("word must be a text that is not empty");
    return { word };
  },

  // The members to set in log_data, or nothing. What is thrown here is an error of this log alone.
  enrich(log, { word }) {
    if (log.message.includes(word)) return { attention: true };
  },
});
