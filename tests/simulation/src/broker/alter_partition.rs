//! What a leader asks of the controllers about its ISR, and what it makes of the answer.

use moldau_cluster::{AlterPartitionRequest, AlteredPartition, IsrMember, LeaderRecoveryState};
use moldau_model::{ErrorCode, LeaderEpoch};
use moldau_replica::{AlterPartition, AlterPartitionOutcome};

use super::{Asked, Broker};
use crate::bug::Bug;
use crate::core::Core;
use crate::message::{Part, ToController};

impl Broker {
    pub(super) fn poll_isr(&mut self, core: &mut Core) {
        let parts: Vec<Part> = self.process.hosted.keys().copied().collect();
        for part in parts {
            let Some(hosted) = self.process.hosted.get_mut(&part) else { continue };
            let output = hosted.replica.poll_isr(core.timestamp());
            self.after_leader_output(core, part, output);
        }
    }

    pub(super) fn propose_isr(&mut self, core: &mut Core, part: Part, alter: &AlterPartition) {
        let leader_epoch = alter.leader_epoch.0;
        let Some(broker_epoch) = self.process.epoch else {
            return self.alter_partition_unknown(core, part, leader_epoch);
        };
        let Some((topic_id, _)) = part.find(&self.process.image) else {
            return self.alter_partition_unknown(core, part, leader_epoch);
        };
        let member = |member: &moldau_replica::IsrMember| IsrMember {
            broker_id: member.broker_id,
            broker_epoch: member.broker_epoch,
        };
        let request = AlterPartitionRequest {
            topic_id,
            partition: part.index(),
            leader_epoch: alter.leader_epoch,
            partition_epoch: alter.partition_epoch,
            new_isr: alter.new_isr.iter().map(member).collect(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
        };
        let broker_id = self.broker_id();
        let request = ToController::AlterPartition { broker_id, broker_epoch, request };
        self.ask(core, Asked::AlterPartition { part, leader_epoch }, request);
        self.take_unanswered(core, part, alter);
    }

    /// For the seeded faults that do not wait for the answer.
    fn take_unanswered(&mut self, core: &mut Core, part: Part, alter: &AlterPartition) {
        let Some(hosted) = self.process.hosted.get(&part) else { return };
        let is_shrink = hosted.replica.isr().is_some_and(|isr| alter.new_isr.len() < isr.len());
        let outcome = if is_shrink && core.has(Bug::AckBeforeIsrCommitted) {
            AlterPartitionOutcome::Committed {
                isr: alter.new_isr.iter().map(|member| member.broker_id).collect(),
                leader_epoch: alter.leader_epoch,
                partition_epoch: alter.partition_epoch.next(),
            }
        } else if !is_shrink && core.has(Bug::WatermarkIgnoresPendingExpansion) {
            AlterPartitionOutcome::Refused
        } else {
            return;
        };
        self.alter_partition_outcome(core, part, alter.leader_epoch.0, outcome);
    }

    pub(super) fn alter_partition_unknown(&mut self, core: &mut Core, part: Part, leader_epoch: i32) {
        self.alter_partition_outcome(core, part, leader_epoch, AlterPartitionOutcome::Unknown);
    }

    pub(super) fn alter_partition_answered(
        &mut self,
        core: &mut Core,
        part: Part,
        leader_epoch: i32,
        result: Result<AlteredPartition, ErrorCode>,
    ) {
        let outcome = match result {
            Ok(altered) => AlterPartitionOutcome::Committed {
                isr: altered.isr,
                leader_epoch: altered.leader_epoch,
                partition_epoch: altered.partition_epoch,
            },
            Err(
                ErrorCode::IneligibleReplica
                | ErrorCode::InvalidRequest
                | ErrorCode::UnknownTopicId
                | ErrorCode::UnknownTopicOrPartition,
            ) => AlterPartitionOutcome::Refused,
            Err(_) => AlterPartitionOutcome::Unknown,
        };
        self.alter_partition_outcome(core, part, leader_epoch, outcome);
    }

    fn alter_partition_outcome(
        &mut self,
        core: &mut Core,
        part: Part,
        leader_epoch: i32,
        outcome: AlterPartitionOutcome,
    ) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        let now = core.timestamp();
        let output = hosted.replica.handle_alter_partition_result(LeaderEpoch(leader_epoch), outcome, now);
        self.after_leader_output(core, part, output);
    }
}
