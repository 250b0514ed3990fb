//! Every version that is served is compared with Apache Kafka, and what may differ stands in `docs/COMPATIBILITY.md`.
//! `UPDATE_DOCS=1 cargo test -p moldau-tests` writes its tables.

use std::fmt::Write as _;

use moldau_broker::api::SUPPORTED;
use moldau_metadata::config::DEVIATIONS as DEFAULTS;
use moldau_tests::compare::{cases, deviations::DEVIATIONS};
use moldau_tests::replace_generated;

/// SaslHandshake and SaslAuthenticate: the comparison's listeners ask nobody who it is. tests/clients/test_security.py has
/// stock clients say them, and moldau-security a table of what may be said when.
const OF_AUTHENTICATION: [i16; 2] = [17, 36];

#[test]
fn every_version_that_is_served_is_compared_with_apache_kafka() {
    let cases = cases();
    let mut missing = Vec::new();
    for row in SUPPORTED.iter().filter(|row| !OF_AUTHENTICATION.contains(&row.key)) {
        for version in row.min..=row.max {
            if !cases.iter().any(|case| case.api_code() == row.key && case.versions.contains(&version)) {
                missing.push(format!("{} v{version}", row.name));
            }
        }
    }
    assert!(missing.is_empty(), "no case in tests/src/compare asks {}", missing.join(", "));
}

#[test]
fn no_api_is_compared_by_one_request_alone() {
    let cases = cases();
    for row in SUPPORTED.iter().filter(|row| !OF_AUTHENTICATION.contains(&row.key)) {
        let asked = cases.iter().filter(|case| case.api_code() == row.key).count();
        assert!(asked >= 2, "{} is asked in one way only: its errors are not compared", row.name);
    }
}

#[test]
fn what_is_not_compared_has_a_reason() {
    for case in cases() {
        assert!(case.ignore.0.is_empty() || !case.ignore.1.is_empty(), "{} gives no reason", case.name);
    }
    for deviation in DEVIATIONS {
        assert!(!deviation.what.is_empty() && !deviation.why.is_empty(), "{:?}", deviation.fields);
    }
}

fn tables() -> String {
    let mut out = String::new();
    out.push_str("\n### In answers\n\n| API | what differs | why |\n|---|---|---|\n");
    for deviation in DEVIATIONS {
        let apis: Vec<String> = deviation.apis.iter().map(|api| format!("{api:?}")).collect();
        let _ = writeln!(out, "| {} | {} | {} |", apis.join(", "), deviation.what, deviation.why);
    }
    out.push_str("\n### In answers to single requests\n\n| request | fields | why |\n|---|---|---|\n");
    for case in cases() {
        let (fields, why) = case.ignore;
        if !fields.is_empty() {
            let _ = writeln!(out, "| {} ({}) | {} | {why} |", case.name, case.api_name(), fields.join(", "));
        }
    }
    out.push_str("\n### In defaults\n\n| setting | Moldau's default | why |\n|---|---|---|\n");
    for default in DEFAULTS {
        let _ = writeln!(out, "| {} | {} | {} |", default.name, default.value, default.reason);
    }
    out
}

#[test]
fn the_tables_in_the_docs_are_the_tables_in_the_code() {
    replace_generated("docs/COMPATIBILITY.md", "tests/tests/compatibility.rs", &tables());
}
