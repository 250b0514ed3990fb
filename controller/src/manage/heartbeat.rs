//! Which brokers are alive: the active controller's soft state, and what a heartbeat changes.
//!
//! Driven so: [`BrokerSessions::adopt`] when this controller becomes the active one; `handle_*` for what brokers send;
//! [`BrokerSessions::next_expiry`] says when to ask [`BrokerSessions::expired`] next. Time is an argument throughout.

use std::collections::BTreeMap;

use moldau_cluster::{Heartbeat, HeartbeatReply};
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerEpoch, BrokerId, Offset, TimestampMs};

use super::broker_state::{
    fence_broker, fence_log_directories, note_cordoned_log_directories, note_full_log_directories,
    place_replicas, start_controlled_shutdown, unfence_broker,
};
use super::register_broker::check_broker_epoch;
use super::{ApiError, Decision, SessionState, Settings};

/// One incarnation's session.
#[derive(Clone, Debug)]
struct Session {
    epoch: BrokerEpoch,
    /// When it ends unless the broker is heard of.
    expires_at: TimestampMs,
    /// Whether this controller hears of the broker: it has since it became the active one, and the broker's connection
    /// did not break since.
    was_heard: bool,
    /// Up to where the broker has applied the metadata.
    metadata_offset: Offset,
    /// Where the metadata stood when the broker's shutdown began.
    shutdown_offset: Option<Offset>,
}

/// A broker that was not heard of for the session timeout. It is to be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredSession {
    pub broker_id: BrokerId,
    pub broker_epoch: BrokerEpoch,
}

/// The sessions of all registered brokers. Only the active controller keeps them; they are not replicated.
#[derive(Clone, Debug)]
pub struct BrokerSessions {
    timeout_ms: i64,
    sessions: BTreeMap<BrokerId, Session>,
}

impl BrokerSessions {
    /// No sessions yet. `timeout_ms` is `broker.session.timeout.ms`.
    #[must_use]
    pub const fn new(timeout_ms: i64) -> Self {
        Self { timeout_ms, sessions: BTreeMap::new() }
    }

    /// Gives every registered broker a fresh session, for this controller has just become the active one and cannot know
    /// who is alive. Such a session keeps a broker from being fenced, but not another incarnation from registering: that
    /// would make every restarted single node wait for a timeout, and the epochs make the registration safe.
    pub fn adopt(&mut self, image: &MetadataImage, now: TimestampMs) {
        let session = |epoch| Session { was_heard: false, ..self.session(epoch, now) };
        self.sessions = image.brokers().map(|broker| (broker.id, session(broker.epoch))).collect();
    }

    fn session(&self, epoch: BrokerEpoch, now: TimestampMs) -> Session {
        Session {
            epoch,
            expires_at: TimestampMs(now.0.saturating_add(self.timeout_ms)),
            was_heard: true,
            metadata_offset: Offset::NONE,
            shutdown_offset: None,
        }
    }

    /// What `register_broker` asks to know of the broker's last incarnation.
    #[must_use]
    pub fn state(&self, id: BrokerId, now: TimestampMs) -> SessionState {
        match self.sessions.get(&id) {
            Some(session) if session.was_heard && now < session.expires_at => SessionState::Live,
            _ => SessionState::NotLive,
        }
    }

    /// Whether the broker lives beside another incarnation that has been refused for so long: its session, which would be
    /// over by now, was renewed meanwhile.
    #[must_use]
    pub fn outlives(&self, id: BrokerId, waited_ms: i64, now: TimestampMs) -> bool {
        waited_ms >= self.timeout_ms && self.state(id, now) == SessionState::Live
    }

    /// A broker has registered, and its registration is committed.
    pub fn handle_registered(&mut self, id: BrokerId, epoch: BrokerEpoch, now: TimestampMs) {
        let session = self.session(epoch, now);
        match self.sessions.get_mut(&id) {
            Some(earlier) if earlier.epoch == epoch => {
                earlier.expires_at = session.expires_at;
                earlier.was_heard = true;
            }
            _ => {
                self.sessions.insert(id, session);
            }
        }
    }

