//! Strict reading of a foreign token: a compact JWS (RFC 7515 §7.1) of at most 8 KiB.
//!
//! 1. Three parts of base64url without padding, white space or stray trailing bits: one encoding per token.
//! 2. Header and claims are JSON objects without duplicate members (RFC 8725 §2.3), nested up to 16 levels.
//! 3. `alg` is `RS256`, `ES256`, `EdDSA` or `Ed25519` (RFC 9864); `typ` is absent, `JWT` or `JOSE` in any case; `crit` and
//!    `b64` are rejected; keys and their addresses in the header (`jwk`, `jku`, `x5c`, `x5u`) are never used.
//! 4. Before its signature is verified, only the issuer and subject of a token are read, to find rules for them. The claims
//!    are kept as JSON values once it is: that takes many times the length of the text.

use std::fmt;

use agentwrit_json::{IsPresent, non_null, object_from_slice};
use agentwrit_protocol::{AttestationKind, limits::MAX_ASSERTION};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{error::AttestationError, jwk::Algorithm, spiffe::SpiffeId};
use crate::domain::Digest;

/// Levels of objects and arrays in the header and in the claims.
const MAX_DEPTH: usize = 16;
/// Longest issuer and subject in bytes: a SPIFFE id has up to 2048.
const MAX_NAME: usize = 2048;

/// Token whose signature is not verified.
pub(super) struct UnverifiedAssertion<'t> {
    /// Header and claims as they are signed: `<header>.<claims>`.
    signed: &'t str,
    header: Header,
    claims: Vec<u8>,
    signature: Vec<u8>,
    issuer: Option<String>,
    subject: Option<String>,
}

