//! Large response bodies, without a copy for each connection that sends them.
//!
//! 1. A document is held once, however many connections send it. Each has a chunk of it in its buffers.
//! 2. A large document has a place in a pool that is bounded in bytes. It is charged to the client that requested it, or,
//!    where several clients share it, to all of them together.
//! 3. A displaced document is dropped at once, even while slow clients still read it: their connections end, and they
//!    request it again.
//! 4. A shared document is not displaced while a client reads it, for at most [`READING_TIME`]: one client's requests
//!    must not end another's download. A document of one client is: a client that does not read keeps no place.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::fair_share::{Account, FairPool, Place};

/// Largest document that needs no place, in bytes.
pub(crate) const SMALL: usize = 16 * 1024;
/// Size of the part that a connection takes at a time, in bytes.
const CHUNK: usize = 16 * 1024;
/// Time after which a shared document can be displaced while it is read. A response of the feed is valid as long: a
/// follower rejects what it receives later.
pub(crate) const READING_TIME: Duration = Duration::from_secs(60);

/// The content of a response. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    content: Arc<Content>,
    length: usize,
    /// Missing when it is small.
    claim: Option<Arc<Mutex<Claim>>>,
}

/// A document's claim on memory.
#[derive(Debug)]
struct Claim {
    place: Place,
    /// Number of clients that it is being sent to.
    readers: usize,
    protected_until: Instant,
}

impl Claim {
    fn update_protection(&self) {
        if self.readers > 0 && self.place.account() == Some(Account::Shared) {
            self.place.protect_until(self.protected_until);
        } else {
            self.place.protect(false);
        }
    }
}

/// `None` once it has been displaced.
type Content = Mutex<Option<Bytes>>;

impl Document {
    /// Takes a place in `pool` that is charged to `account`; `None` when there is none.
    pub(crate) fn new(content: Bytes, pool: &FairPool, account: impl Into<Account>) -> Option<Self> {
        let length = content.len();
        let content = Arc::new(Mutex::new(Some(content)));
        let mut document = Self { content, length, claim: None };
        if length > SMALL {
            let place = document.take_place(pool, account.into())?;
            let claim = Claim { place, readers: 0, protected_until: Instant::now() + READING_TIME };
            document.claim = Some(Arc::new(Mutex::new(claim)));
        }
        Some(document)
    }

    /// Charges a document that another client's request made to all clients together, in `pool`: the client of that
    /// request could have it displaced by further requests of its own. Returns false when `pool` has no room: the
    /// document remains that client's.
    #[must_use]
    pub(crate) fn share_with(&self, client: IpAddr, pool: &FairPool) -> bool {
        let Some(mut claim) = self.claim() else { return true };
        let account = claim.place.account();
        if account.is_none_or(|account| account == Account::Shared || account == client.into()) {
            return true;
        }
        let Some(shared) = self.take_place(pool, Account::Shared) else { return false };
        claim.place = shared;
        claim.update_protection();
        true
    }

    /// Ends the protection of a document that is of no use to its readers any more.
    pub(crate) fn end_protection(&self) {
        if let Some(mut claim) = self.claim() {
            claim.protected_until = Instant::now();
            claim.update_protection();
        }
    }

    /// Length of the content, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn begin_reading(&self) {
        if let Some(mut claim) = self.claim() {
            claim.readers = claim.readers.saturating_add(1);
            claim.update_protection();
        }
    }

    fn end_reading(&self) {
        if let Some(mut claim) = self.claim() {
            claim.readers = claim.readers.saturating_sub(1);
            claim.update_protection();
        }
    }

    fn claim(&self) -> Option<MutexGuard<'_, Claim>> {
        self.claim.as_ref().map(|claim| claim.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_place(&self, pool: &FairPool, account: Account) -> Option<Place> {
        let content = Arc::clone(&self.content);
        pool.admit_weight(account, self.length, move || drop(take(&content)))
    }

    /// Returns whether the content is still held.
    pub(crate) fn is_held(&self) -> bool {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The whole content, as a text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let content = self.content.lock().unwrap().clone().unwrap();
        String::from_utf8(content.into()).unwrap()
    }

    fn chunk(&self, from: usize) -> Option<Bytes> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let content = content.as_ref()?;
        let end = from.saturating_add(CHUNK).min(content.len());
        // A copy: a part in a connection's buffers must not keep the whole document in memory.
        content.get(from..end).map(Bytes::copy_from_slice)
    }
}

