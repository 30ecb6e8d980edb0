//! A collector of traces: it takes what an OTLP exporter posts (HTTP/protobuf), decodes it, and keeps it for the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use prost::Message;

/// A span as it arrived. Ids are in hexadecimal, attributes as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedSpan {
    /// `service.name` of the process.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Of 32 digits.
    pub trace_id: String,
    /// Of 16 digits.
    pub span_id: String,
    /// Of 16 digits; empty for a root.
    pub parent_id: String,
    /// In nanoseconds since 1970.
    pub start: u64,
    /// In nanoseconds since 1970.
    pub end: u64,
    /// What is known of it.
    pub attributes: BTreeMap<String, String>,
    /// Trace id and span id of each span that it points to.
    pub links: Vec<(String, String)>,
    /// Whether its status is an error.
    pub failed: bool,
}

/// The server. It ends with the test's process.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    mute: Arc<AtomicBool>,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (spans, mute) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (taken, silent) = (Arc::clone(&spans), Arc::clone(&mute));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (taken, silent) = (Arc::clone(&taken), Arc::clone(&silent));
                thread::spawn(move || answer(stream, &taken, &silent));
            }
        });
        Self { address, spans, mute }
    }

    /// What to give to `--otlp-endpoint`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it takes connections and answers nothing.
    pub fn fall_silent(&self) {
        self.mute.store(true, Ordering::Relaxed);
    }

    /// All spans so far.
    ///
    /// # Panics
    /// When a span was not understood.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.lock().expect("the collector did not understand a request").clone()
    }

    /// Waits until `enough` holds.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait(&self, limit: Duration, enough: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        let deadline = Instant::now() + limit;
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            assert!(Instant::now() < deadline, "the spans did not come; there are {spans:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn answer(stream: TcpStream, spans: &Mutex<Vec<CollectedSpan>>, mute: &AtomicBool) {
    let Some((path, body)) = read(&stream) else { return };
    if mute.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_secs(3_600));
    }
    let mut status = "404 Not Found";
    if path == "/v1/traces" {
        status = "200 OK";
        let mut spans = spans.lock().expect("the collector did not understand a request");
        spans.extend(decode(&body));
    }
    let body = ExportTraceServiceResponse::default().encode_to_vec();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The exporter may have left.
    let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
}

/// The path and the body of a request.
fn read(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => assert_eq!(value.trim(), "application/x-protobuf"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

fn decode(body: &[u8]) -> Vec<CollectedSpan> {
    let request = ExportTraceServiceRequest::decode(body).expect("not what OTLP says");
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(resource.resource.map(|it| it.attributes).unwrap_or_default());
        let service = about.get("service.name").cloned().unwrap_or_default();
        let wire = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(wire.map(|span| collected(&service, span)));
    }
    spans
}

fn collected(service: &str, span: WireSpan) -> CollectedSpan {
    CollectedSpan {
        service: service.to_owned(),
        name: span.name,
        kind: span.kind,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|any| any.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
