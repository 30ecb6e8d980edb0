//! One log's way through plugins, for people.

use std::fmt::Write;

use sawpit_model::Log;
use sawpit_plugins::{Explanation, Step, StepDecision};

use super::paint::{Paint, clean};
use super::{diff, heard};

/// The log as one line: device, level, message and how much data.
pub fn headline(log: &Log, paint: Paint) -> String {
    const SHOWN: usize = 60;
    let mut message: String = log.message.chars().take(SHOWN).collect();
    if message.len() < log.message.len() {
        message.push('…');
    }
    let message = clean(&message).replace('\n', "\\n");
    paint.strong(&format!("{} {} {message}", clean(&log.device_id), log.log_level))
}

/// All steps, each with what it changed, and what is stored in the end.
pub fn page(explanation: &Explanation, paint: Paint) -> String {
    let mut page = headline(&explanation.input, paint) + "\n";
    for step in &explanation.steps {
        page += &step_text(step, paint);
    }
    page
}

/// What became of it after a whole chain.
pub fn end(explanation: &Explanation) -> String {
    match explanation.outputs.len() {
        0 => "not stored".to_owned(),
        1 => "stored".to_owned(),
        parts => format!("stored as {parts} logs"),
    }
}

fn step_text(step: &Step, paint: Paint) -> String {
    let micros = step.took.as_nanos() as f64 / 1_000.0;
    let decision = decision(&step.decision, paint);
    let mut text = format!("  {} {} ({micros:.0} µs): {decision}\n", step.stage, step.plugin);
    if let [before] = step.before.as_slice() {
        for (part, after) in step.after.iter().enumerate() {
            if step.after.len() > 1 {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "    part {}", part + 1);
            }
            text += &diff::lines(before, after, paint);
        }
    } else if step.before.len() == step.after.len() {
        for (before, after) in step.before.iter().zip(&step.after) {
            text += &diff::lines(before, after, paint);
        }
    }
    text + &heard::lines(&step.heard, step.decision.error(), paint)
}

fn decision(decision: &StepDecision, paint: Paint) -> String {
    let because = |what: &str, why: &str| match why {
        "" => format!("{what} (it gave no reason)"),
        why => format!("{what}: {}", clean(why).replace('\n', "\n    ")),
    };
    match decision {
        StepDecision::NotMatched => "not called, its manifest's match does not take this log".to_owned(),
        StepDecision::Unchanged => "unchanged".to_owned(),
        StepDecision::Changed => "changed".to_owned(),
        StepDecision::Dropped { reason } => because("dropped", reason),
        StepDecision::Rejected { reason } => because("rejected", reason),
        StepDecision::Failed { error } => paint.wrong(&because("failed", error)),
        StepDecision::FailedPassed { error } => {
            paint.wrong(&because("failed, and the log goes on (on_error)", error))
        }
        StepDecision::Shadow { error: Some(error), .. } => paint.wrong(&because("shadow, failed", error)),
        StepDecision::Shadow { differs: true, .. } => "shadow, would have come out otherwise".to_owned(),
        StepDecision::Shadow { .. } => "shadow, no difference".to_owned(),
        other => format!("{other:?}"),
    }
}
