//! `/console/keys`: the signing keys.

use agentwrit_protocol::{KeyState, limits::MAX_REASON};
use agentwrit_verify::{Subject, UnixTime};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    Console,
    error::ConsoleError,
    fields::Action,
    format::Time,
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    domain::StoredKey,
    keys::UnusableKey,
    service::{
        Error,
        keys::{ChangeAuthor, ExaminedKeys, KeyOperation},
    },
};

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<KeyRow>,
}

struct KeyRow {
    kid: String,
    state: KeyState,
    created: Time,
    activated: Option<Time>,
    /// Time of the next change that the broker makes by itself.
    due: Option<Time>,
    fault: Option<String>,
}

impl KeyRow {
    fn of(key: &StoredKey, unusable: &[UnusableKey], now: UnixTime) -> Self {
        let due = match key.state {
            KeyState::Prepared => key.activates_at,
            KeyState::Active | KeyState::Retiring => key.retire_at,
            KeyState::Retired | KeyState::Withdrawn => None,
        };
        Self {
            kid: key.kid.clone(),
            state: key.state,
            created: Time::new(key.created_at, now),
            activated: key.activated_at.map(|at| Time::new(at, now)),
            due: due.map(|at| Time::new(at, now)),
            fault: unusable.iter().find(|unusable| unusable.kid == key.kid).map(UnusableKey::describe),
        }
    }

    fn state(&self) -> &'static str {
        self.state.as_str()
    }

    fn is_prepared(&self) -> bool {
        self.state == KeyState::Prepared
    }

    /// Returns whether it may be retired: it has signed nothing, or all that it signed has expired.
    fn is_retirable(&self) -> bool {
        matches!(self.state, KeyState::Prepared | KeyState::Retiring)
    }

    fn is_withdrawn(&self) -> bool {
        self.state == KeyState::Withdrawn
    }
}

pub(super) async fn list(State(console): State<Console>, operator: Operator) -> Result<Response, ConsoleError> {
    let now = console.services.ledger.now();
    let ExaminedKeys { keys, unusable } = console.services.keys.list().await?;
    let keys = keys.iter().rev().map(|key| KeyRow::of(key, &unusable, now)).collect();
    render(&KeysPage { frame: operator.frame("Keys"), keys })
}

pub(super) async fn change(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let kid = || form.required("kid", |text| Ok::<_, String>(text.to_owned()));
    let operation = match form.text("action") {
        Some("rotate") => KeyOperation::Rotate,
        Some("prepare") => KeyOperation::Prepare,
        Some("activate") => KeyOperation::Activate { kid: kid()?, force: form.text("force").is_some() },
        Some("retire") => KeyOperation::Retire { kid: kid()? },
        Some("withdraw") => {
            let kid = kid()?;
            // Withdrawing ends every token of the key: the operator types its id.
            form.confirmed(&kid)?;
            KeyOperation::Withdraw { kid }
        }
        Some(_) | None => return Err(Error::invalid("action", "is not known").into()),
    };
    let reason = form.parsed("reason", |text| match text {
        text if text.len() > MAX_REASON || text.contains('\0') => {
            Err(format!("must have at most {MAX_REASON} bytes, without U+0000"))
        }
        text => Ok(text.to_owned()),
    })?;
    let author = ChangeAuthor { by: Subject::Admin, bearer: operator.bearer(), client: Some(operator.client), reason };
    console.services.keys.change(operation, author).await?;
    Ok(Redirect::to("/console/keys").into_response())
}
