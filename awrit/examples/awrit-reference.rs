//! Writes `docs/reference/awrit.md` from the definition of the command line.
//!
//! ```sh
//! cargo run --all-features --example awrit-reference            # write it
//! cargo run --all-features --example awrit-reference -- --check # fail if the page is stale
//! ```

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
    process::ExitCode,
};

use clap::{Arg, Command};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/awrit.md");

fn main() -> ExitCode {
    let check = std::env::args().nth(1).is_some_and(|argument| argument == "--check");
    match page().map_err(|error| error.to_string()).and_then(|page| finish(&page, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn finish(page: &str, check: bool) -> Result<(), String> {
    let path = Path::new(PAGE);
    if !check {
        return fs::write(path, page).map_err(|error| error.to_string());
    }
    let found = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if found == page {
        return Ok(());
    }
    Err("docs/reference/awrit.md is stale: run `cargo run --all-features --example awrit-reference`".to_owned())
}

fn page() -> Result<String, fmt::Error> {
    let mut awrit = awrit::command().term_width(usize::MAX);
    awrit.build();
    let mut page = String::from(
        "<!-- Made by `cargo run --all-features --example awrit-reference`: change the doc comments in \
         awrit/src instead. -->\n\n# awrit\n\nAfter this page you know every command of `awrit`, the operator's \
         command line, and its options. Procedures that use it are in [Common tasks](../common-tasks.md).\n",
    );
    page.push_str("\nResults go to stdout, as tables or with `--json` for scripts; messages go to stderr.\n");
    write!(page, "\n## Options of every command\n\n")?;
    options(&mut page, awrit.get_arguments().filter(|arg| arg.is_global_set()))?;
    after_help(&mut page, &awrit)?;
    for command in awrit.get_subcommands().filter(|command| command.get_name() != "help") {
        command_section(&mut page, command, 2)?;
    }
    Ok(page)
}

fn command_section(page: &mut String, command: &Command, depth: usize) -> fmt::Result {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    write!(page, "\n{} {name}\n\n", "#".repeat(depth))?;
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let about = escape_html(&about);
    let (first, rest) = about
        .split_once("\n\n")
        .map_or((about.as_str(), String::new()), |(first, rest)| (first, format!("\n\n{rest}")));
    writeln!(page, "{first}.{rest}")?;
    let subcommands: Vec<&Command> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    if subcommands.is_empty() {
        let usage = command.clone().render_usage().to_string();
        write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "))?;
        let own: Vec<&Arg> = command.get_arguments().filter(|arg| is_own(arg)).collect();
        if !own.is_empty() {
            page.push('\n');
            options(page, own.into_iter())?;
        }
    }
    after_help(page, command)?;
    subcommands.into_iter().try_for_each(|subcommand| command_section(page, subcommand, depth + 1))
}

fn is_own(arg: &Arg) -> bool {
    !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn options<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) -> fmt::Result {
    page.push_str("| option | meaning |\n|---|---|\n");
    for arg in args {
        writeln!(page, "| `{}` | {} |", spelling(arg), meaning(arg).replace('|', "\\|"))?;
    }
    Ok(())
}

fn spelling(arg: &Arg) -> String {
    let values: Vec<String> = match arg.get_value_names() {
        Some(names) if arg.get_action().takes_values() => names.iter().map(|name| format!("<{name}>")).collect(),
        Some(_) | None => Vec::new(),
    };
    let names = [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
    let names: Vec<String> = names.into_iter().flatten().collect();
    [names.join(", "), values.join(" ")].iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// Returns the help text of an option with its values, default, variable and obligation.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = rewrite_default(&escape_html(&help)).replace('\n', " ");
    let code = |texts: Vec<String>| texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    let takes_value = arg.get_action().takes_values();
    let possible = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>();
    if takes_value && !possible.is_empty() {
        text = format!("{text}: {}", code(possible));
    }
    let default: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if takes_value && !default.is_empty() {
        text = format!("{text}; default {}", code(default));
    }
    if let Some(variable) = arg.get_env() {
        text = format!("{text}; variable `{}`", variable.to_string_lossy());
    }
    if arg.is_required_set() { format!("{text}; required") } else { text }
}

/// Escapes `<` outside of code, which Markdown takes for HTML.
fn escape_html(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n").map(|paragraph| {
        let parts = paragraph.split('`').enumerate();
        let escaped: Vec<String> = parts
            .map(|(index, part)| if index % 2 == 0 { part.replace('<', "\\<") } else { part.to_owned() })
            .collect();
        escaped.join("`")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Rewrites clap's `[default: …]` at the end of a help text.
fn rewrite_default(text: &str) -> String {
    match text.split_once(" [default: ").and_then(|(help, rest)| Some((help, rest.strip_suffix(']')?))) {
        Some((help, default)) => format!("{help}; default: {default}"),
        None => text.to_owned(),
    }
}

fn after_help(page: &mut String, command: &Command) -> fmt::Result {
    let Some(text) = command.get_after_help() else { return Ok(()) };
    write!(page, "\n```text\n{text}\n```\n")
}
