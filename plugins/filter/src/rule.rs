//! What a field must be.

use sawpit_plugin::json::{self, Kind};
use sawpit_plugin::{Glob, Log};
use serde::Deserialize;

/// One rule on one field of `log_data`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whose logs the rule is for; all without it.
    #[serde(default)]
    pub device: Glob,
    /// The field; `a.b` is the member `b` of the object `a`.
    pub field: String,
    /// What it must be.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The least that is allowed: of a number its value, of a string its length in characters.
    pub min: Option<f64>,
    /// The most that is allowed, as `min`.
    pub max: Option<f64>,
    /// Whether a log without the field is refused.
    #[serde(default)]
    pub required: bool,
}

/// What a field can be asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Any number.
    Number,
    /// A number without a fraction; `3.0` is one.
    Integer,
    /// A string.
    String,
    /// `true` or `false`
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl Rule {
    /// Whether the rule makes sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ranged = self.min.is_some() || self.max.is_some();
        if self.field.is_empty() {
            return Err("field is empty, name a field of log_data".to_owned());
        }
        if ranged && !matches!(self.kind, Type::Number | Type::Integer | Type::String) {
            return Err(format!("{} has no range, remove min and max", self.kind.name()));
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err("min is above max, so no log could pass".to_owned());
        }
        Ok(())
    }

    /// Why the log breaks the rule, if it does.
    pub(crate) fn broken_by(&self, log: &Log<'_>) -> Option<String> {
        if !self.device.matches(log.device_id()) {
            return None;
        }
        let fault = match log.field(&self.field) {
            None if self.required => "is required".to_owned(),
            None => return None,
            Some(value) => format!("must be {}, {}", self.wanted(), self.fault(value)?),
        };
        Some(format!("log_data.{} {fault} (rule for devices {:?})", self.field, self.device.as_str()))
    }

    /// What is wrong with a value, if anything.
    fn fault(&self, value: &str) -> Option<String> {
        match (self.kind, Kind::of(value)?) {
            (Type::Number, Kind::Number) => self.out_of_range(json::number(value)?, "is"),
            (Type::Integer, Kind::Number) => {
                let number = json::number(value)?;
                if number.fract() == 0.0 {
                    self.out_of_range(number, "is")
                } else {
                    Some(format!("is {number}"))
                }
            }
            (Type::String, Kind::String) => {
                self.out_of_range(json::string(value)?.chars().count() as f64, "has")
            }
            (Type::Boolean, Kind::Boolean) | (Type::Array, Kind::Array) | (Type::Object, Kind::Object) => {
                None
            }
            (_, found) => Some(format!("is {}", name_of(found))),
        }
    }

    fn out_of_range(&self, value: f64, verb: &str) -> Option<String> {
        let inside = self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max);
        (!inside).then(|| format!("{verb} {value}"))
    }

    fn wanted(&self) -> String {
        let name = self.kind.name();
        let (of, unit) = if self.kind == Type::String { (" of", " characters") } else { ("", "") };
        match (self.min, self.max) {
            (None, None) => name.to_owned(),
            (Some(min), None) => format!("{name} of at least {min}{unit}"),
            (None, Some(max)) => format!("{name} of at most {max}{unit}"),
            (Some(min), Some(max)) if of.is_empty() => format!("{name} from {min} to {max}"),
            (Some(min), Some(max)) => format!("{name}{of} {min} to {max}{unit}"),
        }
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "a boolean",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}
