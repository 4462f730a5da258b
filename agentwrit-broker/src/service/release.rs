//! Releasing: a holder gives its token up before it expires. Doing it again changes nothing.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::Claims;

use super::{Error, renewal::live_token};
use crate::{
    audit::{EventType, NewEvent},
    authority::Authority,
};

impl Authority {
    /// Ends a verified token.
    pub(crate) async fn release(self: &Arc<Self>, claims: Arc<Claims>, client: IpAddr) -> Result<(), Error> {
        self.transact(move |authority, tx| {
            let now = authority.clock.now();
            let Some(token) = live_token(tx, &claims.token_id(), now)? else { return Ok(()) };
            authority.end_one(tx, &token, claims.subject(), now)?;
            authority.recount_agents_after(tx);
            let event = NewEvent::success(EventType::TokenReleased, now, claims.subject(), "token released")
                .task(claims.task_id().cloned())
                .orch(claims.orch_id().cloned())
                .word("jti", token.jti)
                .from(client);
            Ok(authority.record(tx, event)?)
        })
        .await
    }
}
