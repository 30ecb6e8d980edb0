//! From what the operator gave to typed values, with every mistake collected.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;

use super::file::{self, FileValues};
use super::mistake::{Mistake, SettingsErrors, Source, masked};
use super::values::written;
use super::{CONFIG, DEFAULT_FILE, FromSetting, SettingSpec, Shape};

/// A setting's value as text, and where it came from.
#[derive(Clone, Debug)]
struct Given {
    values: Vec<String>,
    source: Source,
}

/// Looks settings up by precedence: flag, variable, file, default. Parse all of them, then
/// [`Resolver::finish`].
pub struct Resolver {
    given: Vec<(SettingSpec, Option<Given>)>,
    mistakes: Vec<Mistake>,
}

/// The process's environment, for [`Resolver::new`]. Bytes that are not UTF-8 become `U+FFFD`, which no
/// rule accepts silently.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Resolver {
    /// Gathers the values of `specs` from the flags, `env` (usually [`process_env`]; an empty variable
    /// counts as not set) and the file. Keys of `known_elsewhere`, the settings of other commands, may
    /// stand in the file.
    pub fn new(
        specs: &[SettingSpec],
        known_elsewhere: &[SettingSpec],
        flags: &ArgMatches,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut mistakes = Vec::new();
        let outside = |spec: &SettingSpec| from_flag(spec, flags).or_else(|| from_env(spec, &env));
        let reads_file = specs.iter().any(|spec| spec.name == CONFIG.name);
        let file = if reads_file {
            read_file(outside(&CONFIG).as_ref(), specs, known_elsewhere, &mut mistakes)
        } else {
            FileValues::new()
        };
        let given = specs.iter().map(|spec| {
            (*spec, outside(spec).or_else(|| from_file(spec, &file)).or_else(|| from_default(spec)))
        });
        Self { given: given.collect(), mistakes }
    }

    /// The value of a setting that must have one; `None` when a mistake was recorded.
    pub fn get<T: FromSetting>(&mut self, name: &str) -> Option<T> {
        match self.given(name) {
            Some(given) => self.parse(name, &given),
            None => self.missing(name),
        }
    }

    /// Like [`Resolver::get`], and the value must lie in `range`.
    pub fn get_in<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromSetting + PartialOrd + Display,
    {
        let rule = format!("must be {} to {}", range.start(), range.end());
        self.get_if(name, |value| range.contains(value), &rule)
    }

    /// Like [`Resolver::get_in`], of times, which the rule shows as they are written.
    pub fn get_time(&mut self, name: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let rule = format!("must be {} to {}", written(*range.start()), written(*range.end()));
        self.get_if(name, |time| range.contains(time), &rule)
    }

    /// Like [`Resolver::get`], and the value must pass `check`; `rule` says what it must be.
    pub fn get_if<T: FromSetting>(
        &mut self,
        name: &str,
        check: impl Fn(&T) -> bool,
        rule: &str,
    ) -> Option<T> {
        let value = self.get::<T>(name)?;
        if check(&value) {
            return Some(value);
        }
        self.mistake(name, rule);
        None
    }

    /// The value of a setting that may be left out: `Some(None)` when it is; `None` when a mistake was
    /// recorded.
    pub fn optional<T: FromSetting>(&mut self, name: &str) -> Option<Option<T>> {
        match self.given(name) {
            Some(given) => self.parse(name, &given).map(Some),
            None => Some(None),
        }
    }

    /// The values of a list, empty when it is left out; `None` when a mistake was recorded.
    pub fn list<T: FromSetting>(&mut self, name: &str) -> Option<Vec<T>> {
        let Some(given) = self.given(name) else { return Some(Vec::new()) };
        let parsed: Result<Vec<T>, String> = given.values.iter().map(|text| T::from_setting(text)).collect();
        parsed.map_err(|rule| self.mistake(name, &rule)).ok()
    }

    /// Whether the operator gave the setting, rather than left its default.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.given(name).is_some_and(|given| given.source != Source::Default)
    }

    /// A relation between settings that must hold: records a mistake for `names` when it does not.
    pub fn check(&mut self, holds: bool, names: &[&str], rule: &str) {
        if !holds {
            let value = |name: &&str| match self.given(name) {
                Some(given) => format!("{name} = {} ({})", self.shown(name, &given), given.source),
                None => format!("{name} (not set)"),
            };
            let values: Vec<_> = names.iter().map(value).collect();
            let source =
                names.first().and_then(|name| self.given(name)).map_or(Source::Missing, |given| given.source);
            let rule = format!("{rule}; now {}", values.join(", "));
            self.mistakes.push(Mistake { setting: names.join(", "), source, value: None, rule });
        }
    }

    /// Records a mistake of a setting that parsed, as found by looking further (a folder that is not there).
    pub fn mistake(&mut self, name: &str, rule: &str) {
        let given = self.given(name);
        let value = given.as_ref().map(|given| self.shown(name, given));
        let source = given.map_or(Source::Missing, |given| given.source);
        self.mistakes.push(Mistake { setting: name.to_owned(), source, value, rule: rule.to_owned() });
    }

    /// The settings, or every mistake. `settings` is what the caller built of the values it got.
    ///
    /// # Errors
    /// All mistakes together, when there is any.
    pub fn finish<T>(mut self, settings: Option<T>) -> Result<T, SettingsErrors> {
        match settings {
            Some(settings) if self.mistakes.is_empty() => Ok(settings),
            None if self.mistakes.is_empty() => {
                self.mistake("settings", "could not be built, although each is right: this is a defect");
                Err(SettingsErrors(self.mistakes))
            }
            _ => Err(SettingsErrors(self.mistakes)),
        }
    }

    fn given(&self, name: &str) -> Option<Given> {
        self.given.iter().find(|(spec, _)| spec.name == name).and_then(|(_, given)| given.clone())
    }

    fn parse<T: FromSetting>(&mut self, name: &str, given: &Given) -> Option<T> {
        let parsed = match given.values.as_slice() {
            [text] => T::from_setting(text),
            _ => Err("must be one value, not a list".to_owned()),
        };
        parsed.map_err(|rule| self.mistake(name, &rule)).ok()
    }

    fn missing<T>(&mut self, name: &str) -> Option<T> {
        let variable = self.given.iter().find(|(spec, _)| spec.name == name).map(|(spec, _)| spec.variable());
        let rule = match variable {
            Some(variable) => {
                format!("is required: give --{name}, {variable} or the key {name} in {DEFAULT_FILE}")
            }
            None => "is in no table of this command: this is a defect".to_owned(),
        };
        self.mistake(name, &rule);
        None
    }

    fn shown(&self, name: &str, given: &Given) -> String {
        let secret = self.given.iter().any(|(spec, _)| spec.name == name && spec.secret);
        let values: Vec<_> = given.values.iter().map(|value| masked(value, secret)).collect();
        values.join(",")
    }
}

