//! Bytes as an attacker would send them, through the calls that a broker makes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DeleteTopicsRequest, DescribeTopicPartitionsRequest,
    FetchRequest, MetadataRequest, ProduceRequest,
};
use kafka_protocol::protocol::{Decodable, Request};
use moldau_kafka::{
    ApiKey, RequestHeader, ServedVersions, VersionRange, WireError, api_versions_request, check_request,
    check_response, decode, decode_response, encode_request, encode_response, unsupported_api_versions,
};
use proptest::prelude::*;

fn refused<T: Request>(version: i16, body: &[u8]) -> WireError {
    decode::<T>(version, &mut Bytes::copy_from_slice(body)).map(drop).unwrap_err()
}

/// By itself, the library asks the allocator for 154 GB here, and the process ends.
#[test]
fn four_bytes_do_not_end_the_process() {
    use WireError::{CountTooLarge, NegativeLength, UnexpectedNull, VarintTooLong};
    let most = i32::MAX as usize;
    assert_eq!(
        refused::<MetadataRequest>(1, &[0x7f, 0xff, 0xff, 0xff]),
        CountTooLarge { count: most, remaining: 0 }
    );
    assert_eq!(refused::<MetadataRequest>(1, &[0xff, 0xff, 0xff, 0xfe]), NegativeLength { length: -2 });
    assert_eq!(refused::<MetadataRequest>(0, &[0xff; 4]), UnexpectedNull, "null topics came with version 1");
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let count = u32::MAX as usize - 1;
    assert_eq!(refused::<MetadataRequest>(9, &compact), CountTooLarge { count, remaining: 0 });
    assert_eq!(refused::<MetadataRequest>(9, &[0xff; 5]), VarintTooLong);
    assert_eq!(refused::<MetadataRequest>(9, &[0xff; 50]), VarintTooLong);
    // Ten topics in ten bytes, where a topic of version 10 takes an id, a name and tags: eighteen bytes at least.
    let crowded = [&[11][..], &[0; 10]].concat();
    assert_eq!(refused::<MetadataRequest>(10, &crowded), CountTooLarge { count: 10, remaining: 10 });
    // Produce v9: null transactional id, acks, timeout, then 2^32-2 topics.
    let produce = [&[0, 0, 1, 0, 0, 0, 9][..], &compact].concat();
    assert_eq!(refused::<ProduceRequest>(9, &produce), CountTooLarge { count, remaining: 0 });
    // Fetch v4: one topic of an honest name, and 2^31-1 partitions in it.
    let mut fetch = vec![0; 17];
    fetch.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't', 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(refused::<FetchRequest>(4, &fetch), CountTooLarge { count: most, remaining: 0 });
}

/// The library takes any byte but 1 for null. Were it so here too, it would see a count that the walk took for a name.
#[test]
fn a_structure_is_there_or_null_and_nothing_between() {
    // No topics, limit 0, cursor, no tags.
    for byte in [0u8, 2, 0x7f, 0x80, 0xfe] {
        let body = [1, 0, 0, 0, 0, byte, 0];
        assert_eq!(
            refused::<DescribeTopicPartitionsRequest>(0, &body),
            WireError::BadPresence { byte: byte as i8 }
        );
    }
    let null = [1, 0, 0, 0, 0, 0xff, 0];
    assert!(decode::<DescribeTopicPartitionsRequest>(0, &mut Bytes::copy_from_slice(&null)).is_ok());
}

#[test]
fn a_body_that_ends_early_or_is_of_an_unknown_version() {
    assert_eq!(refused::<MetadataRequest>(1, &[0, 0, 0]), WireError::Truncated { missing: 1 });
    assert_eq!(
        refused::<MetadataRequest>(99, &[]),
        WireError::UnsupportedVersion { api_key: ApiKey::Metadata, version: 99 }
    );
}

/// Kafka's broker passes over what follows a request, and librdkafka's question for all topics needs that.
#[test]
fn bytes_behind_a_request_are_passed_over_and_behind_a_response_refused() {
    let librdkafka_2_16_all_topics = [0, 0, 0, 0, 1, 0, 0];
    let request =
        decode::<MetadataRequest>(13, &mut Bytes::copy_from_slice(&librdkafka_2_16_all_topics)).unwrap();
    assert_eq!(request.topics, None);
    assert!(!request.allow_auto_topic_creation);
    assert_eq!(check_response(ApiKey::Heartbeat, 0, &[0, 0]), Ok(()));
    assert_eq!(check_response(ApiKey::Heartbeat, 0, &[0, 0, 0]), Err(WireError::TrailingBytes { bytes: 1 }));
}

