//! Tokens.

use time::OffsetDateTime;

use super::{Pg, checked};
use crate::error::StoreError;
use crate::token::{Revoked, Token, TokenLine};

const ADD: &str = "INSERT INTO tokens (id, digest, role, note, devices, rate, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const ALL: &str = "SELECT id, digest, role, note, devices, rate, created_at, expires_at FROM tokens \
                   ORDER BY created_at, id";

impl Pg {
    pub(crate) async fn add_token(&self, token: &Token) -> Result<(), StoreError> {
        let mut conn = self.acquire().await?;
        let add = sqlx::query(ADD).bind(&token.id).bind(token.digest.as_slice()).bind(token.role.as_str());
        let add = add.bind(&token.note).bind(&token.devices).bind(token.rate_i32());
        let add = add.bind(OffsetDateTime::from(token.created_at));
        let add = add.bind(token.expires_at.map(OffsetDateTime::from));
        let answer = self.answer(add.execute(&mut *conn)).await;
        checked(&mut conn, answer).map(drop)
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let answer = read!(self, conn => sqlx::query_as(ALL).fetch_all(&mut **conn).await);
        let lines: Vec<TokenLine<OffsetDateTime>> = answer?;
        lines.into_iter().map(Token::from_line::<OffsetDateTime>).collect()
    }

    pub(crate) async fn revoke_token(&self, id: &str) -> Result<Revoked, StoreError> {
        let mut conn = self.acquire().await?;
        let revoke = sqlx::query("DELETE FROM tokens WHERE id = $1").bind(id);
        let answer = self.answer(revoke.execute(&mut *conn)).await;
        Ok(Revoked::of(checked(&mut conn, answer)?.rows_affected()))
    }
}
