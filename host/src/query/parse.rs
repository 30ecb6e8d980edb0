//! The parameters of a query.

use sawpit_model::{Level, Timestamp, UnknownLevel};
use sawpit_store::{LogQuery, ParsePluginFilterError, Search};

use super::{cursor, pairs};
use crate::problem::{FieldProblem, Kind, Problem};
use crate::settings::HostSettings;

/// What was asked for, and how it shall be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) query: LogQuery,
    pub(super) form: Form,
}

/// How rows are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A page, as an object.
    Page,
    /// All of them, or as many as the limit says, as a stream.
    Export(Export, Option<u64>),
}

/// The text that an export is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Export {
    /// A JSON object a line.
    Ndjson,
    /// Comma-separated values with a line of names (RFC 4180).
    Csv,
}

/// Reads the parameters, all mistakes at once.
pub(super) fn parse(
    device_id: Option<String>,
    text: &str,
    settings: &HostSettings,
) -> Result<Asked, Problem> {
    let query = LogQuery {
        device_id,
        limit: settings.query_limit_default,
        count_limit: settings.query_count_limit,
        time_limit: settings.query_timeout,
        ..LogQuery::default()
    };
    let mut parser = Parser {
        settings,
        seen: Vec::new(),
        errors: Vec::new(),
        limit: None,
        export: None,
        cursor: None,
        query,
    };
    for pair in pairs(text) {
        match pair {
            Ok((name, value)) => parser.parameter(&name, &value),
            Err(problem) => parser.errors.push(problem),
        }
    }
    parser.finish()
}

struct Parser<'a> {
    settings: &'a HostSettings,
    /// Parameters that may come once and did.
    seen: Vec<&'static str>,
    errors: Vec<FieldProblem>,
    limit: Option<u64>,
    export: Option<Export>,
    cursor: Option<String>,
    query: LogQuery,
}

impl Parser<'_> {
    fn parameter(&mut self, name: &str, value: &str) {
        match name {
            "log_level" => self.levels(value),
            "limit" => self.limit(value),
            "since" => self.query.since = self.time("since", value),
            "until" => self.query.until = self.time("until", value),
            "plugin" => self.plugin(value),
            "cursor" => self.cursor(value),
            "format" => self.format(value),
            "q" => {
                self.once("q");
                self.search("q", value);
            }
            name if name.starts_with("data.") => self.search(name, value),
            _ => self.errors.push(FieldProblem::unknown(
                name,
                "is not a parameter; known are q, data.KEY, limit, log_level, since, until, plugin, cursor and format",
            )),
        }
    }

    fn once(&mut self, name: &'static str) {
        if self.seen.contains(&name) {
            self.errors.push(FieldProblem::new(name, "must be given once"));
        }
        self.seen.push(name);
    }

    fn limit(&mut self, value: &str) {
        self.once("limit");
        match value.parse() {
            Ok(limit) if limit > 0 => self.limit = Some(limit),
            _ => self.bad_limit(),
        }
    }

    fn bad_limit(&mut self) {
        let rule = match self.export {
            None => format!("must be a whole number from 1 to {}", self.settings.query_limit_max),
            Some(_) => "must be a whole number from 1 on".to_owned(),
        };
        self.errors.push(FieldProblem::new("limit", rule));
    }

    fn format(&mut self, value: &str) {
        self.once("format");
        match value {
            "json" => {}
            "ndjson" => self.export = Some(Export::Ndjson),
            "csv" => self.export = Some(Export::Csv),
            _ => self.errors.push(FieldProblem::new("format", "must be json, ndjson or csv")),
        }
    }

    fn levels(&mut self, value: &str) {
        match levels(value) {
            Ok(levels) => self.query.levels.extend(levels),
            Err(rule) => self.errors.push(FieldProblem::new("log_level", rule)),
        }
    }

    fn time(&mut self, name: &'static str, value: &str) -> Option<Timestamp> {
        self.once(name);
        // In a query a "+" that is not percent-encoded means a space; no RFC 3339 time has one at the offset.
        match value.replace(' ', "+").parse() {
            Ok(time) => Some(time),
            Err(_) => {
                self.errors
                    .push(FieldProblem::new(name, "must be an RFC 3339 time, as in 2026-11-23T01:02:03Z"));
                None
            }
        }
    }

    fn plugin(&mut self, value: &str) {
        self.once("plugin");
        match value.parse() {
            Ok(plugin) => self.query.plugin = Some(plugin),
            Err(ParsePluginFilterError) => {
                self.errors.push(FieldProblem::new("plugin", ParsePluginFilterError.to_string()));
            }
        }
    }

    fn cursor(&mut self, value: &str) {
        self.once("cursor");
        self.cursor = Some(value.to_owned());
    }

    /// Read when all filters are: it is of a page of the same ones. Where one is wrong nobody can tell.
    fn place(&mut self) {
        let Some(text) = self.cursor.take() else { return };
        match cursor::read(&self.query, &text) {
            Ok(place) => self.query.cursor = Some(place),
            Err(rule) => self.errors.push(FieldProblem::new("cursor", rule)),
        }
    }

    fn search(&mut self, name: &str, value: &str) {
        if let Err(rule) = search(&mut self.query.search, name, value, self.settings.query_terms) {
            self.errors.push(FieldProblem::new(name, rule));
        }
    }

    fn finish(mut self) -> Result<Asked, Problem> {
        if let (Some(since), Some(until)) = (self.query.since, self.query.until)
            && since >= until
        {
            self.errors.push(FieldProblem::new("until", "must be after since"));
        }
        let form = self.form();
        self.query.levels.sort_unstable();
        self.query.levels.dedup();
        if self.errors.is_empty() {
            self.place();
        }
        if !self.errors.is_empty() {
            return Err(Problem::fields(Kind::BadQuery, self.errors));
        }
        Ok(Asked { query: self.query, form })
    }

    /// The limit means a page's size or an export's, and which of them may come after it.
    fn form(&mut self) -> Form {
        if let Some(export) = self.export {
            return Form::Export(export, self.limit);
        }
        match self.limit.map(u32::try_from) {
            None => {}
            Some(Ok(limit)) if limit <= self.settings.query_limit_max => self.query.limit = limit,
            Some(_) => self.bad_limit(),
        }
        Form::Page
    }
}

/// Levels separated by commas; the rule that the text breaks. `log_level=` is no filter, as a form sends it.
pub(crate) fn levels(text: &str) -> Result<Vec<Level>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let level = |name: &str| {
        name.parse::<Level>().map_err(|UnknownLevel(name)| {
            format!("must be DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case, not {name:?}")
        })
    };
    names.map(level).collect()
}

/// Adds what `q=` or `data.KEY=` looks for; the rule that it breaks. `q=` is no filter, as a form sends it.
pub(crate) fn search(search: &mut Search, name: &str, value: &str, most: usize) -> Result<(), String> {
    match name.strip_prefix("data.") {
        Some(path) => search.data(path, value).map_err(|error| error.to_string())?,
        None if value.trim().is_empty() => {}
        None => search.words(value).map_err(|error| error.to_string())?,
    }
    if search.len() > most {
        return Err(format!(
            "must make the query look for {most} words and members at most, but there are {}",
            search.len()
        ));
    }
    Ok(())
}
