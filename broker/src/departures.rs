//! Brokers that went without a word: those that seem to have gone, until the controllers have decided, and those that
//! were fenced a moment ago.
//!
//! A client whose connection to a leader breaks asks another broker at once who leads now, often before the controllers
//! have fenced the dead one. Told the old leader again, librdkafka asks next after a second. So an answer that would name a
//! leader to which this broker's own connection has just broken waits a little for the verdict. And a broker that is
//! missing from the answer that names its successor is taken down by librdkafka together with the partitions that it is
//! about to move, which costs another second: for a moment it stays in the list, where it stood through the whole session
//! timeout with Apache Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_metadata::{BrokerRegistration, MetadataDelta, MetadataImage};
use moldau_model::{BrokerEpoch, BrokerId};
use parking_lot::Mutex;

/// How long after a connection broke answers wait for the controllers: most deaths are told within a tenth of this.
const VERDICT_LIMIT: Duration = Duration::from_millis(400);
/// How long a broker that was fenced stays in the list of brokers: clients ask again within a second.
const LISTED_LIMIT: Duration = Duration::from_secs(3);

/// See the module. One entry a broker at most.
#[derive(Default)]
pub struct Departures {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Brokers to which a connection broke, by the registration that it was to, and when.
    suspects: BTreeMap<BrokerId, (BrokerEpoch, Instant)>,
    /// The connections to leaders, by the registration that they are to.
    watched: BTreeMap<BrokerId, (BrokerEpoch, TcpStream)>,
    fenced: BTreeMap<BrokerId, (Arc<BrokerRegistration>, Instant)>,
}

impl State {
    /// Only the first time counts: nobody waits again for what the controllers have not taken for a death.
    fn suspect(&mut self, id: BrokerId, epoch: BrokerEpoch, now: Instant) {
        match self.suspects.get(&id) {
            Some((known, _)) if *known == epoch => {}
            _ => {
                self.suspects.insert(id, (epoch, now));
            }
        }
    }
}

