//! The ISR is a subset of the replicas, nobody in it is fenced or on its way down unless it is the last, and a leader is
//! an active member.

use moldau_metadata::MetadataImage;

use super::Verdict;
use crate::topology::PARTS;

pub(super) fn check(image: &MetadataImage) -> Verdict {
    for part in PARTS {
        let Some((_, partition)) = part.find(image) else { continue };
        let is_inside = partition.isr.iter().chain(&partition.elr).all(|id| partition.replicas.contains(id));
        let inactive = partition.isr.iter().filter(|id| !image.is_active_broker(**id)).count();
        let leads = !partition.has_leader()
            || (image.is_active_broker(partition.leader) && partition.isr.contains(&partition.leader));
        if !is_inside || !leads || (inactive > 0 && partition.isr.len() > 1) {
            return Err(format!("{part:?}: {partition:?}"));
        }
    }
    Ok(())
}
