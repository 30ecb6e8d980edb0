//! What chains were made of.

use super::Pg;
use crate::error::StoreError;
use crate::provenance::{ChainMember, PluginFilter};

const DESCRIBE: &str = "
INSERT INTO chain_members (chain, position, plugin, version, hash, percent)
SELECT $1, m.position - 1, m.plugin, m.version, m.hash, m.percent
FROM UNNEST($2::text[], $3::text[], $4::text[], $5::smallint[])
    WITH ORDINALITY AS m(plugin, version, hash, percent, position)
ON CONFLICT DO NOTHING";

const MEMBERS: &str =
    "SELECT plugin, version, hash, percent FROM chain_members WHERE chain = $1 ORDER BY position";

/// A row's chain is one, or two joined.
const CHAINS_WITH: &str = "
SELECT c.id FROM chains c WHERE EXISTS (
    SELECT FROM chain_members m WHERE m.chain = ANY(string_to_array(c.name, '+'))
        AND m.plugin = $1 AND m.version = coalesce($2, m.version))";

impl Pg {
    /// Written again, it changes nothing: so it is tried again like a read.
    pub(crate) async fn describe_chain(&self, id: &str, members: &[ChainMember]) -> Result<(), StoreError> {
        let texts =
            |text: fn(&ChainMember) -> &String| members.iter().map(|it| text(it).clone()).collect::<Vec<_>>();
        let (plugins, versions, hashes) =
            (texts(|it| &it.plugin), texts(|it| &it.version), texts(|it| &it.hash));
        let percents: Vec<Option<i16>> = members.iter().map(|it| it.percent.map(i16::from)).collect();
        let answer = read!(self, conn => {
            let insert = sqlx::query(DESCRIBE).bind(id).bind(&plugins).bind(&versions).bind(&hashes).bind(&percents);
            insert.execute(&mut **conn).await
        });
        answer.map(drop)
    }

    pub(crate) async fn chain_members(&self, id: &str) -> Result<Vec<ChainMember>, StoreError> {
        let answer = read!(self, conn => sqlx::query_as(MEMBERS).bind(id).fetch_all(&mut **conn).await);
        let members: Vec<(String, String, String, Option<i16>)> = answer?;
        let member = |(plugin, version, hash, percent): (_, _, _, Option<i16>)| {
            let percent = percent.and_then(|percent| u8::try_from(percent).ok());
            ChainMember { plugin, version, hash, percent }
        };
        Ok(members.into_iter().map(member).collect())
    }

    /// The ids of the chains that rows may have; none where all may.
    pub(super) async fn chains_with(
        &self,
        filter: Option<&PluginFilter>,
    ) -> Result<Option<Vec<i32>>, StoreError> {
        let Some(PluginFilter { plugin, version }) = filter else { return Ok(None) };
        let answer = read!(self, conn => {
            sqlx::query_scalar(CHAINS_WITH).bind(plugin).bind(version).fetch_all(&mut **conn).await
        });
        answer.map(Some)
    }
}
