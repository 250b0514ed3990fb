//! A share partition: who gets what, and what becomes of it.

use moldau_model::ErrorCode;

use super::*;
use AcknowledgeType::{Accept, Gap, Reject, Release, Renew};

fn fetched(first: i64, last: i64) -> FetchedBatch {
    FetchedBatch { first, last, is_hidden: false }
}

fn take(
    partition: &mut SharePartition,
    name: &str,
    batches: &[FetchedBatch],
    now_ms: i64,
) -> Vec<(i64, i64, i16)> {
    let Some(offset) = partition.next_fetch_offset() else { return Vec::new() };
    let limits = (500, 500);
    let got = partition.acquire(&member(name), AcquireMode::BatchOptimized, limits, offset, batches, now_ms);
    partition.check();
    got.iter().map(|got| (got.first, got.last, got.delivery_count)).collect()
}

fn say(
    partition: &mut SharePartition,
    name: &str,
    first: i64,
    last: i64,
    types: &[AcknowledgeType],
) -> Result<AckOutcome, ErrorCode> {
    let said = Acknowledgement { first, last, types: types.to_vec() };
    let outcome = partition.acknowledge(name, &[said], 0);
    partition.check();
    outcome
}

/// Writes what there is to write.
fn persist(partition: &mut SharePartition) -> StateWrite {
    let write = partition.next_write().expect("there is something to write");
    partition.written(Ok(()));
    partition.check();
    write
}

#[test]
fn records_go_to_one_member_at_a_time() {
    let mut partition = fresh(LIMITS);
    assert_eq!(take(&mut partition, "a", &[fetched(0, 9)], 0), [(0, 9, 1)]);
    assert_eq!(partition.next_fetch_offset(), Some(10));
    assert_eq!(take(&mut partition, "b", &[fetched(0, 9), fetched(10, 14)], 0), [(10, 14, 1)]);
    assert_eq!(say(&mut partition, "b", 0, 9, &[Accept]), Err(ErrorCode::InvalidRecordState));
    assert_eq!(say(&mut partition, "a", 5, 12, &[Accept]), Err(ErrorCode::InvalidRecordState));
    assert_eq!(say(&mut partition, "a", 20, 21, &[Accept]), Err(ErrorCode::InvalidRecordState));
    assert_eq!(partition.next_write(), None, "nothing of a refused request is left");
}

#[test]
fn the_start_goes_over_what_is_accepted_once_that_is_written() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    say(&mut partition, "a", 0, 4, &[Accept]).unwrap();
    assert_eq!(partition.start_offset(), 0);
    let write = partition.next_write().unwrap();
    assert_eq!(write.batches, [batch(0, 4, DeliveryState::Acknowledged, 1)]);
    assert_eq!((write.start_offset, write.delivery_complete_count), (0, 5));
    assert_eq!(partition.next_write(), None, "one write at a time");
    let (acks, _) = partition.written(Ok(()));
    assert_eq!(acks, [AckToken(0)]);
    assert_eq!(partition.start_offset(), 5);
    say(&mut partition, "a", 7, 9, &[Accept]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.start_offset(), 5, "5 and 6 are not done");
    say(&mut partition, "a", 5, 6, &[Reject]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.start_offset(), 10);
}

#[test]
fn what_is_said_while_a_write_is_under_way_goes_into_the_next() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    assert_eq!(say(&mut partition, "a", 0, 4, &[Accept]), Ok(AckOutcome::Waits(AckToken(0))));
    partition.next_write().unwrap();
    assert_eq!(say(&mut partition, "a", 5, 9, &[Accept]), Ok(AckOutcome::Waits(AckToken(1))));
    assert_eq!(say(&mut partition, "a", 5, 9, &[Accept]), Err(ErrorCode::InvalidRecordState), "it was said");
    assert_eq!(partition.written(Ok(())).0, [AckToken(0)]);
    let write = partition.next_write().unwrap();
    assert_eq!((write.start_offset, write.batches), (5, vec![batch(5, 9, DeliveryState::Acknowledged, 1)]));
    assert_eq!(partition.written(Ok(())).0, [AckToken(1)]);
    assert_eq!(partition.start_offset(), 10);
}

