//! Assertions of other issuers, with which `awrit agent register` registers an agent.

use std::path::PathBuf;

use agentwrit_client::{
    Agent, AgentKey, AttestationKind, AttestationSource, ClientError, EnvSource, FileSource, GitHubActionsSource,
    Secret, StaticSource,
};
use agentwrit_verify::UnixTime;
use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::{
    context::{Context, read_secret},
    error::CliError,
    format,
};

/// Longest part of a claim that a message shows.
const MAX_SHOWN: usize = 200;

/// Options of a registration without a launch token.
#[derive(Args)]
pub(crate) struct AttestationOptions {
    /// Assertion of another issuer in place of a launch token: a file, `-` for stdin, `env:NAME`, or `github`
    ///
    /// `github` requests one of the GitHub Actions job, which needs `permissions: id-token: write`.
    #[arg(long, value_name = "SOURCE", value_parser = parse_source, conflicts_with_all = ["launch_token", "max_ttl", "name"])]
    attestation: Option<Source>,
    /// Kind of the assertion: oidc, kubernetes or spiffe [default with `github`: oidc]
    #[arg(long, value_name = "KIND", value_parser = parse_kind, requires = "attestation")]
    attestation_kind: Option<AttestationKind>,
    /// Audience of the assertion of GitHub Actions, as in the trust rule
    #[arg(long, requires = "attestation")]
    audience: Option<String>,
}

/// Place of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Stdin,
    Variable(String),
    GitHub,
}

/// Agent to be registered with an assertion.
pub(crate) struct AttestedAgent<'r> {
    pub(crate) scopes: &'r [String],
    pub(crate) orch_id: Option<&'r str>,
    pub(crate) task_id: Option<&'r str>,
    pub(crate) key: Option<AgentKey>,
    pub(crate) sender_constrained: bool,
}

impl AttestationOptions {
    /// Returns the assertion, if one was asked for.
    pub(crate) async fn assertion(&self) -> Result<Option<StaticSource>, CliError> {
        let Some(source) = &self.attestation else { return Ok(None) };
        let kind = match (source, self.attestation_kind) {
            (_, Some(kind)) => kind,
            (Source::GitHub, None) => AttestationKind::Oidc,
            (Source::File(_) | Source::Stdin | Source::Variable(_), None) => {
                return Err(CliError::Usage(String::from("--attestation needs --attestation-kind")));
            }
        };
        let token = match (source, &self.audience) {
            (Source::GitHub, Some(audience)) => GitHubActionsSource::from_env(audience)?.token().await?,
            (Source::GitHub, None) => {
                return Err(CliError::Usage(String::from("--attestation github needs --audience")));
            }
            (_, Some(_)) => return Err(CliError::Usage(String::from("--audience is for --attestation github"))),
            (Source::File(path), None) => FileSource::new(kind, path).token().await?,
            (Source::Variable(name), None) => EnvSource::new(kind, name).token().await?,
            (Source::Stdin, None) => read_secret("-".as_ref())?,
        };
        Ok(Some(StaticSource::new(kind, token)))
    }
}

/// Registers an agent with an assertion.
pub(crate) async fn register(
    context: &Context,
    assertion: StaticSource,
    agent: AttestedAgent<'_>,
) -> Result<Agent, CliError> {
    let workload = context.client()?.attested(assertion.clone());
    let mut request = workload.agent(agent.scopes)?;
    if let Some(orch_id) = agent.orch_id {
        request = request.orch_id(orch_id)?;
    }
    if let Some(task_id) = agent.task_id {
        request = request.task_id(task_id)?;
    }
    if let Some(key) = agent.key {
        request = request.signing_key(key);
    }
    if agent.sender_constrained {
        request = request.sender_constrained();
    }
    match request.create().await {
        Ok(agent) => Ok(agent),
        Err(error) => {
            let description = is_about_assertion(&error).then(|| described(&assertion, context.clock.now()));
            let error = CliError::from(error);
            Err(match description {
                Some(description) => error.hint(format!("{}; {REASON_IS_IN_TRAIL}", description.await?)),
                None => error,
            })
        }
    }
}

