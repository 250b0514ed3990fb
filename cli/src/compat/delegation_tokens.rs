//! `kafka-delegation-tokens`: tokens by which others may act for a user. Without `--owner-principal`, `--describe` shows all tokens that
//! one may see, as its help says; Kafka's tool asks for those of nobody, and shows none.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use moldau_model::Principal;

use super::java_date::DatePattern;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, refuse_beside, require, with_java_names};
use crate::client::Client;
use crate::client::delegation_tokens::DescribedToken;
use crate::console::{Console, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("create", Argument::No),
            ("describe", Argument::No),
            ("expire", Argument::No),
            ("expiry-time-period", Argument::OptionalNumber),
            ("help", Argument::No),
            ("hmac", Argument::Optional),
            ("max-life-time-period", Argument::OptionalNumber),
            ("owner-principal", Argument::Optional),
            ("renew", Argument::No),
            ("renew-time-period", Argument::OptionalNumber),
            ("renewer-principal", Argument::Optional),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-delegation-tokens.txt"),
    about: "This tool helps to create, renew, expire, or describe delegation tokens.",
};

const ACTIONS: [&str; 4] = ["create", "renew", "expire", "describe"];

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = with_java_names(run(arguments, console));
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    check(&options)?;
    let mut client = connect(&options, "adminclient-1")?;
    if options.has("create") {
        create(&mut client, &options, console)
    } else if options.has("renew") {
        renew(&mut client, &options, console)
    } else if options.has("expire") {
        expire(&mut client, &options, console)
    } else {
        describe(&mut client, &options, console)
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let text = "Command must include exactly one action: --create, --renew, --expire or --describe";
        return Err(Failure::Usage(text.into()));
    }
    require(options, &["command-config"])?;
    for (action, needed) in [
        ("create", &["max-life-time-period"][..]),
        ("renew", &["hmac", "renew-time-period"]),
        ("expire", &["hmac", "expiry-time-period"]),
    ] {
        if options.has(action) {
            require(options, needed)?;
        }
    }
    refuse_beside(options, "create", &["hmac", "renew-time-period", "expiry-time-period"])?;
    let others = ["renewer-principal", "max-life-time-period", "expiry-time-period", "owner-principal"];
    refuse_beside(options, "renew", &others)?;
    refuse_beside(options, "expire", &["max-life-time-period", "renew-time-period", "owner-principal"])?;
    let others = ["renew-time-period", "max-life-time-period", "hmac", "expiry-time-period"];
    refuse_beside(options, "describe", &others)
}

fn create(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let renewers = principals(options, "renewer-principal")?;
    let period_ms = period_ms(options, "max-life-time-period")?;
    outln!(
        console,
        "Calling create token operation with renewers :{} , max-life-time-period :{period_ms}",
        listed(&renewers)
    );
    let owners = principals(options, "owner-principal")?;
    let token = client.create_token(owners.first(), &renewers, period_ms)?;
    outln!(console, "Created delegation token with tokenId : {}", token.id);
    print(&[token], console)
}

fn renew(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let (hmac, period_ms) = (hmac(options)?, period_ms(options, "renew-time-period")?);
    outln!(console, "Calling renew token operation with hmac :{hmac} , renew-time-period :{period_ms}");
    let end_ms = client.renew_token(decoded(hmac)?, period_ms)?;
    write!(console.out, "Completed renew operation. New expiry date : {}", date(end_ms)?)?;
    Ok(())
}

fn expire(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let (hmac, period_ms) = (hmac(options)?, period_ms(options, "expiry-time-period")?);
    outln!(console, "Calling expire token operation with hmac :{hmac} , expire-time-period :{period_ms}");
    let end_ms = client.expire_token(decoded(hmac)?, period_ms)?;
    write!(console.out, "Completed expire operation. New expiry date : {}", date(end_ms)?)?;
    Ok(())
}

fn describe(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let owners = principals(options, "owner-principal")?;
    if owners.is_empty() {
        outln!(console, "Calling describe token operation for current user.");
    } else {
        outln!(console, "Calling describe token operation for owners: {}", listed(&owners));
    }
    let tokens =
        client.describe_tokens(Some(&owners).filter(|owners| !owners.is_empty()).map(Vec::as_slice))?;
    write!(console.out, "Total number of tokens : {}", tokens.len())?;
    print(&tokens, console)
}

