//! Responses of the feed, encoded and signed: what [`Feed::apply`] decodes.

use std::fmt::{self, Write as _};

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::{Feed, KeyAnnouncement};
use crate::{
    clock::UnixTime,
    issue::{PayloadWriter, SigningKey},
    keys::KeyId,
    revocation::{Level, RevocationKey},
};

/// Members of a response other than its entries.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and brokers must name each")]
pub struct ResponseHead<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `iat`: when the state was true, read before the state.
    pub issued_at: UnixTime,
    /// `exp`: until when the response may be relied on.
    pub expires_at: UnixTime,
    /// `ttl`: interval between requests that do not wait, in seconds.
    pub poll_interval: u64,
    /// Identifies the log.
    pub epoch: &'a str,
    /// Cursor that the entries come after; 0 for a snapshot.
    pub from: u64,
    /// Cursor of the last entry, which the next request sends as `since`.
    pub to: u64,
    /// `kids` and `active`: the published keys; `None` announces none. A change of the keys takes a cursor of its own,
    /// so that followers receive it at once.
    pub keys: Option<&'a KeyAnnouncement>,
}

/// An entry of the log, as followers receive it. The key reveals nothing of what was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and brokers must name each")]
pub struct FeedEntry {
    /// Tokens that the entry revokes.
    pub level: Level,
    /// Digest of the target.
    pub key: RevocationKey,
    /// Not-before mark: revokes tokens issued until then.
    pub revoked_at: UnixTime,
    /// Expiry of the last token that it can affect.
    pub expires_at: UnixTime,
}

/// Writes the entries of a response: see [`SigningKey::sign_feed_response`].
pub struct EntryWriter<'w, 'd> {
    payload: &'w mut PayloadWriter<'d>,
    is_first: bool,
    text: String,
}

/// About the length of an entry in a response, in bytes.
const ENCODED_ENTRY: usize = 72;
/// Room for the other members, in bytes.
const ENCODED_HEAD: usize = 512;

impl SigningKey {
    /// Signs a response of the feed, whose `entries` are written one by one, so that a long response is in memory once.
    /// `count` is about how many there are.
    ///
    /// # Errors
    ///
    /// Those of `entries`.
    pub fn sign_feed_response<E>(
        &self,
        head: &ResponseHead<'_>,
        count: usize,
        entries: impl FnOnce(&mut EntryWriter<'_, '_>) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut members = json!({
            "iss": head.issuer,
            "iat": head.issued_at.seconds(),
            "exp": head.expires_at.seconds(),
            "epoch": head.epoch,
            "from": head.from,
            "to": head.to,
            "ttl": head.poll_interval,
        });
        if let (Some(keys), Some(members)) = (head.keys, members.as_object_mut()) {
            members.insert("kids".into(), keys.key_ids().iter().map(KeyId::as_str).collect());
            members.extend(keys.active().map(|active| ("active".into(), active.as_str().into())));
        }
        let members = members.to_string();
        let length = count.saturating_mul(ENCODED_ENTRY).saturating_add(ENCODED_HEAD);
        self.write_document(Feed::MEDIA_TYPE, length, |payload| {
            payload.push(members.strip_suffix('}').unwrap_or(&members).as_bytes());
            payload.push(b",\"entries\":[");
            entries(&mut EntryWriter { payload, is_first: true, text: String::new() })?;
            payload.push(b"]}");
            Ok(())
        })
    }
}

impl EntryWriter<'_, '_> {
    /// Appends an entry.
    pub fn push(&mut self, entry: &FeedEntry) {
        self.text.clear();
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
        entry.write(&mut self.text);
        self.payload.push(self.text.as_bytes());
    }
}

impl FeedEntry {
    /// Appends `[level, key, revoked_at, expires_at]`.
    fn write(&self, text: &mut String) {
        text.push_str("[\"");
        text.push(self.level.letter());
        text.push_str("\",\"");
        if self.level != Level::Issuer {
            BASE64URL_NOPAD.encode_append(self.key.as_bytes(), text);
        }
        // Writing to a string does not fail.
        write!(text, "\",{},{}]", self.revoked_at.seconds(), self.expires_at.seconds()).unwrap_or_default();
    }
}

impl fmt::Debug for EntryWriter<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySet;

    #[test]
    fn encodes_head_and_entries_in_the_form_of_the_contract() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let at = UnixTime::from_seconds;
        let entry =
            |level| FeedEntry { level, key: RevocationKey::from_bytes([0; 16]), revoked_at: at(1), expires_at: at(9) };
        let keys = KeySet::new([key.public_key().clone()]).unwrap();
        let announced = KeyAnnouncement::of(&keys, key.id());
        let head = ResponseHead {
            issuer: "https://issuer.test",
            issued_at: at(2),
            expires_at: at(62),
            poll_interval: 5,
            epoch: "e",
            from: 3,
            to: 5,
            keys: announced.as_ref(),
        };
        let signed = key.sign_feed_response(&head, 2, |entries| {
            entries.push(&entry(Level::Token));
            entries.push(&entry(Level::Issuer));
            Ok::<_, std::convert::Infallible>(())
        });
        let text = signed.unwrap();
        let payload = BASE64URL_NOPAD.decode(text.split('.').nth(1).unwrap().as_bytes()).unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&payload).unwrap(),
            json!({
                "iss": "https://issuer.test", "iat": 2, "exp": 62, "epoch": "e", "from": 3, "to": 5, "ttl": 5,
                "kids": [key.id().as_str()], "active": key.id().as_str(),
                "entries": [["t", "AAAAAAAAAAAAAAAAAAAAAA", 1, 9], ["i", "", 1, 9]],
            })
        );
    }
}
