//! Settings as tables: each is a flag `--name`, a variable `SAWPIT_NAME` and a key `name` of an optional
//! `sawpit.toml`, in that order of precedence, before the default in the table.
//!
//! Every value is text until [`Resolver::get`] parses it, so that all mistakes are found in one go and
//! reported together ([`SettingsErrors`]), whatever source they came from. A program that stops at the
//! first mistake makes its operator start it ten times.

mod file;
mod mistake;
mod resolve;
mod values;

use clap::{Arg, ArgAction};

pub use mistake::{Mistake, SettingsErrors, Source};
pub use resolve::{Resolver, process_env};
pub use values::{ByteSize, FromSetting, one_of};

/// The file that is read when no `--config` names another, if it is there.
pub const DEFAULT_FILE: &str = "sawpit.toml";

/// The setting that names the file. A command that reads a file lists it in its table.
pub const CONFIG: SettingSpec =
    SettingSpec::new("config", "FILE", "Read settings from this file instead of ./sawpit.toml");

/// One setting: where it can be given and how it is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingSpec {
    /// The flag's name in kebab-case; variable and key follow from it.
    pub name: &'static str,
    /// What stands for the value in the help, as in `URL`.
    pub value_name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The value when no source gives one; it is parsed like any other.
    pub default: Option<&'static str>,
    /// How the flag is written.
    pub shape: Shape,
    /// Whether the value is masked in messages. (Passwords in URLs always are.)
    pub secret: bool,
}

/// How a setting's flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `--name VALUE`.
    One,
    /// `--name`, `--name=true` or `--name=false`.
    Switch,
    /// `--name A,B` or `--name A --name B`; in the file also an array.
    List,
}

impl SettingSpec {
    /// A required setting with one value, not secret.
    #[must_use]
    pub const fn new(name: &'static str, value_name: &'static str, help: &'static str) -> Self {
        Self { name, value_name, help, default: None, shape: Shape::One, secret: false }
    }

    /// With a default.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// A switch, off unless given.
    #[must_use]
    pub const fn switch(mut self) -> Self {
        self.shape = Shape::Switch;
        self.default = Some("false");
        self
    }

    /// A list of values.
    #[must_use]
    pub const fn list(mut self) -> Self {
        self.shape = Shape::List;
        self
    }

    /// Masked in messages.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The variable: `SAWPIT_` and the name in capitals, `-` as `_`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SAWPIT_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The flag for clap. It takes any text, so that clap does not stop at a wrong value.
    #[must_use]
    pub fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help_line()).allow_negative_numbers(true);
        match self.shape {
            Shape::One => arg.value_name(self.value_name).action(ArgAction::Set),
            Shape::List => arg.value_name(self.value_name).action(ArgAction::Append),
            Shape::Switch => arg
                .value_name("BOOL")
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        }
    }

    fn help_line(&self) -> String {
        let default = match (self.shape, self.default) {
            (Shape::Switch, _) | (_, None) => String::new(),
            (_, Some(value)) => format!(" [default: {value}]"),
        };
        format!("{} [env: {}]{default}", self.help, self.variable())
    }
}

/// The flags of whole tables, for `clap::Command::args`.
pub fn args<'a>(specs: impl IntoIterator<Item = &'a SettingSpec>) -> Vec<Arg> {
    specs.into_iter().map(SettingSpec::arg).collect()
}

#[cfg(test)]
mod tests;