const REASON_IS_IN_TRAIL: &str = "the reason is in the trail: `awrit audit events --event-type attestation_failed`";

/// Returns true for a rejection of which the broker does not tell the reason.
fn is_about_assertion(error: &ClientError) -> bool {
    error.status() == Some(401) && error.problem().is_some_and(|problem| problem.detail == "attestation failed")
}

/// Describes the assertion by the claims that a trust rule judges. They are the caller's own, and nothing is verified.
async fn described(assertion: &StaticSource, now: UnixTime) -> Result<String, CliError> {
    let token = assertion.token().await?;
    let Some(claims) = claims(&token) else { return Ok(String::from("the assertion has no readable claims")) };
    let expiry = claims.get("exp").and_then(Value::as_u64).map(UnixTime::from_seconds);
    let expiry =
        expiry.map_or_else(|| String::from("never expires"), |at| format!("expires {}", format::relative(at, now)));
    Ok(format!(
        "the assertion is of issuer {}, for audience {}, about {}, and {expiry}",
        shown(&claims, "iss"),
        shown(&claims, "aud"),
        shown(&claims, "sub"),
    ))
}

fn claims(token: &Secret) -> Option<Map<String, Value>> {
    let payload = token.expose().split('.').nth(1)?;
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Returns the claim as JSON, cut to a readable length.
fn shown(claims: &Map<String, Value>, name: &str) -> String {
    claims.get(name).map_or_else(
        || String::from("-"),
        |claim| format!("`{}`", text(claim).chars().take(MAX_SHOWN).collect::<String>()),
    )
}

fn text(claim: &Value) -> String {
    claim.as_str().map_or_else(|| claim.to_string(), str::to_owned)
}

/// Parses the name of a kind.
pub(crate) fn parse_kind(name: &str) -> Result<AttestationKind, String> {
    AttestationKind::parse(name).ok_or_else(|| String::from("oidc, kubernetes or spiffe"))
}

fn parse_source(text: &str) -> Result<Source, String> {
    match (text, text.strip_prefix("env:")) {
        ("", _) | (_, Some("")) => Err(String::from("a file, `-`, `env:NAME` or `github`")),
        ("-", _) => Ok(Source::Stdin),
        ("github", _) => Ok(Source::GitHub),
        (_, Some(name)) => Ok(Source::Variable(name.to_owned())),
        (path, None) => Ok(Source::File(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_place_of_assertion() {
        for (text, source) in [
            ("-", Source::Stdin),
            ("github", Source::GitHub),
            ("./github", Source::File("./github".into())),
            ("env:CI_TOKEN", Source::Variable("CI_TOKEN".into())),
            ("/run/token", Source::File("/run/token".into())),
        ] {
            assert_eq!(parse_source(text), Ok(source), "{text}");
        }
        assert!(parse_source("").is_err());
        assert!(parse_source("env:").is_err());
    }

    #[tokio::test]
    async fn describes_claims_that_a_trust_rule_judges() {
        let encoded = |claims: &str| format!("a.{}.c", BASE64URL_NOPAD.encode(claims.as_bytes()));
        let describe = async |token: String| {
            let assertion = StaticSource::new(AttestationKind::Oidc, token);
            described(&assertion, UnixTime::from_seconds(1000)).await.unwrap()
        };
        let claims = r#"{"iss":"https://ci.example","aud":["a","b"],"sub":"repo:acme/api","exp":940,"jti":"secret"}"#;
        assert_eq!(
            describe(encoded(claims)).await,
            "the assertion is of issuer `https://ci.example`, for audience `[\"a\",\"b\"]`, about `repo:acme/api`, and \
             expires 1 min ago"
        );
        assert_eq!(
            describe(encoded("{}")).await,
            "the assertion is of issuer -, for audience -, about -, and never expires"
        );
        assert_eq!(describe("a.b.c".into()).await, "the assertion has no readable claims");
    }
}
