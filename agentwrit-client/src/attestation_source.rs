//! Sources of assertions, which attest an agent in place of a launch token.

use std::{env, fmt, fs::File, future::Future, io::Read, path::PathBuf, pin::Pin};

use agentwrit_protocol::{AttestationKind, Secret, limits::MAX_ASSERTION};
use zeroize::Zeroizing;

use crate::error::ClientError;

/// Source of assertions about this workload: tokens of an issuer that a trust rule of the broker names.
///
/// The broker accepts each assertion once, so the source is asked at every registration.
///
/// ```
/// use agentwrit_client::{AttestationKind, AttestationSource, ClientError, Secret};
///
/// /// The metadata service of a cloud.
/// struct Metadata;
///
/// impl AttestationSource for Metadata {
///     fn kind(&self) -> AttestationKind {
///         AttestationKind::Oidc
///     }
///
///     async fn token(&self) -> Result<Secret, ClientError> {
///         Err(ClientError::no_assertion("the metadata service is not available"))
///     }
/// }
/// ```
pub trait AttestationSource: Send + Sync + 'static {
    /// Returns the kind of the assertions.
    fn kind(&self) -> AttestationKind;

    /// Returns the current assertion: a compact JWS of at most 8 KiB.
    ///
    /// # Errors
    ///
    /// [`ClientError::no_assertion`] with the reason and the remedy, and nothing of the assertion.
    fn token(&self) -> impl Future<Output = Result<Secret, ClientError>> + Send;

    /// Returns true if the source gets other assertions over time. An agent with a source that does not cannot be
    /// registered a second time.
    fn is_renewed(&self) -> bool {
        true
    }
}

/// Future of an assertion.
type TokenFuture<'s> = Pin<Box<dyn Future<Output = Result<Secret, ClientError>> + Send + 's>>;

/// Object-safe form of [`AttestationSource`].
pub(crate) trait DynAttestationSource: Send + Sync {
    fn dyn_kind(&self) -> AttestationKind;
    fn dyn_token(&self) -> TokenFuture<'_>;
    fn dyn_is_renewed(&self) -> bool;
}

impl<S: AttestationSource> DynAttestationSource for S {
    fn dyn_kind(&self) -> AttestationKind {
        self.kind()
    }

    fn dyn_token(&self) -> TokenFuture<'_> {
        Box::pin(self.token())
    }

    fn dyn_is_renewed(&self) -> bool {
        self.is_renewed()
    }
}

/// Assertions in a file that another process replaces: a projected token of a Kubernetes service account, a JWT-SVID of
/// `spiffe-helper`. It is read at every registration.
#[derive(Clone, Debug)]
pub struct FileSource {
    kind: AttestationKind,
    path: PathBuf,
}

impl FileSource {
    /// Reads assertions of this kind from `path`.
    pub fn new(kind: AttestationKind, path: impl Into<PathBuf>) -> Self {
        Self { kind, path: path.into() }
    }

    /// Reads projected tokens of a Kubernetes service account from `path`.
    pub fn kubernetes(path: impl Into<PathBuf>) -> Self {
        Self::new(AttestationKind::Kubernetes, path)
    }

    /// Reads JWT-SVIDs from `path`.
    pub fn spiffe(path: impl Into<PathBuf>) -> Self {
        Self::new(AttestationKind::Spiffe, path)
    }
}

impl AttestationSource for FileSource {
    fn kind(&self) -> AttestationKind {
        self.kind
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Zeroizing::new(Vec::new());
            // Room for the line end, and one byte that shows that the file is too long.
            let limit = MAX_ASSERTION as u64 + 3;
            File::open(path)?.take(limit).read_to_end(&mut bytes).map(|_| bytes)
        });
        let place = self.path.display();
        let bytes = read.await.map_err(|error| ClientError::aborted(&error))?;
        let bytes = bytes.map_err(|error| ClientError::no_assertion(format!("`{place}`: {error}")))?;
        assertion(&bytes, &format_args!("`{place}`"))
    }
}

