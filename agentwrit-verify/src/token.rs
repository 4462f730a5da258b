//! Tokens before verification.

pub use crate::jws::MAX_TOKEN_LENGTH;
use crate::{
    claims::ClaimSet,
    error::{TokenFormatError, VerifyError},
    issued_claims,
    jws::{CompactJws, MAX_DEPTH},
    keys::{KeyId, KeySet},
};

/// A token that is well formed and **proves nothing**: for tools and logs, never for a decision.
///
/// Its signature, issuer, times and revocation are not checked, and its claims may be forged. Only
/// [`Verifier::verify`](crate::Verifier::verify) turns a token into [`Claims`](crate::Claims). Its `Debug` shows the
/// header only, since the rest is a credential.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use agentwrit_verify::UnverifiedToken;
///
/// # let start = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6Im9uZSJ9.e30";
/// # let token = format!("{start}.{}", "A".repeat(86));
/// let unverified = UnverifiedToken::decode(&token)?;
/// println!("signed with key {:?}", unverified.key_id());
/// match unverified.claims() {
///     Ok(claims) => println!("for subject {}", claims.sub),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    jws: CompactJws<'a>,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads a compact JWS of at most [`MAX_TOKEN_LENGTH`] bytes whose `typ` is absent, `JWT` or `at+jwt`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TooLong`], [`VerifyError::Malformed`], [`VerifyError::UnsupportedAlgorithm`],
    /// [`VerifyError::UnexpectedType`], [`VerifyError::CriticalHeader`] or [`VerifyError::KeyInHeader`].
    pub fn decode(token: &'a str) -> Result<Self, VerifyError> {
        Self::check_type(CompactJws::decode(token, MAX_TOKEN_LENGTH)?)
    }

    /// Decodes a token, faster when its header is the usual one of a known key.
    pub(crate) fn decode_known(token: &'a str, keys: &KeySet) -> Result<Self, VerifyError> {
        Self::check_type(CompactJws::decode_known(token, MAX_TOKEN_LENGTH, keys)?)
    }

    fn check_type(jws: CompactJws<'a>) -> Result<Self, VerifyError> {
        if let Some(found) = &jws.header.media_type
            && !["JWT", "at+jwt"].iter().any(|expected| expected.eq_ignore_ascii_case(found))
        {
            return Err(VerifyError::UnexpectedType { found: found.to_string() });
        }
        Ok(Self { jws })
    }

    /// `alg`: `EdDSA` or `Ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.jws.header.algorithm
    }

    /// `typ`, as written: `JWT` or `at+jwt` in whatever case.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        self.jws.header.media_type.as_deref()
    }

    /// Returns `kid`: the id of the key that signed the token, as the token claims.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.jws.header.key_id.as_ref()
    }

    /// Returns the unverified claims.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Malformed`] when the payload is not a claim set.
    pub fn claims(&self) -> Result<ClaimSet, VerifyError> {
        let payload = self.jws.payload()?;
        if let Some(claims) = issued_claims::parse(&payload) {
            return Ok(claims);
        }
        agentwrit_json::object_from_slice(&payload, MAX_DEPTH)
            .map_err(|error| TokenFormatError::Claims { message: error.to_string() }.into())
    }

    /// Returns the unverified `iss` alone.
    pub(crate) fn issuer(&self) -> Result<String, VerifyError> {
        #[derive(serde::Deserialize)]
        struct Issuer {
            iss: String,
        }
        let claims: Issuer = agentwrit_json::object_from_slice(&self.jws.payload()?, MAX_DEPTH)
            .map_err(|error| TokenFormatError::Claims { message: error.to_string() })?;
        Ok(claims.iss)
    }

    pub(crate) fn jws(&self) -> &CompactJws<'a> {
        &self.jws
    }
}
