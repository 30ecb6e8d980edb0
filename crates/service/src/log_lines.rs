//! Log lines in JSON, with the trace that they belong to.

use std::fmt;

use tracing::{Event, Span, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// What the span of [`in_trace`] is called.
const NAME: &str = "trace";

/// Work done within it logs lines that carry `trace_id`, at any level of the log.
#[must_use]
pub fn in_trace(trace_id: &str) -> Span {
    tracing::error_span!("trace", trace_id)
}

/// One object a line; `trace_id` stands at its top, where log collectors look for it (OpenTelemetry, "Trace Context in
/// non-OTLP Log Formats"), and not among the spans.
pub struct JsonLines(Format<Json>);

impl JsonLines {
    pub fn new() -> Self {
        let format = tracing_subscriber::fmt::format().json();
        Self(format.flatten_event(true).with_current_span(false).with_span_list(false))
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(fields) = fields_of_trace(context) else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(256);
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match (fields.strip_suffix('}'), line.strip_prefix('{')) {
            (Some(fields), Some(rest)) => write!(writer, "{fields},{rest}"),
            _ => writer.write_str(&line),
        }
    }
}

/// The fields of the innermost span of [`in_trace`] that the event is in, as an object.
fn fields_of_trace<S, N>(context: &FmtContext<'_, S, N>) -> Option<String>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let span = context.event_scope()?.find(|span| span.metadata().name() == NAME)?;
    span.extensions().get::<FormattedFields<N>>().map(|fields| fields.fields.clone())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_within_a_trace_carries_its_id_at_the_top() {
        let lines = Lines::default();
        let to = lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().event_format(JsonLines::new());
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(move || to.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(n = 1, "outside");
            in_trace("0af7651916cd43dd8448eb211c80319c").in_scope(|| tracing::warn!(n = 2, "inside"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0].get("trace_id"), None, "{text}");
        assert_eq!(lines[1]["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{text}");
        assert_eq!((&lines[1]["message"], &lines[1]["n"]), (&"inside".into(), &2.into()), "{text}");
    }
}
