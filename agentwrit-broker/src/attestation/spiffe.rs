//! SPIFFE ids of workloads, as JWT-SVIDs carry them.

use agentwrit_verify::TrustDomain;

/// Longest SPIFFE id in bytes (SPIFFE-ID §2.3).
const MAX_ID: usize = 2048;
const SCHEME: &str = "spiffe://";

/// SPIFFE id of a workload: a trust domain and a path, by the rules of SPIFFE-ID §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpiffeId<'t> {
    trust_domain: &'t str,
}

impl<'t> SpiffeId<'t> {
    /// Parses an id. The path is required: without one the text names a trust domain, not a workload.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX_ID)?;
        let (domain, path) = rest.split_once('/')?;
        let has_valid_path = path.split('/').all(is_segment);
        let trust_domain = text.get(..SCHEME.len() + domain.len())?;
        (TrustDomain::parse(domain).is_ok() && has_valid_path).then_some(Self { trust_domain })
    }

    /// Returns the trust domain with its scheme: `spiffe://example.org`.
    pub(crate) fn trust_domain(self) -> &'t str {
        self.trust_domain
    }
}

fn is_segment(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_id_with_trust_domain_and_path() {
        let id = SpiffeId::parse("spiffe://example.org/ns/ci/sa/builder").unwrap();
        assert_eq!(id.trust_domain(), "spiffe://example.org");
    }

    #[test]
    fn rejects_ids_outside_of_specification() {
        let long = format!("spiffe://example.org/{}", "a".repeat(MAX_ID));
        for text in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/./a",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://example.org:80/a",
            "spiffe://user@example.org/a",
            "spiffe://exämple.org/a",
            "https://example.org/a",
            &long,
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text}");
        }
    }
}
