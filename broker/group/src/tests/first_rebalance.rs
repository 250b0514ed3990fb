//! How long the first members of a classic group wait for more (KIP-134, ADR 28).

use moldau_model::GenerationId;

use super::harness::{Harness, join};
use crate::*;

const DELAY_MS: i64 = 3_000;
const QUIET_MS: i64 = 500;

fn kafkas_rule() -> GroupConfig {
    let delay_ms = GroupConfig::default().initial_rebalance_delay_ms;
    GroupConfig { initial_rebalance_quiet_ms: delay_ms, ..GroupConfig::default() }
}

/// A group in which one member has just joined, and its parked request.
fn first_member(quiet_ms: i64) -> (Harness, RequestToken) {
    let config = GroupConfig {
        initial_rebalance_quiet_ms: i32::try_from(quiet_ms).unwrap(),
        ..GroupConfig::default()
    };
    assert_eq!(i64::from(config.initial_rebalance_delay_ms), DELAY_MS);
    let mut h = Harness::with_config(config);
    let id = h.new_member_id("g");
    let parked = h.send_join(join("g", &id));
    assert!(h.is_parked(parked));
    (h, parked)
}

fn next_member(h: &mut Harness) -> RequestToken {
    let id = h.new_member_id("g");
    h.send_join(join("g", &id))
}

#[test]
fn a_member_alone_waits_only_until_nobody_else_came_for_a_while() {
    let (mut h, parked) = first_member(QUIET_MS);
    h.advance(QUIET_MS - 1);
    assert!(h.is_parked(parked));
    h.advance(1);
    assert_eq!(h.joined(parked).members.len(), 1);
}

#[test]
fn each_arrival_has_the_others_wait_for_another_while() {
    let (mut h, first) = first_member(QUIET_MS);
    h.advance(QUIET_MS - 1);
    let second = next_member(&mut h);
    h.advance(QUIET_MS - 1);
    let third = next_member(&mut h);
    h.advance(QUIET_MS - 1);
    assert_eq!(h.unanswered(), 3);
    h.advance(1);
    let members: usize = [first, second, third].map(|token| h.joined(token).members.len()).iter().sum();
    assert_eq!(members, 3, "one generation, whose leader sees three");
}

#[test]
fn arrivals_without_end_are_bounded_by_the_members_rebalance_timeout() {
    let (mut h, first) = first_member(QUIET_MS);
    let timeout_ms = i64::from(join("g", "").rebalance_timeout_ms);
    let mut waited_ms = 0;
    while h.is_parked(first) {
        assert!(waited_ms <= timeout_ms + DELAY_MS, "it waits for ever");
        h.advance(QUIET_MS / 2);
        waited_ms += QUIET_MS / 2;
        if h.is_parked(first) {
            next_member(&mut h);
        }
    }
    assert!(waited_ms > DELAY_MS, "who keeps coming is waited for");
}

#[test]
fn somebody_who_was_given_an_id_is_waited_for() {
    let (mut h, first) = first_member(QUIET_MS);
    let second_id = h.new_member_id("g");
    h.advance(2 * QUIET_MS);
    assert!(h.is_parked(first));
    let second = h.send_join(join("g", &second_id));
    h.advance(QUIET_MS);
    assert_eq!(h.joined(first).generation_id, h.joined(second).generation_id);
}

#[test]
fn somebody_who_was_given_an_id_and_stays_away_is_waited_for_until_the_window_ends() {
    let (mut h, first) = first_member(QUIET_MS);
    h.new_member_id("g");
    h.advance(DELAY_MS - 1);
    assert!(h.is_parked(first));
    h.advance(1);
    assert_eq!(h.joined(first).members.len(), 1);
}

#[test]
fn a_quiet_time_as_long_as_the_delay_is_kafkas_rule() {
    let (mut h, first) = first_member(DELAY_MS);
    h.advance(DELAY_MS - 1);
    assert!(h.is_parked(first));
    next_member(&mut h);
    // Somebody came in the first window, so there is a second, which begins where the first one ended.
    h.advance(DELAY_MS);
    assert!(h.is_parked(first));
    h.advance(1);
    assert_eq!(h.joined(first).members.len(), 2);
}

#[test]
fn by_kafkas_rule_each_newcomer_makes_the_others_wait_longer_up_to_the_rebalance_timeout() {
    let mut h = Harness::with_config(kafkas_rule());
    let request = |h: &Harness| JoinGroupRequest {
        api_version: 3,
        rebalance_timeout_ms: 7_000,
        new_member_uuid: h.uuid(),
        ..join("g", "")
    };
    let first = request(&h);
    let first = h.send_join(first);
    h.advance(2_999);
    let second = request(&h);
    let second = h.send_join(second);
    h.advance(2_999);
    assert!(h.is_parked(first), "3 s were over, but somebody came");
    let third = request(&h);
    let third = h.send_join(third);
    h.advance(1_001);
    assert!(h.is_parked(first), "a third one came within the second 3 s");
    h.advance(1);
    assert_eq!(h.joined(first).generation_id, GenerationId(1), "7 s are over");
    assert_eq!(h.joined(second).generation_id, GenerationId(1));
    assert_eq!(h.joined(third).generation_id, GenerationId(1));
}
