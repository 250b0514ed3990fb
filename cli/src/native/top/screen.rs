//! How a look at a cluster is drawn: to the size of the terminal, nothing wrapped.

use super::super::counted;
use super::sample::Sample;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";
/// Lines that are no table row: the head, the tables' heads and the blank lines around them.
const FIXED_LINES: usize = 8;
const ROWS_MIN: usize = 3;

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) colours: bool,
}

/// The lines of a screen.
pub(super) fn draw(servers: &str, now: &Sample, before: Option<&Sample>, size: Size) -> Vec<String> {
    let emphasised = |text: &str, colour: &str| {
        if size.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    };
    let fitting = |text: String| -> String { text.chars().take(size.columns).collect() };
    let topics = now.topic_rows(before);
    let groups = now.group_rows(before);
    // The sum of nothing is -0.
    let total = topics.iter().filter_map(|row| row.records_per_second).sum::<f64>() + 0.0;
    let (behind, leaderless) = (now.under_replicated, now.leaderless);
    let mut lines = vec![
        fitting(format!(
            "moldau top  {servers}  brokers {}  controller {}",
            super::super::join(&now.brokers),
            now.controller
        )),
        fitting(format!(
            "{}, {}, {total:.0} records/s",
            counted(topics.len(), "topic"),
            counted(now.partitions(), "partition")
        )),
    ];
    let away = if now.fenced.is_empty() {
        String::new()
    } else {
        format!("not in service {}, ", super::super::join(&now.fenced))
    };
    let health = fitting(format!("{away}under-replicated {behind}, without a leader {leaderless}"));
    lines.push(if behind + leaderless + now.fenced.len() > 0 { emphasised(&health, RED) } else { health });
    let free = size.rows.saturating_sub(FIXED_LINES).max(2 * ROWS_MIN);
    let groups_max = groups.len().min((free / 2).max(ROWS_MIN));
    let topics_max = topics.len().min(free.saturating_sub(groups_max).max(ROWS_MIN));
    lines.push(String::new());
    let name_width = size.columns.saturating_sub(56).clamp(16, 60);
    let head = format!(
        "{:<name_width$} {:>10} {:>12} {:>6} {:>6} {:>6}",
        "TOPIC", "RECORDS/S", "RECORDS", "PARTS", "URP", "DOWN"
    );
    lines.push(emphasised(&fitting(head), BOLD));
    for row in topics.iter().take(topics_max) {
        let end = row.sample.end.map_or_else(|| "-".to_owned(), |end| end.to_string());
        let text = fitting(format!(
            "{:<name_width$} {:>10} {end:>12} {:>6} {:>6} {:>6}",
            shortened(&row.name, name_width),
            rate(row.records_per_second),
            row.sample.partitions,
            row.sample.under_replicated,
            row.sample.leaderless
        ));
        let is_sick = row.sample.under_replicated + row.sample.leaderless > 0;
        lines.push(if is_sick { emphasised(&text, RED) } else { text });
    }
    if topics.len() > topics_max {
        lines.push(fitting(format!("... and {} more", topics.len() - topics_max)));
    }
    lines.push(String::new());
    let head = format!("{:<name_width$} {:>10} {:>12} {}", "GROUP", "RECORDS/S", "LAG", "STATE");
    lines.push(emphasised(&fitting(head), BOLD));
    lines.extend(now.groups_error.iter().map(|error| fitting(format!("not known now: {error}"))));
    for row in groups.iter().take(groups_max) {
        lines.push(fitting(format!(
            "{:<name_width$} {:>10} {:>12} {}",
            shortened(&row.sample.group, name_width),
            rate(row.records_per_second),
            row.sample.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string()),
            row.sample.state
        )));
    }
    let more = groups.len() - groups_max + now.groups_left_out;
    if more > 0 {
        lines.push(fitting(format!("... and {more} more")));
    }
    lines
}

fn rate(records_per_second: Option<f64>) -> String {
    records_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}

fn shortened(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let kept: String = name.chars().take(width.saturating_sub(3)).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::sample::{GroupSample, TopicSample};
    use super::*;

    fn sample(topics: usize) -> Sample {
        let topic =
            |n: usize| TopicSample { partitions: 2, under_replicated: n % 2, leaderless: 0, end: Some(5) };
        Sample {
            at: Instant::now(),
            brokers: vec![1, 2],
            fenced: Vec::new(),
            under_replicated: 0,
            leaderless: 0,
            controller: 2,
            topics: (0..topics).map(|n| (format!("a-topic-with-a-long-name-{n}"), topic(n))).collect(),
            groups: vec![GroupSample {
                group: "g".into(),
                state: "Stable".into(),
                committed: 1,
                lag: Some(7),
            }],
            groups_left_out: 0,
            groups_error: None,
        }
    }

    #[test]
    fn a_screen_fits_the_terminal() {
        for (columns, rows) in [(80, 24), (40, 10), (200, 60)] {
            let size = Size { columns, rows, colours: false };
            let lines = draw("localhost:9092", &sample(100), None, size);
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}: {lines:#?}");
            assert!(lines.len() <= rows.max(16), "{} lines in {rows}", lines.len());
            assert!(lines.iter().any(|line| line.starts_with("... and ")));
        }
    }

    #[test]
    fn a_broker_that_is_away_is_named_and_partitions_of_topics_that_are_not_shown_count() {
        let size = Size { columns: 100, rows: 30, colours: false };
        let now = Sample { fenced: vec![3], under_replicated: 51, ..sample(0) };
        assert_eq!(
            draw("s", &now, None, size)[2],
            "not in service 3, under-replicated 51, without a leader 0"
        );
    }

    #[test]
    fn the_first_look_counts_as_people_do() {
        let size = Size { columns: 100, rows: 30, colours: false };
        assert_eq!(draw("s", &sample(0), None, size)[1], "0 topics, 0 partitions, 0 records/s");
        assert_eq!(draw("s", &sample(1), None, size)[1], "1 topic, 2 partitions, 0 records/s");
    }

    #[test]
    fn what_is_sick_is_red_and_the_lag_is_shown() {
        let lines = draw("s", &sample(2), None, Size { columns: 100, rows: 30, colours: true });
        assert!(lines.iter().any(|line| line.starts_with(RED) && line.contains("name-1")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("g ") && line.contains(" 7 Stable")), "{lines:#?}");
    }
}
