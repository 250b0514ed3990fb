//! Members say what became of records.

use moldau_model::ErrorCode;

use super::runs::Held;
use super::{SharePartition, change_to, released};
use crate::batch::DeliveryState;

/// Names acknowledgements until they are written; a share partition never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken(pub u64);

/// What a member says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcknowledgeType {
    /// There is no record at this offset.
    Gap,
    Accept,
    /// Somebody else is to get it.
    Release,
    /// Nobody is to get it.
    Reject,
    /// The member needs more time (KIP-1222).
    Renew,
}

impl AcknowledgeType {
    /// The type of Kafka's number.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Gap),
            1 => Some(Self::Accept),
            2 => Some(Self::Release),
            3 => Some(Self::Reject),
            4 => Some(Self::Renew),
            _ => None,
        }
    }
}

/// What a member says of offsets `first` to `last`: one type for all of them, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub first: i64,
    pub last: i64,
    pub types: Vec<AcknowledgeType>,
}

impl Acknowledgement {
    /// Whether it says something of each of its offsets.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let count = self.last.checked_sub(self.first).and_then(|count| count.checked_add(1));
        let count = count.and_then(|count| usize::try_from(count).ok());
        self.first >= 0
            && count.is_some_and(|count| count > 0 && (self.types.len() == 1 || self.types.len() == count))
    }

    /// Offsets in a row of which it says the same.
    fn parts(&self) -> Vec<(i64, i64, AcknowledgeType)> {
        if let [only] = self.types[..] {
            return vec![(self.first, self.last, only)];
        }
        let mut parts: Vec<(i64, i64, AcknowledgeType)> = Vec::new();
        for (offset, kind) in (self.first..=self.last).zip(&self.types) {
            match parts.last_mut() {
                Some((_, last, same)) if same == kind => *last = offset,
                _ => parts.push((offset, offset, *kind)),
            }
        }
        parts
    }
}

/// What becomes of acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Nothing has to be written.
    Done,
    /// They are taken once they are written: [`SharePartition::written`] names the token.
    Waits(AckToken),
}

impl SharePartition {
    /// Takes what a member says, all of it or nothing.
    ///
    /// # Errors
    /// INVALID_REQUEST where it does not say what of which record, INVALID_RECORD_STATE where the member does not have the
    /// record, or has said something of it already.
    pub fn acknowledge(
        &mut self,
        member_id: &str,
        acknowledgements: &[Acknowledgement],
        now_ms: i64,
    ) -> Result<AckOutcome, ErrorCode> {
        let mut previous_last = -1;
        for acknowledgement in acknowledgements {
            if !acknowledgement.is_valid() || acknowledgement.first <= previous_last {
                return Err(ErrorCode::InvalidRequest);
            }
            previous_last = acknowledgement.last;
            self.check_held(member_id, acknowledgement.first, acknowledgement.last)?;
        }
        let mut is_said = false;
        for (first, last, kind) in acknowledgements.iter().flat_map(Acknowledgement::parts) {
            // What the start offset went over is done, whatever is said of it.
            let first = first.max(self.start_offset);
            if first > last {
                continue;
            }
            is_said |= kind != AcknowledgeType::Renew;
            self.say(first, last, kind, now_ms);
        }
        if !is_said {
            return Ok(AckOutcome::Done);
        }
        let token = AckToken(self.next_ack);
        self.next_ack += 1;
        self.waiting_acks.push(token);
        Ok(AckOutcome::Waits(token))
    }

    fn check_held(&self, member_id: &str, first: i64, last: i64) -> Result<(), ErrorCode> {
        let mut offset = first.max(self.start_offset);
        while offset <= last {
            let (_, run) = self.runs.at(offset).ok_or(ErrorCode::InvalidRecordState)?;
            let is_held =
                matches!(&run.held, Held::Acquired { member_id: holder, .. } if **holder == *member_id);
            if !is_held || run.change.is_some() {
                return Err(ErrorCode::InvalidRecordState);
            }
            offset = run.last + 1;
        }
        Ok(())
    }

    fn say(&mut self, first: i64, last: i64, kind: AcknowledgeType, now_ms: i64) {
        let limits = self.limits;
        self.runs.change(first, last, |run| match kind {
            AcknowledgeType::Accept => run.change = change_to(DeliveryState::Acknowledged),
            AcknowledgeType::Gap | AcknowledgeType::Reject => run.change = change_to(DeliveryState::Archived),
            AcknowledgeType::Release => {
                run.change = change_to(released(run.delivery_count, limits.delivery_count_max));
            }
            AcknowledgeType::Renew => {
                if let Held::Acquired { deadline_ms, .. } = &mut run.held {
                    *deadline_ms = now_ms.saturating_add(limits.lock_duration_ms);
                }
            }
        });
    }
}