/// Assertion in an environment variable, as GitLab's `id_tokens` set it. It is one assertion: an agent is registered
/// with it once.
#[derive(Clone, Debug)]
pub struct EnvSource {
    kind: AttestationKind,
    name: String,
}

impl EnvSource {
    /// Reads an assertion of this kind from the variable `name`.
    pub fn new(kind: AttestationKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl AttestationSource for EnvSource {
    fn kind(&self) -> AttestationKind {
        self.kind
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        let name = &self.name;
        let value = env::var(name).map(Zeroizing::new).map_err(|error| {
            let reason = if error == env::VarError::NotPresent { "is not set" } else { "is not text" };
            ClientError::no_assertion(format!("the environment variable `{name}` {reason}"))
        })?;
        assertion(value.as_bytes(), &format_args!("the environment variable `{name}`"))
    }

    fn is_renewed(&self) -> bool {
        false
    }
}

/// One assertion that the caller has. An agent is registered with it once.
#[derive(Clone, Debug)]
pub struct StaticSource {
    kind: AttestationKind,
    token: Secret,
}

impl StaticSource {
    /// Takes an assertion of this kind.
    pub fn new(kind: AttestationKind, token: impl Into<Secret>) -> Self {
        Self { kind, token: token.into() }
    }
}

impl AttestationSource for StaticSource {
    fn kind(&self) -> AttestationKind {
        self.kind
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        assertion(self.token.expose().as_bytes(), &"the text")
    }

    fn is_renewed(&self) -> bool {
        false
    }
}

/// Returns the assertion in these bytes, without surrounding white space. The error names the place and shows nothing
/// of it.
pub(crate) fn assertion(bytes: &[u8], place: &dyn fmt::Display) -> Result<Secret, ClientError> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(ClientError::no_assertion(format!("{place} is empty")));
    }
    if text.len() > MAX_ASSERTION {
        return Err(ClientError::no_assertion(format!("{place} holds more than {MAX_ASSERTION} bytes")));
    }
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let parts = text.split(|byte| *byte == b'.');
    let is_jws =
        parts.clone().count() == 3 && parts.clone().all(|part| !part.is_empty() && part.iter().all(is_base64url));
    match std::str::from_utf8(text) {
        Ok(text) if is_jws => Ok(Secret::from(text)),
        Ok(_) | Err(_) => Err(ClientError::no_assertion(format!("{place} holds no JWT (compact JWS)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_compact_jws_and_explains_other_texts() {
        let read = |bytes: &[u8]| assertion(bytes, &"`f`").map(|token| token.expose().to_owned());
        let reason = |reason: &str| Err(ClientError::no_assertion(reason.to_owned()));
        let longest = format!("a.{}.c", "b".repeat(MAX_ASSERTION - 4));
        assert_eq!(read(b"\n a-_.b0.C \r\n"), Ok("a-_.b0.C".to_owned()));
        assert_eq!(read(longest.as_bytes()), Ok(longest.clone()));
        assert_eq!(read(format!("{longest}d").as_bytes()), reason("`f` holds more than 8192 bytes"));
        assert_eq!(read(b" \n"), reason("`f` is empty"));
        for text in ["a.b", "a.b.c.d", "a..c", "a.b.c=", "a.b.\u{e9}", "{\"a\":1}", "a.b c.d", "a.b.c\nd.e.f"] {
            assert_eq!(read(text.as_bytes()), reason("`f` holds no JWT (compact JWS)"), "{text}");
        }
        assert_eq!(read(b"a.b.\xff"), reason("`f` holds no JWT (compact JWS)"));
    }

    #[test]
    fn debug_shows_no_assertion() {
        let source = StaticSource::new(AttestationKind::Oidc, "very.secret.text");
        assert_eq!(format!("{source:?}"), "StaticSource { kind: Oidc, token: … }");
    }
}