/// A message costs memory in proportion to its size, with many small elements as with few large ones.
#[test]
fn many_tiny_elements_are_refused_before_they_cost_anything() {
    // DeleteTopics v4 with n names of no bytes: one byte each on the wire, 32 in memory.
    let names = |count: u32| {
        let mut body = Vec::new();
        let mut length = count + 1;
        while length >= 0x80 {
            body.push(length as u8 | 0x80);
            length >>= 7;
        }
        body.push(length as u8);
        body.resize(body.len() + count as usize, 1);
        body.extend_from_slice(&[0, 0, 0, 9, 0]);
        body
    };
    assert_eq!(check_request(ApiKey::DeleteTopics, 4, &names(20_000)), Ok(names(20_000).len()));
    let body = names(200_000);
    assert_eq!(
        refused::<DeleteTopicsRequest>(4, &body),
        WireError::TooCostly { bytes_max: 16 * body.len() + (1 << 20) }
    );
    // A million honest names are still more than one request may ask for.
    let mut body = 1_000_000i32.to_be_bytes().to_vec();
    for i in 0..1_000_000 {
        body.extend_from_slice(&[0, 6]);
        body.extend_from_slice(format!("{i:06}").as_bytes());
    }
    assert_eq!(refused::<MetadataRequest>(1, &body), WireError::TooManyElements { count_max: 250_000 });
    // Tagged fields are elements too: 2^20 of them, two to five bytes each.
    let mut body = vec![0, 0x80, 0x80, 0x40];
    for tag in 0..1u32 << 20 {
        body.extend_from_slice(&[tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]);
    }
    assert!(matches!(
        check_request(ApiKey::ListGroups, 3, &body[1..]),
        Err(WireError::TooManyElements { .. })
    ));
}

fn frame(code: i16, version: i16, rest: &[u8]) -> Bytes {
    [&code.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), rest].concat().into()
}

#[test]
fn a_header_is_refused_without_a_panic_however_short() {
    for size in 0..8 {
        let mut bytes = Bytes::from(vec![0; size]);
        assert!(matches!(RequestHeader::parse(&mut bytes), Err(WireError::Truncated { .. })), "{size} bytes");
    }
    let api_key = ApiKey::Metadata;
    for (frame, expected) in [
        (frame(-1, 0, &[]), WireError::UnknownApiKey { code: -1 }),
        (frame(4, 0, &[]), WireError::UnknownApiKey { code: 4 }),
        (frame(93, 0, &[]), WireError::UnknownApiKey { code: 93 }),
        (frame(3, -1, &[]), WireError::UnsupportedVersion { api_key, version: -1 }),
        (frame(3, 14, &[]), WireError::UnsupportedVersion { api_key, version: 14 }),
        (frame(0, 2, &[]), WireError::UnsupportedVersion { api_key: ApiKey::Produce, version: 2 }),
        (frame(22, 6, &[]), WireError::UnsupportedVersion { api_key: ApiKey::InitProducerId, version: 6 }),
        (frame(3, 1, &[]), WireError::Truncated { missing: 2 }),
        (frame(3, 1, &[0, 5, b'a']), WireError::Truncated { missing: 4 }),
        (frame(3, 1, &[0xff, 0xfe]), WireError::NegativeLength { length: -2 }),
        (frame(3, 1, &[0, 1, 0xff]), WireError::NotUtf8),
        (frame(3, 9, &[0xff, 0xff]), WireError::Truncated { missing: 1 }),
        (frame(3, 9, &[0xff, 0xff, 1, 0, 9]), WireError::Truncated { missing: 9 }),
    ] {
        assert_eq!(RequestHeader::parse(&mut frame.clone()), Err(expected), "{frame:02x?}");
    }
}

