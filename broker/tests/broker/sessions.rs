//! Fetch sessions (KIP-227), as a client drives them.

use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use moldau_model::ErrorCode;

use crate::harness::{Client, Node};
use crate::requests::*;

fn call(client: &mut Client, request: FetchRequest, session: (i32, i32)) -> FetchResponse {
    client.call(12, &request.with_session_id(session.0).with_session_epoch(session.1))
}

fn indexes(response: &FetchResponse) -> Vec<i32> {
    partitions(response.clone()).iter().map(|data| data.partition_index).collect()
}

fn forget(topic: &Topic, partition: i32) -> ForgottenTopic {
    ForgottenTopic::default().with_topic(name(&topic.name)).with_partitions(vec![partition])
}

#[test]
fn a_session_tells_what_changed_and_nothing_else() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 3, &[]);
    let none = || fetch_request(12, &topic, &[]);
    let full = fetch_request(12, &topic, &[from(0, 0), from(1, 0), from(2, 0)]);
    let response = call(&mut client, full, (0, 0));
    let id = response.session_id;
    assert!(id > 0);
    assert_eq!(indexes(&response), [0, 1, 2]);

    let response = call(&mut client, none(), (id, 1));
    assert_eq!((response.session_id, indexes(&response)), (id, vec![]));

    client.call(9, &produce_request(9, &topic, 1, -1, batch(&[b"a"])));
    let response = call(&mut client, none(), (id, 2));
    assert_eq!(indexes(&response), [1]);
    // The client has not moved on: it is told again, as it would be without a session.
    assert_eq!(indexes(&call(&mut client, none(), (id, 3))), [1]);
    let moved = fetch_request(12, &topic, &[from(1, 1)]);
    assert_eq!(indexes(&call(&mut client, moved, (id, 4))), Vec::<i32>::new());

    // Forgotten partitions are not told any more, those that come back are.
    let forgetting = none().with_forgotten_topics_data(vec![forget(&topic, 0)]);
    assert_eq!(indexes(&call(&mut client, forgetting, (id, 5))), Vec::<i32>::new());
    client.call(9, &produce_request(9, &topic, 0, -1, batch(&[b"b"])));
    assert_eq!(indexes(&call(&mut client, none(), (id, 6))), Vec::<i32>::new());
    let again = fetch_request(12, &topic, &[from(0, 0)]);
    assert_eq!(indexes(&call(&mut client, again, (id, 7))), [0]);

    // An error is told until it is gone.
    let lost = fetch_request(12, &topic, &[from(2, 99)]);
    let response = call(&mut client, lost, (id, 8));
    assert!(indexes(&response).contains(&2));
    let response = call(&mut client, fetch_request(12, &topic, &[from(0, 1)]), (id, 9));
    assert_eq!(indexes(&response), [2]);
    let response = call(&mut client, fetch_request(12, &topic, &[from(2, 0)]), (id, 10));
    assert_eq!(indexes(&response), [2], "that it is well again is news");
    assert_eq!(indexes(&call(&mut client, none(), (id, 11))), Vec::<i32>::new());
}

#[test]
fn a_session_that_is_not_there_or_elsewhere_is_told_so() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let full = || fetch_request(12, &topic, &[from(0, 0)]);
    let none = || fetch_request(12, &topic, &[]);
    let id = call(&mut client, full(), (0, 0)).session_id;
    let refusal = |response: FetchResponse| (code(response.error_code), response.session_id);

    let unknown = call(&mut client, none(), (id.wrapping_add(1), 1));
    assert_eq!(refusal(unknown), (ErrorCode::FetchSessionIdNotFound, 0));
    let skipped = call(&mut client, none(), (id, 2));
    assert_eq!(refusal(skipped), (ErrorCode::InvalidFetchSessionEpoch, 0));
    // The session is as it was.
    assert_eq!(refusal(call(&mut client, none(), (id, 1))), (ErrorCode::None, id));

    // Topic ids in a session of names.
    let by_id = fetch_request(13, &topic, &[from(0, 0)]).with_session_id(id).with_session_epoch(2);
    assert_eq!(refusal(client.call(13, &by_id)).0, ErrorCode::FetchSessionTopicIdError);

    // The last partition forgotten ends a session; so does epoch -1.
    let response = call(&mut client, none().with_forgotten_topics_data(vec![forget(&topic, 0)]), (id, 2));
    assert_eq!(refusal(response), (ErrorCode::None, 0));
    assert_eq!(refusal(call(&mut client, none(), (id, 3))).0, ErrorCode::FetchSessionIdNotFound);
    let id = call(&mut client, full(), (0, 0)).session_id;
    assert_eq!(refusal(call(&mut client, full(), (id, -1))), (ErrorCode::None, 0));
    assert_eq!(refusal(call(&mut client, none(), (id, 1))).0, ErrorCode::FetchSessionIdNotFound);
    assert_eq!(node.broker().fetch_sessions.len(), 0);
}

#[test]
fn a_flood_of_sessions_stays_within_its_bound_and_spares_those_in_use() {
    let node = Node::start(&[("max.incremental.fetch.session.cache.slots", "20")]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let full = || fetch_request(12, &topic, &[from(0, 0)]);
    let first = call(&mut client, full(), (0, 0)).session_id;
    assert!(first > 0);
    let mut made = 1;
    for _ in 0..100 {
        let response = call(&mut client, full(), (0, 0));
        assert_eq!(indexes(&response), [0], "who gets no session is served all the same");
        made += usize::from(response.session_id != 0);
    }
    assert_eq!(made, 20);
    assert_eq!(node.broker().fetch_sessions.len(), 20);
    let response = call(&mut client, fetch_request(12, &topic, &[]), (first, 1));
    assert_eq!((response.error_code, response.session_id), (0, first));
}