/// The table, a blank line before each row.
fn print(tokens: &[DescribedToken], console: &mut Console<'_>) -> Result<(), Failure> {
    let mut row = |cells: [&str; 8]| {
        let [id, hmac, owner, requester, renewers, issued, expiry, max] = cells;
        outln!(
            console,
            "\n{id:<15} {hmac:<30} {owner:<15} {requester:<15} {renewers:<25} {issued:<15} {expiry:<15} {max:<15}"
        );
        Ok::<(), Failure>(())
    };
    row(["TOKENID", "HMAC", "OWNER", "REQUESTER", "RENEWERS", "ISSUEDATE", "EXPIRYDATE", "MAXDATE"])?;
    for token in tokens {
        row([
            &token.id,
            &STANDARD.encode(&token.hmac),
            &token.owner.to_string(),
            &token.requester.to_string(),
            &listed(&token.renewers),
            &date(token.issued_at_ms)?,
            &date(token.expires_at_ms)?,
            &date(token.max_timestamp_ms)?,
        ])?;
    }
    Ok(())
}

/// As Java prints a list.
fn listed(principals: &[Principal]) -> String {
    let names: Vec<String> = principals.iter().map(Principal::to_string).collect();
    format!("[{}]", names.join(", "))
}

fn principals(options: &Options, name: &str) -> Result<Vec<Principal>, Failure> {
    let parsed = options.all(name).iter().map(|text| text.trim().parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error: moldau_model::ParsePrincipalError| Failure::Text(error.to_string()))
}

fn period_ms(options: &Options, name: &str) -> Result<i64, Failure> {
    options.number(name)?.ok_or_else(|| Failure::Text(format!("Option {name} requires an argument")))
}

fn hmac(options: &Options) -> Result<&str, Failure> {
    options.one("hmac")?.ok_or_else(|| Failure::Text("Option hmac requires an argument".to_owned()))
}

fn decoded(hmac: &str) -> Result<Bytes, Failure> {
    STANDARD
        .decode(hmac)
        .map(Bytes::from)
        .map_err(|error| Failure::Text(format!("The HMAC is not base64: {error}")))
}

fn date(at_ms: i64) -> Result<String, Failure> {
    let pattern = DatePattern::new("yyyy-MM-dd'T'HH:mm").map_err(|error| Failure::Text(error.to_string()))?;
    Ok(pattern.format(at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1, "{line}");
        assert_eq!(out, b"", "{line}");
        String::from_utf8(err).unwrap().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn wrong_lines_have_kafkas_words() {
        let one = "Command must include exactly one action: --create, --renew, --expire or --describe";
        for (line, text) in [
            ("", TOOL.about),
            ("--help", TOOL.about),
            ("--command-config c", one),
            ("--create --renew", one),
            ("--create", "Missing required argument \"[command-config]\""),
            ("--create --command-config c", "Missing required argument \"[max-life-time-period]\""),
            ("--renew --command-config c", "Missing required argument \"[hmac]\""),
            ("--expire --command-config c --hmac a", "Missing required argument \"[expiry-time-period]\""),
            (
                "--create --command-config c --max-life-time-period -1 --hmac a",
                "Option \"[create]\" can't be used with option \"[hmac]\"",
            ),
            (
                "--describe --command-config c --hmac a",
                "Option \"[describe]\" can't be used with option \"[hmac]\"",
            ),
        ] {
            assert_eq!(refusal(line), text, "{line}");
        }
    }

    #[test]
    fn tokens_are_a_table_as_kafka_prints_it() {
        let token = DescribedToken {
            id: "id".to_owned(),
            hmac: Bytes::from_static(b"hmac"),
            owner: Principal::user("alice"),
            requester: Principal::user("service"),
            renewers: vec![Principal::user("bob"), Principal::user("c")],
            issued_at_ms: 0,
            expires_at_ms: 86_400_000,
            max_timestamp_ms: 604_800_000,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&[token], &mut Console { out: &mut out, err: &mut err }).unwrap();
        let head = format!(
            "\n{:<15} {:<30} {:<15} {:<15} {:<25} {:<15} {:<15} {:<15}\n",
            "TOKENID", "HMAC", "OWNER", "REQUESTER", "RENEWERS", "ISSUEDATE", "EXPIRYDATE", "MAXDATE"
        );
        let row = format!(
            "\n{:<15} {:<30} {:<15} {:<15} {:<25} {} {} {}\n",
            "id",
            "aG1hYw==",
            "User:alice",
            "User:service",
            "[User:bob, User:c]",
            "1970-01-01T00:00",
            "1970-01-02T00:00",
            "1970-01-08T00:00"
        );
        assert_eq!(String::from_utf8(out).unwrap(), head + &row);
    }
}
