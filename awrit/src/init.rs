//! `awrit init`: a config file with a new admin secret.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use agentwrit_client::Secret;
use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{context::Context, error::CliError};

/// Write the broker's config file, with a new admin secret
///
/// In `dev` mode the file holds the secret. In `prod` mode the file holds a bcrypt hash only, and the secret is
/// printed this once. The file is readable by its owner only.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit init
  awrit init --mode prod --config-path /etc/broker/config")]
pub(crate) struct Init {
    /// Purpose of the broker
    #[arg(long, value_enum, default_value_t = Mode::Dev)]
    mode: Mode,

    /// The file to write [default: ~/.broker/config]
    #[arg(long, value_name = "PATH")]
    config_path: Option<PathBuf>,

    /// Replace an existing file; its admin secret stops working when the broker is restarted
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Dev,
    Prod,
}

impl Init {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let path = self.config_path.map_or_else(default_path, Ok)?;
        if let Ok(existing) = fs::symlink_metadata(&path) {
            if !existing.is_file() {
                return Err(CliError::file(&path, &"it exists and is not a regular file"));
            }
            if !self.force {
                let hint = "give another --config-path, or replace it with --force";
                return Err(CliError::file(&path, &"it exists already").hint(hint));
            }
            context.confirm(&format!("Replace {} and the admin secret in it?", path.display()))?;
        }
        let secret = new_secret()?;
        let stored = match self.mode {
            Mode::Dev => Secret::from(secret.expose()),
            Mode::Prod => hashed(&secret)?,
        };
        let mode = if self.mode == Mode::Dev { "development" } else { "production" };
        let text = Zeroizing::new(format!(
            "# Written by `awrit init`. Other keys are the AA_* variables of the environment.\n\
             MODE={mode}\nADMIN_SECRET={}\n",
            stored.expose()
        ));
        write(&path, &text, self.force).map_err(|error| CliError::file(&path, &error))?;
        let printed_secret = (self.mode == Mode::Prod).then(|| secret.expose());
        let mut json = json!({ "config_path": path, "mode": mode });
        if let (Some(secret), Some(members)) = (printed_secret, json.as_object_mut()) {
            members.insert("admin_secret".to_owned(), json!(secret));
        }
        let printed = context.output.print(&json, |out| print_next_steps(out, &path, printed_secret));
        printed.map_err(|error| match printed_secret {
            Some(_) => CliError::file(&path, &"it was written, but its secret could not be printed")
                .hint("repeat with --force"),
            None => error,
        })
    }
}

fn print_next_steps(out: &mut dyn Write, path: &Path, secret: Option<&str>) -> io::Result<()> {
    let path = path.display();
    writeln!(out, "Wrote {path}, readable by its owner only.\n")?;
    match secret {
        Some(secret) => writeln!(
            out,
            "The admin secret, shown this once (the file has only its hash). Keep it in a secret store:\n\n  {secret}\n\n\
             Next:\n  AA_CONFIG_PATH={path} agentwrit-broker\n  export AACTL_ADMIN_SECRET=…the secret…\n  awrit health"
        ),
        None => writeln!(
            out,
            "Next:\n  AA_CONFIG_PATH={path} agentwrit-broker\n  \
             export AACTL_ADMIN_SECRET=$(sed -n 's/^ADMIN_SECRET=//p' {path})\n  awrit health"
        ),
    }
}

fn default_path() -> Result<PathBuf, CliError> {
    let home = env::home_dir().filter(|home| home.is_absolute());
    home.map(|home| home.join(".broker/config"))
        .ok_or_else(|| CliError::failed("there is no home directory").hint("name the file with --config-path"))
}

/// Generates 256 bits, in hexadecimal.
fn new_secret() -> Result<Secret, CliError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| CliError::failed(format!("no randomness: {error}")))?;
    Ok(Secret::from(HEXLOWER.encode(&*bytes)))
}

fn hashed(secret: &Secret) -> Result<Secret, CliError> {
    let hash = bcrypt::non_truncating_hash(secret.expose(), bcrypt::DEFAULT_COST);
    hash.map(Secret::from).map_err(|error| CliError::failed(format!("bcrypt: {error}")))
}

/// Writes the whole file or nothing, never readable by other users.
fn write(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let persisted = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}
