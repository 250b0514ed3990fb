//! Fetch sessions (KIP-227): a client names its partitions once, and afterwards only what changed goes either way.
//!
//! ```text
//! id 0, epoch 0    answer everything, and make a session if there is room
//! id 0, epoch -1   answer everything, no session
//! id n, epoch 0/-1 the session ends; then as above
//! id n, epoch e    incremental; e must be the one that is expected next
//! ```
//! The number of sessions and of the partitions in them is bounded. A session gives its place up only when it has not been
//! used for two minutes, so a flood of new ones cannot push out those that work; a follower's goes before a client's.
//!
//! A session that asks again while its last request still waits is answered that one at once: a follower that got more
//! partitions to follow need not wait for records of the others.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition};
use parking_lot::Mutex;

use crate::purgatory::FetchWaiter;
pub(crate) use watch::{Change, SessionWatch};

/// Kafka's `min.incremental.fetch.session.eviction.ms`.
const EVICTION_AGE: Duration = Duration::from_secs(120);
/// Partitions in all sessions together; each costs some hundred bytes.
const PARTITIONS_MAX: usize = 1_000_000;

/// A topic as the client names it: by name up to Fetch version 12, by id from 13.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchTopicRef {
    Name(Arc<str>),
    Id(TopicId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchKey {
    pub topic: FetchTopicRef,
    pub partition: PartitionIndex,
}

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTarget {
    pub key: FetchKey,
    pub fetch_offset: Offset,
    pub bytes_max: i32,
    pub current_leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
    /// Of a follower's: what it has.
    pub log_start: Offset,
    pub durable_end: Offset,
    /// The request itself names the partition; else only the session remembers it. What a follower has counts then alone.
    pub is_named: bool,
    /// What a follower was told, or says that it knows. `None` of clients, and of a follower that does not say: nothing is
    /// news to those.
    pub known: Option<Known>,
}

/// What a follower knows beside records. To learn of another it need not wait for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub high_watermark: Offset,
    /// [`Offset::NONE`] where it was never told.
    pub log_start_offset: Offset,
}

/// What was answered for a partition, as far as the session has to remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    pub has_records: bool,
    /// An error, a diverging epoch: told again and again.
    pub is_notable: bool,
    /// There is nothing more to be had before something happens to the partition.
    pub is_settled: bool,
    pub high_watermark: Offset,
    pub log_start_offset: Offset,
}

/// One client's session with one broker.
#[derive(Debug)]
struct Session {
    /// Expected in the next request.
    epoch: i32,
    /// The fetch that waits; the next request ends its wait.
    parked: Weak<FetchWaiter>,
    /// Of a follower's session: what it need not look at.
    watch: Option<Arc<SessionWatch>>,
    /// Whether the follower was eligible for the ISR at its last request.
    may_join: bool,
    uses_topic_ids: bool,
    /// In the order in which they are served. Who got records goes to the end, so that a small `max_bytes` starves nobody.
    order: BTreeMap<u64, CachedPartition>,
    places: HashMap<FetchKey, u64>,
    next_place: u64,
}

#[derive(Debug)]
struct CachedPartition {
    target: FetchTarget,
    high_watermark: Offset,
    log_start_offset: Offset,
}

/// One request's relation to sessions: the partitions to fetch, and what becomes of the answer.
#[derive(Debug)]
pub struct FetchContext {
    pub targets: Vec<FetchTarget>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// Everything is answered; a session may be made of it.
    Full {
        uses_topic_ids: bool,
        is_follower: bool,
    },
    Incremental {
        id: i32,
        /// Of the session's next request.
        epoch: i32,
        session: Arc<Mutex<Session>>,
        watch: Option<Arc<SessionWatch>>,
    },
}

/// All sessions of a broker.
pub struct FetchSessionCache {
    sessions_max: usize,
    partitions_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<i32, Entry>,
    partitions: usize,
}

struct Entry {
    session: Arc<Mutex<Session>>,
    last_used: Instant,
    partitions: usize,
    is_follower: bool,
}

