//! A transformer's answer: the one with the most that can be wrong.

use sawpit_model::{Level, Limits, RawObject};

use super::{RowErrors, Texts, cut, index, level_from_guest, row_errors};
use crate::OutputError;
use crate::bindings::transform;

/// An answer of a transformer, with every index in range and every input accounted for once.
#[derive(Debug, Default)]
pub struct Changed {
    /// Per output the input that it continues, and then those merged into it.
    pub sources: Vec<Vec<usize>>,
    pub dropped: Vec<(usize, String)>,
    pub errors: RowErrors,
    pub levels: Vec<(usize, Level)>,
    pub messages: Vec<(usize, String)>,
    pub log_data: Vec<(usize, RawObject)>,
    /// Objects to set in an output's `log_data`; not yet checked as JSON.
    pub set: Vec<(usize, String)>,
}

impl Changed {
    pub fn check(
        answer: transform::Changes,
        inputs: usize,
        limits: &Limits,
        text_bytes: usize,
        outputs_per_input: usize,
    ) -> Result<Self, OutputError> {
        check_counts(&answer, inputs, inputs.saturating_mul(outputs_per_input))?;
        let sources = sources(&answer.origins, &answer.merged, inputs)?;
        let outputs = sources.len();
        let mut changed =
            Self { errors: row_errors(answer.errors, inputs, text_bytes)?, sources, ..Self::default() };
        for transform::Drop { input, mut reason } in answer.dropped {
            cut(&mut reason, text_bytes);
            changed.dropped.push((index("dropped", "input", input, inputs)?, reason));
        }
        for edit in answer.levels {
            changed
                .levels
                .push((index("levels", "output", edit.output, outputs)?, level_from_guest(edit.level)));
        }
        changed.account(inputs)?;
        changed.set = edits(answer.set, "set", outputs)?;
        changed.messages = edits(answer.messages, "messages", outputs)?;
        changed.messages.iter().try_for_each(|(output, text)| check_message(*output, text, limits))?;
        changed.log_data = edits(answer.log_data, "log-data", outputs)?
            .into_iter()
            .map(|(output, text)| Ok((output, parse_object(output, &text, limits)?)))
            .collect::<Result<_, OutputError>>()?;
        Ok(changed)
    }

    /// Every input is an output's, dropped or failed: one of them, and only one.
    fn account(&self, inputs: usize) -> Result<(), OutputError> {
        let mut fates: Vec<Option<&'static str>> = vec![None; inputs];
        let mut settle = |input: usize, fate: &'static str| match fates.get_mut(input) {
            // Only a split names an input twice.
            Some(Some(before)) if *before != fate || fate != "stored" => {
                Err(OutputError::Conflict { input, one: before, other: fate })
            }
            Some(slot) => {
                *slot = Some(fate);
                Ok(())
            }
            None => Ok(()),
        };
        self.sources.iter().flatten().try_for_each(|&input| settle(input, "stored"))?;
        self.dropped.iter().try_for_each(|(input, _)| settle(*input, "dropped"))?;
        self.errors.keys().try_for_each(|&input| settle(input, "failed"))?;
        match fates.iter().position(Option::is_none) {
            Some(input) => Err(OutputError::Forgotten { input }),
            None => Ok(()),
        }
    }
}

/// Before anything is made of the answer: a short list of numbers may stand for a great many logs.
fn check_counts(answer: &transform::Changes, inputs: usize, outputs: usize) -> Result<(), OutputError> {
    let made = answer.origins.len();
    let counts = [
        ("origins", made, outputs),
        ("merged", answer.merged.len(), outputs),
        ("dropped", answer.dropped.len(), inputs),
        ("levels", answer.levels.len(), made),
        ("messages", answer.messages.outputs.len(), made),
        ("log-data", answer.log_data.outputs.len(), made),
        ("set", answer.set.outputs.len(), made),
    ];
    match counts.into_iter().find(|(_, found, most)| found > most) {
        Some((list, found, most)) => Err(OutputError::TooMany { list, found, most }),
        None => Ok(()),
    }
}

fn sources(
    origins: &[u32],
    merged: &[transform::Merge],
    inputs: usize,
) -> Result<Vec<Vec<usize>>, OutputError> {
    let mut sources = Vec::with_capacity(origins.len());
    for &origin in origins {
        sources.push(vec![index("origins", "input", origin, inputs)?]);
    }
    for merge in merged {
        let output = index("merged", "output", merge.output, sources.len())?;
        let input = index("merged", "input", merge.input, inputs)?;
        if let Some(of_output) = sources.get_mut(output)
            && !of_output.contains(&input)
        {
            of_output.push(input);
        }
    }
    Ok(sources)
}

fn edits(
    edits: transform::Edits,
    list: &'static str,
    outputs: usize,
) -> Result<Vec<(usize, String)>, OutputError> {
    let wanted = edits.outputs.len();
    let texts = Texts::check(edits.texts, list, wanted)?;
    if texts.rows() != wanted {
        return Err(OutputError::Length { list, found: texts.rows(), wanted });
    }
    let edit = |(row, &output): (usize, &u32)| {
        Ok((index(list, "output", output, outputs)?, texts.row(row).to_owned()))
    };
    edits.outputs.iter().enumerate().map(edit).collect()
}

fn check_message(output: usize, text: &str, limits: &Limits) -> Result<(), OutputError> {
    let wrong = |rule: String| Err(OutputError::Edit { part: "message", output, rule });
    match text {
        "" => wrong("must not be empty".to_owned()),
        text if text.len() > limits.message_bytes => {
            wrong(format!("must be at most {} bytes, not {}", limits.message_bytes, text.len()))
        }
        text if text.contains('\0') => wrong("must not contain NUL".to_owned()),
        _ => Ok(()),
    }
}

fn parse_object(output: usize, text: &str, limits: &Limits) -> Result<RawObject, OutputError> {
    RawObject::parse(text, limits).map_err(|error| OutputError::Edit {
        part: "log_data",
        output,
        rule: error.to_string(),
    })
}