#[test]
fn a_header_leaves_the_body() {
    let mut bytes = frame(3, 1, &[0, 2, b'm', b'e', 42]);
    let header = RequestHeader::parse(&mut bytes).unwrap();
    assert_eq!((header.api_key, header.api_version, header.correlation_id), (ApiKey::Metadata, 1, 7));
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert_eq!(&bytes[..], [42]);
    // Version 2 of the header: a null client id of the old form, and a tagged field of tomorrow.
    let mut bytes = frame(3, 9, &[0xff, 0xff, 1, 5, 2, 9, 9, 42]);
    assert_eq!(RequestHeader::parse(&mut bytes).unwrap().client_id, None);
    assert_eq!(&bytes[..], [42]);
}

/// KIP-511: a client of the future asks in its own version and must get an answer that it can read.
#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    for version in [-1, 5, 99, i16::MAX, i16::MIN] {
        let mut bytes = frame(18, version, &[0xde, 0xad, 0xbe, 0xef]);
        let header = RequestHeader::parse(&mut bytes).unwrap();
        assert!(!header.has_known_version() && bytes.is_empty(), "{version}");
        let response = unsupported_api_versions(header.correlation_id, VersionRange::new(0, 4)).unwrap();
        let golden = [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(&response[..], golden, "no throttle time, no tagged fields: version 0");
        // Our own client asks in version 4 and reads it.
        let (correlation_id, response) =
            decode_response::<ApiVersionsRequest>(4, &mut response.freeze().slice(4..)).unwrap();
        assert_eq!((correlation_id, response.error_code), (7, 35));
        let served = ServedVersions::new(&response);
        assert_eq!((served.pick::<ApiVersionsRequest>(), served.pick::<MetadataRequest>()), (Some(4), None));
    }
    assert!(RequestHeader::parse(&mut frame(18, 4, &[0xff, 0xff, 0])).unwrap().has_known_version());
}

#[test]
fn a_request_and_its_response_come_back() {
    let request = api_versions_request("moldau", "0.1.0");
    for version in 0..=4 {
        let client_id = kafka_protocol::protocol::StrBytes::from_static_str("tool");
        let mut frame = encode_request(version, 3, Some(&client_id), &request).unwrap().freeze().slice(4..);
        let header = RequestHeader::parse(&mut frame).unwrap();
        assert_eq!((header.api_version, header.client_id.as_deref()), (version, Some("tool")));
        let decoded: ApiVersionsRequest = decode(version, &mut frame).unwrap();
        assert_eq!(decoded.client_software_name.as_str(), if version >= 3 { "moldau" } else { "" });

        let response = ApiVersionsResponse::default().with_throttle_time_ms(0);
        let frame = encode_response(ApiKey::ApiVersions, version, 3, &response).unwrap().freeze();
        assert_eq!(frame[..8], [&(frame.len() as i32 - 4).to_be_bytes()[..], &[0, 0, 0, 3]].concat());
        // The header ends there: the body's error code follows, not tagged fields.
        assert!(ApiVersionsResponse::decode(&mut frame.slice(8..), version).is_ok());
    }
    let picked = ServedVersions::new(&ApiVersionsResponse::default()).pick::<MetadataRequest>();
    assert_eq!(picked, None);
}

#[test]
fn a_field_that_a_version_lacks_is_an_error_of_ours_and_no_panic() {
    let request = MetadataRequest::default().with_allow_auto_topic_creation(false);
    assert!(matches!(encode_request(1, 0, None, &request), Err(WireError::Codec { .. })));
    let response = ApiVersionsResponse::default();
    assert!(matches!(encode_response(ApiKey::ApiVersions, 9, 0, &response), Err(WireError::Codec { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frame_is_read_without_a_panic(
        key in prop_oneof![0i16..93, any::<i16>()],
        version in prop_oneof![0i16..19, any::<i16>()],
        rest in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120),
    ) {
        let mut bytes = frame(key, version, &rest);
        if let Ok(header) = RequestHeader::parse(&mut bytes) {
            let _ = check_request(header.api_key, header.api_version, &bytes);
            let _ = moldau_kafka::ProduceRequestView::parse(header.api_version, &bytes);
            let _ = decode::<MetadataRequest>(header.api_version, &mut bytes.clone());
            let _ = decode::<FetchRequest>(header.api_version, &mut bytes);
        }
    }
}
