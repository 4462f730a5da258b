//! `awrit trust`: trust rules, by which assertions of other issuers register agents.

use std::{collections::BTreeMap, path::PathBuf};

use agentwrit_client::{AttestationKind, ClaimMatch, ClaimValue, JwkSetText, TrustRuleRecord, TrustRuleRequest};
use agentwrit_protocol::limits::{MAX_JWKS, MAX_TOKEN_TTL};
use agentwrit_verify::{AppId, ScopeSet};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    app::app_id,
    attestation::parse_kind,
    context::{Context, read_limited},
    error::CliError,
    format,
    output::{self, PageOptions},
};

/// Add, list and remove trust rules, by which assertions of other issuers register agents
#[derive(Subcommand)]
pub(crate) enum Trust {
    Add(Box<Add>),
    List(List),
    Remove(Remove),
}

impl Trust {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

/// Add a trust rule: assertions that meet it register agents of an app, without a secret
///
/// An assertion must be of the issuer, signed by one of its keys, for the audience, and meet every condition on its claims.
/// Comparisons are exact. An issuer such as GitHub's is shared by everyone: conditions must name your organisation's workloads,
/// and a prefix of a path should end in `/`.
///
/// A template makes the orchestration or the task of the agents out of claims; without it the registration names them.
#[derive(Args)]
#[command(group(ArgGroup::new("keys").required(true).args(["jwks", "jwks_url"])))]
#[command(group(ArgGroup::new("conditions").required(true).multiple(true).args(["claim", "claim_prefix", "claim_json"])))]
#[command(after_help = "\
Examples:
  awrit trust add --name release --app app-ci-0a1b2c --kind oidc --issuer https://token.actions.githubusercontent.com \\
    --jwks-url https://token.actions.githubusercontent.com/.well-known/jwks --audience agentwrit \\
    --claim repository=acme/api --claim-prefix ref=refs/heads/release/ --scopes 'write:releases:api' \\
    --orch-template '{repository}' --task-template 'run-{run_id}'
  awrit trust add --name payments --app app-payments-0a1b2c --kind kubernetes --issuer https://kubernetes.default.svc \\
    --jwks jwks.json --audience agentwrit --claim sub=system:serviceaccount:payments:worker --scopes 'read:invoices:*'
  awrit trust add --name mesh --app app-mesh-0a1b2c --kind spiffe --issuer spiffe://example.org --jwks bundle.json \\
    --audience agentwrit --claim-prefix sub=spiffe://example.org/ns/payments/ --scopes 'read:invoices:*'")]
pub(crate) struct Add {
    /// Name of the rule: lower-case words joined by `-`, 2 to 64 characters
    #[arg(long)]
    name: String,
    /// App whose agents the rule registers, within its ceiling
    #[arg(long, value_name = "ID", value_parser = app_id)]
    app: AppId,
    /// Kind of the assertions: oidc, kubernetes or spiffe
    #[arg(long, value_parser = parse_kind)]
    kind: AttestationKind,
    /// Issuer of the assertions, exactly as their `iss`; for spiffe the trust domain, `spiffe://…`
    #[arg(long)]
    issuer: String,
    /// File with the issuer's key set, JSON; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// URL of the issuer's key set, which the broker fetches
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// Audience that assertions must name
    #[arg(long)]
    audience: String,
    /// Claim that must be this text, or a list with it; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, String)>,
    /// Claim that must be a text with this beginning; repeatable
    #[arg(long, value_name = "NAME=PREFIX", value_parser = claim)]
    claim_prefix: Vec<(String, String)>,
    /// Claim that must be this number, true or false; repeatable
    #[arg(long, value_name = "NAME=JSON", value_parser = claim)]
    claim_json: Vec<(String, String)>,
    /// Scopes that the agents may hold at most
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Lifetime of the agents' tokens in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=MAX_TOKEN_TTL))]
    max_ttl: u64,
    /// Task of the agents, with claims in braces: `run-{run_id}`
    #[arg(long, value_name = "TEMPLATE")]
    task_template: Option<String>,
    /// Orchestration of the agents, with claims in braces: `{repository}`
    #[arg(long, value_name = "TEMPLATE")]
    orch_template: Option<String>,
    /// Let the Kubernetes API server confirm each assertion (`TokenReview`)
    #[arg(long)]
    token_review: bool,
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let request = self.request()?;
        let rule = context.admin()?.create_trust_rule(&request).await?;
        context.output.print(&rule, |out| output::fields(out, &fields(&rule)))
    }

    fn request(self) -> Result<TrustRuleRequest, CliError> {
        let allowed_scope =
            ScopeSet::parse(&self.scopes).map_err(|error| CliError::Usage(format!("--scopes: {error}")))?;
        let jwks = self.jwks.map(|path| {
            let json = read_limited(&path, MAX_JWKS as u64)?;
            JwkSetText::parse(&json).map_err(|error| CliError::file(&path, &error))
        });
        Ok(TrustRuleRequest {
            claims: conditions(self.claim, self.claim_prefix, self.claim_json)?,
            name: self.name,
            app_id: self.app,
            kind: self.kind,
            issuer: self.issuer,
            jwks_url: self.jwks_url,
            jwks: jwks.transpose()?,
            audience: self.audience,
            allowed_scope,
            max_ttl: self.max_ttl,
            task_template: self.task_template,
            orch_template: self.orch_template,
            token_review: self.token_review,
        })
    }
}

