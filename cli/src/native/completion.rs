//! Completion: the shell's own script, and behind it the names of topics, groups and brokers as they are now. A shell waits
//! for them on every press of a key, so that a cluster that does not answer at once is not waited for: then the names
//! of the last time are offered.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, Common, Failure};
use crate::client::{Client, ClientError, ClientOptions, HostPort, WhenUnreachable};
use crate::compat::tool::default_bootstrap;
use crate::console::{Console, outln};

/// From the key to the names, with the start of this process and a margin: people notice more than 150 ms.
const NAMES_MAX: Duration = Duration::from_millis(120);
/// More names than this help nobody who presses a key.
const NAMES_COUNT_MAX: usize = 1000;

/// What is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Topics,
    Groups,
    Brokers,
    Settings,
}

#[derive(Args)]
pub(super) struct NamesArguments {
    kind: Kind,
    /// What is typed of the name so far
    #[arg(default_value = "")]
    begun: String,
}

/// Where live names come in: behind these commands, as `moldau COMMAND VERB`, or `moldau COMMAND` where it has no verb.
const LIVE: &[(&str, &[&str], Kind)] = &[
    ("topic", &["describe", "alter", "delete"], Kind::Topics),
    ("group", &["describe", "reset", "delete"], Kind::Groups),
    ("broker", &["drain", "decommission"], Kind::Brokers),
    ("cluster", &["restart-safe"], Kind::Brokers),
    ("config", &["explain"], Kind::Settings),
    ("produce", &[], Kind::Topics),
    ("consume", &[], Kind::Topics),
];

impl Kind {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Writes the script of a shell, with live names where we know how the shell asks for them.
pub(super) fn script(shell: Shell, console: &mut Console<'_>) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "moldau", &mut script);
    console.out.write_all(&script)?;
    let live = match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
        _ => String::new(),
    };
    console.out.write_all(live.as_bytes())
}

/// The patterns of a shell's `case` over "COMMAND VERB", each with what to ask for.
fn cases(body: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (command, verbs, kind) in LIVE {
        let patterns: Vec<String> = if verbs.is_empty() {
            vec![format!("\"{command} \"*")]
        } else {
            verbs.iter().map(|verb| format!("\"{command} {verb}\"")).collect()
        };
        text.push_str(&format!("        {}) {} ;;\n", patterns.join("|"), body(&kind.name())));
    }
    text
}

fn bash() -> String {
    let cases = cases(|kind| format!("kind={kind}"));
    format!(
        r#"
_moldau_live() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" kind=""
    if [[ $COMP_CWORD -ge 2 && "$current" != -* && "${{COMP_WORDS[COMP_CWORD-1]}}" != -* ]]; then
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}        esac
        [[ $COMP_CWORD -eq 2 && "${{COMP_WORDS[1]}}" != produce && "${{COMP_WORDS[1]}}" != consume ]] && kind=""
    fi
    if [[ -n "$kind" ]]; then
        mapfile -t COMPREPLY < <("${{COMP_WORDS[0]}}" names "$kind" "$current" 2>/dev/null)
        return 0
    fi
    _moldau "$@"
}}
complete -F _moldau_live -o nosort -o bashdefault -o default moldau
"#
    )
}

fn zsh() -> String {
    let cases = cases(|kind| format!("kind={kind}"));
    format!(
        r#"
_moldau_live() {{
    local kind=""
    if (( CURRENT >= 3 )) && [[ "${{words[CURRENT]}}" != -* && "${{words[CURRENT-1]}}" != -* ]]; then
        case "${{words[2]}} ${{words[3]}}" in
{cases}        esac
        (( CURRENT == 3 )) && [[ "${{words[2]}}" != produce && "${{words[2]}}" != consume ]] && kind=""
    fi
    if [[ -n "$kind" ]]; then
        local -a names
        names=("${{(@f)$("${{words[1]}}" names "$kind" "${{words[CURRENT]}}" 2>/dev/null)}}")
        compadd -- $names
        return
    fi
    _moldau "$@"
}}
compdef _moldau_live moldau
"#
    )
}

fn fish() -> String {
    let mut text = String::from("\n");
    for (command, verbs, kind) in LIVE {
        let seen = if verbs.is_empty() {
            format!("__fish_seen_subcommand_from {command}")
        } else {
            format!(
                "__fish_seen_subcommand_from {command}; and __fish_seen_subcommand_from {}",
                verbs.join(" ")
            )
        };
        let kind = kind.name();
        text.push_str(&format!(
            "complete -c moldau -n \"{seen}\" -f -a \"(moldau names {kind} (commandline -ct))\"\n"
        ));
    }
    text
}

