//! The walk and the library, held against one another over every version of every message.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as LibraryKey, RequestKind, ResponseKind};
use moldau_kafka::fuzz::MessageGenerator;
use moldau_kafka::{ApiKey, VersionRange, check_request, check_response, throttle_time_position};

/// Calls `body` with every version of every API in these ranges.
fn for_each(range: fn(ApiKey) -> VersionRange, mut body: impl FnMut(ApiKey, i16)) {
    for &api_key in ApiKey::ALL {
        let versions = range(api_key);
        for version in versions.min..=versions.max {
            body(api_key, version);
        }
    }
}

fn library(api_key: ApiKey) -> LibraryKey {
    LibraryKey::try_from(api_key.code()).unwrap()
}

#[test]
fn what_is_right_in_form_passes() {
    let mut generator = MessageGenerator::new(1);
    for_each(ApiKey::kafka_versions, |api_key, version| {
        for _ in 0..30 {
            let body = generator.valid_request(api_key, version);
            assert_eq!(
                check_request(api_key, version, &body),
                Ok(body.len()),
                "{api_key} {version} {body:02x?}"
            );
            let body = generator.valid_response(api_key, version);
            assert_eq!(check_response(api_key, version, &body), Ok(()), "{api_key} {version} {body:02x?}");
        }
    });
}

/// Generated from the schema and read by the library, written by the library and read by the schema: both agree.
#[test]
fn the_schema_is_what_the_library_reads_and_writes() {
    let mut generator = MessageGenerator::new(2);
    for_each(ApiKey::library_versions, |api_key, version| {
        for _ in 0..30 {
            let mut body = Bytes::from(generator.valid_request(api_key, version));
            let context = format!("{api_key} request {version} {body:02x?}");
            let decoded = RequestKind::decode(library(api_key), &mut body, version)
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert!(body.is_empty(), "{context}: {} bytes left", body.len());
            let mut encoded = BytesMut::new();
            decoded.encode(&mut encoded, version).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_eq!(check_request(api_key, version, &encoded), Ok(encoded.len()), "{context}");

            let mut body = Bytes::from(generator.valid_response(api_key, version));
            let context = format!("{api_key} response {version} {body:02x?}");
            let decoded = ResponseKind::decode(library(api_key), &mut body, version)
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert!(body.is_empty(), "{context}: {} bytes left", body.len());
            let mut encoded = BytesMut::new();
            decoded.encode(&mut encoded, version).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_eq!(check_response(api_key, version, &encoded), Ok(()), "{context}");
        }
    });
}

#[test]
fn a_throttle_time_stands_where_it_is_looked_for() {
    let mut generator = MessageGenerator::new(5);
    for_each(ApiKey::library_versions, |api_key, version| {
        let Some(position) = throttle_time_position(api_key, version) else { return };
        let mut body = generator.valid_response(api_key, version);
        body[position..position + 4].copy_from_slice(&16_909_060i32.to_be_bytes());
        let decoded = ResponseKind::decode(library(api_key), &mut Bytes::from(body), version).unwrap();
        let shown = format!("{decoded:?}");
        assert!(shown.contains("throttle_time_ms: 16909060"), "{api_key} {version} {shown}");
    });
}

/// The walk must see every count that the library will see, so what passes is decoded to its end.
#[test]
fn a_lie_is_refused_or_harmless() {
    let mut generator = MessageGenerator::new(3);
    let (mut refused, mut passed) = (0, 0);
    for_each(ApiKey::library_versions, |api_key, version| {
        for _ in 0..200 {
            let body = generator.hostile_request(api_key, version);
            match check_request(api_key, version, &body) {
                Err(_) => refused += 1,
                Ok(bytes) => {
                    passed += 1;
                    let body = body[..bytes].to_vec();
                    assert_decodes(api_key, version, body, |key, body| {
                        RequestKind::decode(key, body, version).map(drop)
                    });
                }
            }
            let body = generator.hostile_response(api_key, version);
            if check_response(api_key, version, &body).is_ok() {
                assert_decodes(api_key, version, body, |key, body| {
                    ResponseKind::decode(key, body, version).map(drop)
                });
            }
        }
    });
    assert!(refused > passed / 5 && passed > refused / 20, "{refused} refused, {passed} passed");
}

/// That the library reads the body to its end. It refuses one thing that passes the walk: a tag that its field has in
/// other versions only.
fn assert_decodes<E: std::fmt::Debug>(
    api_key: ApiKey,
    version: i16,
    body: Vec<u8>,
    decode: impl FnOnce(LibraryKey, &mut Bytes) -> Result<(), E>,
) {
    let mut body = Bytes::from(body);
    let context = format!("{api_key} {version} {body:02x?}");
    match decode(library(api_key), &mut body) {
        Ok(()) => assert!(body.is_empty(), "{context}: {} bytes left", body.len()),
        Err(error) => {
            let error = format!("{error:?}");
            assert!(error.contains("is not valid for version"), "{context}: {error}");
        }
    }
}

#[test]
fn a_message_that_ends_early_is_refused_and_one_that_ends_late_is_measured() {
    let mut generator = MessageGenerator::new(4);
    for_each(ApiKey::kafka_versions, |api_key, version| {
        let mut body = generator.valid_request(api_key, version);
        for cut in 0..body.len() {
            assert!(
                check_request(api_key, version, &body[..cut]).is_err(),
                "{api_key} {version} cut at {cut}"
            );
        }
        let bytes = body.len();
        body.push(0);
        assert_eq!(check_request(api_key, version, &body), Ok(bytes), "{api_key} {version} with a byte more");
    });
}
