//! Who is gone: brokers whose connection broke, and those that a new active controller does not hear of, are dialled, where
//! other brokers find them. One that refuses is fenced at once, for its process has ended; whatever else comes of dialling
//! means nothing, and the session timeout decides. Who was the active controller and ended as such is not dialled: the
//! machine may have gone with the process, as a container's address does. Fencing is always safe: epochs guard it.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::ControllerError;
use moldau_cluster::rpc::{ActiveWatch, AttendedBrokers};
use moldau_metadata::Listener;
use moldau_model::{BrokerEpoch, BrokerId};
use tokio::sync::Semaphore;

use super::Service;
use crate::dial::{Dialled, dial};
use crate::manage::{Decision, fence_broker};

/// How long a listener may take to accept: one that is gone refuses at once where there still is a machine.
const DIAL_LIMIT: Duration = Duration::from_secs(1);
/// When after its beginning a new active controller dials the brokers that it has not heard of.
const SILENCE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(300)];
/// Pauses before each dialling of a broker whose connection broke. A process that is killed closes its files one after the
/// other, and while the machine has other things to do a listener may go on accepting for a while after a connection broke.
const DEPARTURE: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
];
/// How many brokers are dialled at the same time.
const DIALS_MAX: usize = 64;

/// See the module.
pub(crate) struct Presence {
    service: Arc<Service>,
    dials: Arc<Semaphore>,
}

impl Presence {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, dials: Arc::new(Semaphore::new(DIALS_MAX)) }
    }

    /// Dials the silent brokers each time this controller becomes the active one. Ends with the controller.
    pub(crate) async fn look_for_silent(self: Arc<Self>) {
        let mut active = self.service.active.subscribe();
        let mut stop = self.service.stop.subscribe();
        loop {
            tokio::select! {
                became = active.wait_for(|active| *active) => if became.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Some(id) = self.service.node.take_ended_leader() {
                self.fence_with_its_controller(id);
            }
            for silence in SILENCE {
                tokio::time::sleep(silence).await;
                // The broker of this very process says itself how it is.
                for (id, epoch) in self.unheard().await {
                    if id != self.service.node_id {
                        self.dial(id, epoch, &[Duration::ZERO]);
                    }
                }
            }
            tokio::select! {
                ended = active.wait_for(|active| !*active) => if ended.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn unheard(&self) -> Vec<(BrokerId, BrokerEpoch)> {
        let unheard = self
            .service
            .decide(|deciding| Ok(Decision::unchanged(deciding.sessions.unheard(deciding.image))));
        match unheard.await {
            Ok((Ok(unheard), _)) => unheard,
            Ok((Err(_), _)) | Err(_) => Vec::new(),
        }
    }

    /// Dials a broker in the background, after each of these pauses, and fences it once it refuses.
    fn dial(&self, id: BrokerId, epoch: BrokerEpoch, pauses: &'static [Duration]) {
        let (service, dials) = (self.service.clone(), self.dials.clone());
        tokio::spawn(async move {
            for &pause in pauses {
                tokio::time::sleep(pause).await;
                let Ok(_permit) = dials.acquire().await else { return };
                match look_at(&service, id, epoch).await {
                    Look::Refuses => return fence(&service, id, epoch, "its port refuses").await,
                    Look::IsSettled => return,
                    Look::IsUnknown => {}
                }
            }
        });
    }

    /// Fences the broker that was one process with a controller that has ended.
    fn fence_with_its_controller(&self, id: BrokerId) {
        let service = self.service.clone();
        let epoch = service.applied.image().broker(id).map(|broker| broker.epoch);
        let Some(epoch) = epoch else { return };
        tokio::spawn(async move {
            fence(&service, id, epoch, "it was the active controller, whose port refused").await;
        });
    }
}

impl AttendedBrokers for Presence {
    fn active(&self) -> ActiveWatch {
        self.service.active.subscribe()
    }

    fn not_controller(&self) -> ControllerError {
        ControllerError::NotController { leader: self.service.node.leader_hint() }
    }

    fn came(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch) {
        let service = self.service.clone();
        tokio::spawn(async move {
            let came = service.decide(move |deciding| {
                let registered = deciding.image.broker(broker_id);
                if registered.is_some_and(|broker| broker.epoch == broker_epoch) {
                    deciding.sessions.handle_registered(broker_id, broker_epoch, deciding.now);
                }
                Ok(Decision::unchanged(()))
            });
            drop(came.await);
        });
    }

    fn left(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch) {
        let service = self.service.clone();
        tokio::spawn(async move {
            let left = service.decide(move |deciding| {
                deciding.sessions.handle_left(broker_id, broker_epoch);
                Ok(Decision::unchanged(()))
            });
            // Without an answer this controller is not the active one, and the next one hears for itself.
            drop(left.await);
        });
        self.dial(broker_id, broker_epoch, &DEPARTURE);
    }
}

/// What dialling a broker has shown.
enum Look {
    /// Its process has ended.
    Refuses,
    /// It is fenced, or came back as another one.
    IsSettled,
    /// It may be there.
    IsUnknown,
}

/// Whether an unfenced broker refuses.
async fn look_at(service: &Service, id: BrokerId, epoch: BrokerEpoch) -> Look {
    let image = service.applied.image();
    let Some(broker) = image.broker(id).filter(|broker| broker.epoch == epoch && !broker.fenced) else {
        return Look::IsSettled;
    };
    let listeners = to_dial(&broker.listeners, &service.inter_broker_listener);
    for listener in &listeners {
        if dial((&*listener.host, listener.port), DIAL_LIMIT).await != Dialled::Refused {
            return Look::IsUnknown;
        }
    }
    if listeners.is_empty() { Look::IsUnknown } else { Look::Refuses }
}

/// Where a broker is dialled: where other brokers find it. What is advertised to clients may refuse all the time, or lead
/// back to this very machine, as `localhost` does. Without a listener of that name, all have to refuse.
fn to_dial<'a>(listeners: &'a [Listener], inter_broker: &str) -> Vec<&'a Listener> {
    let inner: Vec<&Listener> = listeners.iter().filter(|l| *l.name == *inter_broker).collect();
    if inner.is_empty() { listeners.iter().collect() } else { inner }
}

async fn fence(service: &Service, id: BrokerId, epoch: BrokerEpoch, reason: &str) {
    let fenced = service.decide(move |deciding| {
        let is_it = deciding.image.broker(id).is_some_and(|broker| broker.epoch == epoch && !broker.fenced);
        if !is_it {
            return Ok(Decision::unchanged(false));
        }
        deciding.sessions.handle_lost(id, epoch, deciding.now);
        let records = fence_broker(deciding.image, deciding.inputs.settings, id);
        Ok(Decision { records, response: true })
    });
    match fenced.await {
        Ok((Ok(true), _)) => {
            tracing::info!(broker = id.0, epoch = epoch.0, reason, "fenced a broker that has ended");
        }
        Ok(_) => {}
        // The session timeout will do it.
        Err(error) => tracing::debug!(%error, broker = id.0, "a broker that is gone could not be fenced"),
    }
}
