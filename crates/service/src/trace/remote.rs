//! A trace context that came from elsewhere, as its `traceparent` says (W3C Trace Context, section 3.2).

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The span of another process under which spans are made here.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteContext(SpanContext);

impl RemoteContext {
    /// Reads a `traceparent`: version, trace id, parent id and flags in lower-case hex, ids not all zero. Versions other
    /// than 00 may carry more, which is not looked at. None: it is not well-formed, and means nothing.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let well_formed = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && is_hex(parent, 16)
            && is_hex(flags, 2)
            && (version != "00" || parts.next().is_none());
        if !well_formed {
            return None;
        }
        let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
        let context = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
        context.is_valid().then_some(Self(context))
    }

    /// Whether whoever made it wants spans.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    pub(super) const fn context(&self) -> &SpanContext {
        &self.0
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_the_sampled_flag_are_read() {
        let of = |flags: &str| {
            RemoteContext::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"))
        };
        let sampled = of("01").unwrap();
        assert_eq!(sampled.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(sampled.context().span_id().to_string(), "00f067aa0ba902b7");
        assert!(sampled.is_sampled() && of("03").unwrap().is_sampled());
        assert!(!of("00").unwrap().is_sampled() && !of("02").unwrap().is_sampled());
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(RemoteContext::parse(bad), None, "{bad}");
        }
        assert!(
            RemoteContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x").is_some(),
            "a later version may carry more"
        );
    }
}
