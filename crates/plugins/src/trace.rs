//! Where a guest trapped, in bounded text.
//!
//! The names come from the file, so they are the guest's: wasmtime would demangle them without a limit, and
//! a name of 250 bytes can be one whose demangled form is hundreds of megabytes long. So only Rust's names are
//! demangled, into a writer that is full after a few hundred bytes.

use std::fmt::{self, Write};

use wasmtime::{FrameInfo, WasmBacktrace};

/// What the line of a frame begins with.
pub(crate) const FRAME: &str = "  at ";
/// Most frames shown, innermost first.
const FRAMES: usize = 16;
/// Most bytes of a name, mangled or not.
const NAME_BYTES: usize = 256;
/// Most bytes of a cause with its trace.
const CAUSE_BYTES: usize = 4 * 1024;

/// What the guest said, what wasmtime says, and where, with lines where the file has them.
pub(crate) fn describe(error: &wasmtime::Error, said: Option<String>) -> String {
    let mut text = said.map_or_else(String::new, |said| said + " — ");
    text.push_str(&error.root_cause().to_string());
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let frames = frames.iter().map(|frame| (frame, name(frame))).skip_while(|(_, name)| is_of_panic(name));
    for (frame, name) in frames.take(FRAMES) {
        push_frame(&mut text, frame, &name);
    }
    crate::convert::cut(&mut text, CAUSE_BYTES);
    text
}

fn name(frame: &FrameInfo) -> String {
    frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), readable)
}

/// Whether the frame is of what Rust does after a panic, as the standard library leaves it out of its own traces.
fn is_of_panic(name: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "__rustc::",
        "__rust_",
        "rust_begin_unwind",
        "rust_panic",
        "core::panicking::",
        "std::panicking::",
        "std::process::abort",
        "std::sys::",
        "core::option::unwrap_failed",
    ];
    BEGINNINGS.iter().any(|beginning| name.trim_start_matches('<').starts_with(beginning))
}

/// A text of a guest within a line of the process's log. Its own lines are set in, so that none of them can be taken for
/// one of the process.
pub(crate) fn inset(text: &str) -> String {
    text.replace('\r', "\\r").replace('\n', "\n    | ")
}

fn push_frame(text: &mut String, frame: &FrameInfo, name: &str) {
    text.push('\n');
    text.push_str(FRAME);
    text.push_str(name);
    let place = frame.symbols().first().and_then(|symbol| Some((symbol.file()?, symbol.line()?)));
    if let Some((file, line)) = place {
        let mut file = file.to_owned();
        crate::convert::cut(&mut file, NAME_BYTES);
        text.push_str(&format!(" ({file}:{line})"));
    }
}

/// The name as its author wrote it, cut.
fn readable(name: &str) -> String {
    let mut mangled = name.to_owned();
    crate::convert::cut(&mut mangled, NAME_BYTES);
    let Ok(demangled) = rustc_demangle::try_demangle(&mangled) else { return mangled };
    let mut bounded = Bounded(String::new());
    // Full is as far as we want it.
    let _ = write!(bounded, "{demangled:#}");
    bounded.0
}

/// Takes what fits.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_BYTES.saturating_sub(self.0.len());
        self.0.extend(text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c));
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_and_bounded() {
        assert_eq!(readable("_ZN6filter4rule5check17h0123456789abcdefE"), "filter::rule::check");
        assert_eq!(readable("plain"), "plain");
        assert!(readable(&"x".repeat(100_000)).len() <= NAME_BYTES + 4);
        // C++, where each level of substitution doubles the text.
        assert!(readable("_Z1fI1AIS0_S0_EE").len() <= NAME_BYTES);
    }

    #[test]
    fn frames_of_a_panic_are_told_from_those_of_the_author() {
        for name in
            ["__rustc::__rust_abort", "rust_panic", "core::panicking::panic_fmt", "std::sys::backtrace::f"]
        {
            assert!(is_of_panic(name), "{name}");
        }
        for name in [
            "rusty::explode",
            "rust_parser::parse",
            "core::fmt::write",
            "function 645",
            "standard::panicking",
        ] {
            assert!(!is_of_panic(name), "{name}");
        }
    }

    #[test]
    fn no_line_of_a_guest_begins_a_line_of_the_log() {
        let forged = inset("bad\r\n2026-11-28T00:00:00Z  INFO plugin serves");
        assert_eq!(
            forged.lines().collect::<Vec<_>>(),
            ["bad\\r", "    | 2026-11-28T00:00:00Z  INFO plugin serves"]
        );
    }

    #[test]
    fn a_demangled_name_stops_at_the_limit() {
        let mut bounded = Bounded(String::new());
        assert!(write!(bounded, "{}", "é".repeat(1_000)).is_err());
        assert_eq!(bounded.0.len(), NAME_BYTES);
    }
}