/// Header of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl<'t> UnverifiedAssertion<'t> {
    /// Reads a token.
    pub(super) fn parse(token: &'t str) -> Result<Self, AttestationError> {
        if token.len() > MAX_ASSERTION {
            return Err(AttestationError::TokenTooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(AttestationError::MalformedToken)?;
        let (header, claims) = signed.split_once('.').ok_or(AttestationError::MalformedToken)?;
        let header = Header::parse(&decode(header)?)?;
        let (claims, signature) = (decode(claims)?, decode(signature)?);
        let Names { iss: issuer, sub: subject } = Names::parse(&claims)?;
        Ok(Self { signed, header, claims, signature, issuer, subject })
    }

    /// Returns the issuer that the token names: its `iss`, or for a JWT-SVID the trust domain of its `sub`.
    pub(super) fn issuer(&self, kind: AttestationKind) -> Result<String, AttestationError> {
        match kind {
            AttestationKind::Oidc | AttestationKind::Kubernetes => {
                self.issuer.clone().ok_or(AttestationError::MalformedToken)
            }
            AttestationKind::Spiffe => {
                let subject = self.subject.as_deref().and_then(SpiffeId::parse);
                subject.map(|id| id.trust_domain().to_owned()).ok_or(AttestationError::InvalidSubject)
            }
        }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the text that is signed.
    pub(super) fn signed(&self) -> &'t str {
        self.signed
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns all claims. Only for a token whose signature was verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, AttestationError> {
        object_from_slice(&self.claims, MAX_DEPTH).map_err(|_| AttestationError::MalformedToken)
    }

    /// Digest under which the assertion counts once: of its issuer and `jti`, or of what is signed. The signature is left out:
    /// every ECDSA signature has a second encoding that anyone can compute. `issuer` is that of the rule, for a JWT-SVID
    /// without `iss`; one with it may be presented as of kind `oidc` too, and counts once for both.
    pub(super) fn digest(&self, issuer: &str, jti: Option<&str>) -> Digest {
        let issuer = self.issuer.as_deref().unwrap_or(issuer);
        let (domain, name) = match jti {
            Some(jti) => ("agentwrit-assertion-jti-v1", jti),
            None => ("agentwrit-assertion-token-v1", self.signed),
        };
        // No issuer holds a line feed: JSON text may, so its length goes before it.
        Digest::of(format!("{domain}\n{}\n{issuer}\n{name}", issuer.len()).as_bytes())
    }
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, AttestationError> {
        let RawHeader { alg, kid, typ, crit, b64 } =
            object_from_slice(text, MAX_DEPTH).map_err(|_| AttestationError::MalformedToken)?;
        if crit.0 || b64.0 {
            return Err(AttestationError::CriticalHeader);
        }
        if let Some(typ) = typ
            && !["JWT", "JOSE"].iter().any(|known| known.eq_ignore_ascii_case(&typ))
        {
            return Err(AttestationError::UnsupportedType);
        }
        let algorithm = Algorithm::parse(&alg).ok_or(AttestationError::UnsupportedAlgorithm)?;
        Ok(Self { algorithm, kid })
    }
}

/// Without the token: it registers an agent.
impl fmt::Debug for UnverifiedAssertion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedAssertion").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Members of the header that matter. The others are checked as JSON and dropped.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default, deserialize_with = "non_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    typ: Option<String>,
    #[serde(default)]
    crit: IsPresent,
    #[serde(default)]
    b64: IsPresent,
}

/// Claims that find a token's rules.
#[derive(Deserialize)]
struct Names {
    #[serde(default, deserialize_with = "non_null")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    sub: Option<String>,
}

impl Names {
    fn parse(claims: &[u8]) -> Result<Self, AttestationError> {
        let names: Self = object_from_slice(claims, MAX_DEPTH).map_err(|_| AttestationError::MalformedToken)?;
        let is_name = |name: &String| matches!(name.len(), 1..=MAX_NAME);
        let are_names = names.iss.iter().chain(&names.sub).all(is_name);
        if are_names { Ok(names) } else { Err(AttestationError::MalformedToken) }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, AttestationError> {
    if part.is_empty() {
        return Err(AttestationError::MalformedToken);
    }
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| AttestationError::MalformedToken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(text: &str) -> String {
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", encoded(header), encoded(claims))
    }

    fn error(token: &str) -> AttestationError {
        UnverifiedAssertion::parse(token).unwrap_err()
    }

    const HEADER: &str = r#"{"alg":"ES256","kid":"k"}"#;
    const CLAIMS: &str = r#"{"iss":"https://issuer.example","sub":"me"}"#;

    #[test]
    fn reads_header_issuer_and_claims() {
        let token = token(HEADER, CLAIMS);
        let read = UnverifiedAssertion::parse(&token).unwrap();
        assert_eq!(*read.header(), Header { algorithm: Algorithm::Es256, kid: Some("k".into()) });
        assert_eq!(read.issuer(AttestationKind::Oidc).unwrap(), "https://issuer.example");
        assert_eq!(read.issuer(AttestationKind::Spiffe), Err(AttestationError::InvalidSubject));
        assert_eq!(Value::Object(read.claims().unwrap()), json!({"iss": "https://issuer.example", "sub": "me"}));
        assert_eq!(read.signature(), b"sig");
    }

    #[test]
    fn rejects_texts_that_are_not_three_strict_base64url_parts() {
        let valid = token(HEADER, CLAIMS);
        assert!(UnverifiedAssertion::parse(&valid).is_ok());
        for malformed in [
            String::new(),
            ".".into(),
            "..".into(),
            valid.replace(".c2ln", "."),
            valid.replace(".c2ln", ""),
            valid.replace(".c2ln", ".c2ln="),
            valid.replace(".c2ln", ".c2ln."),
            valid.replace(".c2ln", ".c2ln.c2ln"),
            format!("{valid} "),
            format!("\n{valid}"),
            valid.replace(".c2ln", ".c2m"),
            valid.replacen('e', "é", 1),
        ] {
            assert_eq!(error(&malformed), AttestationError::MalformedToken, "{malformed}");
        }
        let long = token(HEADER, &format!(r#"{{"iss":"i","x":"{}"}}"#, "x".repeat(MAX_ASSERTION)));
        assert_eq!(error(&long), AttestationError::TokenTooLong);
    }

    #[test]
    fn rejects_duplicate_members_in_header_and_claims() {
        for header in [r#"{"alg":"ES256","alg":"RS256"}"#, r#"{"alg":"ES256","kid":"a","kid":"b"}"#] {
            assert_eq!(error(&token(header, CLAIMS)), AttestationError::MalformedToken, "{header}");
        }
        for claims in [
            r#"{"iss":"https://issuer.example","iss":"https://other.example"}"#,
            r#"{"iss":"https://issuer.example","\u0069ss":"https://other.example"}"#,
            r#"{"iss":"i","a":{"b":1,"b":2}}"#,
        ] {
            assert_eq!(error(&token(HEADER, claims)), AttestationError::MalformedToken, "{claims}");
        }
    }

    #[test]
    fn rejects_extensions_types_and_algorithms_of_header() {
        for (header, expected) in [
            (r#"{"alg":"none"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":"None"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":""}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":"HS256"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":"PS256"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":"RS512"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":"es256"}"#, AttestationError::UnsupportedAlgorithm),
            (r#"{"alg":["ES256"]}"#, AttestationError::MalformedToken),
            (r#"{"alg":null}"#, AttestationError::MalformedToken),
            (r#"{"kid":"k"}"#, AttestationError::MalformedToken),
            (r#"{"alg":"ES256","kid":7}"#, AttestationError::MalformedToken),
            (r#"{"alg":"ES256","kid":null}"#, AttestationError::MalformedToken),
            (r#"{"alg":"ES256","crit":[]}"#, AttestationError::CriticalHeader),
            (r#"{"alg":"ES256","crit":null}"#, AttestationError::CriticalHeader),
            (r#"{"alg":"ES256","b64":true}"#, AttestationError::CriticalHeader),
            (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, AttestationError::UnsupportedType),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, AttestationError::UnsupportedType),
            (r#"{"alg":"ES256","typ":""}"#, AttestationError::UnsupportedType),
            (r#"["ES256"]"#, AttestationError::MalformedToken),
            ("", AttestationError::MalformedToken),
        ] {
            assert_eq!(error(&token(header, CLAIMS)), expected, "{header}");
        }
        for header in [r#"{"alg":"ES256","typ":"jwt"}"#, r#"{"alg":"EdDSA","typ":"JOSE"}"#, r#"{"alg":"Ed25519"}"#] {
            assert!(UnverifiedAssertion::parse(&token(header, CLAIMS)).is_ok(), "{header}");
        }
    }

    #[test]
    fn rejects_issuers_that_are_no_names() {
        for claims in
            [r#"{"iss":7}"#, r#"{"iss":null}"#, r#"{"iss":["https://issuer.example"]}"#, r#"{"iss":""}"#, "[]"]
        {
            assert_eq!(error(&token(HEADER, claims)), AttestationError::MalformedToken, "{claims}");
        }
        let long = format!(r#"{{"iss":"{}"}}"#, "i".repeat(MAX_NAME + 1));
        assert_eq!(error(&token(HEADER, &long)), AttestationError::MalformedToken);
        let token = token(HEADER, "{}");
        let unnamed = UnverifiedAssertion::parse(&token).unwrap();
        assert_eq!(unnamed.issuer(AttestationKind::Kubernetes), Err(AttestationError::MalformedToken));
    }

    #[test]
    fn debug_shows_no_part_of_token() {
        let token = token(HEADER, CLAIMS);
        let text = format!("{:?}", UnverifiedAssertion::parse(&token).unwrap());
        for part in token.split('.').chain(["115, 105, 103"]) {
            assert!(!text.contains(part), "{text}");
        }
    }

    #[test]
    fn digest_depends_on_issuer_and_id_and_never_on_signature() {
        let (one, other) = (token(HEADER, "{}"), token(HEADER, "{}").replace(".c2ln", ".Z2lz"));
        let (one, other) = (UnverifiedAssertion::parse(&one).unwrap(), UnverifiedAssertion::parse(&other).unwrap());
        assert_eq!(one.digest("i", None), other.digest("i", None));
        assert_eq!(one.digest("i", Some("1")), other.digest("i", Some("1")));
        assert_ne!(one.digest("i", Some("1")), one.digest("i", Some("2")));
        assert_ne!(one.digest("i", Some("1")), one.digest("j", Some("1")));
        assert_ne!(one.digest("i", None), one.digest("i", Some(one.signed())));
        assert_ne!(one.digest("a\nb", Some("c")), one.digest("a", Some("b\nc")));
        // The token's own issuer counts, by whichever rule it is judged.
        let named = token(HEADER, r#"{"iss":"i"}"#);
        let named = UnverifiedAssertion::parse(&named).unwrap();
        assert_eq!(named.digest("j", Some("1")), one.digest("i", Some("1")));
    }
}
