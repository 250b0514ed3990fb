//! `docs/CONFIGURATION.md` is what the definitions of the settings say, and what it says is honoured is read somewhere.
//! `UPDATE_DOCS=1 cargo test -p moldau-tests` writes its tables.

use std::fmt::Write as _;

use moldau_metadata::config::definitions::{self, ConfigDefinition};
use moldau_metadata::config::{
    DEVIATIONS, DefaultValue, Effect, UpdateMode, broker_effect, client_metrics_effect, group_effect,
    is_heard_at_run_time, topic_effect,
};
use moldau_tests::{replace_generated, rust_sources};

fn default_of(definition: &ConfigDefinition) -> String {
    let ours = DEVIATIONS.iter().find(|deviation| deviation.name == definition.name);
    let kafkas = match definition.default {
        DefaultValue::Required => "has to be set".to_owned(),
        DefaultValue::Null => "none".to_owned(),
        DefaultValue::Value("") => "empty".to_owned(),
        DefaultValue::Value(text) => format!("`{}`", text.replace('|', "\\|")),
    };
    ours.map_or(kafkas.clone(), |ours| format!("`{}` (Kafka: {kafkas})", ours.value))
}

fn effect_text(effect: Effect) -> String {
    match effect {
        Effect::Honoured => "honoured".to_owned(),
        Effect::WithoutEffect(why) => format!("without effect yet: {why}"),
        Effect::RefusedInPart(what) => format!("honoured; refused: {what}"),
        Effect::Refused(why) => format!("refused: {why}"),
    }
}

/// Whether a change while the broker runs is taken, and whether it takes effect.
fn at_run_time(definition: &ConfigDefinition) -> &'static str {
    match definition.update_mode {
        UpdateMode::ReadOnly => "no",
        _ if is_heard_at_run_time(definition.name) => "yes",
        _ => "taken, without effect",
    }
}

fn table<'a>(
    title: &str,
    definitions: impl Iterator<Item = &'a ConfigDefinition>,
    effect: impl Fn(&str) -> Effect,
    with_run_time: bool,
) -> String {
    let mut rows: Vec<&ConfigDefinition> = definitions.collect();
    rows.sort_by_key(|definition| definition.name);
    let mut out = format!("\n## {title}\n\n| setting | default |");
    out.push_str(if with_run_time { " at run time |" } else { "" });
    out.push_str(" what it does here | meaning |\n|---|---|---|---|");
    out.push_str(if with_run_time { "---|\n" } else { "\n" });
    for definition in rows {
        let _ = write!(out, "| {} | {} |", definition.name, default_of(definition));
        if with_run_time {
            let _ = write!(out, " {} |", at_run_time(definition));
        }
        let doc = definition.doc.replace('|', "\\|");
        let _ = writeln!(out, " {} | {doc} |", effect_text(effect(definition.name)));
    }
    out
}

fn tables() -> String {
    let kafkas = definitions::BROKER_TABLES
        .iter()
        .filter(|table| **table != definitions::OWN)
        .flat_map(|table| table.iter())
        .chain(definitions::DYNAMIC_ONLY);
    [
        table("Our own settings", definitions::OWN.iter(), broker_effect, false),
        table("Topics", definitions::TOPIC.iter(), topic_effect, false),
        table("Brokers and controllers", kafkas, broker_effect, true),
        table("Groups", definitions::GROUP.iter(), group_effect, false),
        table(
            "Client metrics subscriptions",
            definitions::CLIENT_METRICS.iter(),
            |_| client_metrics_effect(),
            false,
        ),
    ]
    .concat()
}

#[test]
fn the_tables_in_the_docs_are_the_definitions_in_the_code() {
    replace_generated("docs/CONFIGURATION.md", "tests/tests/configuration.rs", &tables());
}

#[test]
fn what_is_called_honoured_is_read_somewhere() {
    let sources = rust_sources();
    let is_read = |name: &str| {
        let quoted = format!("\"{name}\"");
        sources.iter().any(|(path, text)| {
            let path = path.to_string_lossy();
            let is_table = path.contains("/definitions/") || path.ends_with("config/effect.rs");
            let is_test = path.contains("tests");
            !is_table && !is_test && text.contains(&quoted)
        })
    };
    let broker =
        definitions::broker().filter(|definition| broker_effect(definition.name) == Effect::Honoured);
    let topic =
        definitions::TOPIC.iter().filter(|definition| topic_effect(definition.name) == Effect::Honoured);
    let unread: Vec<&str> =
        broker.chain(topic).map(|definition| definition.name).filter(|name| !is_read(name)).collect();
    assert!(unread.is_empty(), "called honoured, and nobody reads them: {}", unread.join(", "));
}

/// Otherwise the comparison with Apache Kafka fails, which takes longer to say so.
#[test]
fn the_comparison_knows_every_setting_that_kafka_does_not_have() {
    let known: Vec<&str> = moldau_tests::compare::deviations::DEVIATIONS
        .iter()
        .flat_map(|deviation| deviation.fields.iter().copied())
        .collect();
    for definition in definitions::OWN {
        assert!(
            known.contains(&definition.name),
            "{}: name it in tests/src/compare/deviations.rs",
            definition.name
        );
    }
}