#[test]
fn what_could_not_be_written_was_not_said() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    say(&mut partition, "a", 0, 9, &[Accept]).unwrap();
    partition.next_write().unwrap();
    assert_eq!(partition.written(Err(ErrorCode::CoordinatorNotAvailable)).0, [AckToken(0)]);
    partition.check();
    assert_eq!(partition.start_offset(), 0);
    assert_eq!(partition.holder(3), Some("a"));
    say(&mut partition, "a", 0, 9, &[Accept]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.start_offset(), 10);
}

#[test]
fn released_records_are_delivered_again_until_the_limit() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    say(&mut partition, "a", 0, 9, &[Release]).unwrap();
    assert_eq!(partition.next_fetch_offset(), Some(10), "not before the release is written");
    persist(&mut partition);
    assert_eq!(partition.next_fetch_offset(), Some(0));
    assert_eq!(take(&mut partition, "b", &[fetched(0, 9)], 0), [(0, 9, 2)]);
    say(&mut partition, "b", 0, 9, &[Release]).unwrap();
    assert_eq!(persist(&mut partition).batches, [batch(0, 9, DeliveryState::Archived, 2)]);
    assert_eq!(partition.start_offset(), 10, "twice is the limit");
}

/// Delivers and takes back, as members that fail one after the other do it, and gives what each of them got.
fn deliver_in_vain(
    partition: &mut SharePartition,
    batches: &[FetchedBatch],
    times: usize,
) -> Vec<Vec<(i64, i64, i16)>> {
    let mut delivered = Vec::new();
    for _ in 0..times {
        delivered.push(take(partition, "a", batches, 0));
        partition.release_member("a");
        persist(partition);
    }
    delivered
}

#[test]
fn records_that_were_delivered_often_are_delivered_with_fewer_others_and_at_last_alone() {
    let mut partition = fresh(Limits { delivery_count_max: 5, ..LIMITS });
    let batches = [fetched(0, 7), fetched(8, 15)];
    let delivered = deliver_in_vain(&mut partition, &batches, 5);
    assert_eq!(delivered[..3], [[(0, 15, 1)], [(0, 15, 2)], [(0, 15, 3)]], "both batches together");
    assert_eq!(delivered[3..], [[(0, 3, 4)], [(0, 0, 5)]], "half a batch, and a record on its last delivery");
    assert_eq!(partition.start_offset(), 1, "the first is given up, and nothing else");
    let delivered = deliver_in_vain(&mut partition, &batches, 4);
    assert_eq!(delivered, [[(1, 1, 5)], [(2, 2, 5)], [(3, 3, 5)], [(4, 7, 4)]]);
    assert_eq!(take(&mut partition, "a", &batches, 0), [(4, 4, 5)]);
    assert_eq!(take(&mut partition, "b", &batches, 0), [(5, 5, 5)], "others get the next at the same time");
}

#[test]
fn what_was_seldom_delivered_does_not_go_out_with_what_was_delivered_often() {
    let mut partition = fresh(Limits { delivery_count_max: 5, ..LIMITS });
    deliver_in_vain(&mut partition, &[fetched(0, 7)], 3);
    let batches = [fetched(0, 7), fetched(8, 15), fetched(16, 23)];
    assert_eq!(take(&mut partition, "a", &batches, 0), [(0, 3, 4)]);
    assert_eq!(take(&mut partition, "b", &batches, 0), [(4, 7, 4)]);
    assert_eq!(take(&mut partition, "c", &batches, 0), [(8, 23, 1)]);
    partition.release_member("c");
    persist(&mut partition);
    assert_eq!(take(&mut partition, "c", &[fetched(8, 11)], 0), [(8, 11, 2)]);
    partition.release_member("c");
    persist(&mut partition);
    assert_eq!(take(&mut partition, "c", &[fetched(8, 11)], 0), [(8, 11, 3)]);
    partition.release_member("c");
    partition.release_member("b");
    persist(&mut partition);
    // 4 to 7 are on their last delivery, 8 to 11 were delivered three times, what follows once.
    assert_eq!(take(&mut partition, "b", &batches[1..], 0), [(8, 11, 4)], "the half of its batch");
    assert_eq!(take(&mut partition, "c", &batches[1..], 0), [(12, 23, 2)]);
}