impl State {
    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.partitions -= entry.partitions;
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl FetchSessionCache {
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        Self { sessions_max, partitions_max: PARTITIONS_MAX, state: Mutex::default() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`: the client starts over.
    pub fn begin(
        &self,
        id: i32,
        epoch: i32,
        targets: Vec<FetchTarget>,
        forgotten: &[FetchKey],
        uses_topic_ids: bool,
        now: Instant,
    ) -> Result<FetchContext, ErrorCode> {
        self.begin_for(id, epoch, targets, forgotten, uses_topic_ids, false, now)
    }

    /// The same for one that may be a follower's. A follower that has become eligible for the ISR, or is not any more, has
    /// all of its partitions looked at.
    ///
    /// # Errors
    /// As [`Self::begin`].
    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(crate) fn begin_for(
        &self,
        id: i32,
        epoch: i32,
        targets: Vec<FetchTarget>,
        forgotten: &[FetchKey],
        uses_topic_ids: bool,
        may_join: bool,
        now: Instant,
    ) -> Result<FetchContext, ErrorCode> {
        if epoch <= 0 {
            if id != 0 {
                self.state.lock().remove(id);
            }
            let kind = if epoch == 0 {
                Kind::Full { uses_topic_ids, is_follower: false }
            } else {
                Kind::Sessionless
            };
            return Ok(FetchContext { targets, kind });
        }
        let mut state = self.state.lock();
        let entry = state.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let handle = Arc::clone(&entry.session);
        let mut session = handle.lock();
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        entry.last_used = now;
        session.epoch = next_epoch(epoch);
        if let Some(parked) = std::mem::take(&mut session.parked).upgrade() {
            parked.supersede();
        }
        let named: BTreeSet<TopicIdPartition> = targets.iter().filter_map(|target| target.key.id()).collect();
        for target in targets {
            session.put(target);
        }
        for key in forgotten {
            session.forget(key);
        }
        let (before, after) = (entry.partitions, session.order.len());
        entry.partitions = after;
        state.partitions = state.partitions - before + after;
        if after == 0 {
            state.remove(id);
            return Ok(FetchContext { targets: Vec::new(), kind: Kind::Sessionless });
        }
        if state.partitions > self.partitions_max {
            state.remove(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        drop(state);
        let targets = session.targets(&named, may_join);
        let watch = session.watch.clone();
        drop(session);
        Ok(FetchContext {
            targets,
            kind: Kind::Incremental { id, epoch: next_epoch(epoch), session: handle, watch },
        })
    }

    /// Makes a session of a full fetch, if there is room. Returns its id, or 0.
    fn create(
        &self,
        targets: Vec<FetchTarget>,
        answered: &[Answered],
        uses_topic_ids: bool,
        is_follower: bool,
        now: Instant,
    ) -> i32 {
        let mut state = self.state.lock();
        if targets.is_empty() || targets.len() > self.partitions_max {
            return 0;
        }
        while state.partitions + targets.len() > self.partitions_max {
            // Clients, who may name what there is not, keep no follower from its session.
            let clients = state.sessions.iter().filter(|(_, entry)| is_follower && !entry.is_follower);
            let Some((&oldest, _)) = clients.min_by_key(|(_, entry)| entry.last_used) else { return 0 };
            state.remove(oldest);
        }
        if state.sessions.len() >= self.sessions_max {
            // A follower's session is not given up for a client's; and a follower needs not wait for a client's to be old.
            let mine = |entry: &Entry| is_follower || !entry.is_follower;
            let oldest = state
                .sessions
                .iter()
                .filter(|(_, entry)| mine(entry))
                .min_by_key(|(_, entry)| (entry.is_follower, entry.last_used));
            match oldest {
                Some((&id, entry))
                    if (is_follower && !entry.is_follower)
                        || now.duration_since(entry.last_used) > EVICTION_AGE =>
                {
                    state.remove(id);
                }
                _ => return 0,
            }
        }
        let Some(id) = unused_id(&state.sessions) else { return 0 };
        let mut session = Session {
            epoch: 1,
            parked: Weak::new(),
            watch: is_follower.then(Arc::default),
            may_join: false,
            uses_topic_ids,
            order: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (mut target, answered) in targets.into_iter().zip(answered) {
            target.is_named = false;
            let key = target.key.clone();
            session.put(target);
            session.note(&key, answered);
            if let (Some(watch), Some(id)) = (&session.watch, key.id()) {
                watch.mark_unsettled(id);
            }
        }
        let partitions = session.order.len();
        state.partitions += partitions;
        state.sessions.insert(
            id,
            Entry { session: Arc::new(Mutex::new(session)), last_used: now, partitions, is_follower },
        );
        id
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn unused_id(sessions: &HashMap<i32, Entry>) -> Option<i32> {
    for _ in 0..16 {
        let random = getrandom::u32().ok()?;
        let id = i32::try_from(random & 0x7fff_ffff).ok()?;
        if id != 0 && !sessions.contains_key(&id) {
            return Some(id);
        }
    }
    None
}

impl FetchContext {
    /// The session that the request belongs to; 0 for none.
    pub(crate) const fn id(&self) -> i32 {
        match &self.kind {
            Kind::Incremental { id, .. } => *id,
            Kind::Full { .. } | Kind::Sessionless => 0,
        }
    }

    /// The session that may come of it is a follower's: it goes before clients' where there is little room.
    pub(crate) fn note_follower(&mut self) {
        if let Kind::Full { is_follower, .. } = &mut self.kind {
            *is_follower = true;
        }
    }

    /// By which a follower's session hears of changes; without it the fetch stands at every partition.
    pub(crate) fn watch(&self) -> Option<&Arc<SessionWatch>> {
        match &self.kind {
            Kind::Incremental { watch, .. } => watch.as_ref(),
            Kind::Full { .. } | Kind::Sessionless => None,
        }
    }

    /// A follower's session heard of changes at partitions that the request does not look at yet.
    pub(crate) fn add_changed(&mut self) {
        let Kind::Incremental { session, watch: Some(watch), .. } = &self.kind else { return };
        let mut changed = watch.take_changed();
        for target in &self.targets {
            if let Some(id) = target.key.id() {
                changed.remove(&id);
            }
        }
        if !changed.is_empty() {
            let mut session = session.lock();
            self.targets.extend(session.take_targets(&changed));
        }
    }

    /// Parks the fetch at the session's watch, if it has one. `false` if something changed since the look.
    pub(crate) fn park_at_watch(&self, waiter: &Arc<FetchWaiter>) -> bool {
        self.watch().is_none_or(|watch| watch.park(waiter))
    }

    /// Parks the fetch: the session's next request ends its wait. `false` if that one was there already.
    pub(crate) fn park(&self, waiter: &Arc<FetchWaiter>) -> bool {
        let Kind::Incremental { epoch, session, .. } = &self.kind else { return true };
        let mut session = session.lock();
        if session.epoch != *epoch {
            return false;
        }
        session.parked = Arc::downgrade(waiter);
        true
    }

    /// The answers, one for each target in order: which of them are told, and in which session.
    pub fn finish(self, cache: &FetchSessionCache, answered: &[Answered], now: Instant) -> (i32, Vec<bool>) {
        match self.kind {
            Kind::Sessionless => (0, vec![true; answered.len()]),
            Kind::Full { uses_topic_ids, is_follower } => {
                let id = cache.create(self.targets, answered, uses_topic_ids, is_follower, now);
                (id, vec![true; answered.len()])
            }
            Kind::Incremental { id, session, .. } => {
                let mut session = session.lock();
                let told = self.targets.iter().zip(answered).map(|(target, answered)| {
                    if let (Some(watch), Some(id), false) =
                        (&session.watch, target.key.id(), answered.is_settled)
                    {
                        watch.mark_unsettled(id);
                    }
                    session.note(&target.key, answered)
                });
                (id, told.collect())
            }
        }
    }
}

impl FetchKey {
    /// Of a session with topic ids, as followers' are.
    fn id(&self) -> Option<TopicIdPartition> {
        match self.topic {
            FetchTopicRef::Id(topic_id) => Some(TopicIdPartition { topic_id, partition: self.partition }),
            FetchTopicRef::Name(_) => None,
        }
    }
}

impl CachedPartition {
    fn take_target(&mut self) -> FetchTarget {
        let target = self.target.clone();
        self.target.is_named = false;
        target
    }
}

impl Session {
    /// What a request looks at: a client's at all; a follower's at what it names and at what changed.
    fn targets(&mut self, named: &BTreeSet<TopicIdPartition>, may_join: bool) -> Vec<FetchTarget> {
        let was_eligible = std::mem::replace(&mut self.may_join, may_join);
        match &self.watch {
            Some(watch) if was_eligible == may_join => {
                let mut ids = watch.take_all();
                ids.extend(named);
                self.take_targets(&ids)
            }
            _ => self.order.values_mut().map(CachedPartition::take_target).collect(),
        }
    }

    fn take_targets(&mut self, ids: &BTreeSet<TopicIdPartition>) -> Vec<FetchTarget> {
        let place = |id: &TopicIdPartition| {
            let key = FetchKey { topic: FetchTopicRef::Id(id.topic_id), partition: id.partition };
            self.places.get(&key).copied()
        };
        let places: BTreeSet<u64> = ids.iter().filter_map(place).collect();
        let take = |place: u64| self.order.get_mut(&place).map(CachedPartition::take_target);
        places.into_iter().filter_map(take).collect()
    }

    fn put(&mut self, target: FetchTarget) {
        if let Some(cached) = self.places.get(&target.key).and_then(|place| self.order.get_mut(place)) {
            cached.target = target;
            return;
        }
        self.places.insert(target.key.clone(), self.next_place);
        let cached = CachedPartition { target, high_watermark: Offset::NONE, log_start_offset: Offset::NONE };
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, key: &FetchKey) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// Remembers what was found, and says whether the client has to be told.
    fn note(&mut self, key: &FetchKey, answered: &Answered) -> bool {
        let Some(&place) = self.places.get(key) else { return true };
        let Some(cached) = self.order.get_mut(&place) else { return true };
        let is_told = answered.has_records
            || answered.is_notable
            || cached.high_watermark != answered.high_watermark
            || cached.log_start_offset != answered.log_start_offset;
        cached.high_watermark = answered.high_watermark;
        cached.log_start_offset = answered.log_start_offset;
        if let Some(known) = &mut cached.target.known {
            known.high_watermark = known.high_watermark.max(answered.high_watermark);
            known.log_start_offset = answered.log_start_offset;
        }
        if answered.is_notable {
            // Whatever comes after it is news: with an error it was not told, and a follower whose log has parted from the
            // leader's cuts it, and takes nothing else from the answer.
            cached.high_watermark = Offset::NONE;
        }
        if answered.has_records
            && let Some(cached) = self.order.remove(&place)
        {
            self.places.insert(key.clone(), self.next_place);
            self.order.insert(self.next_place, cached);
            self.next_place += 1;
        }
        is_told
    }
}

#[cfg(test)]
mod tests;