    /// A broker's connection broke. Its session goes on, but another incarnation may take its place: one that comes back at
    /// once must not wait for the session to end.
    pub fn handle_left(&mut self, id: BrokerId, epoch: BrokerEpoch) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.epoch == epoch
        {
            session.was_heard = false;
        }
    }

    /// A broker's connection broke and its listener refuses another: its session ends at once. Nothing if the session
    /// belongs to another incarnation by now.
    pub fn handle_lost(&mut self, id: BrokerId, epoch: BrokerEpoch, now: TimestampMs) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.epoch == epoch
        {
            session.expires_at = now;
        }
    }

    /// A broker says that it is alive, how far it is and what it wants. The reply says how it stands once the records
    /// are committed.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH` if the broker is not registered or not with this epoch.
    pub fn handle_heartbeat(
        &mut self,
        image: &MetadataImage,
        settings: &Settings,
        request: &Heartbeat,
        now: TimestampMs,
    ) -> Result<Decision<HeartbeatReply>, ApiError> {
        let id = request.broker_id;
        check_broker_epoch(image, id, request.broker_epoch)?;
        self.handle_registered(id, request.broker_epoch, now);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.metadata_offset = session.metadata_offset.max(request.metadata_offset);
        }
        // A broker in a dead directory must not be given its partitions back by the same heartbeat.
        let failed = fence_log_directories(image, settings, id, &request.offline_log_dirs);
        if !failed.is_empty() {
            let is_fenced = image.broker(id).is_some_and(|broker| broker.fenced);
            let response = self.reply(image, request, is_fenced, false);
            return Ok(Decision { records: failed, response });
        }
        // Before it is let in: nothing new must be placed in a cordoned directory.
        if let Some(cordoned) = note_cordoned_log_directories(image, id, &request.cordoned_log_dirs) {
            let is_fenced = image.broker(id).is_some_and(|broker| broker.fenced);
            let response = self.reply(image, request, is_fenced, false);
            return Ok(Decision { records: vec![cordoned], response });
        }
        let stays = !request.want_shutdown && !request.want_fence;
        if stays && image.is_active_broker(id) {
            let mut records = note_full_log_directories(image, settings, id, &request.full_log_dirs);
            if records.is_empty() {
                let (replicas, failed) = (&request.replica_directories, &request.offline_log_dirs);
                records = place_replicas(image, settings, id, replicas, failed);
            }
            if !records.is_empty() {
                return Ok(Decision { records, response: self.reply(image, request, false, false) });
            }
        }
        let (records, is_fenced, should_shut_down) = self.next_state(image, settings, request);
        Ok(Decision { records, response: self.reply(image, request, is_fenced, should_shut_down) })
    }

    /// The records that move a broker on, whether it is fenced afterwards, and whether it may stop.
    fn next_state(
        &mut self,
        image: &MetadataImage,
        settings: &Settings,
        request: &Heartbeat,
    ) -> (Vec<moldau_metadata::MetadataRecord>, bool, bool) {
        let id = request.broker_id;
        let Some(broker) = image.broker(id) else { return (Vec::new(), true, false) };
        if broker.fenced {
            // A. Fenced: it may stop whenever it wants, and is let in once it knows of its own registration.
            if request.want_shutdown || request.want_fence || !is_caught_up(image, request) {
                return (Vec::new(), true, request.want_shutdown);
            }
            return (unfence_broker(image, settings, id), false, false);
        }
        if request.want_fence {
            // B. It wants out at once.
            return (fence_broker(image, settings, id), true, request.want_shutdown);
        }
        if !broker.in_controlled_shutdown {
            if !request.want_shutdown {
                // C. All is well.
                return (Vec::new(), false, false);
            }
            // D. It wants to leave in order: its leaderships move first.
            return (start_controlled_shutdown(image, settings, id), false, false);
        }
        // E. Its leaderships have moved. It stops once every other broker knows that they have.
        let leads = image.topics().iter().any(|topic| topic.partitions().any(|(_, p)| p.leader == id));
        let others = image.brokers().filter(|other| other.is_active());
        let seen =
            others.filter_map(|other| self.sessions.get(&other.id)).map(|other| other.metadata_offset).min();
        let Some(session) = self.sessions.get_mut(&id) else { return (Vec::new(), false, false) };
        let shutdown_offset = *session.shutdown_offset.get_or_insert(image.position().offset);
        let is_known = seen.is_none_or(|seen| seen >= shutdown_offset);
        (Vec::new(), false, !leads && is_known)
    }

    fn reply(
        &self,
        image: &MetadataImage,
        request: &Heartbeat,
        is_fenced: bool,
        should_shut_down: bool,
    ) -> HeartbeatReply {
        let metadata_offset = image.position().offset;
        HeartbeatReply {
            is_caught_up: is_caught_up(image, request),
            is_fenced,
            should_shut_down,
            metadata_offset,
        }
    }

    /// The brokers that are to be fenced now: not fenced yet, and not heard of for too long. Asking again before their
    /// fencing is in the image gives them again.
    #[must_use]
    pub fn expired(&self, image: &MetadataImage, now: TimestampMs) -> Vec<ExpiredSession> {
        self.unfenced(image)
            .filter(|(_, session)| session.expires_at <= now)
            .map(|(broker_id, session)| ExpiredSession { broker_id, broker_epoch: session.epoch })
            .collect()
    }

    /// The unfenced brokers that this controller has inherited and not heard of itself.
    #[must_use]
    pub fn unheard(&self, image: &MetadataImage) -> Vec<(BrokerId, BrokerEpoch)> {
        let unheard = self.unfenced(image).filter(|(_, session)| !session.was_heard);
        unheard.map(|(id, session)| (id, session.epoch)).collect()
    }

    /// When the next broker is to be fenced unless it is heard of.
    #[must_use]
    pub fn next_expiry(&self, image: &MetadataImage) -> Option<TimestampMs> {
        self.unfenced(image).map(|(_, session)| session.expires_at).min()
    }

    fn unfenced<'a>(&'a self, image: &'a MetadataImage) -> impl Iterator<Item = (BrokerId, &'a Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session)).filter(|(id, session)| {
            image.broker(*id).is_some_and(|broker| !broker.fenced && broker.epoch == session.epoch)
        })
    }
}

/// Whether the broker has seen its own registration, whose epoch is its offset.
fn is_caught_up(image: &MetadataImage, request: &Heartbeat) -> bool {
    image.broker(request.broker_id).is_some_and(|broker| request.metadata_offset.0 >= broker.epoch.0)
}

#[cfg(test)]
mod tests;
