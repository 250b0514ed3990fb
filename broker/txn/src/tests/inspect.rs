//! DescribeTransactions and ListTransactions.

use moldau_model::{ErrorCode, ProducerId};

use super::harness::Harness;
use crate::*;

fn list(h: &mut Harness, request: ListTransactionsRequest) -> (Vec<String>, Vec<String>) {
    match h.ask(Request::ListTransactions(request)) {
        Response::ListTransactions(listed) => {
            assert_eq!(listed.error, ErrorCode::None);
            let ids = listed.transactions.into_iter().map(|transaction| transaction.transactional_id);
            (ids.collect(), listed.unknown_states)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_is_filtered_by_state_producer_and_duration() {
    let mut h = Harness::new();
    let old = h.init("old").unwrap();
    h.add("old", old, &[0]);
    h.init("empty").unwrap();
    h.advance(5_000);
    let new = h.init("new").unwrap();
    h.add("new", new, &[0]);
    let states = |names: &[&str]| ListTransactionsRequest {
        states_filter: names.iter().map(ToString::to_string).collect(),
        ..ListTransactionsRequest::default()
    };
    for (request, ids, unknown) in [
        (states(&[]), vec!["empty", "new", "old"], vec![]),
        (states(&["Ongoing"]), vec!["new", "old"], vec![]),
        (states(&["Empty", "Never"]), vec!["empty"], vec!["Never"]),
        (states(&["ongoing"]), vec![], vec!["ongoing"]),
        (
            ListTransactionsRequest { producer_ids_filter: vec![ProducerId(new.0)], ..states(&[]) },
            vec!["new"],
            vec![],
        ),
        (
            ListTransactionsRequest { duration_filter_ms: Some(4_999), ..states(&["Ongoing"]) },
            vec!["old"],
            vec![],
        ),
        (ListTransactionsRequest { duration_filter_ms: Some(5_000), ..states(&["Ongoing"]) }, vec![], vec![]),
        (
            ListTransactionsRequest { duration_filter_ms: Some(0), ..states(&["Ongoing"]) },
            vec!["old"],
            vec![],
        ),
    ] {
        let listed = list(&mut h, request.clone());
        let expected = (
            ids.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            unknown.into_iter().map(str::to_owned).collect::<Vec<_>>(),
        );
        assert_eq!(listed, expected, "{request:?}");
    }
}

#[test]
fn an_id_that_nobody_has_is_not_described() {
    let mut h = Harness::new();
    assert_eq!(h.describe("x").error, ErrorCode::TransactionalIdNotFound);
    assert_eq!(h.describe("").error, ErrorCode::InvalidRequest);
    let (id, _) = h.init("x").unwrap();
    let described = h.describe("x");
    assert_eq!((described.error, described.producer_id.0), (ErrorCode::None, id));
    assert_eq!((described.timeout_ms, described.started_at.0), (60_000, -1));
}
