//! Tokens.

use sawpit_model::Timestamp;

use super::{Lite, checked};
use crate::error::StoreError;
use crate::token::{Revoked, Token, TokenLine};

const ADD: &str = "INSERT INTO tokens (id, digest, role, note, devices, rate, created_at, expires_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const ALL: &str = "SELECT id, digest, role, note, devices, rate, created_at, expires_at FROM tokens \
                   ORDER BY created_at, id";

/// Microseconds since 1970.
struct Micros(i64);

impl From<Micros> for Timestamp {
    fn from(micros: Micros) -> Self {
        Self::from_micros(micros.0)
    }
}

impl Lite {
    pub(crate) async fn add_token(&self, token: &Token) -> Result<(), StoreError> {
        let add = sqlx::query(ADD).bind(&token.id).bind(token.digest.as_slice()).bind(token.role.as_str());
        let add = add.bind(&token.note).bind(&token.devices).bind(token.rate_i32());
        let add = add.bind(token.created_at.as_micros()).bind(token.expires_at.map(Timestamp::as_micros));
        let mut tx = self.begin().await?;
        checked(add.execute(&mut *tx).await)?;
        checked(tx.commit().await)
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let lines: Vec<TokenLine<i64>> =
            checked(sqlx::query_as(ALL).fetch_all(&mut *self.reader().await?).await)?;
        let timed = |line: TokenLine<i64>| {
            let (id, digest, role, note, devices, rate, created_at, expires_at) = line;
            (id, digest, role, note, devices, rate, Micros(created_at), expires_at.map(Micros))
        };
        lines.into_iter().map(|line| Token::from_line(timed(line))).collect()
    }

    pub(crate) async fn revoke_token(&self, id: &str) -> Result<Revoked, StoreError> {
        let mut tx = self.begin().await?;
        let revoke = sqlx::query("DELETE FROM tokens WHERE id = ?1").bind(id);
        let revoked = checked(revoke.execute(&mut *tx).await)?;
        checked(tx.commit().await)?;
        Ok(Revoked::of(revoked.rows_affected()))
    }
}
