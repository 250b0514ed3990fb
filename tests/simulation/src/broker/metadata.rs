//! The broker follows the metadata, and changes the roles of its replicas by nothing else.

use std::collections::BTreeSet;

use moldau_metadata::{MetadataImage, PartitionRegistration};
use moldau_model::{BrokerId, ErrorCode, Offset};
use moldau_replica::{Replica, RoleChange};

use super::{Broker, Hosted, LAG_MS};
use crate::bug::Bug;
use crate::core::Core;
use crate::event::Timer;
use crate::message::{Correlation, Message, MetadataEvent, Node, Part};
use crate::topology::{CONTROLLERS, LOOSE_PART, OFFSETS_PART, PARTS, TRANSACTIONS_PART};

const WATCH_TIMEOUT_MS: i64 = 900;

impl Broker {
    pub(super) fn watch(&mut self, core: &mut Core) {
        let correlation = core.correlation();
        self.process.watch = Some(correlation);
        let after = self.process.has_image.then(|| self.process.image.position());
        let to = Node::Controller(self.process.watched);
        self.send(core, to, Message::Watch(correlation, after));
        self.timer(core, WATCH_TIMEOUT_MS, Timer::WatchTimeout(correlation));
    }

    pub(super) fn watch_timed_out(&mut self, core: &mut Core, correlation: Correlation) {
        if self.process.watch == Some(correlation) {
            self.process.watched = core.random.below(CONTROLLERS);
            self.watch(core);
        }
    }

    pub(super) fn watched(&mut self, core: &mut Core, correlation: Correlation, events: Vec<MetadataEvent>) {
        if self.process.watch != Some(correlation) {
            return;
        }
        for event in events {
            let before = if event.is_snapshot { &MetadataImage::empty() } else { &self.process.image };
            let image = before.replay_image(&event.batch, event.position.offset, event.position.epoch);
            self.apply(core, image.expect("what the controllers committed replays"));
        }
        self.watch(core);
    }

    fn apply(&mut self, core: &mut Core, image: MetadataImage) {
        core.invariants.broker_applied(self.id, &image);
        self.process.has_image = true;
        let is_registered = image
            .broker(self.broker_id())
            .is_some_and(|known| known.incarnation_id == self.process.incarnation);
        // An image from before the registration may still say that this broker leads, and who was in sync then: its last
        // incarnation did, which may have had other records.
        let takes_roles = is_registered || core.has(Bug::RolesBeforeRegistration);
        for part in PARTS {
            let Some((_, partition)) = part.find(&image).filter(|_| takes_roles) else { continue };
            if partition.replicas.contains(&self.broker_id()) {
                self.apply_partition(core, part, partition, &image);
            } else {
                self.delete(core, part);
            }
        }
        if takes_roles {
            self.apply_brokers(core, &image);
        }
        self.process.image = image;
        if takes_roles {
            self.follow_coordinator(core);
        }
        self.take_answered();
        if self.process.is_fenced {
            // The next heartbeat has something to tell.
            self.heartbeat_due(core);
        }
    }

    /// Tells the partitions of the brokers that went or came.
    fn apply_brokers(&mut self, core: &mut Core, image: &MetadataImage) {
        let known = image
            .brokers()
            .map(|broker| broker.id)
            .chain(self.process.image.brokers().map(|broker| broker.id));
        let changed =
            known.filter(|id| image.is_active_broker(*id) != self.process.image.is_active_broker(*id));
        for broker in changed.collect::<BTreeSet<BrokerId>>() {
            for part in PARTS {
                let Some(hosted) = self.process.hosted.get_mut(&part) else { continue };
                let is_absent = !image.is_active_broker(broker);
                let output = hosted.replica.handle_broker(broker, is_absent, core.timestamp());
                self.after_leader_output(core, part, output);
            }
        }
    }

    fn apply_partition(
        &mut self,
        core: &mut Core,
        part: Part,
        partition: &PartitionRegistration,
        image: &MetadataImage,
    ) {
        let registration = moldau_replica::PartitionRegistration {
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            absent: partition.replicas.iter().copied().filter(|id| !image.is_active_broker(*id)).collect(),
            leader: (partition.leader != BrokerId::NONE).then_some(partition.leader),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        };
        let hosted = self.host(core, part);
        let (change, output) = hosted.replica.handle_registration(&registration, core.timestamp());
        let epoch = partition.leader_epoch.0;
        match change {
            RoleChange::BecameLeader => {
                hosted.fetcher = None;
                let log = &mut self.disk.logs[part.0];
                log.assign_epoch(epoch, log.end());
                if core.has(Bug::LoseProducerStateOnFailover) {
                    log.forget_producers();
                }
                core.invariants.became_leader(self.id, part, epoch, log);
                self.fail_parked(core, part);
                self.after_log_change(core, part);
            }
            RoleChange::BecameFollower => {
                self.fail_waiting(core, part, ErrorCode::NotLeaderOrFollower);
                self.fail_parked(core, part);
                self.follow(core, part, registration.leader, epoch);
            }
            RoleChange::Stale | RoleChange::LeaderUpdated | RoleChange::FollowerUpdated => {}
        }
        self.after_leader_output(core, part, output);
    }

    /// The partition is held by others now.
    fn delete(&mut self, core: &mut Core, part: Part) {
        self.fail_waiting(core, part, ErrorCode::NotLeaderOrFollower);
        self.fail_parked(core, part);
        self.process.hosted.remove(&part);
        self.disk.logs[part.0].clear();
        self.disk.checkpoints[part.0] = 0;
    }

    /// The partition, opened if it is not yet.
    fn host(&mut self, core: &mut Core, part: Part) -> &mut Hosted {
        let log = &mut self.disk.logs[part.0];
        let min_isr = if part == LOOSE_PART { 1 } else { core.plan.min_isr as usize };
        let (id, checkpoint) = (self.id, self.disk.checkpoints[part.0]);
        self.process.hosted.entry(part).or_insert_with(|| {
            let ends = log.ends(core.plan.counts_page_cache);
            let replica = Replica::new(BrokerId(id), ends, Offset(checkpoint), min_isr, LAG_MS);
            core.invariants.follower_high_watermark(id, part, replica.high_watermark().0, log);
            Hosted {
                replica,
                waiting: std::collections::VecDeque::new(),
                fetcher: None,
                parked: std::collections::BTreeMap::new(),
            }
        })
    }

    fn follow_coordinator(&mut self, core: &mut Core) {
        let Some((_, partition)) = OFFSETS_PART.find(&self.process.image) else { return };
        if partition.leader == self.broker_id() {
            let epoch = partition.leader_epoch.0;
            self.elected_coordinator(core, epoch);
        } else {
            self.resigned_coordinator(core);
        }
        let Some((_, partition)) = TRANSACTIONS_PART.find(&self.process.image) else { return };
        if partition.leader == self.broker_id() {
            let epoch = partition.leader_epoch.0;
            self.elected_transactions(core, epoch);
        } else {
            self.resigned_transactions(core);
        }
    }
}
