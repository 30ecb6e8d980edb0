//! Pages that end by their bytes as well as by their rows: rows are taken one by one as the database sends them, so that a
//! page of large rows is never in memory as a whole.

use futures_util::{Stream, TryStreamExt};

/// The bytes of a row that may be many.
pub(crate) fn bytes_of(message: &str, log_data: &str) -> u64 {
    (message.len() as u64).saturating_add(log_data.len() as u64)
}

/// The first rows up to so many bytes; then one that is too many, which tells that there are more. The first is taken
/// whatever its size: a page moves on.
pub(crate) async fn take_bytes<R>(
    mut rows: impl Stream<Item = sqlx::Result<R>> + Unpin,
    bytes: u64,
    bytes_of: fn(&R) -> u64,
) -> sqlx::Result<Vec<R>> {
    let (mut taken, mut sum) = (Vec::new(), 0_u64);
    while let Some(row) = rows.try_next().await? {
        sum = sum.saturating_add(bytes_of(&row));
        taken.push(row);
        if sum > bytes && taken.len() > 1 {
            break;
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn taken(bytes: u64, rows: &[u64]) -> usize {
        let rows = stream::iter(rows.iter().map(|bytes| Ok(*bytes)));
        take_bytes(rows, bytes, |bytes| *bytes).await.unwrap().len()
    }

    #[tokio::test]
    async fn one_more_than_fits_and_two_at_least() {
        assert_eq!(taken(10, &[5, 5, 5, 5]).await, 3);
        assert_eq!(taken(9, &[5, 5, 5, 5]).await, 2);
        assert_eq!(taken(1, &[5, 5, 5]).await, 2);
        assert_eq!(taken(0, &[5]).await, 1);
        assert_eq!(taken(u64::MAX, &[u64::MAX, 5, 5]).await, 3);
        assert_eq!(taken(10, &[]).await, 0);
    }
}