/// Prints names that begin as what is typed, one a line. Says nothing where it cannot: a shell shows what it is told.
pub(super) fn names(
    common: &Common,
    arguments: &NamesArguments,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut names = match arguments.kind {
        Kind::Settings => setting_names(),
        kind => {
            let servers = common.bootstrap_server.clone().unwrap_or_else(default_bootstrap);
            live_names(kind, &servers)
        }
    };
    names.retain(|name| name.starts_with(&arguments.begun));
    names.truncate(NAMES_COUNT_MAX);
    for name in names {
        outln!(console, "{name}");
    }
    Ok(())
}

fn setting_names() -> Vec<String> {
    use moldau_metadata::config::definitions;
    let all = definitions::broker().chain(definitions::TOPIC.iter()).chain(definitions::GROUP.iter());
    let mut names: Vec<String> = all.map(|definition| definition.name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The names that the cluster tells in time, else those that it told the last time.
fn live_names(kind: Kind, servers: &str) -> Vec<String> {
    let cache = cache_path(kind, servers);
    let (sender, receiver) = sync_channel(1);
    let Ok(bootstrap) = HostPort::parse_list(servers) else { return Vec::new() };
    // A name server that does not answer would hold up a thread for longer than anybody waits; it ends with the process.
    let asked = std::thread::Builder::new().spawn(move || {
        let answer = ask(kind, bootstrap);
        drop(sender.send(answer));
    });
    let answer = asked.ok().and_then(|_| receiver.recv_timeout(NAMES_MAX).ok());
    match (answer, cache) {
        (Some(Ok(names)), cache) => {
            if let Some(path) = cache {
                keep(&path, &names);
            }
            names
        }
        (_, Some(path)) => std::fs::read_to_string(path)
            .map(|text| text.lines().map(str::to_owned).collect())
            .unwrap_or_default(),
        (_, None) => Vec::new(),
    }
}

fn ask(kind: Kind, bootstrap: Vec<HostPort>) -> Result<Vec<String>, ClientError> {
    let mut client = Client::new(ClientOptions {
        bootstrap,
        client_id: "moldau-completion".to_owned(),
        api_timeout: NAMES_MAX,
        when_unreachable: WhenUnreachable::Fail,
    });
    Ok(match kind {
        Kind::Topics => client.list_topics()?.into_iter().map(|topic| topic.name).collect(),
        Kind::Groups => client.list_groups()?.into_iter().map(|group| group.group).collect(),
        Kind::Brokers => {
            let deadline = client.deadline();
            client.metadata(Some(&[]), deadline)?;
            client.brokers().keys().map(ToString::to_string).collect()
        }
        Kind::Settings => Vec::new(),
    })
}

/// Where the names of the last time are: by what was asked, for the names of one cluster are no help with another.
fn cache_path(kind: Kind, servers: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let servers: String =
        servers.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(100).collect();
    Some(folder.join("moldau").join(format!("{}-{servers}", kind.name())))
}

/// Keeps names for the next time, where that is possible.
fn keep(path: &std::path::Path, names: &[String]) {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whole or not at all: two shells may ask at a time.
        let temporary = path.with_extension(std::process::id().to_string());
        let mut file = std::fs::File::create(&temporary)?;
        for name in names.iter().take(NAMES_COUNT_MAX) {
            writeln!(file, "{name}")?;
        }
        std::fs::rename(&temporary, path)
    };
    // Without it the next press of a key asks the cluster again.
    drop(write());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shell: Shell) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        script(shell, &mut Console { out: &mut out, err: &mut err }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_live_name_belongs_to_a_command_that_there_is() {
        let cli = Cli::command();
        for (name, verbs, _) in LIVE {
            let command = cli.find_subcommand(name).unwrap();
            for verb in *verbs {
                assert!(command.find_subcommand(verb).is_some(), "{name} {verb}");
            }
        }
    }

    #[test]
    fn scripts_ask_for_live_names() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = text(shell);
            assert!(text.contains("names") && text.contains("topics"), "{shell}");
        }
        // The later one of two registrations holds.
        assert!(
            text(Shell::Bash).trim_end().ends_with("_moldau_live -o nosort -o bashdefault -o default moldau")
        );
    }

    #[test]
    fn settings_are_named_without_a_cluster() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = NamesArguments { kind: Kind::Settings, begun: "retention.".to_owned() };
        names(&Common::for_tests(), &arguments, &mut Console { out: &mut out, err: &mut err }).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "retention.bytes\nretention.ms\n");
    }
}
