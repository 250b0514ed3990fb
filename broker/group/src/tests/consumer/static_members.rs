//! Static members (KIP-345): who comes back under its instance id finds what it had.

use moldau_model::ErrorCode;

use super::{beat, cluster, joining, set, told};
use crate::*;

fn of(instance_id: &str, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(instance_id.into()), ..request }
}

#[test]
fn a_static_member_that_left_for_a_while_finds_its_partitions_under_its_next_id() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(of("i", joining("g", "a", &["t"])));
    let left = h.beat(of("i", beat("g", "a", -2)));
    assert_eq!((left.error, left.member_epoch), (ErrorCode::None, -2));
    let other = h.beat(joining("g", "b", &["t"]));
    assert_eq!(told(&other), Some(set(&[])), "its place is kept");
    let back = h.beat(of("i", joining("g", "a2", &["t"])));
    assert_eq!((back.error, back.member_epoch), (ErrorCode::None, 3));
    assert_eq!(told(&back).map(|told| told.len()), Some(1), "one of the two is the other member's now");
    assert_eq!(told(&h.beat(beat("g", "b", 3))).map(|told| told.len()), Some(1));
    assert_eq!(h.describe_consumer_group("g").members.len(), 2);
    h.fail_over();
    assert_eq!(h.beat(of("i", beat("g", "a2", 3))).error, ErrorCode::None);
}

#[test]
fn nobody_takes_the_place_of_a_static_member_that_is_there() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(of("i", joining("g", "a", &["t"])));
    let refused = h.beat(of("i", joining("g", "b", &["t"])));
    assert_eq!(refused.error, ErrorCode::UnreleasedInstanceId);
    assert_eq!(
        refused.error_message.as_deref(),
        Some(
            "Static member b with instance id i cannot join the group because the instance id is owned by a member."
        )
    );
    for epoch in [2, -1, -2] {
        let fenced = h.beat(of("i", beat("g", "b", epoch)));
        assert_eq!(fenced.error, ErrorCode::FencedInstanceId);
        let message = "Static member b with instance id i was fenced by member a.";
        assert_eq!(fenced.error_message.as_deref(), Some(message));
        let unknown = h.beat(of("j", beat("g", "a", epoch)));
        assert_eq!(unknown.error, ErrorCode::UnknownMemberId);
        assert_eq!(unknown.error_message.as_deref(), Some("Instance id j is unknown."));
    }
}

#[test]
fn a_static_member_that_does_not_come_back_goes_with_its_session() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(of("i", joining("g", "a", &["t"])));
    h.beat(of("i", beat("g", "a", -2)));
    h.advance(45_000);
    assert_eq!(h.describe_consumer_group("g").state, "Empty");
}

#[test]
fn a_static_member_that_leaves_for_good_leaves_nothing() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(of("i", joining("g", "a", &["t"])));
    assert_eq!(h.beat(of("i", beat("g", "a", -1))).member_epoch, -1);
    let next = h.beat(of("i", joining("g", "b", &["t"])));
    assert_eq!(told(&next), Some(set(&["t-0", "t-1"])));
}
