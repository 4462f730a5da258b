//! Tokens that no honest issuer writes, rightly signed.

use agentwrit_verify::{ClaimSet, UnixTime, Verifier, VerifyError, issue::SigningKey, testing::TestIssuer};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The moment at which a [`TestIssuer`] starts.
pub(crate) const START: u64 = 1_767_225_600;

/// An issuer, a verifier that trusts it, and the token that every test spoils in its own way.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) issuer: TestIssuer,
    pub(crate) verifier: Verifier,
    pub(crate) claims: ClaimSet,
}

impl Target {
    pub(crate) fn new() -> Self {
        let issuer = TestIssuer::new();
        let (verifier, claims) = (issuer.verifier(), issuer.claims(&["read:data:*"]));
        Self { issuer, verifier, claims }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "JWT", "kid": self.issuer.signing_key().id().as_str()})
    }

    pub(crate) fn payload(&self) -> Value {
        serde_json::to_value(&self.claims).unwrap()
    }

    /// The good token.
    pub(crate) fn token(&self) -> String {
        self.signed(self.header().to_string(), self.payload().to_string())
    }

    /// Header and payload as they are, rightly signed.
    pub(crate) fn signed(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        signed_by(self.issuer.signing_key(), header, payload)
    }

    /// The good payload under a header with `member` set.
    pub(crate) fn with_header(&self, member: &str, value: impl Into<Value>) -> String {
        let mut header = self.header();
        header[member] = value.into();
        self.signed(header.to_string(), self.payload().to_string())
    }

    /// The good header over a payload with `member` set.
    pub(crate) fn with_claim(&self, member: &str, value: impl Into<Value>) -> String {
        let mut payload = self.payload();
        payload[member] = value.into();
        self.signed(self.header().to_string(), payload.to_string())
    }

    /// The good token with further text before the closing brace of its payload.
    pub(crate) fn with_payload_text(&self, text: &str) -> String {
        let payload = self.payload().to_string();
        self.signed(self.header().to_string(), format!("{}{text}}}", payload.strip_suffix('}').unwrap()))
    }

    /// The good token with further text before the closing brace of its header.
    pub(crate) fn with_header_text(&self, text: &str) -> String {
        let header = self.header().to_string();
        self.signed(format!("{}{text}}}", header.strip_suffix('}').unwrap()), self.payload().to_string())
    }

    #[track_caller]
    pub(crate) fn assert_accepted(&self, token: &str) {
        assert_eq!(self.verifier.verify(token).map(|claims| claims.token_id()), Ok(self.claims.jti), "{token}");
    }

    #[track_caller]
    pub(crate) fn rejection(&self, token: &str) -> VerifyError {
        match self.verifier.verify(token) {
            Ok(claims) => panic!("accepted: {claims:?}"),
            Err(error) => error,
        }
    }
}

pub(crate) fn signed_by(key: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    format!("{input}.{}", encode(key.sign(input.as_bytes())))
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(seconds)
}