/// Whether the other side has closed it.
fn is_broken(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

impl Departures {
    /// A connection to the broker stands. Whoever is told of the broker looks whether it still does: its own task may not
    /// have come to that yet. `stream` does not block.
    pub(crate) fn watch(&self, id: BrokerId, epoch: BrokerEpoch, stream: TcpStream) {
        self.state.lock().watched.insert(id, (epoch, stream));
    }

    /// A connection to the broker broke, or was refused.
    pub(crate) fn suspect(&self, id: BrokerId, epoch: BrokerEpoch, now: Instant) {
        let mut state = self.state.lock();
        state.watched.remove(&id);
        state.suspect(id, epoch, now);
    }

    /// The connection to the broker is given up, for no fault of the broker's.
    pub(crate) fn unwatch(&self, id: BrokerId) {
        self.state.lock().watched.remove(&id);
    }

    /// The broker answers.
    pub(crate) fn trust(&self, id: BrokerId) {
        self.state.lock().suspects.remove(&id);
    }

    /// Until when the controllers are waited for before one of these brokers is named as a leader, if one of them may have
    /// gone that `image` has alive.
    pub(crate) fn doubt(
        &self,
        image: &MetadataImage,
        leaders: &BTreeSet<BrokerId>,
        now: Instant,
    ) -> Option<Instant> {
        let mut state = self.state.lock();
        let doubtful = leaders.iter().filter_map(|id| {
            let broken =
                state.watched.get(id).filter(|(_, stream)| is_broken(stream)).map(|(epoch, _)| *epoch);
            if let Some(epoch) = broken {
                state.suspect(*id, epoch, now);
            }
            let (epoch, since) = *state.suspects.get(id)?;
            let is_alive = image.broker(*id).is_some_and(|broker| broker.epoch == epoch && !broker.fenced);
            let until = since + VERDICT_LIMIT;
            (is_alive && now < until).then_some(until)
        });
        doubtful.max()
    }

    /// Remembers who is fenced by this change. Who shut down in order has led nothing before, and is not missed.
    pub(crate) fn apply(&self, delta: &MetadataDelta, now: Instant) {
        for (id, change) in &delta.brokers {
            let is_alive = |broker: &&Arc<BrokerRegistration>| !broker.fenced;
            if change.after.as_ref().is_some_and(|broker| !broker.fenced) {
                self.state.lock().fenced.remove(id);
            } else if let Some(before) = change.before.as_ref().filter(is_alive)
                && !before.in_controlled_shutdown
            {
                self.state.lock().fenced.insert(*id, (Arc::clone(before), now));
            }
        }
    }

    /// The brokers that were fenced a moment ago, as they were before.
    pub(crate) fn fenced(&self, now: Instant) -> Vec<Arc<BrokerRegistration>> {
        let mut state = self.state.lock();
        state.fenced.retain(|_, (_, since)| now < *since + LISTED_LIMIT);
        state.fenced.values().map(|(broker, _)| Arc::clone(broker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataBatch, MetadataRecord, records};
    use moldau_model::{LeaderEpoch, Offset};

    use super::*;

    const B7: BrokerId = BrokerId(7);

    /// What becomes of the departures and of the image by these records.
    fn apply(
        departures: &Departures,
        image: &MetadataImage,
        records: Vec<MetadataRecord>,
        now: Instant,
    ) -> MetadataImage {
        let offset = Offset(image.position().offset.0 + 1);
        let batch = MetadataBatch { records };
        let (image, delta) = image.replay(&batch, offset, LeaderEpoch(1)).unwrap();
        departures.apply(&delta, now);
        image
    }

    fn registered(epoch: i64) -> MetadataRecord {
        let broker = BrokerRegistration {
            id: B7,
            epoch: BrokerEpoch(epoch),
            incarnation_id: moldau_model::Uuid::from_bytes([9; 16]),
            listeners: Vec::new(),
            features: Vec::new(),
            rack: None,
            fenced: false,
            in_controlled_shutdown: false,
            log_directories: Vec::new(),
            full_log_directories: Vec::new(),
            cordoned_log_directories: Vec::new(),
        };
        broker.to_record().into()
    }

    fn changed(epoch: i64, fenced: bool, in_controlled_shutdown: Option<bool>) -> MetadataRecord {
        records::BrokerRegistrationChange {
            broker_id: B7.0,
            broker_epoch: epoch,
            fenced: Some(fenced),
            in_controlled_shutdown,
            ..Default::default()
        }
        .into()
    }

    #[test]
    fn the_controllers_are_waited_for_once_for_each_registration_and_not_for_long() {
        let (departures, start) = (Departures::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let image = apply(&departures, &MetadataImage::empty(), vec![registered(5)], start);
        let leaders = BTreeSet::from([B7]);
        assert_eq!(departures.doubt(&image, &leaders, start), None);
        departures.suspect(B7, BrokerEpoch(5), at(0));
        departures.suspect(B7, BrokerEpoch(5), at(300));
        assert_eq!(departures.doubt(&image, &leaders, at(100)), Some(at(400)));
        assert_eq!(
            departures.doubt(&image, &BTreeSet::new(), at(100)),
            None,
            "nobody asks for what it leads"
        );
        assert_eq!(departures.doubt(&image, &leaders, at(400)), None, "they do not think that it has gone");
        departures.trust(B7);
        departures.suspect(B7, BrokerEpoch(5), at(1000));
        assert_eq!(departures.doubt(&image, &leaders, at(1001)), Some(at(1400)));
        let fenced = apply(&departures, &image, vec![changed(5, true, None)], at(1010));
        assert_eq!(departures.doubt(&fenced, &leaders, at(1011)), None, "the verdict is there");
        let back = apply(&departures, &fenced, vec![registered(6)], at(1020));
        assert_eq!(departures.doubt(&back, &leaders, at(1021)), None, "it was another start of it");
    }

    #[test]
    fn a_connection_that_has_just_broken_is_seen_before_its_task_has() {
        let (departures, now) = (Departures::default(), Instant::now());
        let image = apply(&departures, &MetadataImage::empty(), vec![registered(5)], now);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        departures.watch(B7, BrokerEpoch(5), stream);
        let leaders = BTreeSet::from([B7]);
        assert_eq!(departures.doubt(&image, &leaders, now), None);
        drop(accepted);
        let limit = now + Duration::from_secs(10);
        while departures.doubt(&image, &leaders, now).is_none() {
            assert!(Instant::now() < limit, "a connection that was closed still stands");
            std::thread::yield_now();
        }
        departures.unwatch(B7);
        departures.trust(B7);
        assert_eq!(departures.doubt(&image, &leaders, now), None);
    }

    #[test]
    fn who_was_fenced_without_a_word_is_listed_for_a_moment() {
        let (departures, start) = (Departures::default(), Instant::now());
        let listed = |now| departures.fenced(now).iter().map(|broker| broker.id).collect::<Vec<_>>();
        let image = apply(&departures, &MetadataImage::empty(), vec![registered(5)], start);
        assert_eq!(listed(start), []);
        let image = apply(&departures, &image, vec![changed(5, true, None)], start);
        assert_eq!(listed(start), [B7]);
        let again = apply(&departures, &image, vec![changed(5, false, None)], start);
        assert_eq!(listed(start), [], "it is alive, and listed as such");
        let image = apply(&departures, &again, vec![changed(5, true, None)], start);
        assert_eq!(listed(start + LISTED_LIMIT), []);
        let image = apply(&departures, &image, vec![changed(5, false, None)], start);
        let leaving = apply(&departures, &image, vec![changed(5, false, Some(true))], start);
        apply(&departures, &leaving, vec![changed(5, true, None)], start);
        assert_eq!(listed(start), [], "who leaves in order is not missed");
    }
}
