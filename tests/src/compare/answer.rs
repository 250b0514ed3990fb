//! An answer as text that can be compared: one field a line, with what is each system's own taken out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::deviations::{Deviation, Treatment};

/// One line of the printed answer, and what stands between it and its closing bracket.
struct Node {
    head: String,
    children: Vec<Node>,
    /// The closing bracket's line, without its indentation.
    tail: Option<String>,
}

/// `printed` is an answer in Rust's `{:#?}`. `words` has what the system made up, and the word for it.
pub(super) fn normalise(
    printed: &str,
    words: &BTreeMap<String, String>,
    deviations: &[&Deviation],
    ignore: &[&str],
) -> String {
    let mut named = printed.to_string();
    for (text, word) in words {
        if named.contains(text.as_str()) {
            named = named.replace(text.as_str(), word);
        }
    }
    let mut nodes = parse(&mut named.lines());
    nodes.iter_mut().for_each(|node| clean(node, None, deviations, ignore));
    let mut out = String::new();
    nodes.iter().for_each(|node| print(node, 0, &mut out));
    out
}

fn parse<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.starts_with([']', ')', '}']) {
            nodes.push(Node { head: String::new(), children: Vec::new(), tail: Some(line.to_string()) });
            return nodes;
        }
        let mut node = Node { head: line.to_string(), children: Vec::new(), tail: None };
        if line.ends_with(['(', '[', '{']) {
            node.children = parse(lines);
            node.tail = node.children.pop().and_then(|closing| closing.tail);
        }
        nodes.push(node);
    }
    nodes
}

/// `field` names the list's field for a node whose own line does not: the bracket inside `Some(`.
fn clean(node: &mut Node, field: Option<&str>, deviations: &[&Deviation], ignore: &[&str]) {
    let own = node.head.split_once(": ").map(|(name, _)| name.to_string());
    let field = own.as_deref().or(field);
    let treated = |name: &str, how: Treatment| {
        deviations.iter().any(|d| d.treatment == how && d.fields.contains(&name))
    };
    if let Some(name) = &own
        && (ignore.contains(&name.as_str()) || treated(name, Treatment::Ignored))
    {
        *node = Node { head: format!("{name}: <not compared>"), children: Vec::new(), tail: None };
        return;
    }
    let is_list = node.head.ends_with('[');
    let below = if is_list || node.head.ends_with('(') { field } else { None };
    node.children.retain(|child| !child.head.starts_with("unknown_tagged_fields"));
    if is_list && field.is_some() {
        let ours: Vec<&str> = deviations
            .iter()
            .filter(|d| d.treatment == Treatment::ElementsOfOurs)
            .flat_map(|d| d.fields.iter().copied())
            .collect();
        node.children.retain(|child| !ours.iter().any(|name| is_named(child, name)));
    }
    node.children.iter_mut().for_each(|child| clean(child, below, deviations, ignore));
    if is_list && field.is_some_and(|name| treated(name, Treatment::AnyOrder)) {
        node.children.sort_by_cached_key(|child| {
            let [mut identity, mut text] = [String::new(), String::new()];
            child
                .children
                .iter()
                .filter(|field| is_identity(field))
                .for_each(|field| print(field, 0, &mut identity));
            print(child, 0, &mut text);
            (identity, text)
        });
    }
}

/// Whether the field says what an element is, so that the same ones stand beside each other.
fn is_identity(field: &Node) -> bool {
    const NAMES: &[&str] = &[
        "name: ",
        "topic: ",
        "topic_id: ",
        "group_id: ",
        "resource_name: ",
        "resource_type: ",
        "partition_index: ",
    ];
    NAMES.iter().any(|name| field.head.starts_with(name))
}

/// Whether an element of a list has the name, in its field `name`.
fn is_named(element: &Node, name: &str) -> bool {
    element.children.iter().any(|child| child.head == format!("name: \"{name}\","))
}

fn print(node: &Node, depth: usize, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:1$}{2}", "", depth * 4, node.head);
    node.children.iter().for_each(|child| print(child, depth + 1, out));
    if let Some(tail) = &node.tail {
        let _ = writeln!(out, "{:1$}{2}", "", depth * 4, tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Answer {\n    topics: Some(\n        [\n            Topic {\n                name: \"b\",\n                \
         time: 7,\n            },\n            Topic {\n                name: \"a\",\n            },\n        ],\n    ),\n\
         \x20   replicas: [\n        2,\n        1,\n    ],\n    unknown_tagged_fields: {},\n}";

    fn deviation(fields: &'static [&'static str], treatment: Treatment) -> Deviation {
        Deviation { apis: &[], fields, treatment, what: "", why: "" }
    }

    #[test]
    fn nothing_is_taken_out_unless_it_is_asked_for() {
        let text = normalise(PRINTED, &BTreeMap::new(), &[], &[]);
        let expected = PRINTED.replace("    unknown_tagged_fields: {},\n", "") + "\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn lists_in_any_order_are_sorted_and_only_those() {
        let any_order = deviation(&["topics"], Treatment::AnyOrder);
        let text = normalise(PRINTED, &BTreeMap::new(), &[&any_order], &[]);
        assert!(text.find("\"a\"") < text.find("\"b\""), "{text}");
        assert!(text.find("        2,") < text.find("        1,"), "{text}");
    }

    #[test]
    fn ignored_fields_stay_as_a_word_and_elements_of_ours_go() {
        let ours = deviation(&["a"], Treatment::ElementsOfOurs);
        let text = normalise(PRINTED, &BTreeMap::from([("7".into(), "8".into())]), &[&ours], &["time"]);
        assert!(text.contains("time: <not compared>\n") && !text.contains("\"a\""), "{text}");
    }
}
