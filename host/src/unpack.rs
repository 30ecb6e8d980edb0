//! A body that is compressed is taken apart as it is read, so its limits hold for what comes out.

use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, Request};
use futures_util::TryStreamExt;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// How a body is encoded, by its head. Names of codings know no case, and `x-gzip` is `gzip` (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    Gzip,
    Zstd,
    /// Another, or one within another: not taken apart, for the route to refuse.
    Other,
}

/// Bytes that come out at a time, at most.
const CHUNK_BYTES: usize = 8 * 1_024;

impl Coding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.get_all(CONTENT_ENCODING).iter().fold(Self::Identity, |outer, value| {
            let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            names.filter(|name| !name.is_empty()).map(Self::named).fold(outer, Self::within)
        })
    }

    fn named(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("gzip") || is("x-gzip") {
            Self::Gzip
        } else if is("zstd") {
            Self::Zstd
        } else if is("identity") {
            Self::Identity
        } else {
            Self::Other
        }
    }

    fn within(self, other: Self) -> Self {
        match (self, other) {
            (Self::Identity, one) | (one, Self::Identity) => one,
            _ => Self::Other,
        }
    }
}

/// The request with its body as it was before it was compressed.
pub(crate) fn unpack(request: Request<Body>) -> Request<Body> {
    let coding = Coding::of(request.headers());
    if matches!(coding, Coding::Identity | Coding::Other) {
        return request;
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let packed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    // A body may be several members one after the other (RFC 1952, section 2.2), or frames (RFC 8878, section 3); what
    // comes after them and is neither is an error.
    let body = if coding == Coding::Gzip {
        let mut decoder = GzipDecoder::new(packed);
        decoder.multiple_members(true);
        chunks(decoder)
    } else {
        let mut decoder = ZstdDecoder::new(packed);
        decoder.multiple_members(true);
        chunks(decoder)
    };
    Request::from_parts(parts, body)
}

fn chunks(unpacked: impl AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(unpacked, CHUNK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_told_by_their_names() {
        for (values, coding) in [
            (&[][..], Coding::Identity),
            (&[""], Coding::Identity),
            (&["Identity"], Coding::Identity),
            (&["GZIP"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["X-GZip, identity"], Coding::Gzip),
            (&["Zstd"], Coding::Zstd),
            (&["br"], Coding::Other),
            (&["gzip, zstd"], Coding::Other),
            (&["gzip", "gzip"], Coding::Other),
            (&["identity", "br"], Coding::Other),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(Coding::of(&headers), coding, "{values:?}");
        }
    }
}
