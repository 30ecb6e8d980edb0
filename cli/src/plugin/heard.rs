//! What a plugin wrote and counted in a step, for people.

use sawpit_plugins::{Counted, Heard, Line};

use super::paint::{Paint, clean};

/// One line each, indented; what the step's error says already is not said again.
pub fn lines(heard: &Heard, error: Option<&str>, paint: Paint) -> String {
    let told = told(error.unwrap_or_default());
    let new: Vec<&Line> = heard.lines.iter().filter(|line| !is_told(line, &told)).collect();
    let mut page: String = new.iter().map(|line| log_line(line)).collect();
    if heard.lines_left_out > 0 {
        let text = format!(
            "{} more lines are not written: they are more than a call may write (--plugin-log-lines)",
            heard.lines_left_out
        );
        page += &format!("    {}\n", paint.wrong(&text));
    }
    if new.iter().any(|line| !line.written) {
        page += "    (written to no log: grants in the manifest has no \"log\")\n";
    }
    page + &heard.counters.iter().map(|counted| counter(counted, paint)).collect::<String>()
}

fn log_line(line: &Line) -> String {
    format!("    log {}: {}\n", line.level, clean(&line.text).replace('\n', "\n      "))
}

fn counter(counted: &Counted, paint: Paint) -> String {
    let Counted { name, by, refused } = counted;
    match refused {
        None => format!("    counter {} +{by}\n", clean(name)),
        Some(rule) => format!("    {}\n", paint.wrong(&format!("counter {name:?} does not count: {rule}"))),
    }
}

/// The lines of an error. A panic's message comes before what the engine says, on the same line.
fn told(error: &str) -> Vec<&str> {
    error.lines().flat_map(|line| line.split(" — ")).map(str::trim).collect()
}

fn is_told(line: &Line, told: &[&str]) -> bool {
    line.text.lines().all(|part| part.trim().is_empty() || told.contains(&part.trim()))
}

#[cfg(test)]
mod tests {
    use sawpit_model::Level;

    use super::*;

    fn line(text: &str, written: bool) -> Line {
        Line { level: Level::Error, text: text.to_owned(), written }
    }

    #[test]
    fn what_the_error_says_is_not_said_twice() {
        let heard = Heard {
            lines: vec![line("before", true), line("panicked at a.rs:\nthe end", true)],
            ..Heard::default()
        };
        let error = "panicked at a.rs:\nthe end — wasm trap: unreachable\n  at f";
        let paint = Paint::new("never", None);
        assert_eq!(lines(&heard, Some(error), paint), "    log ERROR: before\n");
        assert_eq!(
            lines(&heard, None, paint),
            "    log ERROR: before\n    log ERROR: panicked at a.rs:\n      the end\n"
        );
    }

    #[test]
    fn what_reaches_nobody_is_told() {
        let refused = Counted { name: "Bad\u{1b}".to_owned(), by: 1, refused: Some("rule".to_owned()) };
        let heard = Heard { lines: vec![line("x", false)], lines_left_out: 3, counters: vec![refused] };
        let page = lines(&heard, None, Paint::new("never", None));
        for part in ["no \"log\")", "3 more lines", "counter \"Bad\\u{1b}\" does not count: rule"] {
            assert!(page.contains(part), "{part:?} is not in {page}");
        }
    }
}
