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
    for frame in frames.iter().take(FRAMES) {
        push_frame(&mut text, frame);
    }
    crate::convert::cut(&mut text, CAUSE_BYTES);
    text
}

fn push_frame(text: &mut String, frame: &FrameInfo) {
    text.push('\n');
    text.push_str(FRAME);
    match frame.func_name() {
        Some(name) => text.push_str(&readable(name)),
        None => text.push_str("function "),
    }
    if frame.func_name().is_none() {
        text.push_str(&frame.func_index().to_string());
    }
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
    fn a_demangled_name_stops_at_the_limit() {
        let mut bounded = Bounded(String::new());
        assert!(write!(bounded, "{}", "é".repeat(1_000)).is_err());
        assert_eq!(bounded.0.len(), NAME_BYTES);
    }
}
