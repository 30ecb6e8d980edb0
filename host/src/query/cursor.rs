//! The cursor as clients see it: the place where a page ended, and a digest of what was asked for.
//!
//! A place alone would fit every query, and a client that mixed two of them up would skip rows without a word. The digest
//! holds the device and the filters, not the size of the page or its form: those may change on the way. All hosts make the
//! same one. It is no secret and no proof; it catches mistakes.

use sawpit_store::{Cursor, LogQuery};

/// Bytes of the digest: mistakes are not many, and the cursor is in an address.
const DIGEST_BYTES: usize = 8;

/// The text of a cursor for the page after this query's.
pub(super) fn write(query: &LogQuery, place: Cursor) -> String {
    format!("{place}_{}", digest(query))
}

/// The place in it; the rule that it breaks. The query's device and filters are those that it pages through.
pub(super) fn read(query: &LogQuery, text: &str) -> Result<Cursor, &'static str> {
    const UNCHANGED: &str = "must be the next_cursor of a page before, unchanged";
    let (place, of) = text.rsplit_once('_').ok_or(UNCHANGED)?;
    let place = place.parse().map_err(|_| UNCHANGED)?;
    if of == digest(query) {
        Ok(place)
    } else if of.len() == 2 * DIGEST_BYTES {
        Err("must be of a page of the same device and filters")
    } else {
        Err(UNCHANGED)
    }
}

fn digest(query: &LogQuery) -> String {
    // No device's name has a NUL, so the name's end is known, and no device is none.
    let mut of = query.device_id.as_ref().map_or_else(String::new, |device| format!("{device}\0"));
    super::filters(query, &mut of);
    blake3::hash(of.as_bytes()).to_hex().chars().take(2 * DIGEST_BYTES).collect()
}
