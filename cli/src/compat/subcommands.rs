//! Command lines with one command, as argparse4j reads them for some of Kafka's tools: options of the whole, the command,
//! options of the command. The error texts are argparse4j's.

use std::collections::BTreeMap;

/// An option with its leading dashes.
pub(crate) struct CommandOption {
    pub(crate) name: &'static str,
    pub(crate) takes_value: bool,
    pub(crate) is_required: bool,
}

/// An option with a value.
pub(crate) const fn value(name: &'static str) -> CommandOption {
    CommandOption { name, takes_value: true, is_required: false }
}

/// An option that the command needs.
pub(crate) const fn required(name: &'static str) -> CommandOption {
    CommandOption { name, takes_value: true, is_required: true }
}

/// An option without a value.
pub(crate) const fn flag(name: &'static str) -> CommandOption {
    CommandOption { name, takes_value: false, is_required: false }
}

pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What `--help` behind it prints.
    pub(crate) help: &'static str,
    pub(crate) options: &'static [CommandOption],
}

/// What a tool understands.
pub(crate) struct CommandLine {
    pub(crate) options: &'static [CommandOption],
    pub(crate) commands: &'static [Command],
}

/// What a line says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Its place in the tool's table.
    pub(crate) command: Option<usize>,
    pub(crate) asks_for_help: bool,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Read {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value of an option.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).last().map(String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

impl CommandLine {
    /// Reads the words into `read`, as far as they can be understood.
    ///
    /// # Errors
    /// argparse4j's text.
    pub(crate) fn read(&self, arguments: &[String], read: &mut Read) -> Result<(), String> {
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "-h" || word == "--help" {
                read.asks_for_help = true;
                return Ok(());
            }
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !name.starts_with('-') {
                self.take_command(name, read)?;
                continue;
            }
            let known = read.command.map_or(self.options, |command| self.commands[command].options);
            let Some(option) = known.iter().find(|option| option.name == name) else {
                return Err(format!("unrecognized arguments: '{word}'"));
            };
            let values = read.values.entry(option.name).or_default();
            if option.takes_value {
                let value = inline.or_else(|| words.next().cloned());
                values.push(value.ok_or_else(|| format!("argument {name}: expected one argument"))?);
            }
        }
        let Some(command) = read.command else { return Err("too few arguments".to_owned()) };
        let needed = self.commands[command].options.iter().filter(|option| option.is_required);
        match needed.into_iter().find(|option| !read.has(option.name)) {
            Some(missing) => Err(format!("argument {} is required", missing.name)),
            None => Ok(()),
        }
    }

    fn take_command(&self, name: &str, read: &mut Read) -> Result<(), String> {
        if read.command.is_some() {
            return Err(format!("unrecognized arguments: '{name}'"));
        }
        read.command = self.commands.iter().position(|command| command.name == name);
        if read.command.is_some() {
            return Ok(());
        }
        let known: Vec<String> = self.commands.iter().map(|command| format!("'{}'", command.name)).collect();
        Err(format!("invalid choice: '{name}' (choose from {})", known.join(", ")))
    }
}

/// The usage in front of a help text.
pub(crate) fn usage(help: &'static str) -> &'static str {
    help.find("\n\n").map_or(help, |end| &help[..=end])
}

/// Rows under their heads, each column as wide as its widest cell.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}\t", width = width(column)))
            .collect();
        cells + "\n"
    };
    let head = line(&mut heads.iter().copied());
    rows.iter().fold(head, |out, row| out + &line(&mut row.iter().map(String::as_str)))
}
