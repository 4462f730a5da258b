//! Waiting for the confirmation of a change, `--wait`, and `awrit confirmation`.
//!
//! 1. The broker decides what is confirmed. The list of verifiers only shows who has confirmed it already; without it the
//!    wait goes on.
//! 2. Without a limit the wait ends when the change is confirmed: each verifier with a bound confirms it or is fenced. One
//!    without a bound may never, and is waited for [`UNBOUNDED_LIMIT`] long.
//! 3. The change stands, whatever the end of the wait.

mod display;
mod evidence;
mod view;

use std::{pin::pin, time::Duration};

use agentwrit_client::{Admin, ClientError, ConfirmationResponse, Page, VerifierRecord};
use agentwrit_verify::{
    FeedCursor,
    confirmation::ConfirmationState,
    http_client::{Backoff, random_fraction},
};
use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};

use self::{display::Display, view::View};
use crate::{
    context::Context,
    duration_argument::WaitLimit,
    error::{CliError, is_transient, write_stderr},
};

/// Time for which a verifier without a bound is waited for, unless a limit is set.
const UNBOUNDED_LIMIT: Duration = Duration::from_secs(30);

/// Longest time that the broker holds a request.
const MAX_HOLD: Duration = Duration::from_secs(25);

/// Pauses between two requests for the list of verifiers: the first, and the longest.
const REFRESH: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Pauses between attempts when the broker cannot be reached.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5)).least_share(0.5);

/// Time without a response after which a wait without a limit ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// The option `--wait`.
#[derive(Args)]
pub(crate) struct WaitOption {
    /// Wait until every enrolled verifier has confirmed it, or rejects every token; at most LIMIT, as in `30s`
    ///
    /// Exit code 3 when a verifier without a bound has not confirmed it, 4 when LIMIT is over.
    #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = WaitLimit::parse)]
    pub(crate) wait: Option<WaitLimit>,
}

/// Show how far a revocation, or a change of the signing keys, is confirmed by the verifiers
///
/// The cursor is printed by the commands that revoke and that change keys. For a wait that was interrupted.
#[derive(Args)]
#[command(after_help = "\
Exit codes: 0 confirmed; 3 a verifier without a bound has not confirmed it, or the evidence proves no confirmation; 4 not
confirmed yet.

Example:
  awrit confirmation 9f2c41d07b5e8a36.1842 --wait=1m")]
pub(crate) struct ShowConfirmation {
    /// Cursor of the change
    #[arg(value_name = "CURSOR", value_parser = cursor)]
    cursor: FeedCursor,
    #[command(flatten)]
    wait: WaitOption,
    /// Verify the signed reports that the recorded confirmation was decided by, and compare them with the audit trail
    #[arg(long, conflicts_with = "wait")]
    evidence: bool,
}

impl ShowConfirmation {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let admin = context.admin()?;
        if self.evidence {
            return evidence::show(&admin, &self.cursor, context).await;
        }
        let first = admin.confirmation(&self.cursor, Duration::ZERO).await?;
        let limit = self.wait.wait.unwrap_or(WaitLimit::AtMost(Duration::ZERO));
        let wait = ConfirmationWait { admin: &admin, cursor: &self.cursor, limit, what: "change" };
        let end = wait.run(context, Some(first)).await?;
        if context.output.is_json() {
            context.output.print(&end.response, |_| Ok(()))?;
        }
        end.result
    }
}

/// Wait for the confirmation of a change.
pub(crate) struct ConfirmationWait<'a> {
    pub(crate) admin: &'a Admin,
    pub(crate) cursor: &'a FeedCursor,
    pub(crate) limit: WaitLimit,
    /// The change, as in `revocation`.
    pub(crate) what: &'static str,
}

/// End of a wait, with the latest response.
pub(crate) struct WaitEnd {
    pub(crate) response: Option<ConfirmationResponse>,
    pub(crate) result: Result<(), CliError>,
}

enum Ended {
    Confirmed,
    Unbounded,
    TimeOver,
    Interrupted,
}