fn from_flag(spec: &SettingSpec, flags: &ArgMatches) -> Option<Given> {
    let values = flags.try_get_many::<String>(spec.name).ok().flatten()?;
    let values = values.flat_map(|value| split(spec, value)).collect();
    Some(Given { values, source: Source::Flag(format!("--{}", spec.name)) })
}

fn from_env(spec: &SettingSpec, env: impl Fn(&str) -> Option<String>) -> Option<Given> {
    let name = spec.variable();
    let value = env(&name).filter(|value| !value.is_empty())?;
    Some(Given { values: split(spec, &value), source: Source::Variable(name) })
}

fn from_file(spec: &SettingSpec, file: &FileValues) -> Option<Given> {
    let value = file.get(spec.name)?;
    Some(Given { values: value.values.clone(), source: value.source.clone() })
}

fn from_default(spec: &SettingSpec) -> Option<Given> {
    spec.default.map(|value| Given { values: split(spec, value), source: Source::Default })
}

fn split(spec: &SettingSpec, value: &str) -> Vec<String> {
    match spec.shape {
        Shape::List => {
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        }
        Shape::One | Shape::Switch => vec![value.to_owned()],
    }
}

fn read_file(
    config: Option<&Given>,
    specs: &[SettingSpec],
    known_elsewhere: &[SettingSpec],
    mistakes: &mut Vec<Mistake>,
) -> FileValues {
    let known: Vec<_> = specs.iter().chain(known_elsewhere).map(|spec| spec.name).collect();
    let path = config.and_then(|given| given.values.first()).map_or(DEFAULT_FILE, String::as_str);
    file::read(&PathBuf::from(path), config.map(|given| &given.source), &known, mistakes)
}
