//! Response of the feed, decoded strictly and verified.

use agentwrit_json::CowStr;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, de};

use super::{Entry, Feed, FeedCursor, FeedError, KeyAnnouncement};
use crate::{
    clock::UnixTime,
    jws::{CompactJws, MAX_DEPTH, shorten},
    keys::{KeyId, KeySet},
    revocation::{Level, RevocationKey},
};

/// Payload of a response, signed by a trusted key.
#[derive(Debug)]
pub(super) struct FeedResponse {
    pub(super) iss: String,
    pub(super) iat: UnixTime,
    pub(super) exp: UnixTime,
    pub(super) epoch: String,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) ttl: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) keys: Option<KeyAnnouncement>,
}

impl FeedResponse {
    pub(super) fn verified(text: &str, longest: usize, keys: &KeySet) -> Result<Self, FeedError> {
        if text.len() > longest {
            return Err(FeedError::TooLong { length: text.len(), limit: longest });
        }
        let jws = CompactJws::decode(text, longest).map_err(FeedError::NotSigned)?;
        let found = jws.header.media_type.as_deref().unwrap_or_default();
        if found != Feed::MEDIA_TYPE {
            return Err(FeedError::UnexpectedType { found: found.to_owned() });
        }
        let named = jws.header.key_id.as_ref();
        let key =
            keys.select(named).ok_or_else(|| FeedError::UnknownKey { kid: named.map(|kid| shorten(kid.as_str())) })?;
        jws.check_signature(key).map_err(|_| FeedError::BadSignature)?;
        let payload = jws.payload().map_err(FeedError::NotSigned)?;
        let written: RawResponse = agentwrit_json::object_from_slice(&payload, MAX_DEPTH)
            .map_err(|error| FeedError::Malformed { message: error.to_string() })?;
        let response = written.checked()?;
        if response.keys.as_ref().is_some_and(|keys| !keys.contains(key.id())) {
            return Err(malformed("`kids` omits the key that signed"));
        }
        let active = response.keys.as_ref().and_then(KeyAnnouncement::active);
        if active.is_some_and(|active| active != key.id()) {
            return Err(malformed("`active` is not the key that signed"));
        }
        Ok(response)
    }
}

#[derive(Deserialize)]
struct RawResponse {
    iss: String,
    iat: u64,
    exp: u64,
    epoch: String,
    from: u64,
    to: u64,
    #[serde(default)]
    ttl: u64,
    entries: Vec<RawEntry>,
    #[serde(default)]
    kids: Option<Vec<String>>,
    #[serde(default)]
    active: Option<String>,
}

impl RawResponse {
    fn checked(self) -> Result<FeedResponse, FeedError> {
        let keys = self.announced_keys()?;
        if self.to < self.from {
            return Err(malformed("`to` lies before `from`"));
        }
        if self.epoch.is_empty() || self.epoch.len() > FeedCursor::LONGEST_EPOCH {
            return Err(malformed("`epoch` is 1 to 128 bytes"));
        }
        let issuers = RevocationKey::of(Level::Issuer, &self.iss, "");
        let entries = self.entries.into_iter().map(|entry| Entry {
            key: entry.key.unwrap_or(issuers),
            revoked_at: UnixTime::from_seconds(entry.revoked_at),
            expires_at: UnixTime::from_seconds(entry.expires_at),
        });
        Ok(FeedResponse {
            entries: entries.collect(),
            iss: self.iss,
            iat: UnixTime::from_seconds(self.iat),
            exp: UnixTime::from_seconds(self.exp),
            epoch: self.epoch,
            from: self.from,
            to: self.to,
            ttl: self.ttl,
            keys,
        })
    }
}

impl RawResponse {
    /// Returns the announced keys; `None` for a broker that announces none.
    fn announced_keys(&self) -> Result<Option<KeyAnnouncement>, FeedError> {
        let Some(key_ids) = &self.kids else { return Ok(None) };
        let parsed = |text: &String| KeyId::parse(text);
        let key_ids: Option<Vec<KeyId>> = key_ids.iter().map(parsed).collect();
        let active = self.active.as_ref().map(parsed);
        let announced = match (key_ids, active) {
            (None, _) | (_, Some(None)) => None,
            (Some(key_ids), active) => KeyAnnouncement::new(key_ids, active.flatten()),
        };
        let rule = "`kids` is 1 to 64 different key ids, and `active` is one of them";
        announced.map(Some).ok_or_else(|| malformed(rule))
    }
}

fn malformed(message: &str) -> FeedError {
    FeedError::Malformed { message: message.to_owned() }
}

/// `[level, key, revoked_at, expires_at]`.
struct RawEntry {
    /// `None` for an entry of level `issuer`.
    key: Option<RevocationKey>,
    revoked_at: u64,
    expires_at: u64,
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (CowStr(level), CowStr(key), revoked_at, expires_at) =
            <(CowStr<'de>, CowStr<'de>, u64, u64)>::deserialize(deserializer)?;
        let key = match (&*level, &*key) {
            ("i", "") => None,
            ("t" | "s" | "a" | "k" | "c", key) => Some(
                decode_key(key)
                    .ok_or_else(|| de::Error::custom("the key of an entry is 16 bytes in unpadded base64url"))?,
            ),
            // An unknown level may revoke tokens, so it cannot be skipped.
            _ => return Err(de::Error::custom(format_args!("an entry of an unknown level `{}`", shorten(&level)))),
        };
        Ok(Self { key, revoked_at, expires_at })
    }
}

fn decode_key(text: &str) -> Option<RevocationKey> {
    let mut bytes = [0; 16];
    let length = BASE64URL_NOPAD.decode_len(text.len()).ok()?;
    (length == bytes.len() && BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut bytes).is_ok())
        .then(|| RevocationKey::from_bytes(bytes))
}
