//! Taking over what another worker, or a former process of our name, left unsettled.
//!
//! XAUTOCLAIM would take messages without saying whose they were, and our own ones that are merely slow. So
//! XPENDING lists what is idle, and a script takes it, only where it is idle still and still its owner's: so of
//! several workers only one gets a message, and nobody is robbed of one who was not fenced. The owners are fenced in
//! the store between the two: fenced after the taking, an owner would go free if we died in between, because by then
//! Redis names us. What we had ourselves need not be idle first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use redis::RedisError;
use sawpit_model::MessageId;

use super::consumer::Consumer;
use super::part::Part;
use super::reader::{millis, other_form};
use super::reply::{self, Pending};
use crate::delivery::{Fault, Returned};
use crate::{ReadError, Reclaimed};

/// Messages that nobody has settled for long, found and not taken.
#[derive(Debug)]
pub(crate) struct Silent {
    /// With their owners.
    messages: BTreeMap<Part, BTreeMap<MessageId, String>>,
    pub(crate) owners: Vec<String>,
    /// Before they were asked for.
    found_at: Instant,
}

/// A message to be taken over.
struct Wanted {
    owner: String,
    fault: Fault,
}

/// Takes messages that are idle this long and still their owner's, with the count of their deliveries, this one
/// included if it counts (1, else 0). Those that were delivered too often are left, and when there are no others, the one
/// of them that was delivered least often is taken alone, unless something was taken elsewhere. A message that ends its workers thus falls behind those that
/// merely came with it, and only its own count goes on rising. Answers those that it took, and the ids of those that it
/// left.
const TAKE: &str = r"
local plain, suspects, left, taken = {}, {}, {}, {}
for i = 6, #ARGV, 3 do
    local id, owner = ARGV[i], ARGV[i + 1]
    local found = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], id, id, 1, owner)
    if #found == 1 then
        local one = {id, found[1][4] + ARGV[i + 2]}
        local to = one[2] >= tonumber(ARGV[4]) and suspects or plain
        to[#to + 1] = one
    end
end
local first = 1
for i = 2, #suspects do
    if suspects[i][2] < suspects[first][2] then first = i end
end
if #plain == 0 and #suspects > 0 and ARGV[5] == '1' then plain[1] = table.remove(suspects, first) end
for i = 1, #suspects do left[i] = suspects[i][1] end
for i = 1, #plain do
    local id, tries = plain[i][1], plain[i][2]
    local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id, 'RETRYCOUNT', tries)
    if claimed[1] then taken[#taken + 1] = {tries, claimed[1]} end
end
return {taken, left}
";

impl Consumer {
    /// The first page of what nobody has settled for long; empty when there is nothing, or when what a former
    /// process of our name left goes first.
    pub(crate) async fn silent(&mut self) -> Result<Silent, ReadError> {
        self.redis.recount_when_old().await;
        self.arrange();
        let mut silent = Silent { messages: BTreeMap::new(), owners: Vec::new(), found_at: Instant::now() };
        self.find_all_silent(&mut silent).await.map_err(ReadError::new)?;
        let owners: BTreeSet<&String> = silent.messages.values().flat_map(BTreeMap::values).collect();
        silent.owners = owners.into_iter().cloned().collect();
        Ok(silent)
    }

    async fn find_all_silent(&mut self, silent: &mut Silent) -> Result<(), RedisError> {
        for (part, first) in self.own.clone() {
            match self.pending(part, Duration::ZERO, true, first).await {
                Ok(page) if page.is_empty() => drop(self.own.remove(&part)),
                Ok(_) => return Ok(()),
                Err(error) => self.tolerate(part, error)?,
            }
        }
        let mut room = self.redis.settings.batch.max(1);
        for part in self.redis.parts() {
            if room == 0 {
                break;
            }
            match self.find_silent(part).await {
                Ok(mut found) => {
                    while found.len() > room {
                        found.pop_last();
                    }
                    room -= found.len();
                    if !found.is_empty() {
                        silent.messages.insert(part, found);
                    }
                }
                Err(error) => self.tolerate(part, error)?,
            }
        }
        Ok(())
    }

    /// Of several servers one may be away, and the others are gone on with.
    fn tolerate(&mut self, part: Part, error: RedisError) -> Result<(), RedisError> {
        // As in `read_round`; and who looks here first would never get there.
        if error.code() == Some("NOGROUP") {
            return Ok(());
        }
        if !self.redis.servers.is_cluster() {
            return Err(error);
        }
        tracing::debug!(%error, %part, "a server is away");
        self.redis.servers.note(&error);
        Ok(())
    }

    pub(crate) async fn take_over(&mut self, silent: Silent) -> Result<Reclaimed, ReadError> {
        self.take_pending(silent).await.map_err(ReadError::new)
    }

    async fn take_pending(&mut self, silent: Silent) -> Result<Reclaimed, RedisError> {
        let mut reclaimed = Reclaimed::default();
        self.take_former_life(&mut reclaimed).await?;
        if reclaimed.deliveries.is_empty() {
            self.take_silent(silent, &mut reclaimed).await?;
            self.take_returned(&mut reclaimed).await?;
        }
        if !reclaimed.deliveries.is_empty() {
            reclaimed.former_owners = std::mem::take(&mut self.untold);
        }
        Ok(reclaimed)
    }

    /// What a former process of our name had in hand need not grow old: it is dead, or we would not run.
    async fn take_former_life(&mut self, into: &mut Reclaimed) -> Result<(), RedisError> {
        for part in self.own.keys().copied().collect::<Vec<_>>() {
            while let Some(first) = self.own.get(&part).copied() {
                if !into.deliveries.is_empty() {
                    return Ok(());
                }
                if let Err(error) = self.take_page_of_former_life(part, first, into).await {
                    self.tolerate(part, error)?;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn take_page_of_former_life(
        &mut self,
        part: Part,
        first: MessageId,
        into: &mut Reclaimed,
    ) -> Result<(), RedisError> {
        let page = self.pending(part, Duration::ZERO, true, first).await?;
        let ids = page.iter().map(|pending| pending.id).filter(|id| !self.in_hand.knows(id));
        let wanted = ids.map(|id| (id, self.mine(Fault::Possible))).collect();
        let left = self.take(part, wanted, Duration::ZERO, into).await?;
        if !left.is_empty() {
            return Ok(());
        }
        match page.last() {
            Some(last) => self.own.insert(part, last.id.next()),
            None => self.own.remove(&part),
        };
        Ok(())
    }

    /// A page that is all in our own hand is passed over.
    async fn find_silent(&mut self, part: Part) -> Result<BTreeMap<MessageId, String>, RedisError> {
        let mut first = MessageId::default();
        loop {
            let page = self.pending(part, self.redis.settings.reclaim_idle, false, first).await?;
            let Some(last) = page.last() else { return Ok(BTreeMap::new()) };
            first = last.id.next();
            let others = page.into_iter().filter(|pending| !self.in_hand.contains(&pending.id));
            let messages: BTreeMap<_, _> = others.map(|pending| (pending.id, pending.owner)).collect();
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// Takes what is silent still and still its owner's. The owner may have taken it anew since we looked, after the
    /// fence, and be silent since: that takes the idle time at least, so what was found longer ago is left for the
    /// next look.
    async fn take_silent(&mut self, silent: Silent, into: &mut Reclaimed) -> Result<(), RedisError> {
        let idle = self.redis.settings.reclaim_idle;
        for (part, messages) in silent.messages {
            if silent.found_at.elapsed() >= idle {
                break;
            }
            // Who was silent may be so for one of them: it counts.
            let wanted = |(id, owner)| (id, Wanted { owner, fault: Fault::Possible });
            let wanted = messages.into_iter().map(wanted).collect();
            // What is left is found again, as it stays where it was.
            match self.take(part, wanted, idle, into).await {
                Ok(_left) if into.has_suspect() => break,
                Ok(_left) => {}
                Err(error) => self.tolerate(part, error)?,
            }
        }
        Ok(())
    }

    /// What we dropped ourselves need not grow old first.
    async fn take_returned(&mut self, into: &mut Reclaimed) -> Result<(), RedisError> {
        let room = self.redis.settings.batch.saturating_sub(into.deliveries.len());
        let mut of_part: BTreeMap<Part, Vec<Returned>> = BTreeMap::new();
        for returned in self.in_hand.take_returned(room) {
            of_part.entry(returned.part).or_default().push(returned);
        }
        let mut failed = None;
        for (part, returned) in of_part {
            if into.has_suspect() {
                self.in_hand.give_back(returned);
                continue;
            }
            let wanted = returned.iter().map(|one| (one.id, self.mine(one.fault))).collect();
            match self.take(part, wanted, Duration::ZERO, into).await {
                Ok(left) => {
                    let left = returned.into_iter().filter(|one| left.contains(&one.id)).collect();
                    self.in_hand.give_back(left);
                }
                Err(error) => {
                    self.in_hand.give_back(returned);
                    failed = self.tolerate(part, error).err().or(failed);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// A page of pending messages that are idle this long, from an id on.
    async fn pending(
        &mut self,
        part: Part,
        idle: Duration,
        only_mine: bool,
        first: MessageId,
    ) -> Result<Vec<Pending>, RedisError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XPENDING");
        command.arg(self.redis.stream(part)).arg(&settings.group).arg("IDLE").arg(millis(idle));
        command.arg(first.to_string()).arg("+").arg(settings.batch.max(1));
        if only_mine {
            command.arg(&*self.name);
        }
        reply::pending(self.run(part, &command).await?).ok_or_else(other_form)
    }

    fn mine(&self, fault: Fault) -> Wanted {
        Wanted { owner: self.name.to_string(), fault }
    }

    /// Takes those messages that their owners still have and that are idle still; which of them were left, to be taken
    /// alone.
    async fn take(
        &mut self,
        part: Part,
        wanted: BTreeMap<MessageId, Wanted>,
        idle: Duration,
        into: &mut Reclaimed,
    ) -> Result<BTreeSet<MessageId>, RedisError> {
        if wanted.is_empty() {
            return Ok(BTreeSet::new());
        }
        let settings = &self.redis.settings;
        let mut command = redis::cmd("EVAL");
        command
            .arg(TAKE)
            .arg(1)
            .arg(self.redis.stream(part))
            .arg(&settings.group)
            .arg(&*self.name)
            .arg(millis(idle))
            .arg(settings.isolate_tries)
            .arg(i32::from(into.deliveries.is_empty()));
        for (id, Wanted { owner, fault }) in &wanted {
            command.arg(id.to_string()).arg(owner).arg(i32::from(*fault == Fault::Possible));
        }
        let told_apart = self.untold.len();
        wanted.values().for_each(|one| self.tell_of(&one.owner));
        let (taken, left) = reply::taken(self.run(part, &command).await?).ok_or_else(other_form)?;
        // The answer is here, so only those count that something was taken from.
        self.untold.truncate(told_apart);
        for (tries, entry) in taken {
            let Some(one) = wanted.get(&entry.id) else { continue };
            self.tell_of(&one.owner);
            into.deliveries.extend(self.deliver(part, entry, tries, true));
        }
        Ok(left)
    }

    fn tell_of(&mut self, owner: &str) {
        if !self.untold.iter().any(|other| other == owner) {
            self.untold.push(owner.to_owned());
        }
    }
}
