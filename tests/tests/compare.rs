//! Every version of every API against a real Apache Kafka 4.3.0, answer by answer.
//!
//! `tests/clients/test_compare.py` starts both and names them; without it there is nothing to compare with, and the test
//! says so.

use moldau_tests::compare::{Peer, run};

#[test]
fn every_answer_is_apache_kafkas() {
    let (Ok(kafka), Ok(moldau)) = (std::env::var("COMPARE_KAFKA"), std::env::var("COMPARE_MOLDAU")) else {
        eprintln!("skipped: no Apache Kafka to compare with (tests/clients/test_compare.py starts one)");
        return;
    };
    let only = std::env::var("COMPARE_ONLY").ok();
    let (mut kafka, mut moldau) = (Peer::new(&kafka), Peer::new(&moldau));
    let (compared, differences) =
        run(&mut kafka, &mut moldau, only.as_deref()).expect("Apache Kafka answers");
    for difference in &differences {
        eprintln!("== {}", difference.case);
        print_difference(&difference.kafka, &difference.moldau);
    }
    eprintln!("{compared} answers compared, {} differ", differences.len());
    assert!(only.is_some() || compared > 300, "only {compared} answers were compared");
    assert!(differences.is_empty(), "{} answers are not Kafka's", differences.len());
}

/// The lines that differ, and as context the line before the first.
fn print_difference(kafka: &str, moldau: &str) {
    let (kafka, moldau): (Vec<&str>, Vec<&str>) = (kafka.lines().collect(), moldau.lines().collect());
    let same_start = kafka.iter().zip(&moldau).take_while(|(a, b)| a == b).count();
    let longest_tail = kafka.len().min(moldau.len()) - same_start;
    let same_end =
        kafka.iter().rev().zip(moldau.iter().rev()).take(longest_tail).take_while(|(a, b)| a == b).count();
    for line in &kafka[same_start.saturating_sub(2)..same_start] {
        eprintln!("  {line}");
    }
    for (sign, lines) in [("kafka ", &kafka), ("moldau", &moldau)] {
        for line in lines[same_start..lines.len() - same_end].iter().take(25) {
            eprintln!("{sign} {line}");
        }
    }
}
