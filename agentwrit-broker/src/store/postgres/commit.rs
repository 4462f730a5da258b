//! The round trip that writes and commits.

use futures_util::future::{join_all, join3};
use tokio_postgres::types::ToSql;

use super::{
    head::{self, Head},
    query::Query,
    session::{COMMIT_LIMIT, Session},
};
use crate::store::StoreError;

/// Response to a commit.
pub(super) enum Commit {
    Done,
    Failed(StoreError),
    /// The connection was lost before the response, or the commit might not have been replicated.
    Unknown(StoreError),
}

/// Executes `queries`, rewrites the head row and commits, in one round trip.
pub(super) fn commit(session: &Session, queries: &[Query<'_>], head: &Head) -> Result<Commit, StoreError> {
    let update = session.statement(head::UPDATE)?;
    let requests = session.requests(queries)?;
    let values = head.values();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let client = session.client();
    let writes = join_all(requests.iter().map(|request| request.send(client)));
    let sent = join3(writes, client.execute(&update, &values), client.batch_execute("COMMIT"));
    session.take_warned();
    let response = match session.wait_for(COMMIT_LIMIT, async { Ok::<_, StoreError>(sent.await) }) {
        Ok(response) => response,
        Err(error) => return Ok(Commit::Unknown(error)),
    };
    let (writes, updated, committed) = response;
    let written = writes.into_iter().try_for_each(|written| written.map(|_| ()));
    Ok(match (written.and(updated.map(|_| ())), committed) {
        (Ok(()), Ok(())) if session.take_warned() => {
            Commit::Unknown(StoreError::Unavailable { cause: "the server warned about the commit".to_owned() })
        }
        (Ok(()), Ok(())) => Commit::Done,
        (Err(error), _) if error.as_db_error().is_some() => Commit::Failed(error.into()),
        (Err(error), _) | (Ok(()), Err(error)) => Commit::Unknown(error.into()),
    })
}