impl ConfirmationWait<'_> {
    /// Waits, shows each verifier as it confirms the change unless the output is JSON, and prints the end of the wait.
    pub(crate) async fn run(self, context: &Context, first: Option<ConfirmationResponse>) -> Result<WaitEnd, CliError> {
        let mut view = View::new(self.cursor.clone());
        let mut display = Display::new(context.output);
        if let Some(first) = first {
            view.confirm(first);
        }
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = self.follow(context, &mut view, &mut display) => ended,
            () = interrupted => Ok(Ended::Interrupted),
        };
        let ended = ended.map_err(|error| error.hint(self.advice()));
        if !matches!(ended, Ok(Ended::Interrupted)) {
            view.list(self.verifiers().await);
        }
        display.finish(&view, context.clock.now())?;
        let result = ended.and_then(|ended| self.result(&ended, &view, context));
        Ok(WaitEnd { response: view.into_response(), result })
    }

    async fn follow(&self, context: &Context, view: &mut View, display: &mut Display) -> Result<Ended, CliError> {
        let begun = Instant::now();
        let (mut failures, mut last_response) = (0_u32, begun);
        loop {
            let left = match self.limit {
                WaitLimit::AtMost(limit) => limit.saturating_sub(begun.elapsed()),
                WaitLimit::UntilCertain if view.state() == Some(ConfirmationState::Unbounded) => {
                    UNBOUNDED_LIMIT.saturating_sub(begun.elapsed())
                }
                WaitLimit::UntilCertain => MAX_HOLD,
            };
            match view.state() {
                Some(ConfirmationState::Confirmed) => return Ok(Ended::Confirmed),
                Some(ConfirmationState::Unbounded) if left.is_zero() => return Ok(Ended::Unbounded),
                Some(_) if left.is_zero() => return Ok(Ended::TimeOver),
                Some(_) | None => {}
            }
            // The first response shows who is pending; the next ones are held.
            let hold = if view.state().is_none() { Duration::ZERO } else { left.min(MAX_HOLD) };
            let asked = Instant::now();
            match self.next_response(hold, context, view, display).await {
                Ok(response) => {
                    (failures, last_response) = (0, Instant::now());
                    let is_held = asked.elapsed() >= Duration::from_millis(100) || hold.is_zero();
                    view.confirm(response);
                    if !is_held && view.state() != Some(ConfirmationState::Confirmed) {
                        // The broker holds no longer what only verifiers without a bound can change.
                        sleep(left.min(Duration::from_millis(100))).await;
                    }
                }
                Err(error) if is_transient(&error) && last_response.elapsed() < PATIENCE => {
                    let pause = BACKOFF.delay(failures, random_fraction()).max(error.retry_after().unwrap_or_default());
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        write_stderr(format_args!("awrit: {error}; the wait goes on"));
                    }
                    if left < pause {
                        return if view.state().is_some() { Ok(Ended::TimeOver) } else { Err(error.into()) };
                    }
                    sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the next response about the confirmation, and shows the verifiers until then.
    async fn next_response(
        &self,
        hold: Duration,
        context: &Context,
        view: &mut View,
        display: &mut Display,
    ) -> Result<ConfirmationResponse, ClientError> {
        let mut response = pin!(self.held_response(hold));
        let mut pause = REFRESH.0;
        loop {
            let refreshed = async {
                let begun = Instant::now();
                let list = if display.shows_progress() { self.verifiers().await } else { None };
                (list, begun.elapsed())
            };
            let (list, took) = tokio::select! {
                response = &mut response => return response,
                refreshed = refreshed => refreshed,
            };
            view.list(list);
            display.draw(view, context.clock.now());
            // A long list is requested less often.
            let next = Instant::now() + pause.max(took.saturating_mul(10));
            pause = pause.saturating_mul(2).min(REFRESH.1);
            tokio::select! {
                response = &mut response => return response,
                () = sleep_until(next) => {}
            }
        }
    }

    /// Requests the confirmation; the broker holds whole seconds, the rest passes here.
    async fn held_response(&self, hold: Duration) -> Result<ConfirmationResponse, ClientError> {
        let whole = Duration::from_secs(hold.as_secs());
        if whole.is_zero() {
            sleep(hold).await;
        }
        self.admin.confirmation(self.cursor, whole).await
    }

    /// Returns every enrolled verifier; `None` when the list cannot be had.
    async fn verifiers(&self) -> Option<Vec<VerifierRecord>> {
        let mut page = Page { limit: Some(1000), ..Page::default() };
        let mut verifiers = Vec::new();
        loop {
            let list = self.admin.verifiers(&page).await.ok()?;
            verifiers.extend(list.entries);
            page.cursor = list.next_cursor;
            if page.cursor.is_none() {
                return Some(verifiers);
            }
        }
    }

    fn result(&self, ended: &Ended, view: &View, context: &Context) -> Result<(), CliError> {
        let unconfirmed = |code, message| Err(CliError::Unconfirmed { code, message, hint: Some(self.advice()) });
        match ended {
            Ended::Confirmed => {
                if !view.has_verifiers() {
                    let what = self.what;
                    write_stderr(format_args!(
                        "awrit: warning: no verifier is enrolled, so the {what} waited for none; \
                         `awrit verifier add` enrols one"
                    ));
                }
                Ok(())
            }
            Ended::Unbounded => unconfirmed(3, format!("not confirmed: {}", view.pending_text(context.clock.now()))),
            Ended::TimeOver => unconfirmed(4, format!("not confirmed yet: {}", view.pending_text(context.clock.now()))),
            Ended::Interrupted => unconfirmed(130, "interrupted".to_owned()),
        }
    }

    fn advice(&self) -> String {
        format!("the {} stands; `awrit confirmation {} --wait` shows its confirmation", self.what, self.cursor)
    }
}

fn cursor(text: &str) -> Result<FeedCursor, String> {
    FeedCursor::parse(text).map_err(|error| error.to_string())
}
