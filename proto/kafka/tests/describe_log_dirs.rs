//! DescribeLogDirs against the library's codec where that knows the version, and against the schema where it does not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{
    ApiKey, SIZE_PREFIX_BYTES, check_response, encode_describe_log_dirs_response, encode_response,
};

/// The correlation id and the header's tagged fields.
const RESPONSE_HEADER_BYTES: usize = 5;

fn response() -> DescribeLogDirsResponse {
    let partition = DescribeLogDirsPartition::default().with_partition_index(3).with_partition_size(77);
    let topic = DescribeLogDirsTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![partition.clone(), partition.with_is_future_key(true)]);
    let dir = |path| DescribeLogDirsResult::default().with_log_dir(StrBytes::from_static_str(path));
    DescribeLogDirsResponse::default().with_results(vec![
        dir("/one").with_topics(vec![topic]).with_total_bytes(9).with_usable_bytes(8),
        dir("/two").with_error_code(56),
    ])
}

#[test]
fn versions_that_the_library_knows_are_its_own() {
    for version in 1..=4 {
        let ours = encode_describe_log_dirs_response(version, 7, &response(), &[true, true]).unwrap();
        assert_eq!(ours, encode_response(ApiKey::DescribeLogDirs, version, 7, &response()).unwrap());
    }
}

#[test]
fn version_5_tells_of_each_directory_whether_it_is_cordoned() {
    let fourth = encode_describe_log_dirs_response(4, 7, &response(), &[]).unwrap();
    let of = |cordoned: &[bool]| encode_describe_log_dirs_response(5, 7, &response(), cordoned).unwrap();
    let fifth = of(&[false, true]).freeze();
    assert_eq!(fifth.len(), fourth.len() + 2, "one byte for each directory");
    check_response(ApiKey::DescribeLogDirs, 5, &fifth.slice(SIZE_PREFIX_BYTES + RESPONSE_HEADER_BYTES..))
        .unwrap();
    // The last directory's is the third byte from the end: its own tagged fields and the response's follow.
    assert_eq!(fifth[fifth.len() - 3], 1);
    assert_eq!(of(&[true, false])[fifth.len() - 3], 0);
}
