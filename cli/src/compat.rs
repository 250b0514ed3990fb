//! Kafka's command-line tools by their own names: the same options, text, streams and exit codes as Apache Kafka
//! 4.3.0, where a line below does not say otherwise.
//!
//! Deviations, all of them kinder: old tutorials' `--broker-list` is taken as `--bootstrap-server`, and `--zookeeper`
//! beside that gets a note; a missing `--bootstrap-server` means `KAFKA_BOOTSTRAP_SERVERS` or `localhost:9092`; errors are a line, not
//! a Java stack trace; and `kafka-consumer-groups` and `kafka-share-groups` exit 1 when they failed,
//! where Kafka's exit 0.

pub(crate) mod acls;
pub(crate) mod api_versions;
pub(crate) mod client_metrics;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod console_consumer;
pub(crate) mod console_producer;
pub(crate) mod console_share_consumer;
pub(crate) mod consumer_groups;
pub(crate) mod consumer_perf_test;
pub(crate) mod delegation_tokens;
pub(crate) mod delete_records;
pub(crate) mod dump_log;
pub(crate) mod features;
pub(crate) mod formatter;
pub(crate) mod get_offsets;
pub(crate) mod groups;
pub(crate) mod java_date;
pub(crate) mod java_order;
pub(crate) mod leader_election;
pub(crate) mod line_reader;
pub(crate) mod log_dirs;
pub(crate) mod options;
pub(crate) mod producer_perf_test;
pub(crate) mod quorum;
pub(crate) mod share_groups;
pub(crate) mod storage;
pub(crate) mod subcommands;
pub(crate) mod tool;
pub(crate) mod topics;
pub(crate) mod transactions;

use std::io;

use crate::console::{Console, errln, outln};

/// One of Kafka's tools: its arguments in, its exit code out.
type Tool = fn(&[String], &mut Console<'_>) -> io::Result<u8>;

/// The tools by name, without `kafka-` and `.sh`.
const TOOLS: &[(&str, Tool)] = &[
    ("topics", topics::main),
    ("console-producer", console_producer::main),
    ("console-consumer", console_consumer::main),
    ("console-share-consumer", console_share_consumer::main),
    ("consumer-groups", consumer_groups::main),
    ("share-groups", share_groups::main),
    ("configs", configs::main),
    ("client-metrics", client_metrics::main),
    ("acls", acls::main),
    ("groups", groups::main),
    ("leader-election", leader_election::main),
    ("delegation-tokens", delegation_tokens::main),
    ("delete-records", delete_records::main),
    ("dump-log", dump_log::main),
    ("cluster", cluster::main),
    ("producer-perf-test", producer_perf_test::main),
    ("consumer-perf-test", consumer_perf_test::main),
    ("features", features::main),
    ("get-offsets", get_offsets::main),
    ("broker-api-versions", api_versions::main),
    ("log-dirs", log_dirs::main),
    ("metadata-quorum", quorum::main),
    ("storage", storage::main),
    ("transactions", transactions::main),
    ("server-start", crate::start::server_start),
];

/// The names under which the tools can be called, for the image's links and the help.
pub(crate) fn names() -> impl Iterator<Item = String> {
    TOOLS.iter().map(|(name, _)| format!("kafka-{name}"))
}

/// The tool that a program name stands for: `/opt/kafka/bin/kafka-topics.sh` is `topics`. `None` where the name
/// is not one of Kafka's at all.
pub(crate) fn tool_of_program(program: &str) -> Option<&str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.strip_suffix(".sh").unwrap_or(name).strip_prefix("kafka-")
}

/// Runs a tool by its name; `--names` prints under which names they can be called.
pub(crate) fn run(name: &str, arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    if name == "--names" {
        for name in names() {
            outln!(console, "{name}");
        }
        return Ok(0);
    }
    let known = names().collect::<Vec<_>>().join(", ");
    if ["--help", "-h", "help"].contains(&name) {
        outln!(console, "moldau compat TOOL ARGUMENTS; the tools are: {known}");
        return Ok(0);
    }
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    if let Some((_, tool)) = TOOLS.iter().find(|(known, _)| *known == name) {
        return tool(arguments, console);
    }
    errln!(console, "kafka-{name} is not part of moldau yet; these are: {known}");
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_for_links_are_those_that_programs_are_found_by() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run("--names", &[], &mut Console { out: &mut out, err: &mut err }).unwrap(), 0);
        let names = String::from_utf8(out).unwrap();
        assert_eq!(names.lines().count(), TOOLS.len());
        for name in names.lines() {
            let tool = tool_of_program(name).unwrap();
            assert!(TOOLS.iter().any(|(known, _)| *known == tool), "{name}");
        }
    }

    #[test]
    fn help_names_the_tools() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run("--help", &[], &mut Console { out: &mut out, err: &mut err }).unwrap(), 0);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("moldau compat TOOL ARGUMENTS") && text.contains("kafka-topics"), "{text}");
        assert!(err.is_empty());
    }

    #[test]
    fn programs_are_found_by_any_spelling_of_their_name() {
        for (program, tool) in [
            ("kafka-topics.sh", Some("topics")),
            ("/opt/kafka/bin/kafka-topics.sh", Some("topics")),
            ("kafka-console-producer", Some("console-producer")),
            ("moldau", None),
            ("/usr/local/bin/moldau", None),
        ] {
            assert_eq!(tool_of_program(program), tool, "{program}");
        }
    }

    #[test]
    fn a_tool_that_is_missing_says_so_in_one_line() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run("kafka-mirror-maker.sh", &[], &mut Console { out: &mut out, err: &mut err }).unwrap();
        assert_eq!((code, out.len()), (1, 0));
        let text = String::from_utf8(err).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("kafka-mirror-maker is not part of moldau yet"), "{text}");
    }
}
