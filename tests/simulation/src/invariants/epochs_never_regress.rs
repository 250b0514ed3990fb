//! Epochs only rise, and whatever they stand for changes only with them.

use moldau_metadata::MetadataImage;

use super::Verdict;
use crate::topology::PARTS;

pub(super) fn check(before: &MetadataImage, after: &MetadataImage) -> Verdict {
    for part in PARTS {
        let (Some((_, then)), Some((_, now))) = (part.find(before), part.find(after)) else { continue };
        let holds = then.leader_epoch <= now.leader_epoch
            && then.partition_epoch <= now.partition_epoch
            && (then == now || then.partition_epoch < now.partition_epoch)
            && (then.leader == now.leader || then.leader_epoch < now.leader_epoch);
        if !holds {
            return Err(format!("{part:?}: {then:?} became {now:?}"));
        }
    }
    for now in after.brokers() {
        let Some(then) = before.broker(now.id) else { continue };
        if now.epoch < then.epoch || (now.incarnation_id != then.incarnation_id && now.epoch == then.epoch) {
            return Err(format!("{then:?} became {now:?}"));
        }
    }
    Ok(())
}
