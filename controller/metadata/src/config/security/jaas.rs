//! `sasl.jaas.config`: the one line of Java's login configuration that Kafka's settings carry. Three login modules are
//! known, all of them Kafka's own; every other class is refused, for a class that is named from outside is a way in
//! (CVE-2023-25194).

use std::collections::BTreeMap;

use thiserror::Error;

use super::Secret;

/// A login module that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginModule {
    Plain,
    Scram,
    OauthBearer,
}

const MODULES: &[(&str, LoginModule)] = &[
    ("org.apache.kafka.common.security.plain.PlainLoginModule", LoginModule::Plain),
    ("org.apache.kafka.common.security.scram.ScramLoginModule", LoginModule::Scram),
    ("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule", LoginModule::OauthBearer),
];
/// The options that the modules have, but for PLAIN's `user_NAME`.
const OPTIONS: &[&str] = &["username", "password", "tokenauth"];
const CONTROL_FLAGS: &[&str] = &["required", "requisite", "sufficient", "optional"];

/// One login module and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JaasEntry {
    pub module: LoginModule,
    pub options: BTreeMap<String, Secret>,
}

/// Why a text is no login configuration. None of the messages repeats an option's value, or what may be part of one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JaasError {
    #[error(
        "login module {0} is not known; PlainLoginModule, ScramLoginModule and OAuthBearerLoginModule are"
    )]
    UnknownModule(String),
    #[error("the login module has to be followed by required, and by its options")]
    ControlFlag,
    #[error("Value not specified for key {0}")]
    NoValue(String),
    #[error("the login module's options have to end with a semicolon")]
    NoSemicolon,
    #[error("a quoted value does not end")]
    OpenQuote,
    #[error("one login module has to be given, not several")]
    Several,
    #[error("no login module is given")]
    Empty,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
}

/// Reads one entry.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_jaas(text: &str) -> Result<JaasEntry, JaasError> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let name = match tokens.next() {
        Some(Token::Word(name) | Token::Quoted(name)) => name,
        Some(Token::Sign(_)) | None => return Err(JaasError::Empty),
    };
    let module = MODULES.iter().find(|(known, _)| *known == name).map(|(_, module)| *module);
    match tokens.next() {
        Some(Token::Word(flag)) if CONTROL_FLAGS.contains(&flag.to_ascii_lowercase().as_str()) => {}
        _ => return Err(JaasError::ControlFlag),
    }
    // What stands before a control flag, and looks like a class, was meant as one.
    let shown = if is_class_name(&name) { name } else { "in the first word".to_owned() };
    let module = module.ok_or(JaasError::UnknownModule(shown))?;
    let mut options = BTreeMap::new();
    loop {
        let number = options.len() + 1;
        match tokens.next() {
            Some(Token::Sign(';')) => break,
            Some(Token::Word(key) | Token::Quoted(key)) => {
                if tokens.next() != Some(Token::Sign('=')) {
                    return Err(no_value(key, number));
                }
                match tokens.next() {
                    Some(Token::Word(value) | Token::Quoted(value)) => {
                        options.insert(key, Secret::new(value));
                    }
                    _ => return Err(no_value(key, number)),
                }
            }
            Some(Token::Sign(_)) | None => return Err(JaasError::NoSemicolon),
        }
    }
    if tokens.next().is_some() {
        return Err(JaasError::Several);
    }
    Ok(JaasEntry { module, options })
}

fn is_class_name(word: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    word.contains('.') && word.split('.').all(is_name)
}

/// A password without quotes that has blanks inside looks like further keys: those that are known are repeated, and no others.
fn no_value(key: String, number: usize) -> JaasError {
    let is_known = OPTIONS.contains(&key.as_str());
    JaasError::NoValue(if is_known { key } else { format!("number {number}") })
}

fn tokens(text: &str) -> Result<Vec<Token>, JaasError> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        match first {
            c if c.is_whitespace() => {}
            quote @ ('"' | '\'') => tokens.push(Token::Quoted(quoted(quote, &mut characters)?)),
            sign @ (';' | '=') => tokens.push(Token::Sign(sign)),
            first => {
                let mut word = String::from(first);
                while let Some(next) =
                    characters.next_if(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | ';' | '='))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

/// The rest of a quoted value, with the escapes that Java's tokenizer knows.
fn quoted(quote: char, characters: &mut impl Iterator<Item = char>) -> Result<String, JaasError> {
    let mut value = String::new();
    loop {
        match characters.next().ok_or(JaasError::OpenQuote)? {
            c if c == quote => return Ok(value),
            '\\' => value.push(match characters.next().ok_or(JaasError::OpenQuote)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

    #[test]
    fn a_line_is_read_as_java_reads_it() {
        let text = format!(
            "{PLAIN} required\n  username=\"admin\" password='it;s=a \\\"b\\\\'\n user_admin=\"x\" user_bob=b-1;"
        );
        let entry = parse_jaas(&text).unwrap();
        assert_eq!(entry.module, LoginModule::Plain);
        let options: Vec<(&str, &str)> =
            entry.options.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
        let expected =
            [("password", "it;s=a \"b\\"), ("user_admin", "x"), ("user_bob", "b-1"), ("username", "admin")];
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_no_login_of_kafkas_is_refused() {
        let jndi = "com.sun.security.auth.module.JndiLoginModule";
        for (text, error) in [
            (String::new(), JaasError::Empty),
            (format!("{jndi} required a=\"b\";"), JaasError::UnknownModule(jndi.into())),
            (PLAIN.to_owned(), JaasError::ControlFlag),
            (format!("{PLAIN} needed;"), JaasError::ControlFlag),
            (format!("{PLAIN} required username=\"a\""), JaasError::NoSemicolon),
            (format!("{PLAIN} required username;"), JaasError::NoValue("username".into())),
            (format!("{PLAIN} required password=my hush;"), JaasError::NoValue("number 2".into())),
            (format!("{PLAIN} required password=my hush=;"), JaasError::NoValue("number 2".into())),
            ("hush required;".into(), JaasError::UnknownModule("in the first word".into())),
            ("hush".into(), JaasError::ControlFlag),
            (format!("{PLAIN} required username=;"), JaasError::NoValue("username".into())),
            (format!("{PLAIN} required username=\"a;"), JaasError::OpenQuote),
            (format!("{PLAIN} required; {PLAIN} required;"), JaasError::Several),
        ] {
            assert_eq!(parse_jaas(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let entry = parse_jaas(&format!("{PLAIN} required username=a password=hush;")).unwrap();
        assert!(!format!("{entry:?}").contains("hush"));
    }
}
