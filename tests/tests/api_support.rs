//! `docs/API_SUPPORT.md` is what `broker::api::SUPPORTED` says. `UPDATE_DOCS=1 cargo test -p moldau-tests` writes it.

use moldau_broker::api::SUPPORTED;
use moldau_kafka::{ApiKey, ApiScope, VersionRange};
use moldau_tests::workspace_root;

/// Versions that kafka-protocol does not know, and `proto/kafka` does.
const OWN_CODECS: &[(&str, i16)] = &[
    ("ListOffsets", 11),
    ("OffsetCommit", 10),
    ("OffsetFetch", 10),
    ("WriteTxnMarkers", 2),
    ("AddRaftVoter", 1),
    ("ShareFetch", 2),
    ("ShareAcknowledge", 2),
    ("WriteShareGroupState", 1),
    ("ReadShareGroupStateSummary", 1),
    ("DescribeShareGroupOffsets", 1),
    ("DescribeLogDirs", 5),
    ("StreamsGroupHeartbeat", 0),
    ("StreamsGroupDescribe", 0),
];

fn text(range: VersionRange) -> String {
    if range.min == range.max { range.min.to_string() } else { format!("{} to {}", range.min, range.max) }
}

fn table() -> String {
    let mut out = String::from(
        "# API support\n\n\
         What ApiVersions advertises, beside Apache Kafka 4.3.0's broker. Generated from `broker::api::SUPPORTED` by a \
         test (`tests/tests/api_support.rs`); every row has a stock-client test or a comparison with Apache Kafka's own \
         answers (`tests/src/compare`).\n\n\
         | key | API | Kafka 4.3.0 | Moldau | |\n|---|---|---|---|---|\n",
    );
    for key in ApiKey::ALL {
        let code = key.code();
        let kafka = key.kafka_versions();
        let row = SUPPORTED.iter().find(|row| row.key == code);
        if row.is_none() && key.scope() == ApiScope::Controller {
            continue;
        }
        let (ours, why) = match row {
            None => ("-".to_string(), "not yet".to_string()),
            Some(row) => {
                let range = VersionRange::new(row.advertised_min, row.max);
                let missing = row.max < kafka.max;
                (
                    text(range),
                    if missing { format!("{} needs a codec of our own", kafka.max) } else { String::new() },
                )
            }
        };
        let kafka = if code == 0 { VersionRange::new(0, kafka.max) } else { kafka };
        out.push_str(&format!("| {code} | {} | {} | {ours} | {why} |\n", key.name(), text(kafka)));
    }
    out
}

#[test]
fn the_table_in_the_docs_is_the_table_in_the_code() {
    let path = workspace_root().join("docs/API_SUPPORT.md");
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &table).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table,
        "docs/API_SUPPORT.md is stale: run UPDATE_DOCS=1 cargo test -p moldau-tests --test api_support"
    );
}

#[test]
fn no_version_is_served_that_kafka_or_the_codec_does_not_know() {
    for row in SUPPORTED.iter() {
        let key = ApiKey::from_code(row.key).unwrap_or_else(|| panic!("{} is no key of Kafka's", row.name));
        assert_eq!(key.name(), row.name);
        let (kafka, library) = (key.kafka_versions(), key.library_versions());
        for version in row.min..=row.max {
            assert!(kafka.contains(version), "{} v{version} is not Kafka 4.3's", row.name);
            let is_ours = OWN_CODECS.contains(&(row.name, version));
            assert!(library.contains(version) || is_ours, "{} v{version} cannot be decoded", row.name);
        }
    }
}
