//! What keeps the topic of share state short: records that nobody needs are named to the shell, and snapshots that keep others'
//! records are written anew.
//!
//! The log is needed from the oldest of the last snapshots on. A share partition that is read no more would keep all that others
//! write behind its snapshot, so that an old snapshot is written again: cold, as Kafka says. One that was, and has not changed
//! since, shows it by its two timestamps, and where all are so, nothing is written: there is nothing to be gained.

use moldau_model::Offset;

use super::{Output, ShardState, ShareStateConfig, ShareStateShard};
use crate::key::SharePartitionKey;
use crate::records::ShareRecord;

/// Cold snapshots that one round writes: what they need of the log, and of memory, stays small beside what requests do.
const COLD_SNAPSHOTS_MAX: usize = 1_000;
/// The pause before the next round where one was not enough.
const ROUND_PAUSE_MS: i64 = 1_000;

/// When it is time for what, and what the log is known to have.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// `None` while the shard is not active.
    next: Option<Next>,
    /// The offset behind the last record that is known to be committed.
    end: Offset,
    /// What lies before this is gone, or will be. `None` where no record was seen yet.
    pruned: Option<Offset>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    prune_ms: i64,
    cold_snapshots_ms: i64,
}

impl Upkeep {
    /// The shard is active from now on.
    pub(super) fn begin(&mut self, config: &ShareStateConfig, now_ms: i64) {
        self.next = Some(Next {
            prune_ms: now_ms.saturating_add(config.prune_interval_ms),
            cold_snapshots_ms: now_ms.saturating_add(config.cold_snapshot_interval_ms),
        });
    }

    /// A record was read, or is committed.
    pub(super) fn note_record(&mut self, offset: Offset) {
        self.pruned.get_or_insert(offset);
        self.end = self.end.max(offset.plus(1));
    }

    pub(super) fn next_ms(&self) -> Option<i64> {
        self.next.map(|next| next.prune_ms.min(next.cold_snapshots_ms))
    }
}

impl ShareStateShard {
    /// Does what it is time for.
    pub(super) fn keep_up(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        if !matches!(self.state, ShardState::Active { .. }) {
            return;
        }
        let Some(mut next) = self.upkeep.next else { return };
        if next.cold_snapshots_ms <= now_ms {
            let is_all = self.snapshot_cold(now_ms, out);
            let pause_ms = if is_all { self.config.cold_snapshot_interval_ms } else { ROUND_PAUSE_MS };
            next.cold_snapshots_ms = now_ms.saturating_add(pause_ms);
        }
        if next.prune_ms <= now_ms {
            self.prune(out);
            next.prune_ms = now_ms.saturating_add(self.config.prune_interval_ms);
        }
        self.upkeep.next = Some(next);
    }

    /// What was known to be committed: a record that is appended now lies behind it.
    pub(super) fn committed_end(&self) -> Offset {
        self.upkeep.end
    }

    /// Says what is not needed any more, if that is more than before. Outcomes of appends come in any order: one that is out
    /// may be committed, and lie before others that are known to be.
    fn prune(&mut self, out: &mut Vec<Output>) {
        let snapshots = self.entries.values().filter_map(|entry| entry.known.as_ref());
        let oldest = snapshots.map(|known| known.snapshot_offset).min();
        let on_their_way = self.entries.values().filter_map(|entry| entry.pending.as_ref());
        let first_on_its_way = on_their_way.map(|pending| pending.not_before).min();
        let before = oldest.unwrap_or(self.upkeep.end);
        let before = first_on_its_way.map_or(before, |first| before.min(first));
        if self.upkeep.pruned.is_some_and(|pruned| pruned < before) {
            self.upkeep.pruned = Some(before);
            out.push(Output::Prune { before });
        }
    }

    /// Writes old snapshots anew. `false` if there are more of them than one round writes.
    fn snapshot_cold(&mut self, now_ms: i64, out: &mut Vec<Output>) -> bool {
        let interval_ms = self.config.cold_snapshot_interval_ms;
        let mut old: Vec<SharePartitionKey> = Vec::new();
        let mut is_quiet = true;
        for (key, entry) in &self.entries {
            let Some(known) = &entry.known else { continue };
            let snapshot = &known.snapshot;
            is_quiet &= known.updates == 0 && snapshot.create_timestamp_ms != snapshot.write_timestamp_ms;
            let is_old = now_ms.saturating_sub(snapshot.write_timestamp_ms) >= interval_ms;
            if is_old && entry.pending.is_none() && old.len() <= COLD_SNAPSHOTS_MAX {
                old.push(key.clone());
            }
        }
        if is_quiet {
            return true;
        }
        let is_all = old.len() <= COLD_SNAPSHOTS_MAX;
        for key in old.into_iter().take(COLD_SNAPSHOTS_MAX) {
            let known = self.entries.get(&key).and_then(|entry| entry.known.as_ref());
            let Some(mut snapshot) = known.map(|known| known.snapshot.clone()) else { continue };
            snapshot.snapshot_epoch += 1;
            snapshot.write_timestamp_ms = now_ms;
            self.append(&key, Some(ShareRecord::Snapshot(snapshot)), None, now_ms, out);
        }
        is_all
    }
}
