//! Registers the broker and keeps its session alive.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::{ControllerChannel, ControllerError, Heartbeat, HeartbeatReply, RegisterBroker};
use moldau_model::{BrokerEpoch, ErrorCode, Offset, TimestampMs};
use tokio::sync::watch;

use super::{BrokerState, LifecycleOptions, MetadataPublisher};
use crate::clock;
use crate::metadata_cache::MetadataCache;

/// Pause after a failed request to the controller.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause while the session of an earlier start of this broker lasts: seconds, of which the end is not told.
const DUPLICATE_PAUSE_MAX: Duration = Duration::from_millis(400);
/// How often a broker that wants to stop asks whether it may.
const SHUTDOWN_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Heartbeats {
    pub(super) options: LifecycleOptions,
    pub(super) channel: Arc<dyn ControllerChannel>,
    pub(super) cache: Arc<MetadataCache>,
    pub(super) publisher: Arc<dyn MetadataPublisher>,
    pub(super) state: watch::Sender<BrokerState>,
    pub(super) broker_epoch: watch::Sender<BrokerEpoch>,
    pub(super) shutdown_wanted: watch::Receiver<bool>,
}

impl Heartbeats {
    pub(super) async fn run(mut self) {
        let Some(mut epoch) = self.register().await else { return };
        let mut applied = self.cache.watch_applied();
        loop {
            let sent_offset = *applied.borrow_and_update();
            let sent_at = clock::monotonic();
            match self.beat(epoch, sent_offset).await {
                Ok(reply) => {
                    // A fenced broker leads nothing, whatever it has not heard yet.
                    if !reply.is_fenced {
                        self.cache.note_counted_in(sent_at, reply.metadata_offset);
                    }
                    if self.note(reply) {
                        return;
                    }
                }
                // The controller has forgotten this incarnation: it may enter again.
                Err(ControllerError::Kafka(ErrorCode::BrokerIdNotRegistered)) => {
                    match self.register().await {
                        Some(again) => epoch = again,
                        None => return,
                    }
                    continue;
                }
                Err(ControllerError::Kafka(ErrorCode::StaleBrokerEpoch)) => {
                    tracing::error!("another incarnation of this broker has registered");
                    self.refuse(ErrorCode::StaleBrokerEpoch);
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "heartbeat failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            self.pause(&mut applied).await;
        }
    }

    /// Waits for the next heartbeat's time: the interval, or sooner while there is something to tell.
    async fn pause(&mut self, applied: &mut watch::Receiver<Offset>) {
        if *self.shutdown_wanted.borrow() {
            tokio::time::sleep(SHUTDOWN_INTERVAL).await;
            return;
        }
        let is_fenced = *self.state.borrow() == BrokerState::Fenced;
        tokio::select! {
            () = tokio::time::sleep(self.options.heartbeat_interval) => {}
            changed = applied.changed(), if is_fenced => { changed.ok(); }
            wanted = self.shutdown_wanted.changed() => { wanted.ok(); }
            Ok(()) = self.options.log_dirs_changed.changed() => {}
        }
    }

    async fn beat(
        &self,
        broker_epoch: BrokerEpoch,
        metadata_offset: Offset,
    ) -> Result<HeartbeatReply, ControllerError> {
        let request = Heartbeat {
            broker_id: self.options.broker_id,
            broker_epoch,
            metadata_offset,
            want_fence: false,
            want_shutdown: *self.shutdown_wanted.borrow(),
            offline_log_dirs: self.publisher.offline_log_dirs(),
            full_log_dirs: self.publisher.full_log_dirs(),
            cordoned_log_dirs: self.publisher.cordoned_log_dirs(),
            replica_directories: self.publisher.replica_directories(&self.cache.image()),
        };
        self.channel.heartbeat(request).await
    }

    /// Takes a reply in. True if the broker may stop.
    fn note(&self, reply: HeartbeatReply) -> bool {
        let wants_shutdown = *self.shutdown_wanted.borrow();
        let next = if wants_shutdown && reply.should_shut_down {
            BrokerState::Stopped
        } else if wants_shutdown {
            BrokerState::ShuttingDown
        } else if reply.is_fenced {
            BrokerState::Fenced
        } else {
            BrokerState::Running
        };
        let changed = self.state.send_if_modified(|state| std::mem::replace(state, next) != next);
        if changed {
            tracing::info!(state = ?next, "broker state");
        }
        next == BrokerState::Stopped
    }

    fn refuse(&self, code: ErrorCode) {
        self.state.send_replace(BrokerState::Refused(code));
    }

    /// Registers this incarnation, again and again while the reason not to may pass. `None` where it will not.
    async fn register(&self) -> Option<BrokerEpoch> {
        let mut retries = Retries::default();
        loop {
            let request = RegisterBroker {
                broker_id: self.options.broker_id,
                cluster_id: self.options.cluster_id.clone(),
                incarnation_id: self.options.incarnation_id,
                listeners: self.options.listeners.clone(),
                features: self.options.features.clone(),
                rack: self.options.rack.clone(),
                log_dirs: self.options.log_dirs.clone(),
                previous_broker_epoch: self.options.previous_broker_epoch,
                waited_ms: retries.waited_ms(clock::monotonic()),
            };
            match self.channel.register_broker(request).await {
                Ok(registered) => {
                    self.broker_epoch.send_replace(registered.broker_epoch);
                    self.state.send_replace(BrokerState::Fenced);
                    return Some(registered.broker_epoch);
                }
                Err(ControllerError::Kafka(
                    code @ (ErrorCode::InconsistentClusterId
                    | ErrorCode::InvalidRegistration
                    | ErrorCode::UnsupportedVersion),
                )) => {
                    tracing::error!(%code, "the controller does not take this broker");
                    self.refuse(code);
                    return None;
                }
                Err(ControllerError::BrokerLives { address }) => {
                    tracing::error!(address, "another broker lives by this node.id");
                    self.refuse(ErrorCode::DuplicateBrokerRegistration);
                    return None;
                }
                Err(error) => {
                    let retry = retries.next(&error, clock::monotonic());
                    if !retry.is_news {
                        tracing::debug!(%error, "registration failed again");
                    } else if is_duplicate(&error) {
                        tracing::warn!(
                            "an earlier start of this broker, or another broker by its node.id, has a session still; waiting \
                             for its end"
                        );
                    } else {
                        tracing::warn!(%error, "registration failed, trying again");
                    }
                    tokio::time::sleep(retry.pause).await;
                }
            }
        }
    }
}

fn is_duplicate(error: &ControllerError) -> bool {
    matches!(error, ControllerError::Kafka(ErrorCode::DuplicateBrokerRegistration))
}

/// Registrations that failed in a row.
#[derive(Default)]
struct Retries {
    last: Option<String>,
    /// Of an earlier start's session, in a row.
    duplicates: u32,
    /// When such a session was met first.
    occupied_since: Option<TimestampMs>,
}

/// What to do about the last one.
#[derive(Debug, PartialEq, Eq)]
struct Retry {
    /// The one before failed in another way, and so this is worth a line in the log.
    is_news: bool,
    pause: Duration,
}

impl Retries {
    fn next(&mut self, error: &ControllerError, now: TimestampMs) -> Retry {
        let text = error.to_string();
        let is_news = self.last.as_ref() != Some(&text);
        self.last = Some(text);
        if is_duplicate(error) {
            self.occupied_since.get_or_insert(now);
            self.duplicates = self.duplicates.saturating_add(1);
        } else {
            self.duplicates = 0;
        }
        let pause = RETRY_PAUSE.saturating_mul(1 << self.duplicates.saturating_sub(1).min(8));
        Retry { is_news, pause: pause.min(DUPLICATE_PAUSE_MAX) }
    }

    /// For how long this broker has been waiting for the end of a session. What else failed in between does not count it
    /// down: a session that lasts now, after its whole time, was renewed since.
    fn waited_ms(&self, now: TimestampMs) -> i64 {
        self.occupied_since.map_or(0, |since| now.0 - since.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_and_an_earlier_session_is_asked_for_less_and_less() {
        let duplicate = ControllerError::Kafka(ErrorCode::DuplicateBrokerRegistration);
        let mut retries = Retries::default();
        for (number, (error, is_news, pause_ms)) in [
            (&ControllerError::Timeout, true, 50),
            (&ControllerError::Timeout, false, 50),
            (&duplicate, true, 50),
            (&duplicate, false, 100),
            (&duplicate, false, 200),
            (&duplicate, false, 400),
            (&duplicate, false, 400),
            (&ControllerError::Stopping, true, 50),
            (&duplicate, true, 50),
        ]
        .into_iter()
        .enumerate()
        {
            let expected = Retry { is_news, pause: Duration::from_millis(pause_ms) };
            assert_eq!(retries.next(error, TimestampMs(0)), expected, "{number}");
        }
        for _ in 0..100 {
            assert!(retries.next(&duplicate, TimestampMs(0)).pause <= DUPLICATE_PAUSE_MAX);
        }
    }

    #[test]
    fn a_session_is_waited_for_from_its_first_refusal_on() {
        let duplicate = ControllerError::Kafka(ErrorCode::DuplicateBrokerRegistration);
        let mut retries = Retries::default();
        retries.next(&ControllerError::Timeout, TimestampMs(5));
        assert_eq!(retries.waited_ms(TimestampMs(9)), 0);
        for (error, at) in
            [(&duplicate, 10), (&duplicate, 60), (&ControllerError::Stopping, 70), (&duplicate, 80)]
        {
            retries.next(error, TimestampMs(at));
        }
        assert_eq!(retries.waited_ms(TimestampMs(9010)), 9000);
    }
}
