//! DescribeGroups and ListGroups.

use moldau_model::ErrorCode;

use super::harness::{Harness, commit, join, static_join, subscription, sync};
use crate::*;

/// Groups in every state, by name.
fn groups_in_all_states() -> Harness {
    let mut h = Harness::with_config(GroupConfig::default());
    let (ids, _) = {
        let member_id = h.new_member_id("Empty");
        let token = h.send_join(join("Empty", &member_id));
        h.advance(3_000);
        h.joined(token);
        (vec![member_id], 1)
    };
    h.leave("Empty", &[(&ids[0], None)]);
    for group_id in ["CompletingRebalance", "Stable"] {
        let member_id = h.new_member_id(group_id);
        let token = h.send_join(join(group_id, &member_id));
        h.advance(3_000);
        h.joined(token);
        if group_id == "Stable" {
            h.sync(sync(group_id, &member_id, 1, &[(&member_id, "all")]));
        }
    }
    let member_id = h.new_member_id("PreparingRebalance");
    h.send_join(join("PreparingRebalance", &member_id));
    h
}

fn list(h: &mut Harness, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
    match h.call(Request::ListGroups(request)) {
        Response::ListGroups(response) => {
            assert_eq!(response.error, ErrorCode::None);
            response.groups
        }
        other => panic!("{other:?}"),
    }
}

fn names(groups: &[ListedGroup]) -> Vec<&str> {
    groups.iter().map(|group| group.group_id.as_str()).collect()
}

#[test]
fn a_stable_group_is_shown_whole_and_another_without_what_is_not_settled() {
    let mut h = groups_in_all_states();
    for (state, protocol_data, members) in [
        ("Empty", "", 0),
        ("PreparingRebalance", "", 1),
        ("CompletingRebalance", "", 1),
        ("Stable", "range", 1),
    ] {
        let group = h.describe(state);
        assert_eq!((group.group_id.as_str(), group.state.as_str()), (state, state));
        assert_eq!((group.error, group.error_message), (ErrorCode::None, None));
        assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", protocol_data));
        assert_eq!(group.members.len(), members, "{state}");
        for member in group.members {
            assert!(member.member_id.starts_with("client-"));
            assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("client", "/127.0.0.1"));
            let is_stable = state == "Stable";
            assert_eq!(member.metadata == subscription("t"), is_stable, "{state}");
            assert_eq!(member.assignment == "all", is_stable, "{state}");
        }
    }
}

#[test]
fn an_unknown_group_is_dead_below_version_six_and_an_error_from_there() {
    let mut h = Harness::new();
    for (api_version, error, message) in [
        (0, ErrorCode::None, None),
        (5, ErrorCode::None, None),
        (6, ErrorCode::GroupIdNotFound, Some("Group g not found.".to_owned())),
    ] {
        let request = DescribeGroupsRequest { api_version, groups: vec!["g".into()] };
        let Response::DescribeGroups(groups) = h.call(Request::DescribeGroups(request)) else {
            panic!("not an answer to it")
        };
        let [group] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!((group.error, &group.error_message), (error, &message), "version {api_version}");
        assert_eq!((group.state.as_str(), group.members.len()), ("Dead", 0));
    }
}

#[test]
fn an_instance_id_is_shown_and_a_member_that_was_only_given_an_id_is_not() {
    let mut h = Harness::new();
    let member_id = h.join(static_join("g", "i")).member_id;
    h.sync(sync("g", &member_id, 1, &[]));
    h.new_member_id("g");
    let group = h.describe("g");
    assert_eq!(group.members.len(), 1);
    assert_eq!(group.members[0].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn a_summary_has_every_group_with_its_members_and_its_committed_offsets() {
    let mut h = groups_in_all_states();
    h.commit(commit("simple", "", -1, 7));
    let summaries = h.shard.summaries();
    let of = |id: &str| summaries.iter().find(|summary| &*summary.group_id == id).unwrap();
    assert_eq!(summaries.len(), 5);
    let stable = of("Stable");
    assert_eq!((stable.state.as_str(), stable.members, stable.offsets.len()), ("Stable", 1, 0));
    let simple = of("simple");
    assert_eq!((simple.group_type, simple.state.as_str(), simple.members), ("classic", "Empty", 0));
    let offsets: Vec<_> =
        simple.offsets.iter().map(|(_, partition, offset)| (partition.0, offset.0)).collect();
    assert_eq!(offsets, [(0, 7)]);
}

#[test]
fn a_list_is_filtered_by_state_and_type_in_any_case() {
    let mut h = groups_in_all_states();
    h.commit(commit("simple", "", -1, 1));
    let all = ["CompletingRebalance", "Empty", "PreparingRebalance", "Stable", "simple"];
    let cases: [(&[&str], &[&str], &[&str]); 9] = [
        (&[], &[], &all),
        (&["Stable"], &[], &["Stable"]),
        (&["STABLE", "empty"], &[], &["Empty", "Stable", "simple"]),
        (&["preparingrebalance"], &["Classic"], &["PreparingRebalance"]),
        (&[], &["classic"], &all),
        (&[], &["consumer"], &[]),
        (&[], &["consumer", "classic"], &all),
        (&["Dead"], &[], &[]),
        (&["nonsense"], &["nonsense"], &[]),
    ];
    for (states, types, expected) in cases {
        assert_eq!(names(&list(&mut h, states, types)), expected, "{states:?} {types:?}");
    }
    for group in list(&mut h, &[], &[]) {
        let is_simple = group.group_id == "simple";
        assert_eq!(group.protocol_type, if is_simple { "" } else { "consumer" });
        assert_eq!(group.state, if is_simple { "Empty" } else { &group.group_id });
        assert_eq!(group.group_type, "classic");
    }
}
