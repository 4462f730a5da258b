//! `awrit` as a process, and its output with values that change from run to run replaced.

use std::{path::Path, process::Stdio, sync::OnceLock};

use regex::Regex;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::broker::{ADMIN_SECRET, Broker, PATIENCE, binary};

/// Result of a run of `awrit`.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Output on stdout.
    pub stdout: String,
    /// Output on stderr.
    pub stderr: String,
}

impl Run {
    /// Compares exit code and both outputs, after [`stable`].
    #[track_caller]
    pub fn is(&self, code: i32, stdout: &str, stderr: &str) {
        let (actual_stdout, actual_stderr) = (stable(&self.stdout), stable(&self.stderr));
        assert_eq!(actual_stdout.trim_end(), stdout.trim_end(), "stdout; stderr was:\n{}", self.stderr);
        assert_eq!(actual_stderr.trim_end(), stderr.trim_end(), "stderr; stdout was:\n{}", self.stdout);
        assert_eq!(self.code, code, "exit code");
    }

    /// Output with `--json` of a run that succeeded.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl Broker {
    /// Runs `awrit` as this broker's operator, in the broker's directory.
    pub async fn awrit(&self, arguments: &[&str]) -> Run {
        self.awrit_with(arguments, "").await
    }

    /// Runs `awrit` as this broker's operator, with text on stdin.
    pub async fn awrit_with(&self, arguments: &[&str], stdin: &str) -> Run {
        let operator = [("AACTL_BROKER_URL", self.url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
        awrit(self.directory(), &operator, arguments, stdin).await
    }

    /// Returns the command that runs `awrit` as this broker's operator.
    pub fn awrit_command(&self, arguments: &[&str]) -> Command {
        let operator = [("AACTL_BROKER_URL", self.url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
        command(self.directory(), &operator, arguments)
    }
}

/// Runs `awrit` with the given environment only.
pub async fn awrit(directory: &Path, environment: &[(&str, &str)], arguments: &[&str], stdin: &str) -> Run {
    let mut process = command(directory, environment, arguments).spawn().expect("awrit runs");
    let mut input = process.stdin.take().unwrap();
    // It may end without reading.
    input.write_all(stdin.as_bytes()).await.ok();
    drop(input);
    let ended = timeout(PATIENCE, process.wait_with_output()).await.expect("awrit ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: ended.status.code().unwrap_or(-1), stdout: text(ended.stdout), stderr: text(ended.stderr) }
}

/// Returns the command that runs `awrit` with the given environment only.
pub fn awrit_command(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    command(directory, environment, arguments)
}

fn command(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().with_file_name("awrit"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", directory)
        .envs(environment.iter().copied())
        .current_dir(directory)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Replaces values that change from run to run by their names, and the space between columns by two spaces.
#[must_use]
pub fn stable(text: &str) -> String {
    static REPLACED: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let replaced = REPLACED.get_or_init(|| {
        [
            (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<jwt>"),
            (r"https?://127\.0\.0\.1:\d+", "<broker>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
            (r"\b[0-9a-f]{64}\b", "<hash>"),
            (r"\b[0-9a-f]{32}\b", "<jti>"),
            (r"\blt-[0-9a-f]{16}\b", "<launch token id>"),
            (r"\b[0-9a-f]{16}\b", "<instance>"),
            (r"\b(app-[a-z-]+)-[0-9a-f]{6}\b", "$1-<suffix>"),
            (r"\b[a-z]{2}-[0-9a-f]{12}\b", "<client id>"),
            (r"\b[A-Za-z0-9_-]{43}(\b|$)", "<kid>"),
            (r"(in )?\d+ (d|h|min|s)\b( \d+ (h|min|s)\b)?( ago)?|\bnow\b", "<when>"),
            (r" {2,}", "  "),
            (r"(?m) +$", ""),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
        .into()
    });
    replaced.iter().fold(text.to_owned(), |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
}