#[test]
fn where_records_are_delivered_twice_at_most_they_stay_together() {
    let mut partition = fresh(LIMITS);
    let delivered = deliver_in_vain(&mut partition, &[fetched(0, 9)], 2);
    assert_eq!(delivered, [[(0, 9, 1)], [(0, 9, 2)]]);
}

#[test]
fn records_come_back_when_their_time_is_over_or_their_member_is() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    take(&mut partition, "b", &[fetched(10, 19)], 500);
    assert_eq!(partition.next_deadline_ms(), Some(1_000));
    assert!(!partition.expire(999));
    assert!(partition.expire(1_000));
    assert_eq!(partition.holders().into_iter().collect::<Vec<_>>(), ["b"]);
    assert_eq!(persist(&mut partition).batches, [batch(0, 9, DeliveryState::Available, 1)]);
    assert!(partition.release_member("b"));
    assert_eq!(take(&mut partition, "c", &[fetched(0, 9), fetched(10, 19)], 0), [(0, 19, 2)]);
    assert_eq!(say(&mut partition, "a", 0, 9, &[Accept]), Err(ErrorCode::InvalidRecordState), "too late");
    assert!(!partition.expire(1_000), "twice is the limit: nobody gets them");
    partition.check();
    assert_eq!(partition.start_offset(), 20);
    assert_eq!(persist(&mut partition).start_offset, 20);
}

#[test]
fn an_acknowledgement_in_time_counts_though_its_write_takes_longer() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    say(&mut partition, "a", 0, 9, &[Accept]).unwrap();
    partition.next_write().unwrap();
    assert!(!partition.expire(5_000));
    assert_eq!(partition.next_deadline_ms(), None);
    partition.written(Err(ErrorCode::CoordinatorNotAvailable));
    assert!(partition.expire(5_000), "and if it fails, they are free");
    assert_eq!(partition.next_fetch_offset(), Some(0));
}

#[test]
fn a_member_can_ask_for_more_time() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    let renew = Acknowledgement { first: 0, last: 4, types: vec![Renew] };
    assert_eq!(partition.acknowledge("a", &[renew], 900), Ok(AckOutcome::Done));
    assert!(partition.expire(1_000));
    assert_eq!(partition.holder(4), Some("a"));
    assert_eq!(partition.holder(5), None);
    assert!(partition.expire(1_900));
}

#[test]
fn each_record_can_be_spoken_of_by_itself() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 4)], 0);
    say(&mut partition, "a", 0, 4, &[Accept, Gap, Release, Reject, Accept]).unwrap();
    assert_eq!(
        persist(&mut partition).batches,
        [
            batch(0, 0, DeliveryState::Acknowledged, 1),
            batch(1, 1, DeliveryState::Archived, 1),
            batch(2, 2, DeliveryState::Available, 1),
            batch(3, 3, DeliveryState::Archived, 1),
            batch(4, 4, DeliveryState::Acknowledged, 1),
        ]
    );
    assert_eq!(partition.start_offset(), 2);
    assert_eq!(take(&mut partition, "b", &[fetched(0, 4), fetched(5, 6)], 0), [(2, 2, 2), (5, 6, 1)]);
}

#[test]
fn acknowledgements_that_make_no_sense_are_refused_whole() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    for (first, last, types) in [
        (5, 4, vec![Accept]),
        (-1, 4, vec![Accept]),
        (0, 4, vec![Accept; 3]),
        (0, 4, vec![]),
        (0, i64::MAX, vec![Accept; 2]),
    ] {
        assert_eq!(
            say(&mut partition, "a", first, last, &types),
            Err(ErrorCode::InvalidRequest),
            "{first} {last}"
        );
    }
    let twice = [(0, 4), (4, 9)].map(|(first, last)| Acknowledgement { first, last, types: vec![Accept] });
    assert_eq!(partition.acknowledge("a", &twice, 0), Err(ErrorCode::InvalidRequest));
    assert_eq!(partition.next_write(), None);
}

#[test]
fn no_more_records_are_in_flight_than_may_be() {
    let mut partition = fresh(Limits { records_in_flight_max: 10, ..LIMITS });
    assert_eq!(take(&mut partition, "a", &[fetched(0, 7), fetched(8, 15), fetched(16, 20)], 0), [(0, 15, 1)]);
    assert_eq!(partition.next_fetch_offset(), None);
    say(&mut partition, "a", 8, 15, &[Accept]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.next_fetch_offset(), None, "they are in flight as long as those before them");
    say(&mut partition, "a", 0, 7, &[Release]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.next_fetch_offset(), Some(0), "what is in flight can be delivered again");
}

