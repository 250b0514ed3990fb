//! `moldau token`: delegation tokens, by which others may act for a user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Subcommand;
use moldau_model::Principal;
use serde_json::{Value, json};

use super::topic::done;
use super::{Common, Failure, table};
use crate::client::delegation_tokens::DescribedToken;
use crate::compat::java_date::DatePattern;
use crate::console::{Console, outln};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the tokens that you may see: all, or those of owners and renewers
    List {
        /// Only those that this principal owns or may renew, for example User:alice
        #[arg(long)]
        owner: Vec<String>,
    },
    /// Have a token made, and print what its holder logs in by
    Create {
        /// For this principal instead of yourself
        #[arg(long)]
        owner: Option<String>,
        /// Who may renew it besides its owner
        #[arg(long)]
        renewer: Vec<String>,
        /// How long it can be renewed; default: as long as the cluster allows
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        max_lifetime_ms: i64,
    },
    /// Have a token live longer
    Renew {
        /// What its holder logs in by
        hmac: String,
        /// From now on; default: as long as the cluster allows
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        period_ms: i64,
    },
    /// End a token, at once or later
    Expire {
        /// What its holder logs in by
        hmac: String,
        /// From now on; default: at once
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        period_ms: i64,
    },
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List { owner } => {
            let owners = principals(owner)?;
            let owners = Some(owners.as_slice()).filter(|owners| !owners.is_empty());
            let tokens = common.client("moldau")?.describe_tokens(owners)?;
            list(common, &tokens, console)
        }
        Verb::Create { owner, renewer, max_lifetime_ms } => {
            let owner = owner.as_deref().map(principal).transpose()?;
            let renewers = principals(renewer)?;
            let token = common.client("moldau")?.create_token(owner.as_ref(), &renewers, *max_lifetime_ms)?;
            if common.is_json() {
                return Ok(super::json(&value(&token), console)?);
            }
            outln!(console, "token    {}", token.id);
            outln!(console, "hmac     {}", STANDARD.encode(&token.hmac));
            outln!(console, "owner    {}", token.owner);
            outln!(console, "expires  {}", time(token.expires_at_ms)?);
            outln!(console, "ends     {}", time(token.max_timestamp_ms)?);
            Ok(())
        }
        Verb::Renew { hmac, period_ms } => {
            let end_ms = common.client("moldau")?.renew_token(decoded(hmac)?, *period_ms)?;
            told(common, "renewed until", end_ms, console)
        }
        Verb::Expire { hmac, period_ms } => {
            let end_ms = common.client("moldau")?.expire_token(decoded(hmac)?, *period_ms)?;
            told(common, "ends at", end_ms, console)
        }
    }
}

fn told(common: &Common, what: &str, end_ms: i64, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = format!("{what} {}", time(end_ms)?);
    done(common, &text, json!({"expires_at_ms": end_ms}), console)
}

/// Without what the holders log in by: a list is looked at by many. JSON is for programs, and has it.
fn list(common: &Common, tokens: &[DescribedToken], console: &mut Console<'_>) -> Result<(), Failure> {
    if common.is_json() {
        return Ok(super::json(&Value::Array(tokens.iter().map(value).collect()), console)?);
    }
    let row = |token: &DescribedToken| {
        let renewers: Vec<String> = token.renewers.iter().map(Principal::to_string).collect();
        Ok(vec![
            token.id.clone(),
            token.owner.to_string(),
            token.requester.to_string(),
            renewers.join(","),
            time(token.expires_at_ms)?,
            time(token.max_timestamp_ms)?,
        ])
    };
    let rows = tokens.iter().map(row).collect::<Result<Vec<_>, Failure>>()?;
    Ok(table(&["TOKEN", "OWNER", "REQUESTER", "RENEWERS", "EXPIRES", "ENDS"], &rows, console)?)
}

fn value(token: &DescribedToken) -> Value {
    json!({"token_id": token.id, "hmac": STANDARD.encode(&token.hmac), "owner": token.owner.to_string(),
        "requester": token.requester.to_string(),
        "renewers": token.renewers.iter().map(Principal::to_string).collect::<Vec<_>>(),
        "issued_at_ms": token.issued_at_ms, "expires_at_ms": token.expires_at_ms,
        "max_timestamp_ms": token.max_timestamp_ms})
}

fn principals(texts: &[String]) -> Result<Vec<Principal>, Failure> {
    texts.iter().map(|text| principal(text)).collect()
}

fn principal(text: &str) -> Result<Principal, Failure> {
    text.parse().map_err(|error| Failure::Text(format!("{error}")))
}

fn decoded(hmac: &str) -> Result<Bytes, Failure> {
    let bytes =
        STANDARD.decode(hmac).map_err(|error| Failure::Text(format!("the HMAC is not base64: {error}")))?;
    Ok(bytes.into())
}

fn time(at_ms: i64) -> Result<String, Failure> {
    let pattern =
        DatePattern::new("yyyy-MM-dd'T'HH:mm:ss'Z'").map_err(|error| Failure::Text(error.to_string()))?;
    Ok(pattern.format(at_ms))
}
