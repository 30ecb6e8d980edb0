//! What chains were made of.

use super::{Lite, checked};
use crate::error::StoreError;
use crate::provenance::{ChainMember, PluginFilter};

const DESCRIBE: &str = "INSERT INTO chain_members (chain, position, plugin, version, hash, percent) \
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";

const MEMBERS: &str =
    "SELECT plugin, version, hash, percent FROM chain_members WHERE chain = ?1 ORDER BY position";

/// A row's chain is one, or two joined.
const CHAINS_WITH: &str = "
SELECT c.id FROM chains c WHERE EXISTS (
    SELECT 1 FROM chain_members m WHERE instr('+' || c.name || '+', '+' || m.chain || '+') > 0
        AND m.plugin = ?1 AND m.version = coalesce(?2, m.version))";

impl Lite {
    pub(crate) async fn describe_chain(&self, id: &str, members: &[ChainMember]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (position, member) in (0_i64..).zip(members) {
            let insert = sqlx::query(DESCRIBE).bind(id).bind(position).bind(&member.plugin);
            let insert = insert.bind(&member.version).bind(&member.hash).bind(member.percent);
            checked(insert.execute(&mut *tx).await)?;
        }
        checked(tx.commit().await)
    }

    pub(crate) async fn chain_members(&self, id: &str) -> Result<Vec<ChainMember>, StoreError> {
        let ask = sqlx::query_as(MEMBERS).bind(id).fetch_all(&mut *self.reader().await?).await;
        let members: Vec<(String, String, String, Option<u8>)> = checked(ask)?;
        let member = |(plugin, version, hash, percent)| ChainMember { plugin, version, hash, percent };
        Ok(members.into_iter().map(member).collect())
    }

    /// The ids of the chains that rows may have, as a JSON array; none where all may.
    pub(super) async fn chains_with(
        &self,
        filter: Option<&PluginFilter>,
    ) -> Result<Option<String>, StoreError> {
        let Some(PluginFilter { plugin, version }) = filter else { return Ok(None) };
        let ask = sqlx::query_scalar(CHAINS_WITH).bind(plugin).bind(version);
        let ids: Vec<i64> = checked(ask.fetch_all(&mut *self.reader().await?).await)?;
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        Ok(Some(format!("[{}]", ids.join(","))))
    }
}
