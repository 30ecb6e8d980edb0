//! All rows of a query as a stream, in constant memory: a page at a time is read, written and sent.
//!
//! A page ends by its bytes ([`crate::HostSettings::export_page_bytes`]), so that large rows need no more memory than
//! small ones; and so many exports may run at once ([`crate::HostSettings::export_clients`]). Pages follow each other by
//! cursor, so the database holds nothing open for a slow reader. A row that is stored meanwhile is in the stream when its
//! place comes later. When the database fails half way, or the token ends, the stream breaks off, and HTTP shows that to the
//! reader: what came is not whole.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use sawpit_store::{LogQuery, Rows, StoreError, StoredRow};
use tokio::sync::OwnedSemaphorePermit;

use super::parse::Export;
use super::store_problem;
use crate::access::Caller;
use crate::app::App;
use crate::problem::{Kind, Problem};

/// Most rows read at a time: some hundred kilobytes of usual logs.
const PAGE_ROWS: u32 = 1_000;

/// Rows asked for first; twice as many each time, while they fit.
const FIRST_ROWS: u32 = 100;

/// The names of the columns, in the order of an NDJSON object's keys.
const COLUMNS: [&str; 9] = [
    "message_id",
    "sources",
    "part",
    "device_id",
    "log_level",
    "message",
    "log_data",
    "received_at",
    "chain",
];

impl Export {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Ndjson => "attachment; filename=\"logs.ndjson\"",
            Self::Csv => "attachment; filename=\"logs.csv\"",
        }
    }

    fn head(self) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Ndjson => Ok(Vec::new()),
            Self::Csv => record(Vec::new(), COLUMNS),
        }
    }

    fn write(self, text: Vec<u8>, rows: &[StoredRow]) -> Result<Vec<u8>, ExportError> {
        rows.iter().try_fold(text, |text, row| match self {
            Self::Ndjson => object(text, row),
            Self::Csv => record(text, fields(row).each_ref().map(String::as_str)),
        })
    }
}

/// Why a stream broke off.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a row could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a row could not be written as CSV: {0}")]
    Csv(#[from] csv::Error),
    #[error("the token that asked for it was revoked, or has expired")]
    Unwelcome,
}

/// What is still to be sent.
struct Rest {
    app: App,
    /// None when the last page was read.
    query: Option<LogQuery>,
    export: Export,
    /// Rows that may still come.
    left: u64,
    /// Rows to ask for next. Of large ones fewer: the database would read and send what is thrown away.
    page_rows: u32,
    caller: Caller,
    _place: OwnedSemaphorePermit,
}

/// Reads the first page before it answers, so that a database that is away is an error and no broken stream.
pub(super) async fn respond(
    app: App,
    query: LogQuery,
    export: Export,
    limit: Option<u64>,
    caller: Caller,
) -> Result<Response, Problem> {
    super::indexed_since(&app, &query).await?;
    let place = place(&app)?;
    let query = LogQuery { page_bytes: app.settings.export_page_bytes, ..query };
    let mut rest = Rest {
        app: app.clone(),
        query: Some(query),
        export,
        left: limit.unwrap_or(u64::MAX),
        page_rows: FIRST_ROWS,
        caller,
        _place: place,
    };
    let head = export.head().map_err(Problem::internal)?;
    let first = rest.next(head).await.map_err(|error| match error {
        ExportError::Store(error) => store_problem(&app, error),
        other => Problem::internal(other),
    })?;
    let rest = stream::try_unfold((Some(first), rest), |(first, mut rest)| async move {
        if let Some(first) = first {
            return Ok::<_, ExportError>(Some((Bytes::from(first), (None, rest))));
        }
        if rest.query.is_none() {
            return Ok(None);
        }
        let next = rest.next(Vec::new()).await;
        let next = next.inspect_err(|error| tracing::warn!(%error, "an export broke off"))?;
        Ok(Some((Bytes::from(next), (None, rest))))
    });
    let mut response = Body::from_stream(rest).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(export.media_type()));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(export.file()));
    Ok(response)
}

/// Given back when the stream ends or its reader leaves.
fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        metrics::counter!("sawpit_http_refused_total", "limit" => "export_clients").increment(1);
        let most = app.settings.export_clients;
        app.come_back(Kind::Busy, format!("{most} exports run, the limit (--export-clients)."))
    })
}

impl Rest {
    /// The next page's text, after `head`; sets what comes after it.
    async fn next(&mut self, head: Vec<u8>) -> Result<Vec<u8>, ExportError> {
        let Some(mut query) = self.query.take() else { return Ok(head) };
        if !self.caller.is_welcome() {
            return Err(ExportError::Unwelcome);
        }
        query.limit = u32::try_from(self.left).unwrap_or(u32::MAX).min(self.page_rows);
        let Rows { rows, next_cursor } = self.app.store.rows(&query).await?;
        let read = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let cut = next_cursor.is_some() && read < query.limit;
        self.page_rows = if cut { read.max(1) } else { self.page_rows.saturating_mul(2).min(PAGE_ROWS) };
        self.left = self.left.saturating_sub(rows.len() as u64);
        if next_cursor.is_some() && self.left > 0 {
            self.query = Some(LogQuery { cursor: next_cursor, ..query });
        }
        self.export.write(head, &rows)
    }
}

fn object(mut text: Vec<u8>, row: &StoredRow) -> Result<Vec<u8>, ExportError> {
    row.write_line(&mut text)?;
    Ok(text)
}

fn fields(row: &StoredRow) -> [String; 9] {
    let sources: Vec<String> = row.sources.iter().map(ToString::to_string).collect();
    [
        row.message_id.to_string(),
        sources.join(" "),
        row.part.to_string(),
        row.device_id.clone(),
        row.log_level.to_string(),
        row.message.clone(),
        row.log_data.as_str().to_owned(),
        row.received_at.to_string(),
        row.chain.clone(),
    ]
}

fn record(text: Vec<u8>, fields: [&str; 9]) -> Result<Vec<u8>, ExportError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(text);
    writer.write_record(fields)?;
    writer.into_inner().map_err(|error| ExportError::Csv(csv::Error::from(error.into_error())))
}