#[test]
fn a_member_gets_about_as_many_records_as_it_asks_for() {
    let batches = [fetched(0, 3), fetched(4, 7), fetched(8, 11)];
    let mut partition = fresh(LIMITS);
    let got = partition.acquire(&member("a"), AcquireMode::BatchOptimized, (5, 500), 0, &batches, 0);
    assert_eq!(got, [Acquired { first: 0, last: 7, delivery_count: 1 }], "batches are not cut");
    let mut partition = fresh(LIMITS);
    let got = partition.acquire(&member("a"), AcquireMode::RecordLimit, (5, 500), 0, &batches, 0);
    assert_eq!(got, [Acquired { first: 0, last: 4, delivery_count: 1 }]);
    assert_eq!(partition.next_fetch_offset(), Some(5));
    let mut partition = fresh(LIMITS);
    let got = partition.acquire(&member("a"), AcquireMode::BatchOptimized, (500, 8), 0, &batches, 0);
    let got: Vec<_> = got.iter().map(|got| (got.first, got.last)).collect();
    assert_eq!(got, [(0, 7), (8, 11)], "told of in groups of the size asked for");
}

#[test]
fn what_the_log_does_not_have_and_what_nobody_is_to_see_is_passed_over() {
    let mut partition = fresh(LIMITS);
    let hidden = FetchedBatch { first: 6, last: 7, is_hidden: true };
    assert_eq!(
        take(&mut partition, "a", &[fetched(2, 3), hidden, fetched(10, 11)], 0),
        [(2, 3, 1), (10, 11, 1)]
    );
    assert_eq!(partition.start_offset(), 2, "0 and 1 are in no log");
    say(&mut partition, "a", 2, 3, &[Accept]).unwrap();
    persist(&mut partition);
    assert_eq!(partition.start_offset(), 10);
    let mut partition = fresh(LIMITS);
    let hidden = FetchedBatch { first: 0, last: 7, is_hidden: true };
    assert_eq!(take(&mut partition, "a", &[hidden], 0), []);
    assert_eq!((partition.start_offset(), partition.next_fetch_offset()), (8, Some(8)));
}

#[test]
fn what_was_deleted_from_the_log_is_done_whoever_has_it() {
    let mut partition = fresh(LIMITS);
    take(&mut partition, "a", &[fetched(0, 9)], 0);
    assert!(partition.log_start_moved(5));
    assert!(!partition.log_start_moved(5));
    partition.check();
    assert_eq!(partition.start_offset(), 5);
    say(&mut partition, "a", 0, 9, &[Accept]).unwrap();
    assert_eq!(persist(&mut partition).batches, [batch(5, 9, DeliveryState::Acknowledged, 1)]);
    assert!(partition.log_start_moved(20));
    assert_eq!(partition.next_fetch_offset(), Some(20));
}

#[test]
fn a_new_leader_goes_on_from_what_was_written() {
    let state = ReadState {
        state_epoch: 4,
        start_offset: 10,
        batches: vec![
            batch(10, 11, DeliveryState::Acknowledged, 1),
            batch(12, 12, DeliveryState::Available, 1),
            batch(20, 21, DeliveryState::Acknowledged, 1),
        ],
    };
    let mut partition = SharePartition::new(LIMITS, 7, &state, 99);
    partition.check();
    assert_eq!(partition.start_offset(), 12);
    let all = [fetched(10, 14), fetched(15, 24)];
    assert_eq!(
        take(&mut partition, "a", &all, 0),
        [(12, 12, 2), (13, 19, 1), (22, 24, 1)],
        "between what was written lies what nobody fetched"
    );
    say(&mut partition, "a", 12, 12, &[Accept]).unwrap();
    let write = persist(&mut partition);
    assert_eq!((write.state_epoch, write.leader_epoch, write.start_offset), (4, 7, 12));
    let fresh = ReadState { state_epoch: 4, start_offset: START_OFFSET_UNKNOWN, batches: Vec::new() };
    assert_eq!(SharePartition::new(LIMITS, 7, &fresh, 99).start_offset(), 99);
}
