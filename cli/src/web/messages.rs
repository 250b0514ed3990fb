//! A scan of a topic's records, a line of JSON each, while it runs: closing the connection cancels it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::mpsc;

use super::Shared;
use super::answer::{Failure, Query};
use super::clients::{Limits, QUESTION};
use super::scan::{self, Filter, Request, Start};
use super::stream::{PIECES_MAX, STALL_MAX, body};
use super::topics::find;
use crate::client::offsets::Partition;

/// Records that one scan gives unless asked otherwise, and at most.
const RECORDS: u64 = 50;
const RECORDS_MAX: u64 = 1000;
/// MiB that one scan looks through unless asked otherwise, and at most: one goes on from where it ended.
const SCAN_MIB: u64 = 64;
const SCAN_MIB_MAX: u64 = 1024;
/// How long one scan may look.
const SCAN_TIME_MAX: Duration = Duration::from_secs(60);
/// What a scan may ask for. It ends by its own bounds, and says where to go on; these are for brokers that hang meanwhile, and for
/// windows that are read anew.
const SCAN: Limits =
    Limits { whole: Duration::from_secs(70), answer_bytes: 4 << 30, requests: 200_000, ..QUESTION };

pub(super) async fn messages(
    State(web): State<Shared>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    web.clients()?;
    web.guard.check_records()?;
    let topic = find(&web.node.image(), &name)?;
    let partitions: Vec<Partition> = match query.text("partition") {
        None | Some("all") => topic.partitions().map(|(index, _)| (name.clone(), index.0)).collect(),
        Some(text) => {
            let none = || Failure::bad_request(format!("{name} has no partition {text}"));
            let index: i32 = text.parse().map_err(|_| none())?;
            if !(0..topic.partition_count()).contains(&index) {
                return Err(none());
            }
            vec![(name.clone(), index)]
        }
    };
    let request = Request {
        partitions,
        start: start(&query)?,
        filter: Filter::new(query.text("key"), query.text("value"), query.text("header")),
        read_committed: query.text("isolation") != Some("read_uncommitted"),
        records_max: query.number("limit", RECORDS, 1, RECORDS_MAX)? as usize,
        bytes_max: query.number("max_mib", SCAN_MIB, 1, SCAN_MIB_MAX)? << 20,
        time_max: SCAN_TIME_MAX,
    };
    let place = Arc::clone(&web.scans).try_acquire_owned().map_err(|_| {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "BUSY",
            "as many scans run as this node allows at a time",
        )
    })?;
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let stop = web.stop.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let Ok(clients) = web.clients() else { return };
        let (mut client, _) = clients.one(&SCAN);
        // A reader that does not read is as good as gone.
        let mut give = |mut line: String| {
            line.push('\n');
            runtime.block_on(pieces.send_timeout(Bytes::from(line), STALL_MAX)).is_ok()
        };
        match scan::run(&mut client, &request, &mut give) {
            Ok(()) => clients.keep(client),
            Err(error) => {
                let failure = Failure::from(error);
                let error = json!({"type": "error", "code": failure.code, "message": failure.message});
                give(error.to_string());
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body(receiver, stop)).into_response())
}

/// `from` is `newest`, `oldest`, `live`, `offset` with `offset`, or `time` with `time_ms`; `at` and `before` go on where a scan ended.
fn start(query: &Query) -> Result<Start, Failure> {
    let number = |name: &str| -> Result<i64, Failure> {
        let text = query.text(name).and_then(|text| text.parse().ok()).filter(|number: &i64| *number >= 0);
        text.ok_or_else(|| Failure::bad_request(format!("{name} is a number from 0")))
    };
    match (query.text("at"), query.text("before"), query.text("from")) {
        (Some(at), ..) => Ok(Start::At(positions(at)?)),
        (_, Some(before), _) => Ok(Start::Newest(positions(before)?)),
        (.., None | Some("newest")) => Ok(Start::Newest(BTreeMap::new())),
        (.., Some("oldest")) => Ok(Start::Oldest),
        (.., Some("live")) => Ok(Start::Live),
        (.., Some("offset")) => Ok(Start::Offset(number("offset")?)),
        (.., Some("time")) => Ok(Start::Time(number("time_ms")?)),
        _ => Err(Failure::bad_request("from is newest, oldest, live, offset or time")),
    }
}

/// `partition:offset`, with commas between.
fn positions(text: &str) -> Result<BTreeMap<i32, i64>, Failure> {
    let pair = |pair: &str| {
        let (partition, offset) = pair.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok().filter(|offset: &i64| *offset >= 0)?))
    };
    let pairs: Option<BTreeMap<i32, i64>> = text.split(',').map(pair).collect();
    pairs.ok_or_else(|| Failure::bad_request("at and before are partition:offset, with commas between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_begins_where_it_is_told() {
        for (text, expected) in [
            ("", Some(Start::Newest(BTreeMap::new()))),
            ("from=oldest", Some(Start::Oldest)),
            ("from=live", Some(Start::Live)),
            ("from=offset&offset=7", Some(Start::Offset(7))),
            ("from=time&time_ms=12", Some(Start::Time(12))),
            ("at=0:5,2:7", Some(Start::At(BTreeMap::from([(0, 5), (2, 7)])))),
            ("before=1:3", Some(Start::Newest(BTreeMap::from([(1, 3)])))),
            ("from=time&time_ms=-2", None),
            ("from=offset", None),
            ("at=0:-1", None),
            ("at=x", None),
            ("from=there", None),
        ] {
            assert_eq!(start(&Query::parse(text)).ok(), expected, "{text}");
        }
    }
}