fn take(content: &Content) -> Option<Bytes> {
    content.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A document on its way to one client.
#[derive(Debug)]
pub(crate) struct DocumentBody {
    document: Document,
    sent: usize,
}

impl From<Document> for DocumentBody {
    fn from(document: Document) -> Self {
        document.begin_reading();
        Self { document, sent: 0 }
    }
}

impl Drop for DocumentBody {
    fn drop(&mut self) {
        self.document.end_reading();
    }
}

impl Body for DocumentBody {
    type Data = Bytes;
    type Error = Displaced;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Displaced>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let chunk = self.document.chunk(self.sent).ok_or(Displaced);
        Poll::Ready(Some(chunk.map(|chunk| {
            self.sent = self.sent.saturating_add(chunk.len());
            Frame::data(chunk)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.sent >= self.document.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.document.length.saturating_sub(self.sent)).unwrap_or(u64::MAX))
    }
}

/// Error: the document was displaced by a newer one before the client had read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response was displaced by a newer one")]
pub(crate) struct Displaced;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::limits::fair_share::Favour;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn pool(places: usize) -> FairPool {
        FairPool::new(places * 4 * CHUNK, places * 4 * CHUNK, Favour::Newcomers)
    }

    fn content(length: usize) -> Bytes {
        (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
    }

    fn frame(body: &mut DocumentBody) -> Option<Result<Bytes, Displaced>> {
        let frame = body.frame().now_or_never().unwrap()?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[test]
    fn sends_whole_document_in_bounded_chunks() {
        for length in [0, 1, CHUNK, CHUNK + 1, 4 * CHUNK] {
            let document = Document::new(content(length), &pool(1), CLIENT).unwrap();
            let mut body = DocumentBody::from(document);
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let mut received = Vec::new();
            while let Some(chunk) = frame(&mut body) {
                let chunk = chunk.unwrap();
                assert!(chunk.len() <= CHUNK);
                received.extend(chunk);
            }
            assert_eq!(received, content(length), "{length}");
            assert!(body.is_end_stream());
        }
    }

    #[test]
    fn displaced_document_is_freed_and_ends_its_responses() {
        let pool = pool(1);
        let first = Document::new(content(4 * CHUNK), &pool, CLIENT).unwrap();
        let mut body = DocumentBody::from(first.clone());
        assert!(frame(&mut body).unwrap().is_ok());
        let second = Document::new(content(4 * CHUNK), &pool, CLIENT).unwrap();
        assert!(!first.is_held() && second.is_held());
        assert_eq!(frame(&mut body), Some(Err(Displaced)));
    }

    #[test]
    fn shared_document_survives_further_documents_of_the_client_that_requested_it_first() {
        let (responses, shared) = (pool(1), pool(1));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        let document = Document::new(content(4 * CHUNK), &responses, CLIENT).unwrap();
        assert!(document.share_with(CLIENT, &shared));
        assert!(shared.admit_weight(Account::Shared, 4 * CHUNK, || {}).is_some(), "one client does not share");
        assert!(document.share_with(other, &shared));
        let _further = Document::new(content(4 * CHUNK), &responses, CLIENT).unwrap();
        assert!(document.is_held());
        let _later = Document::new(content(4 * CHUNK), &shared, Account::Shared).unwrap();
        assert!(!document.is_held(), "shared documents are bounded too");
    }

    #[tokio::test(start_paused = true)]
    async fn shared_document_is_not_displaced_while_it_is_read_until_its_reading_time_is_over() {
        let (responses, shared) = (pool(1), pool(1));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        let new = || Document::new(content(4 * CHUNK), &shared, Account::Shared);
        let first = new().unwrap();
        let bodies = [first.clone(), first.clone()].map(DocumentBody::from);
        let page = Document::new(content(4 * CHUNK), &responses, CLIENT).unwrap();
        assert!(new().is_none() && !page.share_with(other, &shared) && first.is_held());
        let [one, another] = bodies;
        drop(one);
        assert!(new().is_none(), "one client still reads it");
        drop(another);
        let second = new().unwrap();
        assert!(!first.is_held());
        let _unread = DocumentBody::from(second.clone());
        tokio::time::advance(READING_TIME.saturating_sub(Duration::from_millis(1))).await;
        assert!(new().is_none());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(new().is_some() && !second.is_held());
    }

    #[test]
    fn page_becomes_protected_when_it_is_shared_while_it_is_read() {
        let (responses, shared) = (pool(1), pool(1));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        let page = Document::new(content(4 * CHUNK), &responses, CLIENT).unwrap();
        let _body = DocumentBody::from(page.clone());
        assert!(page.share_with(other, &shared));
        assert!(Document::new(content(4 * CHUNK), &shared, Account::Shared).is_none());
        assert!(page.is_held());
        page.end_protection();
        assert!(Document::new(content(4 * CHUNK), &shared, Account::Shared).is_some());
    }

    #[test]
    fn document_gives_its_place_back_with_its_last_user() {
        let pool = FairPool::new(4 * CHUNK, 4 * CHUNK, Favour::Established);
        let first = Document::new(content(4 * CHUNK), &pool, CLIENT).unwrap();
        let body = DocumentBody::from(first.clone());
        drop(first);
        assert!(Document::new(content(4 * CHUNK), &pool, CLIENT).is_none());
        assert!(Document::new(content(SMALL), &pool, CLIENT).is_some(), "small documents need no place");
        drop(body);
        assert!(Document::new(content(4 * CHUNK), &pool, CLIENT).is_some());
    }
}