fn conditions(
    texts: Vec<(String, String)>,
    prefixes: Vec<(String, String)>,
    values: Vec<(String, String)>,
) -> Result<BTreeMap<String, ClaimMatch>, CliError> {
    let texts = texts.into_iter().map(|(name, text)| (name, ClaimMatch::Equals(ClaimValue::Text(text))));
    let prefixes = prefixes.into_iter().map(|(name, prefix)| (name, ClaimMatch::Prefix(prefix)));
    let values = values.into_iter().map(|(name, json)| match claim_value(&json) {
        Some(value) => Ok((name, ClaimMatch::Equals(value))),
        None => Err(CliError::Usage(format!("--claim-json {name}: neither a whole number nor true or false"))),
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let mut conditions = BTreeMap::new();
    for (name, condition) in texts.chain(prefixes).chain(values) {
        if conditions.insert(name.clone(), condition).is_some() {
            return Err(CliError::Usage(format!(
                "the claim `{name}` has two conditions: a rule has one for each claim"
            )));
        }
    }
    Ok(conditions)
}

fn claim_value(json: &str) -> Option<ClaimValue> {
    match serde_json::from_str(json).ok()? {
        Value::Bool(flag) => Some(ClaimValue::Flag(flag)),
        Value::Number(number) => number.as_u64().map(ClaimValue::Number),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn fields(rule: &TrustRuleRecord) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("trust_rule_id", rule.trust_rule_id.clone()),
        ("name", rule.name.clone()),
        ("app_id", rule.app_id.to_string()),
        ("kind", rule.kind.as_str().to_owned()),
        ("issuer", rule.issuer.clone()),
        ("keys", rule.jwks_url.clone().unwrap_or_else(|| String::from("in the rule"))),
        ("audience", rule.audience.clone()),
        ("claims", claims(rule)),
        ("allowed_scope", format::scopes(&rule.allowed_scope)),
        ("max_ttl", rule.max_ttl.to_string()),
    ];
    fields.extend(rule.orch_template.clone().map(|template| ("orch_template", template)));
    fields.extend(rule.task_template.clone().map(|template| ("task_template", template)));
    if rule.token_review {
        fields.push(("token_review", String::from("true")));
    }
    fields
}

/// Conditions as in `ref^=refs/heads/ repository=acme/api`.
fn claims(rule: &TrustRuleRecord) -> String {
    let conditions = rule.claims.iter().map(|(name, condition)| match condition {
        ClaimMatch::Equals(value) => format!("{name}={value}"),
        ClaimMatch::Prefix(prefix) => format!("{name}^={prefix}"),
    });
    conditions.collect::<Vec<_>>().join(" ")
}

/// List the trust rules
///
/// In the column CLAIMS, `=` is a claim's value and `^=` its beginning.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageOptions,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.trust_rules(&self.page.page()).await?;
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "There is no trust rule: `awrit trust add` adds one.");
            }
            let rows = listing.entries.iter().map(|rule| {
                vec![
                    rule.trust_rule_id.clone(),
                    rule.app_id.to_string(),
                    rule.kind.as_str().to_owned(),
                    rule.issuer.clone(),
                    rule.audience.clone(),
                    rule.max_ttl.to_string(),
                    format::scopes(&rule.allowed_scope),
                    claims(rule),
                ]
            });
            let columns = ["TRUST RULE ID", "APP ID", "KIND", "ISSUER", "AUDIENCE", "MAX TTL", "SCOPES", "CLAIMS"];
            context.output.table(out, &columns, rows)?;
            output::print_next_cursor(out, &listing)
        })
    }
}

/// Remove a trust rule: it registers no agent any more
///
/// Agents that it registered keep their tokens until they expire: revoke them if they must not.
#[derive(Args)]
pub(crate) struct Remove {
    /// Id of the rule, as `awrit trust list` shows it
    #[arg(value_name = "ID")]
    id: String,
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        context.confirm(&format!("Remove trust rule {}?", self.id))?;
        context.admin()?.delete_trust_rule(&self.id).await?;
        let json = json!({ "trust_rule_id": self.id, "deleted": true });
        context.output.print(&json, |out| {
            writeln!(out, "Removed {}. Agents that it registered keep their tokens until they expire.", self.id)
        })
    }
}

fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(String::from("write NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Vec<(String, String)> {
        vec![claim(text).unwrap()]
    }

    #[test]
    fn reads_conditions_by_their_option() {
        let read = conditions(pair("sub=a=b"), pair("ref=refs/"), pair("id=7")).unwrap();
        let expected = BTreeMap::from([
            ("sub".into(), ClaimMatch::Equals(ClaimValue::Text("a=b".into()))),
            ("ref".into(), ClaimMatch::Prefix("refs/".into())),
            ("id".into(), ClaimMatch::Equals(ClaimValue::Number(7))),
        ]);
        assert_eq!(read, expected);
        assert_eq!(claim_value("true"), Some(ClaimValue::Flag(true)));
        for json in ["\"7\"", "1.5", "-1", "null", "[7]", "seven", ""] {
            assert_eq!(claim_value(json), None, "{json}");
        }
        assert!(matches!(conditions(pair("a=1"), pair("a=2"), Vec::new()), Err(CliError::Usage(_))));
        for text in ["", "a", "=a", "a="] {
            assert!(claim(text).is_err(), "{text}");
        }
    }
}
